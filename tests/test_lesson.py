"""helpers.lesson: checks, progress and measured numbers."""

import errno
import json
import multiprocessing
import os
import re
import subprocess
import sys

import pytest

from helpers import lesson
from helpers.lesson import check, exercise_ids, expect, measured, passed_exercises, progress_map, progress_path


@pytest.fixture(autouse=True)
def progress_file(tmp_path, monkeypatch):
    path = tmp_path / "of the reader" / "progress.json"
    monkeypatch.setenv("TWELVE_IDEAS_PROGRESS", str(path))
    monkeypatch.delenv("TWELVE_IDEAS_RUN", raising=False)
    return path


def test_a_passed_check_is_said_and_remembered(capsys):
    with check("1.1"):
        assert True
    assert capsys.readouterr().out == "✓ Exercise 1.1: passed\n"
    assert list(passed_exercises()) == ["1.1"]


def test_a_stub_is_not_attempted_and_not_remembered(capsys, progress_file):
    with check("1.1"):
        raise NotImplementedError
    with check("1.2", ..., ...):
        raise AssertionError("not reached by a reader who has filled in nothing")
    with check("1.2", ...):
        pass
    said = capsys.readouterr().out.splitlines()
    assert said == [f"○ Exercise {one}: not attempted yet" for one in ("1.1", "1.2", "1.2")]
    assert not progress_file.exists()


def test_a_failed_assertion_gives_its_message_or_its_source(capsys):
    with check("1.1"):
        raise AssertionError("expected 3, but 4 came")
    with check("1.1"):
        raise AssertionError
    first, second = capsys.readouterr().out.splitlines()
    assert first == "✗ Exercise 1.1: not yet. expected 3, but 4 came"
    assert second.startswith("✗ Exercise 1.1: not yet.") and "This does not hold: raise AssertionError" in second
    assert passed_exercises() == {}


def test_an_answer_filled_in_by_half_is_told_what_it_is_worth(capsys):
    with check("1.1", 3, ...):
        raise AssertionError("the first is right")
    with check("1.1", 3, ...):
        pass
    first, second = capsys.readouterr().out.splitlines()
    assert first == "✗ Exercise 1.1: not yet. the first is right"
    assert second == "✗ Exercise 1.1: not yet. `...` still stands in 1 of its 2 answers."
    assert passed_exercises() == {}


def attempt():
    return [1, 2][3]


def test_a_mistake_in_the_attempt_is_named_with_its_line_and_stops_nothing(capsys):
    with check("1.1"):
        attempt()
    said = capsys.readouterr().out
    assert said == (
        "✗ Exercise 1.1: not yet. The attempt stopped with an error in the line `return [1, 2][3]`. "
        "IndexError: list index out of range\n"
    )


def test_who_interrupts_a_check_is_obeyed():
    with pytest.raises(KeyboardInterrupt), check("1.1"):
        raise KeyboardInterrupt


def test_only_the_line_of_the_stub_says_that_nothing_was_attempted(capsys):
    """Keras raises the same exception for a layer without `call`."""
    import keras

    class Twice(keras.layers.Layer):
        pass

    with check("1.1"):
        Twice()(keras.ops.ones((1, 1)))
    assert capsys.readouterr().out.startswith("✗ Exercise 1.1: not yet. The attempt stopped with an error in the line")


WITHOUT_ASSERTIONS = """from helpers.lesson import check
with check("1.1"):
    assert 1 == 2
"""


def test_a_check_without_assertions_does_not_pass(progress_file):
    done = subprocess.run([sys.executable, "-O", "-c", WITHOUT_ASSERTIONS], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("✗ Exercise 1.1: cannot be checked.") and not progress_file.exists()


def test_an_unknown_exercise_is_an_error():
    with pytest.raises(ValueError, match=r"'99\.1'.*LESSONS"):
        check("99.1")


def test_the_first_day_of_a_pass_is_kept(progress_file):
    progress_file.parent.mkdir()
    progress_file.write_text(json.dumps({"passed": {"1.1": "2020-01-01"}}))
    for exercise in ("1.1", "1.2"):
        with check(exercise):
            pass
    assert passed_exercises()["1.1"] == "2020-01-01" and "1.2" in passed_exercises()


@pytest.mark.parametrize("broken", ["", "{", "[]", '{"passed": 3}', '{"other": {}}'])
def test_a_broken_progress_file_is_kept_aside_and_said(capsys, progress_file, broken):
    progress_file.parent.mkdir()
    progress_file.write_text(broken)
    assert passed_exercises() == {}
    assert "kept as" in capsys.readouterr().out
    assert progress_file.with_suffix(".broken").read_text() == broken


def test_a_place_that_cannot_be_written_is_said_and_the_pass_stands(capsys, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TWELVE_IDEAS_PROGRESS", str(tmp_path / "file" / "progress.json"))
    with check("1.1"):
        pass
    said = capsys.readouterr().out
    assert said.startswith("✓ Exercise 1.1: passed\n") and "could not be remembered" in said


def test_the_progress_file_may_be_named_in_many_ways(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for chosen, path in (
        (str(tmp_path), tmp_path / "progress.json"),
        ("marks/", tmp_path / "marks" / "progress.json"),
        ("~/mine.json", tmp_path / "mine.json"),
        ("~", tmp_path / "progress.json"),
        ("mine.json", tmp_path / "mine.json"),
    ):
        monkeypatch.setenv("TWELVE_IDEAS_PROGRESS", chosen)
        assert progress_path() == path
        _pass("1.1")
        assert list(passed_exercises()) == ["1.1"] and path.is_file()
        path.unlink()
    monkeypatch.delenv("TWELVE_IDEAS_PROGRESS")
    default = progress_path()
    monkeypatch.setenv("TWELVE_IDEAS_PROGRESS", "")
    assert progress_path() == default and default.name == "progress.json"


@pytest.mark.skipif(os.name == "nt", reason="POSIX locks")
@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP])
def test_a_pass_is_remembered_where_a_file_system_has_no_locks(monkeypatch, capfd, recwarn, number):
    def no_lock(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", no_lock)
    _pass("1.1")
    assert list(passed_exercises()) == ["1.1"]
    assert capfd.readouterr() == ("✓ Exercise 1.1: passed\n", "") and not recwarn.list


def test_progress_that_cannot_be_read_is_said_on_the_map(monkeypatch, progress_file):
    progress_file.mkdir(parents=True)
    (progress_file / "progress.json").mkdir()
    text = _map(monkeypatch)
    assert "What you passed cannot be read in" in text and "Begin with" not in text


def test_the_file_of_a_hand_in_says_what_its_run_passed_and_nothing_else(tmp_path):
    code = "from helpers.lesson import check\nfor exercise in {}:\n    with check(exercise):\n        pass"
    env = os.environ | {"TWELVE_IDEAS_HAND_IN": str(tmp_path / "in" / "sara.json")}
    for passes in (["1.1", "1.2"], ["1.3"], []):
        subprocess.run([sys.executable, "-c", code.format(passes)], env=env, check=True, cwd=tmp_path)
        assert sorted(json.loads((tmp_path / "in" / "sara.json").read_text())["passed"]) == passes


@pytest.mark.parametrize(
    "value, possible, says",
    [
        (
            1e3,
            range(10, 10_001),
            "DIGITS is 1000.0, but it must be a whole number from 10 to 10,000, without a decimal",
        ),
        (20_000, range(10, 10_001), "DIGITS is 20000, but it must be a whole number from 10 to 10,000"),
        (
            "jax",
            ["tensorflow", "jax"],
            "DIGITS is 'jax', but it must be a list of one or more of these: 'tensorflow', 'jax'",
        ),
        (["jax", "mxnet"], ["tensorflow", "jax"], "DIGITS is ['jax', 'mxnet'], but"),
        ([], ["tensorflow", "jax"], "DIGITS is [], but"),
    ],
)
def test_a_parameter_that_is_not_possible_is_said(value, possible, says):
    with pytest.raises(ValueError, match=re.escape(says)):
        expect("DIGITS", value, possible)
    expect("DIGITS", 10_000, range(10, 10_001))
    expect("BACKENDS", ["jax"], ["tensorflow", "jax"])


def _pass(exercise):
    with check(exercise):
        pass


def test_notebooks_that_pass_at_the_same_time_lose_nothing():
    exercises = exercise_ids()[:8]
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        pool.map(_pass, exercises)
    assert sorted(passed_exercises()) == sorted(exercises)


def _map(monkeypatch):
    shown = []
    monkeypatch.setattr(lesson, "display", shown.append)
    progress_map()
    return shown[0].data


def test_the_map_names_every_lesson_and_the_next_step(monkeypatch):
    text = _map(monkeypatch)
    assert all(one.title in text for one in lesson.LESSONS)
    assert "No exercise is passed yet" in text and "●" not in text
    with check("1.2"):
        pass
    text = _map(monkeypatch)
    assert text.count("●") == 1 and "1 of" in text and "Next: lesson 0." in text


def test_the_map_goes_on_to_the_next_lesson_and_to_the_end(monkeypatch):
    for exercise in exercise_ids():
        if exercise[:2] in ("0.", "1."):
            _pass(exercise)
    assert "Next: lesson 2." in _map(monkeypatch)
    for exercise in exercise_ids():
        _pass(exercise)
    assert "○" not in _map(monkeypatch)


def test_a_number_inside_its_range_is_printed_in_its_unit(capsys):
    measured("accuracy", 0.97912, (0.97, 0.98), unit="%")
    measured("gain", 0.0123, (0.01, 0.02), unit="percentage points")
    measured("error", 3.14159, (3, 4), unit="°C")
    measured("a count", 12345, (12345, 12345), chance=False)
    measured("a ratio", 3.2e-7, (1e-7, 1e-6))
    assert capsys.readouterr().out.splitlines() == [
        "▪ accuracy: 97.91 % (five seeds lay within 97 to 98 %)",
        "▪ gain: 1.23 percentage points (five seeds lay within 1 to 2 percentage points)",
        "▪ error: 3.142 °C (five seeds lay within 3 to 4 °C)",
        "▪ a count: 12,345",
        "▪ a ratio: 3.2e-07 (five seeds lay within 1e-07 to 1e-06)",
    ]


def test_a_number_outside_is_explained_to_a_reader_and_fails_unattended(capsys, monkeypatch):
    measured("accuracy", 0.5, (0.97, 0.98), unit="%", reduced=(0.4, 1))
    assert "▪ accuracy: 50 %  ⚠ OUTSIDE 97 to 98 %, which the text speaks of" in capsys.readouterr().out
    monkeypatch.setenv("TWELVE_IDEAS_RUN", "full")
    with pytest.raises(AssertionError, match=r"accuracy: 0.5, outside 0.97 to 0.98, in a full run"):
        measured("accuracy", 0.5, (0.97, 0.98), reduced=(0.4, 1))
    monkeypatch.setenv("TWELVE_IDEAS_RUN", "reduced")
    measured("accuracy", 0.5, (0.97, 0.98), reduced=(0.4, 1))
    assert capsys.readouterr().out == "▪ accuracy: 0.5\n"  # the range of the full run says nothing here
    with pytest.raises(AssertionError, match="outside 0.4 to 1, in a reduced run"):
        measured("accuracy", 0.3, (0.97, 0.98), reduced=(0.4, 1))
    with pytest.raises(AssertionError, match="outside 0.97 to 0.98"):
        measured("a fixed number", 0.3, (0.97, 0.98))


def test_not_a_number_is_outside(monkeypatch):
    monkeypatch.setenv("TWELVE_IDEAS_RUN", "full")
    with pytest.raises(AssertionError, match="nan"):
        measured("loss", float("nan"), (0, 1))


def test_a_range_the_wrong_way_round_is_an_error():
    with pytest.raises(ValueError, match="low <= high"):
        measured("accuracy", 0.5, (1, 0))
    with pytest.raises(ValueError, match="low <= high"):
        measured("accuracy", 0.5, (0, 1), reduced=(1, 0))
