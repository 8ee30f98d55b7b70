"""The check of the installation that the opening notebook runs: what is here, what is wrong, how to mend it."""

import html
import importlib.metadata
import os
import platform
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
from IPython.display import HTML, display
from packaging.requirements import Requirement

from helpers import data, keras_settings, quiet
from helpers.lesson import progress_path

REQUIREMENTS = Path(__file__).resolve().parent.parent / "requirements.txt"
FROM_OUTSIDE = ("jupyterlab", "papermill", "nbval")
# Seconds that `training_seconds` takes on the machine of the README's table: two cores, no GPU.
REFERENCE_SECONDS = 1.1


class Finding(NamedTuple):
    """One line of the check: what was looked at, whether it is right, what was found, how to mend it."""

    what: str
    right: bool
    found: str
    mend: str = ""


def check_installation():
    """Check Python, packages, data, progress file, memory, settings and speed; show a table and say what to do.

    Nothing is changed, except that a data set that is not here yet is fetched. Returns the list of `Finding`s.
    """
    checks = (check_python, check_packages, check_data, check_progress, check_memory, check_settings, check_speed)
    findings = [finding for one in checks for finding in one()]
    row = "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>"
    rows = [
        row.format("✓" if f.right else "✗", html.escape(f.what), html.escape(f.found), html.escape(f.mend))
        for f in findings
    ]
    wrong = [finding.what for finding in findings if not finding.right]
    verdict = f"To fix: {', '.join(wrong)}." if wrong else "Everything is in place."
    head = "<tr><th></th><th>what</th><th>found</th><th>what to do</th></tr>"
    display(HTML(f"<table>{head}{''.join(rows)}</table><p><b>{html.escape(verdict)}</b></p>"))
    return findings


def check_python(version=None):
    """Python 3.11 to 3.13: a list with one Finding. `version`: (major, minor), default the running one."""
    major, minor = version or tuple(map(int, platform.python_version_tuple()[:2]))
    mend = "Install Python 3.12, delete the folder .venv and set up again, as the README says."
    right = (3, 11) <= (major, minor) <= (3, 13)
    found = f"{major}.{minor} on {platform.system()}, {platform.machine()}"
    return [Finding("Python", right, found, "" if right else mend)]


def check_packages(requirements=REQUIREMENTS):
    """Each package of requirements.txt that is missing or outside its range; one Finding if all are right.

    What opens or runs a notebook from outside may be missing: Colab and editors bring their own.
    """
    wrong, seen = [], {}
    for line in requirements.read_text(encoding="utf-8").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        needed = Requirement(line)
        try:
            found = importlib.metadata.version(needed.name)
        except importlib.metadata.PackageNotFoundError:
            if needed.name in FROM_OUTSIDE:
                continue
            found = None
        seen[needed.name] = found
        if found is None or not needed.specifier.contains(found, prereleases=True):
            mend = f'Run in a terminal: python -m pip install "{needed}"'
            wrong.append(Finding(needed.name, False, found or "not installed", mend))
    named = ", ".join(f"{name} {seen[name]}" for name in ("tensorflow", "keras", "numpy") if name in seen)
    return wrong or [Finding("packages", True, f"all in the expected ranges: {named}")]


def check_data():
    """One Finding a data set: here and intact, or what stands in the way. Fetches what is missing."""
    findings = []
    for name in data.DATA_SETS:
        try:
            data.fetch(name)
            findings.append(Finding(f"data: {name}", True, "here, SHA-256 as expected"))
        except data.DataError as error:
            first, *rest = str(error).splitlines()
            findings.append(Finding(f"data: {name}", False, first, " ".join(rest) or "Run: python -m helpers.data"))
    return findings


def check_progress():
    """One Finding: whether passed exercises can be remembered on this machine."""
    path = progress_path()
    folder = next(folder for folder in path.parents if os.path.exists(folder))
    right = folder.is_dir() and os.access(path if os.path.exists(path) else folder, os.W_OK)
    found = "will be remembered" if right else f"{path} cannot be written"
    mend = "Name a file that you may write to in the environment variable TWELVE_IDEAS_PROGRESS."
    return [Finding("progress", right, found, "" if right else mend)]


def memory_limit(groups="/sys/fs/cgroup", own="/proc/self/cgroup"):
    """The memory that this process may use, in bytes: the machine's, or less where a container's limit says so.

    `groups`, `own`: where Linux keeps the control groups, of version 1 and 2, and says which are this process's.
    """
    limits = [psutil.virtual_memory().total]
    lines = Path(own).read_text(encoding="utf-8").splitlines() if os.path.exists(own) else []
    for _, controllers, group in (line.split(":", 2) for line in lines):
        if controllers and "memory" not in controllers.split(","):
            continue
        root, file = Path(groups), "memory.max"
        if controllers:
            root, file = root / "memory", "memory.limit_in_bytes"
        # A container often sees its own group as the root, whatever the line says; and a group above may allow less.
        inner = root / group.strip("/")
        for folder in (inner, *inner.parents):
            if folder.is_relative_to(root) and (folder / file).is_file():
                limit = (folder / file).read_text(encoding="utf-8").strip()
                limits += [int(limit)] if limit.isdigit() else []  # "max": none
    return min(limits)


def check_memory(total=None):
    """One Finding: at least 2 GB of memory. `total`: bytes, default what `memory_limit` says."""
    gigabytes = (total or memory_limit()) / 1e9
    right = gigabytes >= 1.99  # a limit of 2 GB is rounded down to whole pages
    mend = "Close other programs, or open the lessons on Colab: a lesson needs up to 1.5 GB."
    return [Finding("memory", right, "2 GB or more" if right else f"{gigabytes:.1f} GB", "" if right else mend)]


def check_speed(seconds=None):
    """One Finding: a small training against a reference machine. `seconds`: how long it took, default measured now."""
    seconds = seconds or training_seconds()
    ratio = seconds / REFERENCE_SECONDS
    right = ratio < 5
    mend = "Close other programs and run again, or multiply the lessons' running times by this number."
    found = "about as fast as the reference, or faster" if ratio < 2 else f"{ratio:.0f} times the reference's time"
    return [Finding("speed", right, found, "" if ratio < 2 else mend)]


def check_settings(optimize=sys.flags.optimize):
    """What would change how lessons run and cannot be overridden; one Finding if there is nothing of the kind.

    `optimize`: how many times Python was told -O. It then leaves out assertions, of which the checks are made.
    """
    wrong = []
    if optimize:
        mend = "Take PYTHONOPTIMIZE and -O away where JupyterLab is started: with them, no exercise can be checked."
        wrong.append(Finding("settings of Python", False, f"assertions are left out (-O, {optimize} times)", mend))
    with quiet():
        import keras  # noqa: F401
    if differing := keras_settings():
        found = ", ".join(f"{name} is {value}" for name, value in differing.items())
        wrong.append(Finding("settings of Keras", False, found, "Restart the kernel, and run from the first cell."))
    return wrong or [Finding("settings", True, "nothing in the way")]


def training_seconds():
    """Seconds for five epochs of a dense network on 10,000 random images of 28 × 28, compilation left out."""
    with quiet():
        import keras

    images = np.random.default_rng(0).random((10_000, 28 * 28), dtype=np.float32)
    labels = np.arange(10_000) % 10
    layers = [keras.layers.Input((28 * 28,)), keras.layers.Dense(128, "relu"), keras.layers.Dense(10, "softmax")]
    model = keras.Sequential(layers)
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(images, labels, batch_size=128, verbose=0)
    start = time.perf_counter()
    model.fit(images, labels, batch_size=128, epochs=5, verbose=0)
    return time.perf_counter() - start
