"""helpers.explorer and helpers.training: what is redrawn while the reader watches."""

import gc
import html
import re
import time

import lessons
import matplotlib.pyplot as plt
import pytest
from nbformat import v4

from helpers import explorer, training
from helpers.explorer import explore, sweep


class Handle:
    """Stands in for IPython's display handle: keeps what was shown."""

    def __init__(self, first):
        self.shown = [first]

    def update(self, what, **_):
        self.shown.append(what)


@pytest.fixture(autouse=True)
def displayed(monkeypatch):
    """What was displayed, in order; the explorers of other tests are forgotten."""
    handles = []

    def display(what, display_id=False, **_):
        handles.append(Handle(what))
        return handles[-1] if display_id else None

    monkeypatch.setattr(explorer, "EXPLORERS", [])
    monkeypatch.setattr(explorer, "display", display)
    monkeypatch.setattr(training, "display", display)
    return handles


def line(**values):
    fig, ax = plt.subplots(figsize=(1, 1))
    return fig, f"A figure drawn for the values {values}."


def picture():
    """The alternative text of the picture that the first explorer shows now."""
    return html.unescape(re.search('alt="([^"]*)"', explorer.EXPLORERS[0].picture.value)[1])


def test_controls_come_first_then_the_figure_of_the_start(displayed):
    explore(line, {"learning rate": [0.1, 1.0]}, start={"learning rate": 1.0}, ask="How fast?")
    controls, figure = (handle.shown[0] for handle in displayed)
    assert "application/vnd.jupyter.widget-view+json" in controls
    assert controls["text/plain"] == "How fast?\nControls: learning rate (run the notebook to use them)"
    assert figure["text/plain"] == picture() == "A figure drawn for the values {'learning_rate': 1.0}."


def test_the_live_explorer_hides_its_own_figure_and_no_stored_one(displayed):
    """The browser shows either the live picture or the ordinary output; what is stored is the figure alone."""
    for _ in range(2):
        explore(line, {"side": [1, 2]}, ask="Which?")
    marks = [re.search('<div class="(explorer-[^"]+)">', handle.shown[0]["text/html"])[1] for handle in displayed[1::2]]
    assert len(set(marks)) == 2
    for mark, other, one in zip(marks, marks[::-1], explorer.EXPLORERS, strict=True):
        assert f".{mark} {{display: none}}" in one.head.value and other not in one.head.value
    cell = v4.new_code_cell(outputs=[v4.new_output("display_data", data=dict(handle.shown[0])) for handle in displayed])
    stored = lessons.normalise(v4.new_notebook(cells=[cell])).cells[0].outputs
    assert [output.data.get("text/html") for output in stored] == 2 * [None, explorer.EXPLORERS[0].picture.value]


def test_a_moved_control_redraws_the_figure_in_place(displayed):
    explore(line, {"side": [1, 2], "kind": {"a name": "value", "other": None}}, ask="Which?")
    explorer.EXPLORERS[0].widgets["kind"].value = None
    assert len(displayed) == 2 and picture().endswith("{'side': 1, 'kind': None}.")


def test_no_figure_is_left_to_the_backend():
    """Where pyplot is interactive, as in Jupyter, the backend would keep each figure until the next cell runs."""
    seen = []

    def draw(x):
        seen.append(plt.isinteractive())
        return line(x=x)

    with plt.ion():
        explore(draw, {"x": [1, 2]}, ask="What?")
        explorer.EXPLORERS[0].widgets["x"].value = 2
    assert seen == [False, False]


def test_sweep_visits_every_combination_and_returns_to_the_start():
    seen = []

    def draw(**values):
        seen.append(tuple(values.values()))
        return line(**values)

    explore(draw, {"a": [1, 2, 3], "b": [True, False]}, start={"a": 2}, ask="All?")
    ((ask, states, slowest),) = sweep()
    assert (ask, states) == ("All?", 6) and 0 < slowest < 0.3
    assert set(seen) == {(a, b) for a in (1, 2, 3) for b in (True, False)}
    assert seen[-1] == (2, True)


def test_sweep_of_many_controls_moves_each_and_tries_the_corners():
    seen = set()

    def draw(**values):
        seen.add(tuple(values.values()))
        return line(**values)

    explore(draw, {name: list(range(10)) for name in "abc"}, ask="Many?")
    ((_, states, _),) = sweep()
    assert states == 32 and {(7, 0, 0), (0, 7, 0), (0, 0, 7), (9, 9, 9)} <= seen


def test_a_callback_that_fails_is_loud_and_seen():
    def draw(side):
        assert side < 3, "cannot draw a third side"
        return line(side=side)

    explore(draw, {"side": [1, 2, 3]}, ask="Loud?")
    with pytest.raises(AssertionError, match="third side"):
        sweep()
    assert "could not be drawn: AssertionError(&#x27;cannot draw a third side" in explorer.EXPLORERS[0].picture.value


def test_the_collection_of_garbage_is_not_timed():
    seen = []

    def draw(side):
        seen.append(gc.isenabled())
        return line(side=side)

    explore(draw, {"side": [1, 2]}, ask="Collected?")
    sweep()
    assert seen[1:-1] and not any(seen[1:-1]) and gc.isenabled()


def test_a_slow_callback_fails_the_sweep():
    def draw(side):
        end = time.process_time() + (0.05 if side == 2 else 0)
        while time.process_time() < end:
            pass
        return line(side=side)

    explore(draw, {"side": [1, 2]}, ask="Slow?")
    with pytest.raises(AssertionError, match=r"Slow\?: side = 2 took 0\.\d+ s, over 0.04 s"):
        sweep(limit=0.04)


@pytest.mark.parametrize(
    "controls, start, message",
    [
        ({}, {}, "its controls are"),
        ({"a": []}, {}, "has no values"),
        ({"a": [1]}, {"b": 1}, r"starts \['b'\]"),
        ({"a": [1, 2]}, {"a": 3}, "starts at 3"),
    ],
)
def test_impossible_controls_are_errors(controls, start, message):
    with pytest.raises(ValueError, match=message):
        explore(line, controls, start=start, ask="?")


def test_one_line_shows_the_training_and_ends_clean(displayed):
    import keras
    import numpy as np

    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    points = np.ones((64, 2), dtype="float32")
    model.fit(points, points[:, :1], epochs=3, batch_size=8, verbose=0, callbacks=[training.progress("small")])
    (handle,) = displayed
    assert repr(handle.shown[-1]).startswith("small: epoch 3 of 3 · done · loss ")
    assert "batch 1 of 8" in repr(handle.shown[0])


def test_fast_updates_of_a_line_are_skipped_except_the_last(displayed):
    live = training.live_line()
    for step in range(1000):
        live(f"step {step}")
    live("the end", last=True)
    assert len(displayed[0].shown) < 20 and repr(displayed[0].shown[-1]) == "the end"
