"""What several test files share: the clean lesson that errors are planted in, and the order of the long tests."""

import copy
import os

import lessons
import nbformat
import pytest
from fixtures.clean import NAME, clean_lesson

# The longest first, so that two workers end together.
FIRST = ("test_browser.py", "test_exercises.py", "test_reduced.py", "test_lanes.py")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: FIRST.index(item.path.name) if item.path.name in FIRST else len(FIRST))


@pytest.fixture(scope="session", autouse=True)
def importable():
    """Kernels that the tests start find `helpers` wherever a notebook lies, installed or not."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(lessons.ROOT), before]))
    yield
    os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)


@pytest.fixture(scope="session")
def executed(tmp_path_factory, importable):
    """The clean lesson as `make run` stores it, outputs and stamp included."""
    path = tmp_path_factory.mktemp("clean") / NAME
    nbformat.write(clean_lesson(), path)
    return lessons.normalise(lessons.run_lesson(path).notebook)


@pytest.fixture
def clean(executed):
    """A copy of the clean lesson to plant an error in."""
    return copy.deepcopy(executed)


def pytest_terminal_summary(terminalreporter):
    """Show what tests measured, passed ones too, at the end of the report."""
    for report in terminalreporter.getreports("passed"):
        for name, text in report.user_properties:
            if name == "measured":
                terminalreporter.write_line(f"measured: {text}")
