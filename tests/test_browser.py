"""Every lesson as a reader meets it: in JupyterLab, run from the top, an explorer moved, an exercise solved.

Explorers must also move after their page was reloaded or their tab closed and opened, and be spoken as they are shown.
"""

import contextlib
import json
import os
import re
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
# The pictures that are seen in a cell's output, and the controls with what they show: label and value.
SEEN = "all => all.filter(it => it.checkVisibility()).map(it => it.src)"
CONTROLS = ".widget-slider, .widget-dropdown"
SHOWN = """all => all.map(it => [it.querySelector(".widget-label").textContent,
    (it.querySelector("select")?.selectedOptions[0] ?? it.querySelector(".widget-readout")).textContent])"""
# One cell as JupyterLab holds it: a folded one does not show its execution count.
CELL = "at => jupyterapp.shell.currentWidget.content.widgets[at].model"
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
        command += ["--LabApp.expose_app_in_browser=True"]  # as `jupyterapp`
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

    patience = 5  # seconds for a picture to change

    def __init__(self, lab, browser, path):
        self.lab, self.path = lab, path
        self.nb = lessons.read(lab.notebooks / path.name)
        self.page = browser.new_page(viewport={"width": 1200, "height": 1000})
        self.page.set_default_timeout(MINUTE)
        self.page.goto(lab.address(path))
        self.wait()

    def wait(self):
        # Before the kernel is idle, running would ask which kernel to take.
        self.page.get_by_text("| Idle").first.wait_for(timeout=2 * MINUTE)

    def at(self, id):
        return [cell.id for cell in self.nb.cells].index(id)

    def cell(self, id):
        """The cell with this id, in the page."""
        return self.page.locator(CELLS).nth(self.at(id))

    def run_all(self, seconds=300):
        self.page.get_by_role("menuitem", name="Run", exact=True).click()
        self.page.locator('[data-command="runmenu:run-all"]').click()
        code = [cell for cell in rules.cells(self.nb, "code") if cell.source.strip()]
        self.wait_for_count(code[-1].id, seconds)
        self.fail_on_errors()
        self.fail_on_open_machinery()

    def count(self, id):
        """The execution count of a cell; None where it never ran, or runs."""
        return self.page.evaluate(f"at => ({CELL})(at).executionCount", self.at(id))

    def wait_for_count(self, id, seconds=120, after=None):
        """Wait until a cell has an execution count, another one than `after`, or until any cell fails."""
        self.page.wait_for_function(
            f"""([at, after, bad]) => {{
                const count = ({CELL})(at).executionCount;
                return count && count !== after || document.querySelector(bad);
            }}""",
            arg=[self.at(id), after, BAD_OUTPUT],
            timeout=seconds * 1000,
        )

    def fail_on_errors(self):
        playwright.expect(self.page.get_by_text("Loading widget...")).to_have_count(0, timeout=20_000)
        bad = self.page.locator(BAD_OUTPUT).all_text_contents()
        bad += self.page.get_by_text("Error displaying widget").all_text_contents()
        bad += self.page.evaluate(CUT_LABELS)
        bad += self.page.get_by_text("This figure could not be drawn").all_text_contents()
        if bad:
            self.screenshot("failed")
        assert not bad, f"{self.path.stem} shows: {bad}"

    def fail_on_open_machinery(self):
        """Machinery is one line, the title of its cell, until somebody clicks on it."""
        for cell in rules.cells(self.nb, "code"):
            if "machinery" in cell.metadata.get("tags", []):
                folded = self.cell(cell.id).locator(".jp-InputPlaceholder:visible").all_inner_texts()
                assert folded == cell.source.splitlines()[:1], f"{self.path.stem}: machinery stands open: {cell.id}"

    def run(self, id, keys="Control+Enter"):
        """Run one cell; returns the text of its output."""
        before = self.count(id)
        # Selected as the arrow keys do it: a click would open a folded cell.
        select = (
            "Object.assign(jupyterapp.shell.currentWidget.content, {activeCellIndex: at, mode: 'command'}).activate()"
        )
        self.page.evaluate(f"at => {select}", self.at(id))
        self.page.keyboard.press(keys)
        self.wait_for_count(id, after=before)
        self.fail_on_errors()
        return self.cell(id).locator(".jp-OutputArea").inner_text()

    def write(self, id, source):
        """Replace the source of a cell, as a reader does by pasting."""
        self.cell(id).locator(".cm-content").click()
        self.page.keyboard.press("ControlOrMeta+a")
        self.page.keyboard.insert_text(source)

    def reload(self):
        """Save, and load the page again. The kernel lives on."""
        self.save()
        self.page.reload()
        self.wait()

    def reopen(self):
        """Save, close the notebook's tab, and open it from the list of files. The kernel lives on."""
        self.save()
        self.page.locator(".jp-NotebookPanel:visible").wait_for()
        self.page.locator("#jp-main-dock-panel .lm-TabBar-tab.lm-mod-current .lm-TabBar-tabCloseIcon").click()
        self.page.locator(".jp-NotebookPanel").wait_for(state="detached")
        self.page.locator(".jp-DirListing-item").filter(has_text=self.path.name).dblclick()
        self.page.locator(".jp-NotebookPanel:visible").wait_for()
        self.wait()

    def save(self):
        self.page.evaluate("() => jupyterapp.shell.currentWidget.context.save()")  # waits until it is saved

    def move_explorer(self):
        """Move one explorer's slider by the keyboard and wait until its picture, the only one, is another."""
        cell = self.page.locator(CELLS).filter(has=self.page.locator(".noUi-handle")).first
        pictures = cell.locator(".jp-OutputArea img")
        cell.locator(".noUi-handle").first.wait_for()
        self.fail_on_errors()  # nor is a widget still being loaded
        before = pictures.evaluate_all(SEEN)
        assert len(before) == 1, f"{self.path.stem}: {len(before)} pictures of one explorer"
        for key in ("ArrowRight", "ArrowLeft"):  # it may stand at an end
            cell.locator(".noUi-handle").first.press(key)
            for _ in range(10 * self.patience):
                if (now := pictures.evaluate_all(SEEN)) not in ([], before):
                    assert len(now) == 1, f"{self.path.stem}: {len(now)} pictures of one explorer"
                    self.fail_on_errors()
                    return self.fail_on_misspoken()
                self.page.wait_for_timeout(100)
            self.fail_on_errors()
        raise AssertionError(f"{self.path.stem}: the explorer's figure stays as it was, whatever key is pressed")

    def fail_on_misspoken(self):
        """What a screen reader gets of each control must be what is shown: its label, and its value."""
        shown = self.page.locator(CONTROLS).evaluate_all(SHOWN)
        assert self.spoken() == shown, f"{self.path.stem}: shown {shown}, but a screen reader speaks {self.spoken()}"

    def spoken(self):
        """Label and value of each control, as the browser's accessibility tree has them."""
        tree = self.page.context.new_cdp_session(self.page)
        root = tree.send("DOM.getDocument")["root"]["nodeId"]
        spoken = []
        for node in tree.send("DOM.querySelectorAll", {"nodeId": root, "selector": CONTROLS})["nodeIds"]:
            for one in tree.send("Accessibility.queryAXTree", {"nodeId": node})["nodes"]:
                if not one["ignored"] and one["role"]["value"] in ("slider", "combobox"):
                    flat = tree.send("DOM.describeNode", {"backendNodeId": one["backendDOMNodeId"]})["node"][
                        "attributes"
                    ]
                    # The tree that Chromium shows to tests leaves the text of a value empty.
                    text = dict(zip(flat[::2], flat[1::2], strict=True)).get("aria-valuetext")
                    spoken.append([one["name"]["value"], text or one["value"]["value"]])
        tree.detach()
        return spoken

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
    start.reload()
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


def planted(lab, *cells):
    """A notebook of these cells, which may be sources alone, named `cell-0`, `cell-1`, …; its path."""
    cells = [nbformat.v4.new_code_cell(cell) if isinstance(cell, str) else cell for cell in cells]
    for k, cell in enumerate(cells):
        cell.id = f"cell-{k}"
    path = lab.notebooks / "99_planted.ipynb"
    lessons.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": lessons.KERNEL}), path)
    return path


def machinery(source):
    """A cell that is folded as machinery is."""
    metadata = {"jupyter": {"source_hidden": True}, "cellView": "form", "tags": ["machinery"]}
    return nbformat.v4.new_code_cell(source, metadata=metadata)


IMPORTS = "import matplotlib.pyplot as plt\nfrom helpers.explorer import explore\n"
DRAWS = """def draw(slope, kind):
    fig, ax = plt.subplots(figsize=(3, 2))
    ax.plot([0, 1], [0, slope], kind)
    return fig, f"A line, drawn {kind}, that rises from 0 to {slope}."
"""
EXPLORES = """controls = {"slope": [0.5, 2, 40], "kind": {"solid": "-", "dashed": "--"}}
explore(draw, controls, start={"slope": 2}, ask="How steep?")
"""


def test_an_explorer_outlives_its_page_and_is_seen_once(lab, browser):
    path = planted(lab, machinery(f"# @title Explores a slope\n{IMPORTS}{DRAWS}{EXPLORES}"), "2 + 2")
    notebook = Notebook(lab, browser, path)
    try:
        notebook.run_all(60)
        assert notebook.spoken() == [["slope", "2"], ["kind", "solid"]]
        notebook.move_explorer()
        notebook.reload()
        notebook.move_explorer()
        notebook.reopen()
        notebook.move_explorer()
        kind = notebook.page.get_by_role("combobox", name="kind", exact=True)
        kind.select_option("dashed")
        playwright.expect(notebook.page.get_by_role("img", name="A line, drawn --,")).to_have_count(1)
        notebook.save()
        lab.end_kernel(path)
        saved = lessons.read(path)
        lessons.write(lessons.normalise(saved), path)
        for says in ("run the notebook to use them", "Error displaying widget"):  # as we store it, as the reader does
            notebook.page.goto(lab.address(path))
            notebook.wait()
            notebook.page.get_by_text(says).wait_for()
            assert len(notebook.page.locator(".jp-OutputArea img").evaluate_all(SEEN)) == 1
            lessons.write(saved, path)
    finally:
        notebook.close()


def test_machinery_is_folded_runs_and_opens_on_a_click(lab, browser):
    notebook = Notebook(lab, browser, planted(lab, machinery("# @title Adds two numbers\nprint(2 + 2)"), "3 + 3"))
    try:
        notebook.fail_on_open_machinery()
        notebook.run_all(60)
        first, second = (notebook.cell(f"cell-{k}") for k in (0, 1))
        assert notebook.run("cell-0", "Shift+Enter") == "4\n" and notebook.count("cell-0") == 3
        playwright.expect(second).to_have_class(re.compile("jp-mod-active"))
        notebook.fail_on_open_machinery()
        first.get_by_text("# @title Adds two numbers").click()
        playwright.expect(first.locator(".cm-content")).to_contain_text("print(2 + 2)")
    finally:
        notebook.close()


STUCK = """from IPython.display import HTML, display
import ipywidgets
display(ipywidgets.SelectionSlider(options=[1, 2, 3]), HTML('<img src="data:image/png;base64,iVBORw0KGgo=">'))"""
NO_MODEL = """from IPython.display import display
display({"application/vnd.jupyter.widget-view+json": {"model_id": "none", "version_major": 2}}, raw=True)"""

# Explorers as they would be without care: the figure beside the controls, in two places, and a slider of a list alone.
OF_THE_PAGE = """from helpers.plotting import figure_bundle
import ipywidgets
slider = ipywidgets.IntSlider(description="slope", max=9)
display(slider)
handle = display(figure_bundle(*draw(1, "-")), raw=True, display_id=True)
slider.observe(lambda change: handle.update(figure_bundle(*draw(change.new, "-")), raw=True), names="value")
"""
TWICE = """from helpers.plotting import show
show(*draw(2, "-"))
"""
BY_PLACE = """from helpers.plotting import figure_bundle
import ipywidgets
slider, picture = ipywidgets.SelectionSlider(options=[3, 5, 9], description="slope"), ipywidgets.HTML()
def redraw(change=None):
    picture.value = figure_bundle(*draw(slider.value, "-"))["text/html"]
slider.observe(redraw, names="value")
redraw()
display(ipywidgets.VBox([slider, picture]))
"""
OPEN = nbformat.v4.new_code_cell("# @title Adds\n2 + 2", metadata={"tags": ["machinery"]})
LONG_LABEL = "import ipywidgets; display(ipywidgets.IntSlider(description='a label too long for its place'))"


@pytest.mark.parametrize(
    "code, says",
    [
        ("1 / 0", "ZeroDivisionError"),
        ("import sys; print('careful', file=sys.stderr)", "careful"),
        (NO_MODEL, "Error displaying widget"),
        (LONG_LABEL, "a label cut off: a label too long"),
        (STUCK, "the explorer's figure stays as it was"),
        (IMPORTS + DRAWS.replace("slope]", "2 / (40 - slope)]") + EXPLORES, "could not be drawn: ZeroDivisionError"),
        (IMPORTS + DRAWS + EXPLORES + TWICE, "2 pictures of one explorer"),
        (IMPORTS + DRAWS + BY_PLACE, r"shown \[\['slope', '5'\]\], but a screen reader speaks \[\['', '1'\]\]"),
        (OPEN, "machinery stands open: cell-0"),
    ],
    ids=["exception", "stderr", "widget", "label", "explorer", "redraw", "twice", "spoken", "open"],
)
def test_lane_fails(code, says, lab, browser):
    notebook = Notebook(lab, browser, planted(lab, code, "2 + 2"))
    notebook.patience = 1
    try:
        with pytest.raises(AssertionError, match=says):
            notebook.run_all(60)
            notebook.move_explorer()
    finally:
        notebook.close()


def test_lane_fails_on_an_explorer_that_ends_with_its_page(lab, browser):
    notebook = Notebook(lab, browser, planted(lab, IMPORTS + DRAWS + OF_THE_PAGE, "2 + 2"))
    notebook.fail_on_misspoken = lambda: None  # it has that fault as well
    notebook.patience = 2
    try:
        notebook.run_all(60)
        notebook.move_explorer()
        notebook.reload()
        with pytest.raises(AssertionError, match="the explorer's figure stays as it was"):
            notebook.move_explorer()
    finally:
        notebook.close()
