"""helpers.installation: the check says what is wrong and how to mend it."""

import pytest

from helpers import data, installation
from helpers.installation import Finding


def test_this_installation_is_complete():
    findings = [*installation.check_python(), *installation.check_packages(), *installation.check_data()]
    assert all(finding.right for finding in findings), findings


def test_a_wrong_python_is_said():
    (finding,) = installation.check_python((3, 9))
    assert not finding.right and finding.found.startswith("3.9 on ") and "Install Python 3.12" in finding.mend


def test_missing_and_old_packages_are_named(tmp_path):
    wanted = tmp_path / "requirements.txt"
    wanted.write_text("# a comment\n\nnumpy>=99\nno-such-package-here>=1\npytest>=1\n")
    old, missing = installation.check_packages(wanted)
    assert old.what == "numpy" and not old.right and 'install "numpy>=99"' in old.mend
    assert missing.found == "not installed"


def test_what_opens_a_notebook_may_be_missing_but_not_be_old(tmp_path, monkeypatch):
    wanted = tmp_path / "requirements.txt"
    wanted.write_text("jupyterlab>=99\nnumpy>=1\n")
    (old,) = installation.check_packages(wanted)
    assert old.what == "jupyterlab" and not old.right
    version = installation.importlib.metadata.version

    def without_jupyterlab(name):
        if name == "jupyterlab":
            raise installation.importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(installation.importlib.metadata, "version", without_jupyterlab)
    (right,) = installation.check_packages(wanted)
    assert right.right and right.found == f"all in the expected ranges: numpy {version('numpy')}"


def test_missing_data_is_said_with_the_way_out(monkeypatch):
    def fetch(name):
        raise data.DataError("MNIST is not here and there is no network.\nCopy the folder.")

    monkeypatch.setattr(data, "fetch", fetch)
    for finding in installation.check_data():
        assert not finding.right and "no network" in finding.found and finding.mend == "Copy the folder."


def test_progress_that_cannot_be_kept_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("TWELVE_IDEAS_PROGRESS", str(tmp_path / "new" / "progress.json"))
    assert installation.check_progress()[0].right
    monkeypatch.setattr(installation.os, "access", lambda path, mode: False)
    assert "TWELVE_IDEAS_PROGRESS" in installation.check_progress()[0].mend


def test_little_memory_and_a_slow_machine_are_said():
    assert not installation.check_memory(1.0e9)[0].right and installation.check_memory(4e9)[0].right
    reference = installation.REFERENCE_SECONDS
    assert installation.check_speed(reference)[0].right
    (slow,) = installation.check_speed(10 * reference)
    assert not slow.right and slow.found == f"10 times the reference's time ({10 * reference:.1f} s)"


@pytest.mark.parametrize("right, verdict", [(True, "Everything is in place."), (False, "To mend: Python, Python")])
def test_the_table_ends_in_a_verdict(monkeypatch, right, verdict):
    shown = []
    for name in ("check_python", "check_packages", "check_data", "check_progress", "check_memory", "check_speed"):
        monkeypatch.setattr(installation, name, lambda: [Finding("Python", right, "<3>", "mend it")])
    monkeypatch.setattr(installation, "display", shown.append)
    assert len(installation.check_installation()) == 6
    assert verdict in shown[0].data and "&lt;3&gt;" in shown[0].data
