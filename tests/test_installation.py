"""The check of the installation says what is wrong and how to fix it. And what the reader's computer brings along has
no effect: settings of Keras and of pip, work in a lesson of which a new version comes."""

import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from test_data import make_wheel

from helpers import copies, data, installation
from helpers.installation import Finding

ROOT = Path(__file__).resolve().parent.parent


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


def test_progress_below_a_file_is_said(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("TWELVE_IDEAS_PROGRESS", str(tmp_path / "file" / "progress.json"))
    assert not installation.check_progress()[0].right


def test_little_memory_and_a_slow_machine_are_said():
    assert not installation.check_memory(1.0e9)[0].right and installation.check_memory(4e9)[0].right
    reference = installation.REFERENCE_SECONDS
    assert installation.check_speed(reference)[0].right
    (slow,) = installation.check_speed(10 * reference)
    assert not slow.right and slow.found == "10 times the reference's time"


def test_what_is_stored_of_the_speed_does_not_change_from_run_to_run():
    reference = installation.REFERENCE_SECONDS
    assert installation.check_speed(0.9 * reference) == installation.check_speed(1.3 * reference)


GROUPS = {
    "version 2, container": ("0::/\n", {"memory.max": "1000000000\n"}),
    "version 2, a group above": (
        "0::/a.slice/b\n",
        {"a.slice/b/memory.max": "max\n", "a.slice/memory.max": "1000000000"},
    ),
    "version 1, container": ("4:memory:/docker/1f\n0::/\n", {"memory/memory.limit_in_bytes": "1000000000\n"}),
    "version 1, own group": ("4:cpu,memory:/a\n", {"memory/a/memory.limit_in_bytes": "1000000000\n"}),
}


@pytest.mark.parametrize("lines, files", GROUPS.values(), ids=GROUPS)
def test_the_limit_of_a_container_counts(tmp_path, lines, files, monkeypatch):
    (tmp_path / "own").write_text(lines)
    for name, limit in files.items():
        (tmp_path / "groups" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "groups" / name).write_text(limit)
    assert installation.memory_limit(tmp_path / "groups", tmp_path / "own") == 1_000_000_000
    total = installation.psutil.virtual_memory().total
    for path in (tmp_path / "groups").rglob("memory.*"):
        path.write_text("9223372036854771712" if path.name == "memory.limit_in_bytes" else "max")
    assert installation.memory_limit(tmp_path / "groups", tmp_path / "own") == total
    assert installation.memory_limit(tmp_path / "none", tmp_path / "none") == total
    monkeypatch.setattr(installation, "memory_limit", lambda: 1_000_000_000)
    assert installation.check_memory()[0].found == "1.0 GB" and not installation.check_memory()[0].right


def test_settings_that_cannot_be_overridden_are_said(monkeypatch):
    assert installation.check_settings() == [Finding("settings", True, "nothing in the way")]
    monkeypatch.setattr(installation, "keras_settings", lambda: {"floatx": "float16"})
    python, keras = installation.check_settings(optimize=1)
    assert not python.right and "PYTHONOPTIMIZE" in python.mend
    assert not keras.right and keras.found == "floatx is float16" and "Restart" in keras.mend


@pytest.mark.parametrize("right, verdict", [(True, "Everything is in place."), (False, "To fix: Python, Python")])
def test_the_table_ends_in_a_verdict(monkeypatch, right, verdict):
    shown = []
    for name in ("python", "packages", "data", "progress", "memory", "settings", "speed"):
        monkeypatch.setattr(installation, f"check_{name}", lambda: [Finding("Python", right, "<3>", "mend it")])
    monkeypatch.setattr(installation, "display", shown.append)
    assert len(installation.check_installation()) == 7
    assert verdict in shown[0].data and "&lt;3&gt;" in shown[0].data


# Keras

KERAS = """import helpers
with helpers.quiet():
    import keras
import numpy as np
x = np.zeros((8, 6, 6, 3), "float32")
for _ in range(6):
    model = keras.Sequential([keras.Input((6, 6, 3)), keras.layers.Conv2D(2, 3)])
    model.predict(x, verbose=0)
for _ in range(6):
    model.compile("adam", "mse")
    epochs = model.fit(x, x[:, :4, :4, :2], epochs=2, verbose=0).epoch
answer = model(x)
print(keras.backend.backend(), answer.shape, answer.dtype.name, epochs)
import tensorflow
one = tensorflow.function(lambda number: number)
for number in range(6):
    one(number)"""


def run(code, folder, **env):
    """Run code in a Python of its own that has this folder as its home; returns what that process printed."""
    env = os.environ | {"HOME": str(folder), "USERPROFILE": str(folder), "PYTHONPATH": str(ROOT)} | env
    del env["KERAS_HOME"]  # which our own import of the helpers has set
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)


def test_settings_of_keras_have_no_effect_and_trainings_in_a_row_draw_no_warning(tmp_path):
    (tmp_path / ".keras").mkdir()
    settings = '{"backend": "jax", "floatx": "float16", "epsilon": 0.1, "image_data_format": "channels_first"}'
    (tmp_path / ".keras" / "keras.json").write_text(settings)
    done = run(KERAS, tmp_path, KERAS_BACKEND="jax", KERAS_MAX_EPOCHS="1", TF_CPP_MIN_LOG_LEVEL="0")
    assert done.stdout == "tensorflow (8, 4, 4, 2) float32 [0, 1]\n", done.stderr
    assert "<lambda>" in done.stderr, "the reader's own functions are warned of, as ever"
    assert "TensorFlowTrainer" not in done.stderr


def test_a_keras_that_is_loaded_with_other_settings_is_said(tmp_path):
    code = (
        "import sys, types\nsys.modules['keras'] = types.SimpleNamespace(config=types.SimpleNamespace(backend=lambda: "
    )
    code += "'jax', floatx=lambda: 'float32', epsilon=lambda: 1e-7, image_data_format=lambda: 'channels_last'))\n"
    done = run(f"{code}import helpers", tmp_path)
    assert (
        "RuntimeError: Keras was loaded before this lesson, with settings of its own: {'backend': 'jax'}" in done.stderr
    )
    assert "Restart the kernel" in done.stderr


# Installing, and a new version of the course


@pytest.mark.skipif(not shutil.which("make") or os.name == "nt", reason="needs make")
@pytest.mark.parametrize(
    "settings, says",
    [
        ({"PIP_USER": "1", "PIP_TARGET": "elsewhere", "PIP_PREFIX": "elsewhere", "PIP_PYTHON": "none"}, ""),
        ({"PIP_REQUIRE_VIRTUALENV": "1", "PIP_DRY_RUN": "1", "PIP_NO_BINARY": ":all:"}, ""),
        ({"PIP_CONFIG_FILE": "[global]\nuser = true"}, ""),
        ({"PIP_CONFIG_FILE": "[install]\ntarget = elsewhere"}, "take away what it says of target"),
    ],
)
def test_make_installs_whatever_pip_is_told_elsewhere(tmp_path, settings, says):
    (tmp_path / "index").mkdir()
    wheel = tmp_path / "index" / "tensorflow-1.0-py3-none-any.whl"
    make_wheel(wheel, "tensorflow", "tensorflow/empty.py", b"")
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    (tmp_path / "requirements.lock").write_text(f"tensorflow==1.0 --hash=sha256:{digest}\n")
    if "PIP_CONFIG_FILE" in settings:
        (tmp_path / "pip.conf").write_text(settings["PIP_CONFIG_FILE"])
        settings = {"PIP_CONFIG_FILE": str(tmp_path / "pip.conf")}
    (tmp_path / "bin").mkdir()  # what make needs, without uv
    for name in ("sh", "sed", "env", "touch", "rm"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name))
    env = {"PATH": str(tmp_path / "bin"), "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path / "index")} | settings
    command = [shutil.which("make"), ".venv/.installed", f"PYTHON={sys._base_executable}"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert says in done.stderr and (done.returncode == 0) == (not says), done.stdout + done.stderr
    assert bool(list(tmp_path.glob(".venv/lib/*/site-packages/tensorflow-1.0.dist-info"))) == (not says)


def test_in_a_folder_of_70_characters_windows_can_install():
    readme = (ROOT / "README.md").read_text("utf-8")
    assert "it may have 70 characters" in readme
    # Windows has no CUDA, whose files have the longest names of all.
    files = [str(file) for file in importlib.metadata.files("tensorflow") if "cudnn" not in str(file)]
    assert 70 + len("/.venv/Lib/site-packages/") + max(map(len, files)) <= 259


def lesson(code_sha256, text):
    return f'{{"metadata": {{"twelve_ideas": {{"code_sha256": "{code_sha256}"}}}}, "cells": ["{text}"]}}'


@pytest.mark.skipif(not shutil.which("git"), reason="needs git")
def test_own_work_and_a_new_version_do_not_meet(tmp_path, capsys):
    def git(*words, cwd):
        settings = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        return subprocess.run(["git", *settings, *words], cwd=cwd, capture_output=True, text=True)

    def publish(code_sha256, text):
        (course / "notebooks" / "01_one.ipynb").write_text(lesson(code_sha256, text))
        assert git("add", ".", cwd=course).returncode == git("commit", "-m", text, cwd=course).returncode == 0

    course, clone = tmp_path / "course", tmp_path / "clone"
    (course / "notebooks").mkdir(parents=True)
    shutil.copy(ROOT / ".gitignore", course)
    git("init", cwd=course)
    publish("a", "first")
    git("clone", str(course), str(clone), cwd=tmp_path)
    copies.main(clone)
    mine = clone / "my-notebooks" / "01_one.ipynb"
    assert mine.read_text() == lesson("a", "first")
    mine.write_text(lesson("a", "worked in"))
    copies.main(clone)
    publish("b", "second")
    assert git("pull", cwd=clone).returncode == 0
    assert capsys.readouterr().out == ""
    copies.main(clone)
    assert "my-notebooks/01_one.ipynb stays as it is" in capsys.readouterr().out
    assert mine.read_text() == lesson("a", "worked in")
    mine.rename(mine.with_name("old.ipynb"))
    copies.main(clone)
    assert mine.read_text() == lesson("b", "second")

    (clone / "notebooks" / "01_one.ipynb").write_text(lesson("b", "worked in"))
    publish("c", "third")
    assert "would be overwritten" in git("pull", cwd=clone).stderr, "the reason for copies"
