"""One style for every figure, the pictures that recur, and alternative text on each."""

import base64
import html
import io
import itertools
import unicodedata

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from IPython import get_ipython
from IPython.display import display
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.patheffects import withStroke
from matplotlib_inline.config import InlineBackend
from PIL import Image

# Okabe and Ito (2008), distinct for colour-blind readers: blue, vermilion, green, purple, orange, sky, yellow, black.
COLORS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#F0E442",
    "#000000",
)
# Ten for the ten digits: six of these and four darker ones; the points also carry their digit's name.
TEN = ListedColormap([*COLORS[:6], "#5D3A9B", "#000000", "#8C8C8C", "#7A3B00"], name="ten")
WIDTH = 7.0  # inches; at 100 dots an inch a figure is at most 700 pixels wide


STYLE = {
    "axes.grid": True,
    "axes.prop_cycle": plt.cycler(color=COLORS),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "figure.dpi": 100,
    "figure.facecolor": "white",  # readable on dark pages too
    "figure.figsize": (WIDTH, 3.4),
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "grid.alpha": 0.3,
    "image.cmap": "gray_r",
    "legend.edgecolor": "none",  # no frame to be seen, but words stay legible where a curve passes behind them
    "legend.framealpha": 0.9,
    "lines.linewidth": 2,
}


def set_style():
    """Set the style of all lessons, on top of matplotlib's own defaults: no setting of the reader's has a part in it.

    Such settings come from a matplotlibrc, a style sheet, an editor's dark theme, or IPython's configuration. In
    Jupyter, figures are drawn for the page, whatever backend (MPLBACKEND) was chosen for other programs.
    """
    if shell := get_ipython():
        # Jupyter's backend sets these when it starts, which may be after us: at `%matplotlib inline`, say.
        InlineBackend.instance(parent=shell).rc = {}
        if hasattr(shell, "kernel") and "inline" not in (matplotlib.get_backend(auto_select=False) or ""):
            shell.enable_matplotlib("inline")
    plt.style.use(["default", STYLE])


def figure_bundle(fig, alt):
    """The MIME bundle of a figure, a dict: an HTML image that carries `alt`, a PNG, and `alt` as text. Closes `fig`.

    Pages show the HTML; what cannot, such as an export to LaTeX, takes the PNG, which has no place for `alt`.
    `alt`: a sentence of at least 20 characters that says what a reader who cannot see the figure must know;
    a shorter one raises ValueError, and so does a figure over 7 inches wide.
    """
    if len(alt) < 20:
        raise ValueError(f"alt={alt!r} is too short: say in a sentence what the figure shows.")
    if fig.get_figwidth() > WIDTH:
        raise ValueError(f"The figure is {fig.get_figwidth()} inches wide: at most {WIDTH} fit the page.")
    buffer = io.BytesIO()
    with plt.style.context(["default", STYLE]):  # what was set since set_style, such as savefig.bbox, has no part
        fig.savefig(buffer, format="png", dpi=100, pil_kwargs={"compress_level": 1})
    plt.close(fig)
    data = base64.b64encode(_in_few_colors(buffer)).decode("ascii")
    image = f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{data}">'
    return {"text/html": image, "image/png": data, "text/plain": alt}


def _in_few_colors(file):
    """The PNG in `file` as the bytes of one with at most 256 colours, which takes less than half the room."""
    image = Image.open(file).convert("RGB")
    # Of Pillow's methods, the one that keeps a rare colour: a thin line, a small mark. No dithering.
    reduced = image.quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    # Each colour becomes the mean of the pixels that got it. Else a photograph's sky shows bands.
    pixels, chosen = np.asarray(image).reshape(-1, 3), np.asarray(reduced).ravel()
    sums = [np.bincount(chosen, weights=channel) for channel in pixels.T]
    means = np.stack(sums, axis=-1) / np.maximum(np.bincount(chosen), 1)[:, None]
    reduced.putpalette(np.rint(means).astype(np.uint8).tobytes())
    small = io.BytesIO()
    reduced.save(small, format="png")
    return small.getvalue()


def show(fig, alt):
    """Display a matplotlib figure with its alternative text, and close it. See `figure_bundle`."""
    display(figure_bundle(fig, alt), raw=True)


def legible(ground):
    """The colour of text, "black" or "white", that is easier to read on `ground`, any colour of matplotlib's."""
    black, white = (contrast(text, ground) for text in ("black", "white"))
    return "black" if black >= white else "white"


def contrast(one, other):
    """The contrast of two colours as WCAG 2.2 defines it: 1 (none) to 21. Text needs 4.5 or more."""
    lighter, darker = sorted((_luminance(to_rgb(one)), _luminance(to_rgb(other))), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(rgb):
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def persian(text, ready=matplotlib.__version_info__ >= (3, 11)):
    """Persian (or Arabic) text as matplotlib must get it, so that its letters join and run from right to left.

    Matplotlib sees to that itself from version 3.11 on (`ready`). Older ones draw one letter after another from left to
    right: they get the letters in the form that their neighbours ask for, the last one first.
    """
    if ready:
        return text
    shaped, joined = [], False
    for letter, after in itertools.zip_longest(text, text[1:]):
        joins = _form(letter, "INITIAL") is not None and after is not None and _form(after, "FINAL") is not None
        form = ("MEDIAL" if joins else "FINAL") if joined else ("INITIAL" if joins else "ISOLATED")
        shaped.append(_form(letter, form) or letter)
        joined = joins
    return "".join(reversed(shaped))


def _form(letter, form):
    """A letter in one of the forms of Arabic script ("MEDIAL" …), None where it has no such form."""
    try:
        return unicodedata.lookup(f"{unicodedata.name(letter)} {form} FORM")
    except (KeyError, ValueError):
        return None


def number_grid(values, ax, *, texts=None, cmap="gray_r", limits=None):
    """A table of numbers as a coloured grid, each number legible on its cell, on `ax`.

    `values`: array (rows, columns) that is coloured; NaN stays white. `texts`: array (rows, columns) of what is
    written, None for the values in three digits. `limits`: (lowest, highest) value of the colours, None for the
    values' own. Cell (i, j) lies at x = j, y = i.
    """
    values = np.asarray(values, dtype=float)
    texts = np.vectorize("{:.3g}".format)(values) if texts is None else np.asarray(texts)
    low, high = limits or (None, None)
    image = ax.imshow(values, cmap=cmap, vmin=low, vmax=high, aspect="auto")
    # In points, as large as the longest number lets it be: a digit is about 0.64 times as wide as it is high.
    cell = ax.get_window_extent().width * 72 / ax.figure.dpi / values.shape[1]
    longest = max(len(line) for text in texts.flat for line in str(text).splitlines())
    for (i, j), text in np.ndenumerate(texts):
        ground = "white" if np.isnan(values[i, j]) else image.to_rgba(values[i, j])
        style = {"fontsize": min(11, 1.3 * cell / longest), "color": legible(ground)}
        ax.text(j, i, text, ha="center", va="center", **style)
    ax.grid(False)


def image_grid(images, titles=None, *, columns=10, cmap="gray_r", title=None, size=0.7, limits=None):
    """A grid of small images: returns the figure.

    `images`: array (n, height, width) or (n, height, width, 3), or a list of such. `titles`: n strings, or None.
    `size`: inches an image is wide. `limits`: (darkest, brightest) value for all, or None for each its own.
    """
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    low, high = limits or (None, None)
    height = size * rows * (1.35 if titles is not None else 1.05) + (0.4 if title else 0)
    fig, axes = plt.subplots(rows, columns, figsize=(min(WIDTH, size * columns), height), squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    for i, (ax, image) in enumerate(zip(axes.flat, images, strict=False)):
        ax.imshow(image, cmap=cmap, vmin=low, vmax=high)
        if titles is not None:
            ax.set_title(str(titles[i]), fontsize=9, loc="center", pad=2)
    if title:
        fig.suptitle(title, x=0.01, ha="left", fontsize=11)
    return fig


def training_curves(history, metric="accuracy", *, title):
    """Training and validation curves of one metric, the gap between them shaded: returns the figure.

    `history`: dict from metric name to a list with one value an epoch, such as `model.fit(...).history`;
    the validation curve is drawn where the dict has "val_" + metric.
    """
    epochs = np.arange(1, len(history[metric]) + 1)
    fig, ax = plt.subplots()
    ax.plot(epochs, history[metric], "o-", label="training")
    if f"val_{metric}" in history:
        ax.plot(epochs, history[f"val_{metric}"], "s--", label="validation")
        ax.fill_between(
            epochs,
            history[metric],
            history[f"val_{metric}"],
            alpha=0.15,
            color="gray",
            label="gap",
        )
    ax.set(
        title=title,
        xlabel="epoch",
        ylabel=metric,
        xticks=epochs[:: max(1, len(epochs) // 10)],
    )
    ax.legend()
    return fig


def confusion_matrix(targets, predictions, names, *, title):
    """How often each class (row) was taken for each other (column): returns the figure.

    `targets`, `predictions`: integer arrays (n,), values 0 … len(names) - 1. `names`: one string a class.
    """
    counts = np.zeros((len(names), len(names)), dtype=int)
    np.add.at(counts, (np.asarray(targets), np.asarray(predictions)), 1)
    mistakes = counts.astype(float)
    np.fill_diagonal(mistakes, np.nan)  # what is right stays white
    fig, ax = plt.subplots(figsize=(4.6, 4.4))
    number_grid(mistakes, ax, texts=counts, cmap="Oranges", limits=(0, max(1, np.nanmax(mistakes))))
    ax.set(title=title, xlabel="predicted", ylabel="true")
    ax.set_xticks(range(len(names)), names)
    ax.set_yticks(range(len(names)), names)
    return fig


def scatter_classes(points, labels, ax, *, names=None, size=4):
    """Points of the plane coloured by class, each class's name at its median or, where names meet, near it, on `ax`.

    `points`: float array (n, 2). `labels`: integer array (n,). `names`: one string a class (default: the number).
    """
    groups = {int(label): points[labels == label] for label in np.unique(labels)}
    for label, own in groups.items():
        ax.scatter(own[:, 0], own[:, 1], s=size, color=TEN(label % 10), alpha=0.5, linewidths=0)
    # In pixels: how far a name may move, the nearest first, and the names that stand already, each (x, y, width).
    moves = sorted(itertools.product(range(-80, 81, 4), repeat=2), key=lambda move: np.hypot(*move))
    standing = []
    for label, own in groups.items():
        name = str(label) if names is None else names[label]
        (x, y), width = ax.transData.transform(np.median(own, axis=0)), 8 * len(name) + 10
        free = ((x + dx, y + dy) for dx, dy in moves if not _meets(x + dx, y + dy, width, standing))
        x, y = next(free, (x, y))
        standing.append((x, y, width))
        box = {"facecolor": "white", "edgecolor": TEN(label % 10), "boxstyle": "round,pad=0.15", "alpha": 0.9}
        place = ax.transData.inverted().transform((x, y))
        ax.text(*place, name, ha="center", va="center", fontsize=9, bbox=box)
    ax.set(xticks=[], yticks=[])
    ax.grid(False)


def _meets(x, y, width, others):
    return any(abs(x - u) < (width + w) / 2 and abs(y - v) < 20 for u, v, w in others)


def landscape(x, y, loss, ax, *, path=None, log=False, labels=("w", "b"), bar=True):
    """A loss over two weights, as filled contours, with the path of a descent, on `ax`.

    `x`: (n,), `y`: (m,) weight values. `loss`: (m, n). `path`: (steps, 2) visited weights, or None.
    `log`: space the contours by the loss's logarithm. Points of the path off the map are not drawn.
    `bar`: whether a bar beside the map says which colour is which loss.
    """
    values = np.log10(loss) if log else loss
    contours = ax.contourf(x, y, values, levels=24, cmap="cividis")
    if bar:
        scale = ax.figure.colorbar(contours, ax=ax, label="loss")
        if log:  # marked with the loss itself: 0.1, 0.2, 0.5, 1 …
            marks = [first * 10.0**power for power in range(-9, 10) for first in (1, 2, 5)]
            marks = [mark for mark in marks if values.min() <= np.log10(mark) <= values.max()]
            scale.set_ticks(np.log10(marks), labels=[f"{mark:g}" for mark in marks])
    if path is not None:
        path = np.asarray(path)
        outline = [withStroke(linewidth=3, foreground="black")]  # white alone is lost on yellow
        ax.plot(path[:, 0], path[:, 1], "o-", color="white", markersize=3, linewidth=1.2, path_effects=outline)
        ax.plot(*path[0], "s", color=COLORS[4], markersize=8, label="start")
        ax.plot(*path[-1], "*", color=COLORS[1], markersize=13, label="end")
        ax.legend(loc="upper right")
    ax.set(xlabel=labels[0], ylabel=labels[1], xlim=(x[0], x[-1]), ylim=(y[0], y[-1]))
    ax.grid(False)
