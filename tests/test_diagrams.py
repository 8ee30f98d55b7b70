"""Drawings of computations: a value above each arrow, a slope below it, nothing lost and nothing covered."""

import itertools

import matplotlib.pyplot as plt
import pytest
from matplotlib.patches import FancyArrowPatch

from helpers import plotting
from helpers.diagrams import FADED, SLOPE, VALUE, Arrow, Node, diagram, number

CHAIN = {
    "x": Node(0.3, 0.5, "x", kind="bare"),
    "times": Node(2.0, 0.5, "×"),
    "loss": Node(4.0, 0.5, "loss", kind="box"),
}


@pytest.fixture(autouse=True)
def style():
    plotting.set_style()
    yield
    plt.close("all")


def labels(fig):
    """A dict from each text of the figure to its matplotlib Text."""
    return {text.get_text(): text for text in fig.findobj(plt.Text) if text.get_text()}


def test_the_value_stands_above_its_arrow_and_the_slope_below():
    texts = labels(diagram(CHAIN, [Arrow("x", "times", 3, -4)]))
    above, below = texts["3"], texts["−4"]
    assert above.get_color() == VALUE and below.get_color() == SLOPE
    assert above.get_window_extent().y0 > below.get_window_extent().y1


@pytest.mark.parametrize("x, y", [(4.0, 2.0), (4.0, -1.0), (0.0, 2.0), (0.0, -1.0), (0.0, 0.5)])
def test_above_is_above_whichever_way_the_arrow_points(x, y):
    nodes = {"a": Node(2.0, 0.5, "a"), "b": Node(x, y, "b")}
    for label in ("7", "7\n7"):
        fig = diagram(nodes, [Arrow("a", "b", label, label.replace("7", "8"))])
        above, below = (labels(fig)[text].get_window_extent() for text in (label, label.replace("7", "8")))
        assert above.y0 + above.y1 > below.y0 + below.y1, f"to ({x}, {y})"
        assert (
            -90 <= labels(fig)[label].get_rotation() % 360 - 360 * (labels(fig)[label].get_rotation() % 360 > 180) <= 90
        )


def test_an_arrow_runs_from_border_to_border():
    fig = diagram(CHAIN, [Arrow("times", "loss")])
    (arrow,) = fig.findobj(FancyArrowPatch)
    (start, _), (end, _) = arrow._posA_posB
    assert start == pytest.approx(2.0 + CHAIN["times"].size)
    assert end == pytest.approx(4.0 - CHAIN["loss"].reach()[0])


def test_a_node_carries_a_value_and_a_slope_and_fades():
    texts = labels(diagram({"unit": Node(1.0, 1.0, "a", value=0, slope="none", faded=True)}, []))
    middle = texts["a"].get_window_extent()
    assert texts["0"].get_window_extent().y0 > middle.y1 and texts["none"].get_window_extent().y1 < middle.y0
    assert texts["a"].get_color() == FADED


def test_all_of_a_drawing_is_on_the_page():
    nodes = {"low": Node(0.4, 0.0, "a", slope="two\nlines"), "high": Node(6.6, 3.0, "b", value="two\nlines")}
    fig = diagram(nodes, [Arrow("low", "high", 1, 2)], title="A finding")
    page = fig.bbox
    for text in labels(fig).values():
        box = text.get_window_extent()
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= page.x1 + 1 and box.y1 <= page.y1 + 1, text.get_text()
    assert fig.get_figwidth() == plotting.WIDTH


def test_no_label_covers_another():
    nodes = {"w": Node(0.3, 0.0, "w", kind="bare"), **CHAIN}
    matrix = "(2, 2)\n 1  2\n 3  4"
    arrows = [Arrow("x", "times", matrix, matrix.replace("1", "5")), Arrow("times", "loss", 12.5, -0.125)]
    boxes = {
        text: shown.get_window_extent() for text, shown in labels(diagram(nodes, arrows, title="A finding")).items()
    }
    for (one, a), (other, b) in itertools.combinations(boxes.items(), 2):
        assert not a.overlaps(b), f"{one!r} covers {other!r}"


def test_a_bent_arrow_arches_upwards_both_ways():
    nodes = {"a": Node(1.0, 1.0, "a"), "b": Node(4.0, 1.0, "b")}
    for start, end in (("a", "b"), ("b", "a")):
        fig = diagram(nodes, [Arrow(start, end, "on it", bend=0.4)], height=2.4)
        (arrow,) = fig.findobj(FancyArrowPatch)
        highest = arrow.get_path().vertices[:, 1].max()
        assert highest > 1.3, f"from {start} to {end}"
        low, high = fig.axes[0].transData.inverted().transform(labels(fig)["on it"].get_window_extent())[:, 1]
        assert 1.3 < low < high < 2.2


def test_numbers_are_short_and_have_a_true_minus_sign():
    assert [number(value) for value in (2, 2.0, -1.5, 1 / 3, -0.0, "(2, 2)")] == [
        "2",
        "2",
        "−1.5",
        "0.333",
        "0",
        "(2, 2)",
    ]


def test_what_cannot_be_drawn_is_said():
    with pytest.raises(ValueError, match=r"names \['nowhere'\], but the nodes are"):
        diagram(CHAIN, [Arrow("x", "nowhere")])
    with pytest.raises(ValueError, match=r"\['far'\] lie off the page"):
        diagram({"far": Node(7.5, 1.0)}, [])
