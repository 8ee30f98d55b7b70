"""The lanes that run lessons are seen to fail: each test plants an error in a small lesson and must see it reported."""

import copy
import json
import os
import subprocess
import sys

import lessons
import nbformat
import pytest
import rules
import test_coverage
import test_exercises
import test_reduced
from fixtures.clean import LESSON, NAME

QUICK = {"SAMPLES": 100}
WRONG = {
    str(k): [
        {"why": "adds", "code": f"def times{k}(number):\n    return {k} + number + 1", "says": f"^✗.*{k}: not yet"},
        {"why": "forgets", "code": f"def times{k}(number):\n    return None", "says": "expected five times"},
        {
            "why": "fails",
            "code": f"def times{k}(number):\n    return None + 1",
            "says": "error in the line `return None",
        },
    ]
    for k in range(1, LESSON.exercises + 1)
}
RIGHT = {
    str(k): [{"why": "adds up", "code": f"def times{k}(number):\n    return sum([number] * {k})"}]
    for k in range(1, LESSON.exercises + 1)
}
GIVEN = {"wrong": WRONG, "right": RIGHT}


def run_reduced(executed, changes, folder):
    """Run the clean lesson reduced, with other code in some cells, without its prose, exercises and explorers."""
    changes = {"setup": "import socket, sys\nimport numpy as np\nfrom helpers.lesson import measured"} | changes
    nb = copy.deepcopy(executed)
    for id, source in changes.items():
        rules.by_id(nb)[id].source = source
    keep = {"parameters", "seed", "draw-numbers", "exact-1", "exact-3", "mean", *changes}
    nb.cells = [cell for cell in nb.cells if cell.id in keep]
    nbformat.write(nb, folder / NAME)
    (folder / "run").mkdir()
    return test_reduced.run_reduced(folder / NAME, QUICK, folder / "run")


def test_reduced_lane_passes_a_clean_lesson(executed, tmp_path):
    outcome = run_reduced(executed, {}, tmp_path)
    assert test_reduced.reduced_complaints(outcome, 1) == []
    (line,) = lessons.measured_lines(outcome.notebook)
    assert line.name == "mean of the draws" and 0.2 <= line.value <= 0.8
    assert rules.by_id(outcome.notebook)["parameters-proved"].outputs or os.name != "posix"


def test_reduced_lane_fails(executed, tmp_path):
    changes = {
        "exact-1": "np.arange(4).shape",
        "exact-3": "pass",
        "draw-numbers": "values = rng.random(SAMPLES); SAMPLES = 7",
        "mean": 'measured("mean", values.mean(), (0.4, 0.6), reduced=(0.7, 0.8))',
        "line-1": "socket.create_connection(('192.0.2.1', 80), timeout=5)",
        "line-2": "socket.getaddrinfo('example.org', 80)",
        "exercise-1-check": "import missing_module",
        "exercise-2-check": "print('careful', file=sys.stderr)",
    }
    outcome = run_reduced(executed, changes, tmp_path)
    report, *others = test_reduced.reduced_complaints(outcome, 1)
    for says in (
        "7 failed",
        "Cell outputs differ",
        "Missing output fields",
        "the parameter SAMPLES is 7, not 100",
        "in a reduced run",
        "OSError",
        "example.org",
        "No module named 'missing_module'",
    ):
        assert says in report, f"{says!r} is not in\n{report}"
    assert others == [
        "`exercise-2-check` writes to stderr: careful\n",
        "no number was held to a range: call `measured`",
    ]


def test_reduced_lane_wants_exact_cells():
    nothing = test_reduced.Outcome(True, "", nbformat.v4.new_notebook(), 1.0)
    assert "no cell was compared to the letter" in test_reduced.reduced_complaints(nothing, 1)[0]
    assert test_reduced.reduced_complaints(nothing, 0) == []


def test_reduced_lane_refuses_an_unknown_parameter(executed, tmp_path):
    nbformat.write(executed, tmp_path / NAME)
    with pytest.raises(ValueError, match="has no parameter SAMPELS"):
        test_reduced.run_reduced(tmp_path / NAME, {"SAMPELS": 100}, tmp_path)


REACH = """import socket
here = socket.create_server(("127.0.0.1", 0))
socket.create_connection(here.getsockname()).close()
for reach in (lambda: socket.create_connection(("192.0.2.1", 80), 5), lambda: socket.getaddrinfo("example.org", 80)):
    try:
        reach()
    except OSError as error:
        print(f"refused: {error}")
"""


def test_socket_guard_refuses_other_machines_only():
    env = os.environ | {"PYTHONPATH": str(test_reduced.TESTS / "offline")}
    done = subprocess.run([sys.executable, "-c", REACH], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("refused: Tests run with the network cut off") == 2


def test_namespace_reaches_this_machine_only():
    before, _ = test_reduced.without_network()
    if not before:
        pytest.skip("no network namespace here: the socket guard is used")
    done = subprocess.run([*before, sys.executable, "-c", REACH], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("refused: ") == 2


# Exercises and explorers: one run each of a lesson without errors and of one full of them


def run_solved(nb, given, folder):
    nbformat.write(test_exercises.solved(nb, given), folder / NAME)
    return lessons.run_lesson(folder / NAME, QUICK, run="reduced").notebook


@pytest.fixture(scope="session")
def good(executed, tmp_path_factory):
    return run_solved(executed, GIVEN, tmp_path_factory.mktemp("good"))


@pytest.fixture(scope="session")
def bad(executed, tmp_path_factory):
    """A lesson with an error in every exercise, and an explorer that fails."""
    nb = copy.deepcopy(executed)
    cells = rules.by_id(nb)
    cells["exercise-1-attempt"].source = "def times1(number):\n    return number"
    cells["exercise-2-help"].source = cells["exercise-2-help"].source.replace("2 * number", "3 * number")
    cells["exercise-4-check"].source = 'with check("1.4"):\n    assert True'
    cells["line-2"].source = cells["line-2"].source.replace("[0, slope]", "[0, 1 / (2 - slope)]")
    return run_solved(nb, BAD, tmp_path_factory.mktemp("bad"))


BAD = {
    "wrong": WRONG
    | {
        "2": WRONG["2"][:2],
        "3": [{"why": "right after all", "code": "times3 = lambda number: 3 * number", "says": ""}, *WRONG["3"][1:]],
        "99": [],
    },
    "right": RIGHT | {"2": [], "3": [{"why": "wrong after all", "code": "def times3(number):\n    return number"}]},
}


def test_exercise_lane_passes_a_clean_lesson(good):
    assert test_exercises.exercise_complaints(good, GIVEN, 1) == []


@pytest.mark.parametrize(
    "says",
    [
        "`exercise-1-check` must give '○ Exercise 1.1: not attempted yet', it gives '✓",
        "`exercise-2-try-solution-check` must give '✓ Exercise 1.2: passed', it gives '✗",
        "exercise 2 needs 3 wrong answers or more in tests/wrong_answers/01.yml",
        "exercise 2 needs 1 right answers or more in tests/right_answers/01.yml",
        "`exercise-3-try-right-1-check` must give '✓ Exercise 1.3: passed', it gives '✗",
        "`exercise-3-try-wrong-1-check` must give '✗ Exercise 1.3: not yet. ', it gives '✓",
        "`exercise-4-try-wrong-2-check` must give '✗ Exercise 1.4: not yet. ' and say 'expected five times', it gives",
        "wrong answers to exercise 99, which is not there",
    ],
)
def test_exercise_lane_fails(bad, says):
    complaints = test_exercises.exercise_complaints(bad, BAD, 1)
    assert any(says in complaint for complaint in complaints), complaints


def test_exercise_lane_wants_the_right_message(good):
    first, second, third = WRONG["1"]
    other = {"wrong": WRONG | {"1": [first, second | {"says": "expected seven"}, third]}, "right": RIGHT}
    (complaint,) = test_exercises.exercise_complaints(good, other, 1)
    assert "`exercise-1-try-wrong-2-check` must give '✗ Exercise 1.1: not yet. ' and say 'expected seven'" in complaint


def test_explorer_lane_passes_a_clean_lesson(good):
    assert test_exercises.explorer_complaints(good, 1) == []


def test_explorer_lane_fails_when_a_callback_raises(bad):
    (complaint,) = test_exercises.explorer_complaints(bad, 1)
    assert complaint.startswith("error: ZeroDivisionError")


def test_explorer_lane_fails_when_a_callback_is_slow(executed, tmp_path):
    nb = copy.deepcopy(executed)
    nb.cells = [cell for cell in nb.cells if cell.id in ("setup", "parameters", "line-1")]
    slow = "import time\ndef draw(slope):\n    end = time.process_time() + 0.4 * (slope == 3)\n"
    slow += "    while time.process_time() < end: pass"
    nb.cells[-1].source = nb.cells[-1].source.replace("def draw(slope):", slow)
    (complaint,) = test_exercises.explorer_complaints(run_solved(nb, {"wrong": {}, "right": {}}, tmp_path), 1)
    assert "slope = 3 took" in complaint and "over 0.3 s" in complaint


@pytest.mark.parametrize(
    "swept, says", [([["a?", 3, 0.1]], "1 explorers"), ([["a?", 3, 0.1], ["b?", 1, 0.1]], "'b?' has one state only")]
)
def test_explorer_lane_fails_for_too_few(swept, says):
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(id="sweep")])
    nb.cells[0].outputs = [nbformat.v4.new_output("stream", text=json.dumps(swept))]
    assert says in test_exercises.explorer_complaints(nb, 1)[0]


# Coverage


def lesson_one():
    return {point: entry for point, entry in test_coverage.coverage().items() if point.startswith("1.")}


def test_coverage_lane_passes_a_complete_table(clean):
    table = test_coverage.coverage() | {
        point: entry | {"cells": {"taught": ["about-mean"], "shown": ["mean"], "practised": ["exercise-1"]}}
        for point, entry in lesson_one().items()
    }
    table = {point: entry if point.startswith("1.") else entry | {"cells": "pending"} for point, entry in table.items()}
    assert test_coverage.complaints(table, {1: clean}) == []
    for plant, says in (
        ({"taught": ["no-such-cell"]}, "there is no cell `no-such-cell`"),
        ({"taught": ["mean"]}, "is not prose"),
        ({"shown": ["about-mean"]}, "has no stored output"),
        ({"practised": []}, "no cell under 'practised'"),
    ):
        entry = table["1.1"] | {"cells": table["1.1"]["cells"] | plant}
        (complaint,) = test_coverage.complaints(table | {"1.1": entry}, {1: clean})
        assert says in complaint and "point 1.1" in complaint
    pending = table | {"1.1": table["1.1"] | {"cells": "pending"}}
    assert "point 1.1 is pending, but" in test_coverage.complaints(pending, {1: clean})[0]
    early = table | {"2.1": table["2.1"] | {"cells": table["1.2"]["cells"]}}
    assert "lesson that is not written" in test_coverage.complaints(early, {1: clean})[0]
    less = {point: entry for point, entry in table.items() if point != "5.8"}
    assert "point 5.8 is missing" in test_coverage.complaints(less, {1: clean})[0]
    assert "not one of the syllabus" in test_coverage.complaints(table | {"13.1": table["5.8"]}, {1: clean})[0]
