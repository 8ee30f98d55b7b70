"""Every lesson runs from top to bottom with reduced parameters and no network, and gives what is stored or in range."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cache

import lessons
import nbformat
import pytest
import rules
import yaml

TESTS = lessons.ROOT / "tests"
CUT = [sys.executable, str(TESTS / "offline" / "cut.py")]
AIM_SECONDS = 25
# Kilobytes on Linux, bytes on macOS; Windows has no such module.
MEMORY = """
import resource
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e9 if sys.platform == "darwin" else 1e6)
print(f"peak memory {peak:.2f} GB")
"""


def reduced_parameters():
    """A dict from lesson (file stem) to the parameters of its reduced run."""
    return yaml.safe_load((TESTS / "reduced.yml").read_text("utf-8")) or {}


@cache
def without_network():
    """What a command needs to run with the network cut off: (words to put before it, folders for PYTHONPATH)."""
    probe = subprocess.run([*CUT, sys.executable, "-c", ""], capture_output=True, text=True)
    if probe.returncode not in (0, 3):
        raise RuntimeError(f"{CUT[-1]} failed: {probe.stderr}")
    return (CUT, []) if probe.returncode == 0 else ([], [TESTS / "offline"])


@dataclass
class Outcome:
    """What a reduced run gave: whether all cells passed, pytest's report, the executed notebook, its wall time."""

    passed: bool
    report: str
    notebook: nbformat.NotebookNode
    seconds: float


def run_reduced(path, parameters, folder):
    """Run a copy of the lesson at `path` once under nbval, in `folder`, with `parameters` and without a network.

    Cells fail where they raise, or where a tagged one gives other output than is stored; the last cell proves that
    every parameter still has its value. Raises ValueError for a parameter that the lesson does not have.
    """
    copy = lessons.prepare(path, folder / path.name, parameters)
    nb = lessons.read(copy)
    proof = f"import sys\nfor name, value in {parameters!r}.items():\n"
    proof += "    assert globals()[name] == value, f'the parameter {name} is {globals()[name]}, not {value}'\n"
    nb.cells.append(nbformat.v4.new_code_cell(proof + (MEMORY if os.name == "posix" else ""), id="parameters-proved"))
    nbformat.write(nb, copy)
    (folder / "pytest.ini").write_text("[pytest]\n")
    kept = folder / "executed" / path.name
    kept.parent.mkdir()
    before, guard = without_network()
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    env |= {
        "PYTHONPATH": os.pathsep.join(map(str, [*guard, TESTS, lessons.ROOT])),
        "TWELVE_IDEAS_RUN": "reduced",
        "TWELVE_IDEAS_PROGRESS": str(folder / "progress.json"),
    }
    command = [*before, sys.executable, "-m", "pytest", "-q", "--color=no", "--maxfail=10", "-c", "pytest.ini"]
    command += ["-p", "no:cacheprovider", "-p", "no:xdist", "-p", "keep_outputs", "--keep-outputs", str(kept)]
    command += ["--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout=120", copy.name]
    start = time.monotonic()
    # Written by one system, read by another: the report holds more than ASCII.
    env["PYTHONIOENCODING"] = "utf-8"
    done = subprocess.run(
        command, cwd=folder, env=env, timeout=560, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8"
    )
    seconds = time.monotonic() - start
    notebook = lessons.read(kept) if kept.exists() else nbformat.v4.new_notebook()
    return Outcome(done.returncode == 0, done.stdout, notebook, seconds)


def reduced_complaints(outcome, number):
    """What is wrong with a reduced run of the lesson with this number; a line, or nbval's report, each."""
    cells = outcome.notebook.cells
    complaints = [] if outcome.passed else [outcome.report]
    for cell in cells:
        complaints += [
            f"`{cell.id}` writes to stderr: {text}" for kind, text in rules.output_texts(cell) if kind == "stderr"
        ]
    if number and not any("nbval-check-output" in rules.tags(cell) for cell in cells):
        complaints.append("no cell was compared to the letter: tag exact cells with nbval-check-output")
    if number and not lessons.measured_lines(outcome.notebook):
        complaints.append("no number was held to a range: call `measured`")
    return complaints


@pytest.mark.parametrize("path", lessons.lessons(), ids=lambda path: path.stem)
def test_lesson(path, tmp_path, record_property):
    outcome = run_reduced(path, reduced_parameters().get(path.stem, {}), tmp_path)
    complaints = reduced_complaints(outcome, int(path.stem[:2]))
    assert not complaints, "\n".join(complaints)
    memory = next((text for kind, text in rules.output_texts(outcome.notebook.cells[-1]) if kind == "stdout"), "")
    record_property("measured", f"{path.stem}: {outcome.seconds:.0f} s reduced (aim {AIM_SECONDS}), {memory.strip()}")


def test_every_lesson_has_reduced_parameters():
    known = {path.stem for path in lessons.lessons()}
    assert reduced_parameters().keys() <= known, "reduced.yml names a lesson that is not there"
    missing = {stem for stem in known - reduced_parameters().keys() if not stem.startswith("00")}
    assert not missing, "add to reduced.yml the parameters with which these run in about 25 s"
