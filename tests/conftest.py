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


def pytest_configure(config):
    if "PYTEST_XDIST_WORKER" in os.environ:
        # Lessons run side by side: threads of linear algebra that wait for one another cost more than they bring.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Side by side, the tests of one file stay in one worker, so that they share what they start; in the two files
    that run lessons, the tests of one lesson do. (`--dist loadgroup` itself loses its groups under pytest 9.2.)
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByLesson(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            file, _, test = nodeid.partition("::")
            return file + test.partition("[")[2] if file.endswith(("test_exercises.py", "test_reduced.py")) else file

    config.option.loadscopereorder = False  # keep the order of FIRST
    return ByLesson(config, log) if config.option.dist == "loadgroup" else None


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
