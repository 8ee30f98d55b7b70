"""What the lessons on pictures share: moving, clutter, boxes, receptive fields, figures."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from helpers import quiet

with quiet():
    import keras

from helpers import vision

DIGITS = np.random.default_rng(0).integers(0, 256, (20, 28, 28, 1), dtype=np.uint8)


def test_moved_pictures_lose_what_leaves_and_gain_nothing():
    picture = np.arange(1, 10, dtype=np.uint8).reshape(1, 3, 3, 1)
    assert vision.moved(picture, 1, -1)[0, :, :, 0].tolist() == [[0, 0, 0], [2, 3, 0], [5, 6, 0]]
    assert vision.moved(picture, -2, 0)[0, :, :, 0].tolist() == [[7, 8, 9], [0, 0, 0], [0, 0, 0]]
    assert np.array_equal(vision.moved(DIGITS, 0, 0), DIGITS)
    assert vision.moved(DIGITS, 8, -8).dtype == np.uint8
    assert vision.moved(DIGITS, 30, 0).shape == DIGITS.shape and not vision.moved(DIGITS, 30, 0).any()


def test_seen_pixels_are_found_by_poking():
    layers = [keras.layers.Conv2D(4, 3, strides=2), keras.layers.Conv2D(4, 3), keras.layers.Conv2D(4, 3, strides=2)]
    model = keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Rescaling(1 / 255), *layers])
    fields = [vision.seen_pixels(model, layer) for layer in layers]
    assert fields[0].shape == (28, 28)
    assert [field.sum() for field in fields] == [9, 49, 121]
    assert fields[0][12:15, 12:15].all()


def test_boxes_hold_the_ink():
    pictures = np.zeros((2, 10, 10, 1), np.uint8)
    pictures[0, 2:5, 3:4] = 9
    pictures[1, 0, 0] = pictures[1, 9, 9] = 1
    assert vision.ink_boxes(pictures).tolist() == [[2, 3, 5, 4], [0, 0, 10, 10]]


def test_cluttered_canvases_hold_the_digit_in_their_box():
    digits = np.zeros((1, 28, 28, 1), np.uint8)
    digits[0, 4:24, 8:20] = 200
    canvases, boxes = vision.cluttered(digits, 50, 3)
    assert canvases.shape == (50, 64, 64, 1) and boxes.shape == (50, 4)
    assert np.all(boxes[:, 2:] - boxes[:, :2] == (20, 12))
    assert boxes.min() >= 0 and boxes.max() <= 64
    for canvas, (top, left, bottom, right) in zip(canvases, boxes, strict=True):
        assert np.all(canvas[top:bottom, left:right] == 200)
    again, _ = vision.cluttered(digits, 50, 3)
    assert np.array_equal(canvases, again)
    assert not np.array_equal(canvases, vision.cluttered(digits, 50, 4)[0])


def test_overlap_counts_squares():
    first = np.array([[0, 0, 4, 4], [0, 0, 4, 4], [0, 0, 2, 2]])
    second = np.array([[0, 0, 4, 4], [2, 2, 6, 6], [5, 5, 7, 7]])
    assert vision.overlap(first, second) == pytest.approx([1, 4 / 28, 0])


def test_figures_are_drawn_and_fit_the_page():
    picture, kernel = np.zeros((28, 28)), np.eye(3)
    figures = [
        vision.draw_boxes(DIGITS[:5], np.tile([1, 2, 9, 9], (5, 1)), np.tile([1, 2, 8, 8], (5, 1)), title="boxes"),
        vision.draw_convolution(picture, kernel, np.zeros((26, 26)), 25, 25, title="map"),
        vision.draw_moved(picture, 1, {"one": [0.9, 0.8], "two": [0.7, 0.6]}, "told"),
        vision.draw_heat(picture, np.zeros((28, 28)), title="nothing?")[0],
    ]
    assert len(figures[0].axes) == 8 and len(figures[0].axes[0].patches) == 2
    assert all(fig.get_figwidth() <= 7 for fig in figures)
    assert vision.draw_heat(picture, np.zeros((28, 28)), title="What?")[1] == "What? The heat lies nowhere."
    right = np.repeat([[0, 2]], 14, axis=1) * np.ones((28, 1))
    right[3, 5] = 30  # the greatest heat is not where most of it lies
    told = vision.draw_heat(picture, right, title="What?")[1]
    assert told == "What? The heat is greatest at row 3, column 5; 4% of it lies in the left half."
    plt.close("all")
