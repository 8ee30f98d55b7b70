"""Every lesson as a reader meets it: in JupyterLab, run from the top, an explorer moved, an exercise solved."""

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import lessons
import nbformat
import pytest
import rules
from test_exercises import solution
from test_reduced import TESTS, reduced_parameters

playwright = pytest.importorskip("playwright.sync_api")

SCREENSHOTS = TESTS / "output" / "screenshots"
MINUTE = 60_000  # milliseconds, as Playwright counts
CELLS = ".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Notebook .jp-Cell"
# JupyterLab shows tracebacks as stderr too.
BAD_OUTPUT = ", ".join(f'[data-mime-type="application/vnd.jupyter.{kind}"]' for kind in ("stderr", "error"))
CUT_LABELS = """() => [...document.querySelectorAll(".widget-label")]
    .filter(label => label.scrollWidth > label.clientWidth + 1).map(label => `a label cut off: ${label.textContent}`)"""
SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True},
    "notebook-extension/tracker": {"windowingMode": "none"},  # all cells are in the page, also those out of sight
}


class Lab:
    """A JupyterLab on copies of the lessons, with reduced parameters, no outputs, and folders of its own.

    The copies lie in `notebooks`, the progress file beside them; nothing of the person who runs the tests is used.
    """

    def __init__(self, folder):
        self.notebooks = folder / "notebooks"
        self.notebooks.mkdir()
        self.token = secrets.token_hex()
        for path in lessons.lessons():
            copy = lessons.prepare(path, self.notebooks / path.name, reduced_parameters().get(path.stem, {}))
            nb = lessons.read(copy)
            for cell in rules.cells(nb, "code"):
                cell.outputs, cell.execution_count = [], None
            lessons.write(nb, copy)
        for name, values in SETTINGS.items():
            file = folder / "JUPYTERLAB_SETTINGS_DIR" / "@jupyterlab" / f"{name}.jupyterlab-settings"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(values))
        own = ["JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"]
        own += ["JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR"]
        env = os.environ | {name: str(folder / name) for name in own}
        env |= {"TWELVE_IDEAS_RUN": "reduced", "TWELVE_IDEAS_PROGRESS": str(folder / "progress.json")}
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            port = sock.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.log = folder / "jupyterlab.log"
        command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}"]
        command += ["--ServerApp.port_retries=0", f"--IdentityProvider.token={self.token}", "--LabApp.news_url=None"]
        # Where the tests are killed, the server and its kernels end by themselves.
        command += ["--ServerApp.shutdown_no_activity_timeout=600", "--MappingKernelManager.cull_idle_timeout=300"]
        command += ["--allow-root"] if getattr(os, "geteuid", lambda: 1)() == 0 else []
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=self.notebooks, env=env, stdout=log, stderr=log, start_new_session=True
            )
        self.wait()

    def wait(self):
        end = time.monotonic() + 60
        while time.monotonic() < end and self.process.poll() is None:
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                return self.ask("GET", "api/status")
            time.sleep(0.3)
        self.process.kill()
        raise RuntimeError(f"JupyterLab did not start:\n{self.log.read_text('utf-8', 'replace')}")

    def ask(self, method, what):
        """Ask the server's own interface; the answer decoded."""
        request = urllib.request.Request(f"{self.url}/{what}", method=method)
        request.add_header("Authorization", f"token {self.token}")
        return json.loads(urllib.request.urlopen(request, timeout=10).read() or "null")

    def address(self, path):
        return f"{self.url}/lab/workspaces/{path.stem}/tree/{path.name}?reset&token={self.token}"

    def end_kernel(self, path):
        for session in self.ask("GET", "api/sessions"):
            if session["name"] == path.name or session["path"] == path.name:
                self.ask("DELETE", f"api/sessions/{session['id']}")

    def stop(self):
        try:
            self.ask("POST", "api/shutdown")  # ends the kernels too
            self.process.wait(30)
        finally:
            self.process.kill()


class Notebook:
    """One lesson in a page of the browser."""

    def __init__(self, lab, browser, path):
        self.lab, self.path = lab, path
        self.nb = lessons.read(lab.notebooks / path.name)
        self.page = browser.new_page(viewport={"width": 1200, "height": 1000})
        self.page.set_default_timeout(MINUTE)
        self.page.goto(lab.address(path))
        # Before the kernel is idle, running would ask which kernel to take.
        self.page.get_by_text("| Idle").first.wait_for(timeout=2 * MINUTE)

    def cell(self, id):
        """The cell with this id, in the page."""
        at = [cell.id for cell in self.nb.cells].index(id)
        return self.page.locator(CELLS).nth(at)

    def run_all(self, seconds=300):
        self.page.get_by_role("menuitem", name="Run", exact=True).click()
        self.page.locator('[data-command="runmenu:run-all"]').click()
        code = [cell for cell in rules.cells(self.nb, "code") if cell.source.strip()]
        self.wait_for_count(self.cell(code[-1].id), seconds)
        self.fail_on_errors()

    def wait_for_count(self, cell, seconds=120, after=""):
        """Wait until a cell shows an execution count, another one than `after`, or until any cell fails."""
        self.page.wait_for_function(
            """([cell, after, bad]) => {
                const count = cell.querySelector(".jp-InputPrompt").textContent;
                return /\\[\\d+\\]/.test(count) && count !== after || document.querySelector(bad);
            }""",
            arg=[cell.element_handle(), after, BAD_OUTPUT],
            timeout=seconds * 1000,
        )

    def fail_on_errors(self):
        playwright.expect(self.page.get_by_text("Loading widget...")).to_have_count(0, timeout=20_000)
        bad = self.page.locator(BAD_OUTPUT).all_text_contents()
        bad += self.page.get_by_text("Error displaying widget").all_text_contents()
        bad += self.page.evaluate(CUT_LABELS)
        if bad:
            self.screenshot("failed")
        assert not bad, f"{self.path.stem} shows: {bad}"

    def run(self, id):
        """Run one cell; returns the text of its output."""
        cell = self.cell(id)
        before = cell.locator(".jp-InputPrompt").text_content()
        cell.locator(".cm-content").click()
        self.page.keyboard.press("Control+Enter")
        self.wait_for_count(cell, after=before)
        self.fail_on_errors()
        return cell.locator(".jp-OutputArea").inner_text()

    def write(self, id, source):
        """Replace the source of a cell, as a reader does by pasting."""
        self.cell(id).locator(".cm-content").click()
        self.page.keyboard.press("ControlOrMeta+a")
        self.page.keyboard.insert_text(source)

    def move_explorer(self):
        """Move one explorer's slider by the keyboard and wait until its figure is another."""
        cell = self.page.locator(CELLS).filter(has=self.page.locator(".noUi-handle")).first
        figure = cell.locator(".jp-OutputArea img").last
        before = figure.get_attribute("src")
        for key in ("ArrowRight", "ArrowLeft"):  # it may stand at an end
            cell.locator(".noUi-handle").first.press(key)
            for _ in range(50):
                if figure.get_attribute("src") != before:
                    return self.fail_on_errors()
                self.page.wait_for_timeout(100)
        raise AssertionError(f"{self.path.stem}: the explorer's figure stays as it was, whatever key is pressed")

    def screenshot(self, name=""):
        """Keep the whole notebook as pictures to look at, one below the other."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.set_viewport_size({"width": 1200, "height": 2400})
        scroll = self.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-WindowedPanel-outer").first
        scroll.evaluate("it => it.scrollTo(0, 0)")  # else the last cell's place is counted from where the reader is
        height = int(scroll.evaluate("it => [...it.querySelectorAll('.jp-Cell')].pop().getBoundingClientRect().bottom"))
        shown = scroll.evaluate("it => it.clientHeight")
        for k, top in enumerate(range(0, height, shown), 1):
            scroll.evaluate("(it, top) => it.scrollTo(0, top)", top)
            self.page.wait_for_timeout(300)
            scroll.screenshot(path=SCREENSHOTS / f"{'-'.join(filter(None, [self.path.stem, name, str(k)]))}.png")
        self.page.set_viewport_size({"width": 1200, "height": 1000})

    def close(self):
        self.page.close()
        self.lab.end_kernel(self.path)


def find_chromium(chromium):
    """Where Chromium is: the system's, else Playwright's own; None where there is none."""
    named = filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome")))
    return next(named, chromium.executable_path if Path(chromium.executable_path).exists() else None)


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        if (path := find_chromium(started.chromium)) is None:
            pytest.skip("no Chromium or Chrome is installed here: lessons were not tried in a browser")
        browser = started.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def lab(browser, tmp_path_factory):
    shutil.rmtree(SCREENSHOTS, ignore_errors=True)  # of an earlier run
    lab = Lab(tmp_path_factory.mktemp("lab"))
    yield lab
    lab.stop()


@pytest.fixture(scope="module")
def start(lab, browser):
    """Lesson 0, run once from the top and kept open: its map is looked at again after each lesson."""
    notebook = Notebook(lab, browser, lessons.find("0"))
    notebook.run_all()
    yield notebook
    notebook.close()


def map_cell(nb):
    return next(cell.id for cell, _ in rules.calls(nb, "progress_map"))


def solve_exercise(notebook):
    """Write the solution of the first exercise into its attempt, run it and its check, and see it pass."""
    notebook.write("exercise-1-attempt", solution(rules.by_id(notebook.nb)["exercise-1-help"].source))
    notebook.run("exercise-1-attempt")
    assert f"✓ Exercise {int(notebook.path.stem[:2])}.1: passed" in notebook.run("exercise-1-check")


def test_start_here(start):
    start.move_explorer()
    solve_exercise(start)
    start.screenshot()


@pytest.mark.parametrize("path", lessons.lessons()[1:], ids=lambda path: path.stem)
def test_lesson(path, start, lab, browser):
    notebook = Notebook(lab, browser, path)
    try:
        notebook.run_all()
        notebook.move_explorer()
        before = start.run(map_cell(start.nb))
        solve_exercise(notebook)
        assert start.run(map_cell(start.nb)) != before, "the map does not show the exercise that was passed"
        notebook.screenshot()
        start.screenshot(f"after-{path.stem[:2]}")
    finally:
        notebook.close()


STUCK = """from IPython.display import HTML, display
import ipywidgets
display(ipywidgets.SelectionSlider(options=[1, 2, 3]), HTML('<img src="data:image/png;base64,iVBORw0KGgo=">'))"""
NO_MODEL = """from IPython.display import display
display({"application/vnd.jupyter.widget-view+json": {"model_id": "none", "version_major": 2}}, raw=True)"""

LONG_LABEL = "import ipywidgets; display(ipywidgets.IntSlider(description='a label too long for its place'))"


@pytest.mark.parametrize(
    "code, says",
    [
        ("1 / 0", "ZeroDivisionError"),
        ("import sys; print('careful', file=sys.stderr)", "careful"),
        (NO_MODEL, "Error displaying widget"),
        (LONG_LABEL, "a label cut off: a label too long"),
        (STUCK, "the explorer's figure stays as it was"),
    ],
    ids=["exception", "stderr", "widget", "label", "explorer"],
)
def test_lane_fails(code, says, lab, browser):
    cells = [nbformat.v4.new_code_cell(source, id=f"cell-{k}") for k, source in enumerate([code, "2 + 2"])]
    nb = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": lessons.KERNEL})
    path = lab.notebooks / "99_planted.ipynb"
    lessons.write(nb, path)
    notebook = Notebook(lab, browser, path)
    try:
        with pytest.raises(AssertionError, match=says):
            notebook.run_all(60)
            notebook.move_explorer()
    finally:
        notebook.close()
