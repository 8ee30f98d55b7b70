"""Pictures that are moved, cluttered, boxed, and the figures that show what a convolutional network does with them."""

import keras
import matplotlib.pyplot as plt
import numpy as np

from helpers.plotting import COLORS, WIDTH, number_grid


def moved(pictures, down, right):
    """Pictures moved by whole pixels, negative for up and left; what comes in at the edge is 0.

    `pictures`: array (n, height, width, channels). Returns an array of the same shape and dtype.
    """
    height, width = pictures.shape[1:3]
    far = max(abs(down), abs(right))
    wide = np.pad(pictures, ((0, 0), (far, far), (far, far), (0, 0)))
    return wide[:, far - down : far - down + height, far - right : far - right + width]


def seen_pixels(model, layer):
    """Which pixels reach the middle number of a layer's maps: a boolean array (height, width).

    Found by poking: each pixel of a noisy picture is changed in turn. `model`: a Keras model of one grey picture, its
    values 0 to 255. `layer`: one of its layers with maps, such as a convolution.
    """
    height, width = model.input_shape[1:3]
    noise = np.random.default_rng(0).integers(60, 190, (1, height, width, 1)).astype("uint8")
    poke = np.eye(height * width, dtype=bool).reshape(-1, height, width, 1)
    poked = np.where(poke, 255 * (noise < 128), noise).astype("uint8")
    maps = np.asarray(keras.Model(model.inputs[0], layer.output)(np.concatenate([noise, poked])))
    middle = maps[:, maps.shape[1] // 2, maps.shape[2] // 2]
    return np.any(np.abs(middle[1:] - middle[0]) > 1e-6, axis=1).reshape(height, width)


def ink_boxes(pictures):
    """The box around all ink of each picture: integer array (n, 4) of (top, left, bottom, right), in pixels.

    `pictures`: array (n, height, width, 1), each with a pixel above 0. Bottom and right are the first row and column
    without ink.
    """
    boxes = []
    for picture in pictures:
        rows, columns = (np.flatnonzero(picture.max(axis=(axis, 2))) for axis in (1, 0))
        boxes.append((rows[0], columns[0], rows[-1] + 1, columns[-1] + 1))
    return np.array(boxes)


def cluttered(pictures, count, seed):
    """Canvases with one whole digit each, among pieces of others, as (canvases, boxes).

    `pictures`: uint8 array (n, 28, 28, 1) to draw digits from. `seed`: an integer, or a list of such.
    canvases: uint8 array (count, 64, 64, 1), on each a digit and eight pieces of 9×9 pixels from other digits.
    boxes: integer array (count, 4), the box around the whole digit's ink: (top, left, bottom, right), in pixels.
    """
    draw = np.random.default_rng(seed)
    canvases, boxes = np.zeros((count, 64, 64, 1), "uint8"), np.empty((count, 4), int)
    for canvas, box in zip(canvases, boxes, strict=True):
        digit, *others = pictures[draw.integers(len(pictures), size=9)]
        for other in others:
            (a, b), (top, left) = draw.integers(4, 15, 2), draw.integers(0, 55, 2)
            canvas[top : top + 9, left : left + 9] = other[a : a + 9, b : b + 9]
        top, left = draw.integers(0, 37, 2)
        place = canvas[top : top + 28, left : left + 28]
        np.maximum(place, digit, out=place)
        box[:] = np.add((top, left, top, left), ink_boxes(digit[None])[0])
    return canvases, boxes


def overlap(first, second):
    """Intersection over union of boxes, pair by pair: float array (n,), 0 where they do not meet, 1 where they agree.

    `first`, `second`: arrays (n, 4) of (top, left, bottom, right), each with an area above 0.
    """
    low, high = np.maximum(first[:, :2], second[:, :2]), np.minimum(first[:, 2:], second[:, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=1)
    area, other = (np.prod(box[:, 2:] - box[:, :2], axis=1) for box in (first, second))
    return shared / (area + other - shared)


def draw_boxes(canvases, true, found, *, title):
    """Canvases with the true box of each (line) and the one that was found (dashes): returns the figure.

    `canvases`: array (n, height, width, 1), n up to 8. `true`, `found`: arrays (n, 4) of (top, left, bottom, right).
    """
    fig, axes = plt.subplots(-(-len(canvases) // 4), 4, figsize=(WIDTH, 1.9 * -(-len(canvases) // 4)), squeeze=False)
    for ax, canvas, *boxes in zip(axes.flat, canvases, true, found, strict=False):
        ax.imshow(canvas[..., 0])
        for (top, left, bottom, right), color, style in zip(boxes, COLORS[1::-1], ("-", "--"), strict=True):
            size = {"width": right - left, "height": bottom - top}
            ax.add_patch(plt.Rectangle((left - 0.5, top - 0.5), **size, fill=False, color=color, ls=style, lw=2))
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(True)
    fig.suptitle(title, x=0.01, ha="left", fontsize=11)
    return fig


def draw_convolution(picture, kernel, result, row, column, *, title):
    """One stop of a 3×3 filter: the picture with its window, the nine products, the finished map. Returns the figure.

    `picture`: array (rows, columns), 0 to 1. `kernel`: array (3, 3). `result`: the map, (rows - 2, columns - 2), from
    -1 to 1. `row`, `column`: the window's upper left corner. `title`: of the map.
    """
    fig, (left, middle, right) = plt.subplots(1, 3, figsize=(WIDTH, 2.6), layout="none")
    fig.subplots_adjust(0.01, 0.02, 0.99, 0.88, 0.06)
    window = picture[row : row + 3, column : column + 3]
    left.imshow(picture, cmap="gray", vmin=0, vmax=1)
    left.add_patch(plt.Rectangle((column - 0.5, row - 0.5), 3, 3, fill=False, color=COLORS[1], lw=2))
    texts = [f"{value:.2f}\n× {times:.2f}" for value, times in zip(window.flat, kernel.flat, strict=True)]
    number_grid(window * kernel, middle, texts=np.reshape(texts, (3, 3)), cmap="PuOr", limits=(-1, 1))
    right.imshow(result, cmap="PuOr", vmin=-1, vmax=1)
    right.plot(column, row, "s", color=COLORS[1], fillstyle="none", markersize=9)
    left.set_title("picture and window")
    middle.set_title(f"sum of these nine: {result[row, column]:+.2f}")
    right.set_title(title)
    for ax in (left, middle, right):
        ax.set_axis_off()
    return fig


def draw_moved(picture, pixels, curves, told):
    """A moved digit beside the accuracy curves, a line at the current move: returns the figure.

    `picture`: array (height, width). `pixels`: how far it was moved. `curves`: dict from a name to one accuracy for
    each move of 0, 1, … pixels. `told`: the title.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.2), width_ratios=[2, 3], layout="none")
    fig.subplots_adjust(0.01, 0.15, 0.98, 0.89, 0.2)
    fig.suptitle(told, x=0.01, ha="left", fontsize=11)
    left.imshow(picture)
    left.set(xticks=[], yticks=[])
    left.spines[:].set_visible(True)
    for (name, curve), style in zip(curves.items(), ("s--", "o-", "^:", "D-."), strict=False):
        right.plot(range(len(curve)), curve, style, label=f"{name}: {curve[pixels]:.1%}")
    right.axvline(pixels, color="gray", linewidth=1)
    right.set(xlabel="all test digits moved by (pixels)", ylabel="accuracy", ylim=(0, 1.02))
    right.legend(loc="lower left", title=f"moved by {pixels}", fontsize=9)
    return fig


def draw_heat(picture, heat, *, title):
    """A picture with a heat map laid over it: returns the figure, and the sentence that says what it shows.

    `picture`, `heat`: arrays of the same (height, width). The largest heat is drawn darkest, what is less than a tenth
    of it is not drawn, and neither is a heat of 0 throughout.
    """
    fig, ax = plt.subplots(figsize=(6, 3.4), layout="none")
    fig.subplots_adjust(0.01, 0.01, 0.99, 0.9)
    ax.imshow(picture)
    where = "The heat lies nowhere."
    if heat.max() > 0:
        ax.contourf(heat, levels=heat.max() * np.linspace(0.1, 1, 7), cmap="Oranges", alpha=0.6)
        row, column = np.unravel_index(heat.argmax(), heat.shape)
        left = heat[:, : heat.shape[1] // 2].sum() / heat.sum()
        where = f"The heat is greatest at row {row}, column {column}; {left:.0%} of it lies in the left half."
    ax.set_title(title)
    ax.set_axis_off()
    return fig, f"{title} {where}"
