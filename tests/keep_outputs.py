"""A plugin for pytest: `-p keep_outputs --keep-outputs FILE` stores, as a notebook, what nbval saw the cells give."""

from pathlib import Path

import nbformat
import pytest


def pytest_addoption(parser):
    parser.addoption("--keep-outputs", type=Path, help="where to store the executed notebook")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if call.when == "call":
        item.cell.outputs = item.test_outputs or []  # nbval has compared them by now
        item.session.notebook = item.parent.nb
    return report


def pytest_sessionfinish(session):
    if hasattr(session, "notebook"):
        nbformat.write(session.notebook, session.config.getoption("--keep-outputs"))
