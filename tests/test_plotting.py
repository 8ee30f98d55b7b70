"""helpers.plotting: the figures that lessons share."""

import base64
import re
import struct

import matplotlib.pyplot as plt
import numpy as np
import pytest

from helpers import plotting

ALT = "A sentence that says what this figure shows."


@pytest.fixture(autouse=True)
def style():
    plt.switch_backend("agg")
    plotting.set_style()
    yield
    assert not plt.get_fignums(), "a figure was left open: it would be shown twice"


def png(bundle):
    return base64.b64decode(re.search(r"base64,([^\"]+)", bundle["text/html"])[1])


def test_a_figure_carries_its_alternative_text_and_fits_the_page():
    fig, _ = plt.subplots()
    bundle = plotting.figure_bundle(fig, 'Shows "a < b" & more, in one sentence.')
    assert 'alt="Shows &quot;a &lt; b&quot; &amp; more, in one sentence."' in bundle["text/html"]
    assert bundle["text/plain"] == 'Shows "a < b" & more, in one sentence.'
    width, _ = struct.unpack(">II", png(bundle)[16:24])
    assert width == 700


def test_the_same_figure_gives_the_same_bytes():
    def one():
        fig, ax = plt.subplots()
        ax.plot([1, 3, 2])
        return png(plotting.figure_bundle(fig, ALT))

    assert one() == one()


def test_too_short_a_text_and_too_wide_a_figure_are_errors():
    fig, _ = plt.subplots(figsize=(8, 2))
    with pytest.raises(ValueError, match="too short"):
        plotting.figure_bundle(fig, "a plot")
    with pytest.raises(ValueError, match="8.0 inches wide"):
        plotting.figure_bundle(fig, ALT)
    plt.close(fig)


def test_colours_can_be_told_apart():
    rgb = np.array([plt.matplotlib.colors.to_rgb(color) for color in plotting.TEN.colors])
    apart = np.linalg.norm(rgb[:, None] - rgb[None], axis=-1)[~np.eye(10, dtype=bool)]
    assert apart.min() > 0.2


def test_an_image_grid_shows_every_image_once():
    images = np.random.default_rng(0).random((7, 4, 5))
    fig = plotting.image_grid(images, titles="abcdefg", columns=3, title="seven")
    drawn = [ax.images[0].get_array() for ax in fig.axes if ax.images]
    assert np.array_equal(drawn, images)
    assert [ax.get_title() for ax in fig.axes][:7] == list("abcdefg")
    plt.close(fig)


def test_training_curves_shade_the_gap():
    history = {"accuracy": [0.5, 0.9, 1.0], "val_accuracy": [0.4, 0.8, 0.7]}
    fig = plotting.training_curves(history, title="It overfits")
    ax = fig.axes[0]
    assert [list(line.get_ydata()) for line in ax.lines] == [history["accuracy"], history["val_accuracy"]]
    assert len(ax.collections) == 1 and ax.get_title(loc="left") == "It overfits"
    plt.close(fig)
    fig = plotting.training_curves({"loss": [3, 2]}, "loss", title="One curve")
    assert len(fig.axes[0].lines) == 1 and not fig.axes[0].collections
    plt.close(fig)


def test_a_confusion_matrix_counts_rows_as_truth():
    fig = plotting.confusion_matrix([0, 0, 1], [0, 1, 1], ["cat", "dog"], title="One cat was taken for a dog")
    texts = {tuple(map(int, text.get_position())): text.get_text() for text in fig.axes[0].texts}
    assert texts == {(0, 0): "1", (1, 0): "1", (0, 1): "0", (1, 1): "1"}
    plt.close(fig)


def test_classes_are_named_where_they_lie():
    fig, ax = plt.subplots()
    points = np.array([[0.0, 0], [0, 2], [10, 0], [10, 4]])
    plotting.scatter_classes(points, np.array([3, 3, 5, 5]), ax)
    assert {text.get_text(): text.get_position() for text in ax.texts} == {"3": (0, 1), "5": (10, 2)}
    plt.close(fig)


def test_decision_regions_ask_for_every_point_of_the_plane():
    asked = []

    def predict(points):
        asked.append(points)
        return points[:, 0] > 0

    fig, ax = plt.subplots()
    plotting.decision_regions(predict, np.array([[-1.0, 0], [1, 1]]), np.array([0, 1]), ax, steps=10)
    assert asked[0].shape == (100, 2) and ax.images[0].get_array().mean() == 0.5
    plt.close(fig)


def test_a_landscape_shows_the_path_from_start_to_end():
    w = np.linspace(-1, 1, 5)
    loss = w[None] ** 2 + w[:, None] ** 2 + 0.1
    fig, ax = plt.subplots()
    plotting.landscape(w, w, loss, ax, path=[(1, 1), (0.5, 0.5), (0, 0)], log=True)
    assert [line.get_label() for line in ax.lines][1:] == ["start", "end"]
    assert list(ax.lines[0].get_xdata()) == [1, 0.5, 0]
    plt.close(fig)
