"""`make run` and `make seeds`, and the functions under them, on small notebooks made here; no TensorFlow."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import lessons
import nbformat.v4 as v4
import psutil
import pytest
import run
from lessons import LessonError, Measured, Result

from helpers.lesson import measured

README = "# Lessons\n\n<!-- costs -->\nold\n<!-- /costs -->\n\nThe end\n"


@pytest.fixture
def course(tmp_path, monkeypatch):
    """An empty course in a folder with a space, Persian letters and braces in its name; `lessons` looks there."""
    root = tmp_path / "درس {one} course"
    (root / "notebooks").mkdir(parents=True)
    (root / "tests").mkdir()
    (root / "README.md").write_text(README, "utf-8")
    monkeypatch.setattr(lessons, "NOTEBOOKS", root / "notebooks")
    return root


def lesson(course, name, *cells, cost=True):
    """Store a lesson with a head, the parameters SEED and SIZE, and code cells named c0, c1, …; returns its path."""
    nb = v4.new_notebook(metadata={"kernelspec": lessons.KERNEL})
    nb.cells = [v4.new_markdown_cell(f"# {int(name[:2])} · A title\n\nA question?", id="head")]
    nb.cells += [v4.new_markdown_cell("not measured yet", id="cost")] if cost else []
    source = "SEED = 0  # for every random number\nSIZE = 60_000"
    nb.cells.append(v4.new_code_cell(source, id="parameters", metadata={"tags": ["parameters"]}))
    nb.cells += [v4.new_code_cell(source, id=f"c{k}") for k, source in enumerate(cells)]
    path = course / "notebooks" / f"{name}.ipynb"
    lessons.write(nb, path)
    return path


def store(course, *paths, cell_timeout=60):
    return run.run(list(paths), cell_timeout, course / "tests" / "costs.json", course / "README.md")


def printed(result):
    return "".join(o.text for cell in result.notebook.cells for o in cell.get("outputs", []) if "text" in o)


# --- finding and preparing --------------------------------------------------------------------------------------------


def test_lessons_are_found_by_number_name_and_path(course):
    path = lesson(course, "03_gradient_descent")
    lesson(course, "01_features")
    (course / "notebooks" / "scratch.ipynb").write_text("{}")
    assert [p.stem for p in lessons.lessons()] == ["01_features", "03_gradient_descent"]
    for name in ("3", "03", "03_gradient_descent", "notebooks/03_gradient_descent.ipynb", path):
        assert lessons.find(name) == path
    with pytest.raises(ValueError, match="no lesson '04'.*01_features, 03_gradient_descent"):
        lessons.find("04")


def test_parameters_are_injected_after_their_cell_and_reach_the_run(course):
    path = lesson(course, "01_a", "print(SEED, SIZE)")
    assert lessons.parameters(path) == {"SEED": 0, "SIZE": 60_000}
    copied = lessons.read(lessons.prepare(path, course / "copy.ipynb", {"SIZE": 3}))
    assert [cell.metadata.get("tags") for cell in copied.cells[2:4]] == [["parameters"], ["injected-parameters"]]
    assert printed(lessons.run_lesson(path, {"SIZE": 3})) == "0 3\n"


def test_an_unknown_parameter_is_an_error(course):
    path = lesson(course, "01_a")
    for call in (
        lambda: lessons.prepare(path, course / "copy.ipynb", {"SIZES": 3}),
        lambda: lessons.run_lesson(path, {"SIZES": 3}),
    ):
        with pytest.raises(ValueError, match="no parameter SIZES. Its parameters: SEED, SIZE"):
            call()
    assert not (course / "copy.ipynb").exists()


def test_a_parameter_that_is_no_literal_is_an_error(course):
    path = lesson(course, "01_a")
    nb = lessons.read(path)
    nb.cells[2].source = "SEED = 0\nSIZE = SEED + 1"
    lessons.write(nb, path)
    with pytest.raises(ValueError, match="SIZE must be a plain literal"):
        lessons.parameters(path)


# --- one run ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["full", "reduced", None])
def test_a_run_happens_beside_the_notebook_in_this_python_away_from_the_readers_progress(course, mode, monkeypatch):
    monkeypatch.setenv("TWELVE_IDEAS_RUN", "left over")
    monkeypatch.setenv("TWELVE_IDEAS_PROGRESS", "the reader's own")
    source = 'import os, sys\nprint(sys.executable)\nprint(os.getcwd())\nprint(os.environ.get("TWELVE_IDEAS_RUN"))\n'
    path = lesson(course, "01_a", source + 'print(os.environ["TWELVE_IDEAS_PROGRESS"], os.environ["MORE"])')
    before = path.read_bytes()
    seen = []
    result = lessons.run_lesson(
        path, run=mode, out=course / "out.ipynb", env={"MORE": "more"}, on_cell=seen.append, cell_timeout=60
    )
    python, folder, told, last = printed(result).splitlines()
    assert Path(python).samefile(sys.executable)
    assert Path(folder).samefile(course / "notebooks")
    assert told == str(mode)
    progress, more = last.rsplit(" ", 1)
    assert progress != "the reader's own" and not Path(progress).parent.exists()
    assert more == "more"
    assert seen == ["parameters", "c0"]
    assert path.read_bytes() == before
    assert lessons.read(course / "out.ipynb").cells[-1].outputs == result.notebook.cells[-1].outputs


def test_a_run_is_measured(course):
    path = lesson(
        course, "01_a", "import time\ntime.sleep(0.6)", "held = b'x' * 400_000_000\ntime.sleep(0.3)\ndel held"
    )
    result = lessons.run_lesson(path)
    assert result.seconds > 0.9
    name, seconds = result.worst_cell
    assert (name, seconds) == ("c0", pytest.approx(0.6, abs=0.3)) or name == "c1"
    assert 0.42 < result.peak_memory_gb < 0.7


@pytest.mark.parametrize(
    ("source", "timeout", "why"),
    [
        ("1 / 0", 60, "ZeroDivisionError: division by zero"),
        ("import time\ntime.sleep(600)", 1, "stopped, it had not ended after 1 s"),
        ("while True: pass", 1, "stopped, it had not ended after 1 s"),
        ("import os\nos._exit(9)", 60, "the kernel died"),
    ],
)
def test_a_cell_that_fails_hangs_or_dies_is_named(course, source, timeout, why):
    path = lesson(course, "01_a", "print(1)", source, "print(2)")
    before = path.read_bytes()
    start = time.monotonic()
    with pytest.raises(LessonError) as caught:
        lessons.run_lesson(path, cell_timeout=timeout, out=course / "out.ipynb")
    assert time.monotonic() - start < 40
    assert (caught.value.lesson, caught.value.cell) == ("01_a", "c1")
    assert str(caught.value).startswith(f"01_a, cell `c1`: {why}")
    assert path.read_bytes() == before and not (course / "out.ipynb").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="the command is one of POSIX systems")
def test_a_kernel_can_be_started_by_another_command_elsewhere_with_less_around_it(course, monkeypatch):
    monkeypatch.setenv("GONE", "still here")
    source = "import os\nprint(os.environ['PLACE'], 'GONE' in os.environ, os.getcwd())"
    path = lesson(course, "01_a", source)
    command = ("env", "PLACE=other", sys.executable)
    result = lessons.run_lesson(path, env={"GONE": None}, python=command, folder=course / "tests")
    place, gone, folder = printed(result).strip().split(" ", 2)
    assert (place, gone) == ("other", "False") and Path(folder).samefile(course / "tests")


@pytest.mark.skipif(sys.platform == "win32", reason="the command is one of POSIX systems")
def test_a_kernel_that_does_not_start_says_why(course):
    path = lesson(course, "01_a")
    with pytest.raises(LessonError, match="01_a, before its first cell: Kernel died") as caught:
        lessons.run_lesson(path, python=("sh", "-c", "echo no such place >&2; exit 1"))
    assert caught.value.cell is None and "no such place" in caught.value.trace


def test_a_lesson_that_holds_too_much_memory_is_killed_and_named(course):
    path = lesson(course, "01_a", "import time\nheld = b'x' * 400_000_000\ntime.sleep(30)")
    with pytest.raises(LessonError, match="cell `c0`: killed, it held 0.[2-9]. GB of memory, more than 0.2 GB"):
        lessons.run_lesson(path, memory_limit_gb=0.2)


def test_measured_lines_are_what_the_lessons_print(capsys):
    measured("joint: test accuracy", 0.97912, (0.974, 0.984), unit="%", reduced=(0.85, 1.0))
    measured("ratio = a / b · c (small)", 3.2e-7, (1e-5, 0.1), reduced=(0, 1))
    measured("a loss", -12345.6, (-1e5, 0), chance=False)
    measured("gain", 0.012, (0.01, 0.02), unit="percentage points")
    measured("not a number", float("nan"), (0, 1))
    text = capsys.readouterr().out
    halves = [v4.new_output("stream", text=part) for part in (text[:30], text[30:])]
    nb = v4.new_notebook(cells=[v4.new_code_cell("measured(...)", outputs=halves)])
    *found, none = lessons.measured_lines(nb)
    assert found == [
        Measured("joint: test accuracy", 97.91, "%", 97.4, 98.4),
        Measured("ratio = a / b · c (small)", pytest.approx(3.2e-7), "", None, None),
        Measured("a loss", -12346, "", None, None),
        Measured("gain", 1.2, "percentage points", 1, 2),
    ]
    assert none.name == "not a number" and none.value != none.value


# --- the stored form --------------------------------------------------------------------------------------------------


def test_the_stored_form_is_clean_and_stays_as_it_is():
    view = {"application/vnd.jupyter.widget-view+json": {"model_id": "x"}}
    nb = v4.new_notebook(
        metadata={"widgets": {"state": {}}, "papermill": {}, "kernelspec": {"name": "a", "display_name": "b"}}
    )
    nb.metadata["language_info"] = {"name": "python", "version": "3.11.7"}
    outputs = [
        v4.new_output("stream", text="one "),
        v4.new_output("stream", text="line  \n"),
        v4.new_output("display_data", data=view | {"text/plain": "Controls: rate"}),
        v4.new_output("display_data", data=dict(view)),
        v4.new_output("execute_result", data={"text/plain": "3"}, execution_count=40),
    ]
    dirt = {"tags": [], "execution": {"shell": "now"}, "papermill": {"status": "completed"}, "trusted": True}
    nb.cells = [
        v4.new_markdown_cell("# 1", metadata=dict(dirt)),
        v4.new_code_cell("", execution_count=7),
        v4.new_code_cell("x", id="x", execution_count=40, outputs=outputs, metadata=dict(dirt)),
        v4.new_code_cell("y", id="y", metadata={"tags": ["nbval-check-output"]}),
    ]
    stored = lessons.normalise(nb)
    nbformat_json = json.dumps(stored)
    assert not [
        word for word in ("widget-view", "papermill", 'execution"', "trusted", "3.11.7") if word in nbformat_json
    ]
    assert [cell.execution_count for cell in stored.cells[1:]] == [None, 1, 2]
    texts = stored.cells[2].outputs
    assert texts[0].text == "one line  \n"
    assert texts[1].data == {"text/plain": "Controls: rate"}
    assert texts[2].execution_count == 1 and len(texts) == 3
    assert stored.cells[3].metadata == {"tags": ["nbval-check-output"]} and stored.cells[2].metadata == {}
    assert stored.metadata.kernelspec == lessons.KERNEL
    assert lessons.stamp(stored) == lessons.code_hash(nb) and lessons.stamp(nb) is None
    assert lessons.normalise(stored) == stored
    assert nb.cells[2].execution_count == 40, "the notebook that was given must stay as it was"


def test_the_stamp_follows_the_code_only():
    nb = v4.new_notebook(cells=[v4.new_markdown_cell("text", id="a"), v4.new_code_cell("x = 1", id="b")])
    before = lessons.code_hash(nb)
    nb.cells[0].source, nb.cells[1].outputs = "other text", [v4.new_output("stream", text="1")]
    assert lessons.code_hash(nb) == before
    nb.cells[1].source = "x = 2"
    changed = lessons.code_hash(nb)
    nb.cells[1].id = "c"
    assert len({before, changed, lessons.code_hash(nb)}) == 3


def test_a_run_with_other_parameters_is_never_stored(course):
    result = lessons.run_lesson(lesson(course, "01_a"), {"SIZE": 1})
    with pytest.raises(ValueError, match="never stored"):
        lessons.normalise(result.notebook)


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "file"
    assert lessons.write_text(path, "a\n") and not lessons.write_text(path, "a\n")

    def full_disk(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(OSError, match="No space"):
        lessons.write_text(path, "b\n")
    assert path.read_text() == "a\n" and list(tmp_path.iterdir()) == [path]


# --- make run ---------------------------------------------------------------------------------------------------------


def test_a_full_run_stores_outputs_stamp_and_costs_and_a_second_one_changes_nothing(course):
    path = lesson(course, "01_a", "print('hello')")
    assert store(course, path) == []
    nb = lessons.read(path)
    assert nb.cells[-1].outputs[0].text == "hello\n" and nb.cells[-1].execution_count == 2
    assert lessons.stamp(nb) == lessons.code_hash(nb)
    cost = json.loads((course / "tests" / "costs.json").read_text("utf-8"))["01_a"]
    assert cost.keys() == {"read_minutes", "run_seconds", "worst_cell", "worst_cell_seconds", "peak_memory_gb"}
    assert nb.cells[1].source == run.cost_line(cost)
    readme = (course / "README.md").read_text("utf-8")
    assert "[1 · A title](notebooks/01_a.ipynb) | 5 min | 10 seconds |" in readme
    assert readme.startswith("# Lessons\n") and readme.endswith("\nThe end\n") and "old" not in readme

    # Times this short say nothing: pretend that the first run took what the second will take, give or take.
    before, run_again = path.read_bytes(), lessons.run_lesson(path)
    noisy = Result(run_again.notebook, cost["run_seconds"] * 0.7, ("c0", 0.1), cost["peak_memory_gb"] * 1.1, [])
    same = run.cost_of(noisy, cost | {"worst_cell_seconds": 0.1})
    stored = lessons.normalise(run_again.notebook)
    stored.cells[1].source = run.cost_line(same)
    assert not lessons.write(stored, path) and path.read_bytes() == before


def test_a_failed_lesson_stays_as_it_was_and_the_others_are_stored(course):
    bad, good = lesson(course, "01_a", "print(1)", "raise KeyError('gone')"), lesson(course, "02_b", "print(2)")
    before = bad.read_bytes()
    (wrong,) = store(course, bad, good)
    assert wrong.startswith("01_a, cell `c1`: KeyError: 'gone'") and "Traceback" in wrong
    assert bad.read_bytes() == before
    assert lessons.stamp(lessons.read(good))
    assert "02_b" in (course / "README.md").read_text("utf-8")
    assert "01_a" not in json.loads((course / "tests" / "costs.json").read_text("utf-8"))


def test_a_lesson_that_was_edited_while_it_ran_is_not_overwritten(course):
    source = "open('01_a.ipynb', 'a').write(' ')"
    path = lesson(course, "01_a", source)
    before = path.read_bytes()
    assert store(course, path) == ["01_a: not stored, the file was changed while it ran; run it again"]
    assert path.read_bytes() == before + b" "


def test_a_lesson_without_a_cost_cell_is_not_stored(course):
    path = lesson(course, "01_a", "print(1)", cost=False)
    before = path.read_bytes()
    assert store(course, path) == ["01_a: not stored, it has no markdown cell with the id `cost`"]
    assert path.read_bytes() == before


def test_a_broken_budget_is_reported(course, monkeypatch):
    monkeypatch.setattr(lessons, "MAX_CELL_SECONDS", 0.2)
    monkeypatch.setattr(lessons, "MAX_LESSON_SECONDS", 0.3)
    monkeypatch.setattr(lessons, "MAX_MEMORY_GB", 0.01)
    path = lesson(course, "01_a", "import time; time.sleep(1)")
    whole, cell, memory = store(course, path)
    assert "the budget is 0.3 s" in whole and "cell `c0` took 1 s" in cell and "GB of memory" in memory
    assert lessons.stamp(lessons.read(path)), "what ran to its end is stored, budget or not"


def test_costs_stay_while_a_new_measurement_is_near_them():
    nb = v4.new_notebook(cells=[v4.new_code_cell("x", id="x")])
    old = {"run_seconds": 100, "worst_cell": "x", "worst_cell_seconds": 20, "peak_memory_gb": 1.0}
    assert run.cost_of(Result(nb, 114, ("y", 13), 0.9, []), old) == {"read_minutes": {"rest": 5}} | old
    assert run.cost_of(Result(nb, 116, ("y", 20), 1.0, []), old)["run_seconds"] == 116
    assert run.cost_of(Result(nb, 100, ("y", 30.04), 1.0, []), old)["worst_cell_seconds"] == 30.0
    assert run.cost_of(Result(nb, 46, ("y", 10), 0.9, []), old) == {"read_minutes": {"rest": 5}} | old
    assert run.cost_of(Result(nb, 44, ("x", 20), 1.0, []), old)["run_seconds"] == 44


def test_the_cost_line_and_the_minutes_of_reading():
    cost = {"run_seconds": 74, "worst_cell": "x", "worst_cell_seconds": 20, "peak_memory_gb": 0.93}
    cost["read_minutes"] = {"rest": 10, "Part 1": 30, "Part 2": 20, "Deeper": 15}
    assert run.cost_line(cost) == (
        "**Reading and doing**: about 60 minutes (Part 1 30, Part 2 20; the sections marked ◆ take 15 more) · "
        "**Running all cells**: 1.2 minutes on two cores · **Memory**: 0.9 GB"
    )
    assert "about 10 minutes · **Running all cells**: 20 seconds on" in run.cost_line(
        cost | {"run_seconds": 23, "read_minutes": {"rest": 10}}
    )
    folded = {"tags": ["machinery"]}
    cells = [v4.new_markdown_cell("word " * 800, id="text")]  # 10 minutes before the parts
    cells += [v4.new_markdown_cell("## Part 1 · One\n" + "word " * 800, id="one")]  # 10
    cells += [v4.new_code_cell("x\n\n" * 5, id=f"code-{k}") for k in range(10)]  # 15
    cells += [v4.new_code_cell("x\n" * 30, id=f"folded-{k}", metadata=folded) for k in range(10)]  # 5
    for k in (1, 2):  # 24
        cells += [v4.new_markdown_cell("Do it", id=f"exercise-{k}"), v4.new_code_cell("x", id=f"exercise-{k}-attempt")]
        cells += [v4.new_markdown_cell("word " * 500, id=f"exercise-{k}-help")]
    cells += [v4.new_markdown_cell("### ◆ Deeper: more\n" + "word " * 800, id="deeper")]  # 10 apart
    cells += [v4.new_markdown_cell("### Again\n" + "word " * 400, id="again")]  # 5
    cells += [v4.new_markdown_cell("## Part 2 · Two\n" + "word " * 400, id="two")]  # 5
    cells += [v4.new_markdown_cell("## Quiz\n" + "word " * 400, id="quiz")]  # 5, with what came before
    minutes = run.reading_minutes(v4.new_notebook(cells=cells))
    assert minutes == {"rest": 15, "Part 1": 60, "Deeper": 10, "Part 2": 5}


def test_the_readme_must_have_its_markers(course):
    (course / "README.md").write_text("no markers", "utf-8")
    with pytest.raises(ValueError, match="markers"):
        store(course, lesson(course, "01_a"))


# --- make seeds -------------------------------------------------------------------------------------------------------

MEASURES = 'print(f"▪ half the seed: {SEED / 2} (five seeds lay within 0 to 0.6)")'


def test_seeds_collects_what_a_lesson_measures_without_holding_it_to_its_range(course, capsys):
    table = course / "tests" / "seeds.csv"
    table.write_text("lesson,name,seed,value\n03,half the seed,0,99.0\n03,gone,7,1.0\n12,other,1,0.25\n", "utf-8")
    path = lesson(course, "03_a", "import os\nassert 'TWELVE_IDEAS_RUN' not in os.environ", MEASURES)
    before = path.read_bytes()
    assert run.seeds(path, 3, 60, table) == []
    assert table.read_bytes().decode().split("\n") == [
        "lesson,name,seed,value",
        "03,half the seed,0,0.0",
        "03,half the seed,1,0.5",
        "03,half the seed,2,1.0",
        "12,other,1,0.25",
        "",
    ]
    assert capsys.readouterr().out == "half the seed: 0 to 1 over 3 values\n"
    assert path.read_bytes() == before


def test_seeds_leaves_its_table_when_a_run_fails(course):
    table = course / "tests" / "seeds.csv"
    table.write_text("lesson,name,seed,value\n03,a,0,99.0\n", "utf-8")
    (wrong,) = run.seeds(lesson(course, "03_a", MEASURES, "assert SEED != 1"), 2, 60, table)
    assert wrong.startswith("03_a SEED=1, cell `c1`: AssertionError")
    assert run.seeds(lesson(course, "04_b", "print(1)"), 1, 60, table) == ["04_b: it measures nothing"]
    assert table.read_text("utf-8").endswith("\n03,a,0,99.0\n")


# --- the command line -------------------------------------------------------------------------------------------------


def command(course, *arguments):
    """Start run.py as `make` does, on a copy of itself, because it works on the course that it lies in."""
    for name in ("lessons.py", "run.py"):
        shutil.copy(Path(run.__file__).with_name(name), course / "tests")
    call = [sys.executable, str(course / "tests" / "run.py"), *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "encoding": "utf-8"}
    return subprocess.Popen(call, cwd=course.parent, env=os.environ | {"PYTHONUTF8": "1"}, **pipes)


def test_the_exit_code_says_whether_all_lessons_ran(course):
    lesson(course, "01_a", "print(1)")
    lesson(course, "02_b", "1 / 0")
    process = command(course, "run", "1")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and output.startswith("01_a: ") and "stored" in output
    process = command(course, "run")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1 and "FAILED 02_b, cell `c0`: ZeroDivisionError" in errors


@pytest.mark.parametrize("arguments", [["run"], ["run", "09"], ["seeds", "09"], ["seeds"], []])
def test_a_wrong_call_says_so(course, arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        run.main(arguments)
    assert caught.value.code == 2
    assert "error: " in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals to send")
@pytest.mark.parametrize("with_signal", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_everything_as_it_was(course, with_signal):
    source = "import os, pathlib, time\npathlib.Path(f'pid{SEED}').write_text(str(os.getpid()))\ntime.sleep(300)"
    path = lesson(course, "01_a", source)
    before = path.read_bytes()
    process = command(course, "run")
    started = course / "notebooks" / "pid0"
    deadline = time.monotonic() + 60
    while not (started.exists() and started.read_text()):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(with_signal)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130 and "Interrupted" in errors and "Traceback" not in errors
    assert path.read_bytes() == before
    assert (course / "README.md").read_text("utf-8") == README
    assert not list(course.rglob("*.part")) and not (course / "tests" / "costs.json").exists()
    assert not psutil.pid_exists(int(started.read_text())), "the kernel must be gone"
