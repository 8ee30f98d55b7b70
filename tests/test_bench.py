"""What `make bench` counts and says, on runs made up here; no TensorFlow. And that its recipe is the lesson's."""

import ast

import bench
import lessons
import pytest
from bench import Run

BOOK = [Run("book", 0.992, 190.0, 150.0), Run("book", 0.99, 210.0, 140.0), Run("book", 0.991, 900.0, 145.0)]
LESSON = [Run("lesson", 0.993, 30.0, 40.0), Run("lesson", 0.989, 70.0, 35.0), Run("lesson", 0.992, 31.0, 36.0)]


def with_numbers(accuracy=0.992, processor=36.0):
    return BOOK + [run._replace(accuracy=accuracy, processor=processor) for run in LESSON]


def test_ratios_are_of_medians():
    processor, wall = bench.ratios(BOOK + LESSON)
    assert processor == pytest.approx(36 / 145)
    assert wall == pytest.approx(31 / 210)


def test_table_shows_every_run_the_medians_and_the_ratio():
    lines = [line.split() for line in bench.table(BOOK + LESSON).splitlines()]
    assert len(lines) == 1 + 6 + 2 + 1
    assert lines[1] == ["book", "99.20%", "190.0", "150.0"]
    assert lines[7] == ["book", "99.10%", "210.0", "145.0", "median"]
    assert lines[8] == ["lesson", "99.20%", "31.0", "36.0", "median"]
    assert lines[9][:3] == ["ratio", "0.15", "0.25"]


def test_the_bar():
    assert bench.missed(BOOK + LESSON, "digits") == []
    assert bench.missed(with_numbers(accuracy=0.991, processor=48.3), "digits") == []
    (slow,) = bench.missed(with_numbers(processor=50.0), "digits")
    assert "0.34 of the book's time" in slow
    (slow,) = bench.missed(BOOK + [run._replace(wall=90.0) for run in LESSON], "digits")
    assert "0.43 of the book's time" in slow
    (wrong,) = bench.missed(with_numbers(accuracy=0.9909), "digits")
    assert "99.09%" in wrong
    assert len(bench.missed(with_numbers(accuracy=0.5, processor=500.0), "digits")) == 2
    (slow,) = bench.missed(with_numbers(accuracy=0.886), "reviews")
    assert "reviews: " in slow and "at most 0.20 is wanted" in slow
    slow = [run._replace(accuracy=0.884, wall=9.0, processor=9.0) for run in LESSON]
    (wrong,) = bench.missed(BOOK + slow, "reviews")
    assert "at least 88.5% is wanted" in wrong


def test_the_exit_code_and_the_order_of_runs(monkeypatch, capsys):
    asked = []

    def pretend(race, recipe, seed, samples, epochs):
        asked.append((race, recipe, seed, samples, epochs))
        return (BOOK if recipe == "book" else LESSON)[seed]

    monkeypatch.setattr(bench, "in_a_process", pretend)
    assert bench.main(["--race", "digits"]) == 0
    assert asked == [("digits", recipe, seed, 60_000, None) for seed in range(3) for recipe in ("book", "lesson")]
    asked.clear()
    assert bench.main([]) == 1, "a quarter of the time is too much for reviews"
    assert [one[0] for one in asked] == ["digits"] * 6 + ["reviews"] * 6
    assert {one[3] for one in asked[6:]} == {15_000}
    assert "median" in capsys.readouterr().out
    monkeypatch.setattr(bench, "in_a_process", lambda race, recipe, *_: Run(recipe, 0.88, 1.0, 1.0))
    assert bench.main([]) == 1
    assert capsys.readouterr().err.count("MISSED") == 4


def test_a_failed_training_is_said(monkeypatch, capsys):
    def fail(*_):
        raise RuntimeError("the training of the book's recipe failed:\nno data")

    monkeypatch.setattr(bench, "in_a_process", fail)
    assert bench.main([]) == 1
    assert "no data" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong", (["--runs", "0"], ["--samples", "15001"], ["--samples", "0"], ["--epochs", "0"], ["--one", "none"])
)
def test_wrong_calls(wrong, capsys, monkeypatch):
    monkeypatch.setattr(bench, "in_a_process", lambda *_: pytest.fail("a training was started"))
    with pytest.raises(SystemExit, match="2"):
        bench.main(wrong)
    assert "error" in capsys.readouterr().err


def test_the_lessons_train_as_the_bench_does():
    for race, cell, call in (
        ("digits", "train-convnet", "train(convnet(), x_all, y_all, EPOCHS, name="),
        ("reviews", "train-reviews", "train(critic, x_reviews, train_labels, REVIEW_EPOCHS, 0.004, 128, loss, "),
    ):
        cells = {one.id: one.source for one in lessons.read(lessons.find(bench.RACES[race].lesson)).cells}
        assert set(bench.RACES[race].cells) < cells.keys()
        assert call in ast.unparse(ast.parse(cells[cell])), "laid out in any way"
