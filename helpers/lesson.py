"""Exercise checks, the reader's progress, and measured numbers held to their ranges."""

import contextlib
import datetime
import html
import json
import os
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path

import platformdirs
from IPython.display import HTML, display

from helpers import lock


@dataclass(frozen=True)
class Lesson:
    """One notebook: its number, its file in `notebooks/` (None while it is being written), title, exercises."""

    number: int
    file: str | None
    title: str
    exercises: int = 0


LESSONS = (
    Lesson(0, "00_start_here.ipynb", "Start here", 1),
    Lesson(
        1,
        "01_features_are_learned.ipynb",
        "Deep learning automates feature engineering",
        4,
    ),
    Lesson(2, "02_tensors.ipynb", "Tensors are the foundation", 7),
    Lesson(3, "03_gradient_descent.ipynb", "Networks learn by gradient descent", 7),
    Lesson(4, "04_keras.ipynb", "Keras makes development simple", 4),
    Lesson(5, "05_overfitting.ipynb", "Overfitting must be watched and reduced", 5),
    Lesson(6, "06_convolutional_networks.ipynb", "Convolutional networks for vision", 5),
    Lesson(7, "07_pretrained_networks.ipynb", "Pretrained networks transfer", 5),
    Lesson(8, "08_recurrent_networks.ipynb", "Recurrent networks for sequences", 8),
    Lesson(9, "09_text.ipynb", "Text vectorisation", 4),
    Lesson(10, "10_generative_models.ipynb", "Generative models create", 7),
    Lesson(11, "11_limits.ipynb", "Limits: reasoning", 5),
    Lesson(12, "12_keep_learning.ipynb", "Keep learning", 6),
)


def exercise_ids():
    """The ids of all exercises, in order: a list of strings such as "1.1"."""
    return [f"{lesson.number}.{k}" for lesson in LESSONS for k in range(1, lesson.exercises + 1)]


class check(contextlib.AbstractContextManager):
    """Check one exercise: `with check("3.2"): assert answer == 3, "message"`.

    Prints one line and goes on, so that a notebook runs to its end with exercises still open:

    - passed, which the progress file remembers;
    - not attempted yet: the stub's own line raised NotImplementedError, or all `attempts` are still `...`;
    - not yet: an assertion failed (its message says what was expected, what came and where to look), some `attempts`
      are still `...`, or the attempt raised an error, which is named with the line where it happened.

    `exercise`: an id such as "3.2"; an unknown one raises ValueError.
    `attempts`: the values that the reader is to fill in, where the stub is `answer = ...`.

    Where Python runs without assertions (PYTHONOPTIMIZE, -O) nothing can be checked, and the line says so.
    """

    def __init__(self, exercise, *attempts):
        if exercise not in exercise_ids():
            raise ValueError(f"check() got the exercise {exercise!r}, but helpers.lesson.LESSONS has no such exercise.")
        self.exercise = exercise
        self.attempts = attempts

    def __exit__(self, kind, error, trace):
        if error is not None and not isinstance(error, Exception):
            return False  # the reader interrupted it
        open_ = sum(attempt is ... for attempt in self.attempts)
        if sys.flags.optimize:
            self._say(
                "cannot be checked. Python was told to leave out assertions: take PYTHONOPTIMIZE out of the "
                "environment, and start Jupyter again."
            )
        elif (open_ and open_ == len(self.attempts)) or _stub_raised(error, trace):
            print(f"○ Exercise {self.exercise}: not attempted yet")
        elif isinstance(error, AssertionError):
            self._say("not yet.", str(error) or f"This does not hold: {traceback.extract_tb(trace)[-1].line}")
        elif open_:
            self._say(f"not yet. `...` still stands in {open_} of its {len(self.attempts)} answers.")
        elif error is not None:
            lines = [line for line in _lines(trace) if line]
            where = f" in the line `{lines[-1]}`" if lines else ""
            self._say(f"not yet. The attempt stopped with an error{where}. {kind.__name__}: {error}")
        else:
            print(f"✓ Exercise {self.exercise}: passed")
            _remember(self.exercise)
        return True

    def _say(self, *text):
        print(" ".join((f"✗ Exercise {self.exercise}:", *text)))  # in one piece, however busy the kernel is


def _lines(trace):
    """The line of each step of a traceback, outermost first: None where it is not code of the notebook."""
    ours = trace.tb_frame.f_globals
    steps = zip(traceback.walk_tb(trace), traceback.extract_tb(trace), strict=True)
    return [step.line if frame.f_globals is ours else None for (frame, _), step in steps]


def _stub_raised(error, trace):
    """Whether the stub's own line raised an error: a Keras layer without `call`, say, raises one of the same kind."""
    return isinstance(error, NotImplementedError) and (_lines(trace)[-1] or "").startswith("raise NotImplementedError")


def progress_path():
    """Where passed exercises are remembered: a JSON file on the reader's own machine, and nowhere else.

    TWELVE_IDEAS_PROGRESS names another file, or the folder of `progress.json`. TWELVE_IDEAS_HAND_IN names one that each
    run of a lesson begins anew.
    """
    chosen = os.environ.get("TWELVE_IDEAS_HAND_IN") or os.environ.get("TWELVE_IDEAS_PROGRESS")
    if not chosen:
        return platformdirs.user_data_path("deep-learning-in-twelve-ideas") / "progress.json"
    path = Path(os.path.expanduser(chosen)).absolute()
    return path / "progress.json" if os.path.isdir(path) or chosen.endswith(("/", os.sep)) else path


def passed_exercises():
    """The exercises passed so far: a dict from exercise id to the ISO date of the first pass.

    A file that cannot be understood is kept beside the new one, under the ending `.broken`, and said.
    """
    path = progress_path()
    if not path.exists():
        return {}
    try:
        passed = json.loads(path.read_text(encoding="utf-8"))["passed"]
        return {str(exercise): str(day) for exercise, day in passed.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        aside = path.with_suffix(".broken")
        path.replace(aside)
        print(f"The progress file could not be understood. It is kept as {aside}; a new one is begun.")
        return {}


def _write(path, passed):
    part = path.with_suffix(f".{os.getpid()}.part")
    part.write_text(json.dumps({"passed": passed}, indent=1), encoding="utf-8")
    part.replace(path)


def _remember(exercise):
    path = progress_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with lock(f"{path}.lock", 10):  # two notebooks may be open
            _write(path, {exercise: datetime.date.today().isoformat()} | passed_exercises())
    except OSError as error:
        print(f"(This pass could not be remembered in {path}: {error.strerror or error}.)")


if os.environ.get("TWELVE_IDEAS_HAND_IN"):  # the file is there, and of this run only, even where nothing passes
    progress_path().parent.mkdir(parents=True, exist_ok=True)
    _write(progress_path(), {})


def progress_map():
    """Draw the map of the twelve ideas with the reader's own progress, as a table, and name the next step."""
    try:
        passed, unread = passed_exercises(), ""
    except OSError as error:
        passed, unread = {}, f"What you passed cannot be read in {progress_path()}: {error.strerror or error}. "
    rows, following = [], None
    for lesson in LESSONS:
        ids = [f"{lesson.number}.{k}" for k in range(1, lesson.exercises + 1)]
        done = [exercise in passed for exercise in ids]
        if following is None and lesson.file and not all(done):
            following = lesson
        title = html.escape(lesson.title)
        link = f'<a href="{lesson.file}">{title}</a>' if lesson.file else title
        marks = "".join("●" if one else "○" for one in done)
        state = f"{sum(done)} of {len(done)}" if lesson.file else "in preparation"
        rows.append(f"<tr><td>{lesson.number}</td><td>{link}</td><td>{marks}</td><td>{state}</td></tr>")
    head = "<tr><th>idea</th><th>lesson</th><th>exercises</th><th>passed</th></tr>"
    if not passed:
        step = "No exercise is passed yet. Begin with exercise 0.1."
    elif following is None:
        step = "Every exercise is passed."
    else:
        step = f"{len(passed)} passed so far. Next: lesson {following.number}."
    display(HTML(f"<table>{head}{''.join(rows)}</table><p>{html.escape(unread) or step}</p>"))


def measured(name, value, between, *, unit="", reduced=None, chance=True):
    """Hold a measured number to a range; print it in the unit of the prose, with the range where that says something.

    `name`: what was measured, unique in the lesson. `value`: a number. `between`: (low, high), both included; where
    chance has a part, five seeds of the full run fell into it. `chance`: False where no seed changes the value: then no
    range is printed. `unit`: "%" and "percentage points" take shares of 1 and print them times 100; any other follows
    the number. `reduced`: the range that holds in a reduced run, wherever a parameter of the notebook changes the
    value; left out, `between` holds there too.

    A reader whose number falls outside is told so, and why that may be. In an unattended run (TWELVE_IDEAS_RUN is
    "full" or "reduced") it raises AssertionError. Ranges that are not (low, high) raise ValueError.
    """
    for low, high in (between, reduced or between):
        if not low <= high:
            raise ValueError(
                f"measured({name!r}) got the range ({low}, {high}): expected (low, high) with low <= high."
            )
    run = os.environ.get("TWELVE_IDEAS_RUN")
    low, high = reduced if run == "reduced" and reduced is not None else between
    line = f"▪ {name}: {_amount(value, unit)}"
    range_ = f"{_amount(low, unit).removesuffix(unit).strip()} to {_amount(high, unit)}"
    if low <= value <= high:
        print(line + (f" (five seeds lay within {range_})" if chance and run != "reduced" else ""))
        return
    if run in ("full", "reduced"):
        raise AssertionError(f"{line}, outside {range_}, in a {run} run")
    print(f"{line}  ⚠ OUTSIDE {range_}, which the text speaks of: was a parameter changed, or does this computer round")
    print("  differently from those that were measured? With parameters as they came, please report it.")


def expect(name, value, possible):
    """Stop a lesson where a parameter has a value that is not possible: say what came and what is possible.

    `name`, `value`: the parameter. `possible`: a range, of which `value` must be a whole number; or a list of choices,
    of which `value` must be a list of one or more. Raises ValueError.
    """
    if isinstance(possible, range):
        right = isinstance(value, int) and value in possible
        said = f"a whole number from {possible[0]:,} to {possible[-1]:,}, without a decimal point"
    else:
        right = isinstance(value, list | tuple) and value and all(one in possible for one in value)
        said = f"a list of one or more of these: {', '.join(map(repr, possible))}"
    if not right:
        raise ValueError(f"The parameter {name} is {value!r}, but it must be {said}.")


def _amount(value, unit):
    """A number as a reader meets it: 4 significant digits, thousands separated, in its unit."""
    if unit in ("%", "percentage points"):
        value = 100 * value
    number = f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 10_000 else f"{value:,.4g}"
    return f"{number} {unit}".strip()
