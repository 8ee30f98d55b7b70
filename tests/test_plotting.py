"""helpers.plotting: the figures that lessons share."""

import base64
import io
import itertools
import os
import re
import shlex
import struct
import subprocess
import sys
import textwrap
from pathlib import Path

import lessons
import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
from nbconvert import HTMLExporter, LatexExporter, MarkdownExporter, RSTExporter
from PIL import Image

from helpers import data, plotting

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
    assert base64.b64decode(bundle["image/png"]) == png(bundle), "what takes no HTML shows another picture"


# What a reader's computer may bring along, and a figure with a bit of everything that it could change.
HOSTILE = """
text.usetex: True
text.color: white
font.family: No Such Font
font.size: 20
figure.facecolor: black
figure.autolayout: True
axes.facecolor: black
axes.labelcolor: white
axes.spines.left: False
image.origin: lower
image.interpolation: bicubic
lines.marker: x
legend.fontsize: 4
savefig.transparent: True
savefig.facecolor: black
savefig.bbox: tight
savefig.dpi: 300
"""
DRAW = """
import matplotlib.pyplot as plt
from helpers import plotting
def draw():
    fig, (left, right) = plt.subplots(1, 2)
    left.plot([1, 3, 2], label="a line of $x^2$")
    left.set(title="A line", xlabel="x")
    left.legend()
    right.imshow([[0.0, 1.0], [2.0, 3.0]])
    return plotting.figure_bundle(fig, "A line that rises and falls, and four grey squares.")["image/png"]
"""


def drawn_by_another_python(code, **env):
    env = {key: value for key, value in os.environ.items() if key != "MATPLOTLIBRC"} | {"MPLBACKEND": "agg"} | env
    done = subprocess.run(
        [sys.executable, "-c", DRAW + textwrap.dedent(code)],
        env=env,
        cwd=lessons.ROOT,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def drawn():
    return drawn_by_another_python("plotting.set_style(); print(draw())")


def test_a_matplotlibrc_changes_nothing(drawn, tmp_path):
    (tmp_path / "matplotlibrc").write_text(HOSTILE, encoding="utf-8")
    env = {"MATPLOTLIBRC": str(tmp_path / "matplotlibrc")}
    assert drawn_by_another_python("print(plt.rcParams['font.size'])", **env) == "20.0", "the file is not read"
    assert drawn_by_another_python("plotting.set_style(); print(draw())", **env) == drawn


def test_a_dark_style_changes_nothing(drawn):
    dark = "plt.style.use('dark_background'); plotting.set_style(); print(draw())"
    assert drawn_by_another_python(dark) == drawn


def test_how_figures_are_saved_is_ours_whatever_is_set_after_the_style(drawn):
    later = """
        plotting.set_style()
        plt.rcParams.update({"savefig.bbox": "tight", "savefig.transparent": True, "savefig.facecolor": "black"})
        print(draw())
        assert plt.rcParams["savefig.bbox"] == "tight", "what a reader sets for pictures of their own is gone"
    """
    assert drawn_by_another_python(later) == drawn


@pytest.mark.parametrize("backend", ["", "tkagg"])
def test_what_jupyter_is_configured_to_changes_nothing(backend, drawn, tmp_path, monkeypatch):
    profile = tmp_path / "profile_default"
    profile.mkdir()
    config = "c.InlineBackend.rc = {'figure.facecolor': 'black', 'font.size': 20, 'figure.dpi': 300}\n"
    (profile / "ipython_kernel_config.py").write_text(config, encoding="utf-8")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    monkeypatch.setenv("MPLBACKEND", backend)  # an empty one leaves it to Jupyter
    monkeypatch.delenv("DISPLAY", raising=False)
    cells = [DRAW + "plotting.set_style()\nprint(draw())", "%matplotlib inline\nprint(draw())", "plt.plot([1, 2]);"]
    path = tmp_path / "01_small.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=list(map(nbformat.v4.new_code_cell, cells))), path)
    ran = lessons.run_lesson(path).notebook.cells
    assert [cell.outputs[0].text.strip() == drawn for cell in ran[:2]] == [True, True]
    assert "image/png" in ran[2].outputs[-1].data, "what a reader plots does not appear"


def test_no_picture_is_lost_or_shown_twice_in_an_export():
    fig, ax = plt.subplots()
    ax.plot([1, 3, 2])
    cell = nbformat.v4.new_code_cell("show(fig, alt)")
    cell.outputs = [nbformat.v4.new_output("display_data", data=plotting.figure_bundle(fig, ALT))]
    nb = nbformat.v4.new_notebook(cells=[cell])
    text, resources = LatexExporter().from_notebook_node(nb)
    (name,) = resources["outputs"]
    assert resources["outputs"][name].startswith(b"\x89PNG") and text.count(name) == 1
    for exporter in (HTMLExporter, MarkdownExporter, RSTExporter):
        text, _ = exporter().from_notebook_node(nb)
        picture = cell.outputs[0].data["image/png"]
        assert text.count(picture) == text.count(f'<img alt="{ALT}"') == 1, exporter


@pytest.mark.parametrize("answers", ["folded", "left out"])
def test_the_handout_of_the_readme_has_figures_and_no_machinery(answers, tmp_path):
    readme = (lessons.ROOT / "README.md").read_text("utf-8")
    command = shlex.split(re.search(r"^    python (-m nbconvert .*)$", readme, re.MULTILINE)[1])
    if answers == "left out":
        command += shlex.split(re.search(r"`(--RegexRemovePreprocessor.*?)`", readme)[1])
    fig, ax = plt.subplots()
    ax.plot([1, 3, 2])
    code = nbformat.v4.new_code_cell("drawing()", metadata={"tags": ["machinery"]})
    code.outputs = [nbformat.v4.new_output("display_data", data=plotting.figure_bundle(fig, ALT))]
    help_ = (
        "<details><summary>Hint</summary>\n\nThink.\n</details>\n<details><summary>Solution</summary>\n\n42\n</details>"
    )
    cells = [code, nbformat.v4.new_code_cell("training()"), nbformat.v4.new_markdown_cell(help_)]
    (path,) = [argument for argument in command if argument.endswith(".ipynb")]
    assert (lessons.ROOT / path).exists()
    (tmp_path / path).parent.mkdir()
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / path)
    subprocess.run([sys.executable, *command], cwd=tmp_path, check=True, capture_output=True)
    page = (tmp_path / "handouts" / Path(path).name).with_suffix(".html").read_text("utf-8")
    assert ">training<" in page and ">drawing<" not in page and page.count(f'<img alt="{ALT}"') == 1
    assert page.count("<details>") == (2 if answers == "folded" else 0)


def test_fewer_colours_are_not_seen():
    photograph = data.load_photographs()[0][::2, ::2].copy()
    photograph[100:104, 100:130] = [213, 94, 0]
    full, small = io.BytesIO(), io.BytesIO()
    Image.fromarray(photograph).save(full, "png")
    small.write(plotting._in_few_colors(full))
    after = Image.open(small)
    away = np.abs(np.asarray(after.convert("RGB")).astype(int) - photograph)
    assert after.mode == "P" and len(small.getvalue()) < len(full.getvalue()) / 2
    assert away.mean() < 5, "bands in the sky, or dots"
    assert away[100:104, 100:130].max() < 10, "a small mark lost its colour"


def test_a_plain_figure_keeps_its_colours_and_white_stays_white():
    fig, ax = plt.subplots()
    ax.plot([1, 3, 2])
    picture = np.asarray(Image.open(io.BytesIO(png(plotting.figure_bundle(fig, ALT)))).convert("RGB"))
    assert (picture[0] == 255).all() and (picture.reshape(-1, 3) == [0, 0x72, 0xB2]).all(axis=1).any()


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
    places = {text.get_text(): text.get_position() for text in ax.texts}
    assert places == {"3": pytest.approx((0, 1)), "5": pytest.approx((10, 2))}
    plt.close(fig)


def test_names_of_classes_do_not_cover_one_another():
    fig, axes = plt.subplots(2, 2, figsize=(7, 6.4))
    for ax in axes.flat:  # all ten in one heap
        plotting.scatter_classes(POINTS, CLASSES, ax)
    plotting.scatter_classes(POINTS, CLASSES, axes[0, 0], names=["trousers", *"123456789"])
    fig.canvas.draw()
    for ax in axes.flat:
        boxes = [text.get_bbox_patch().get_window_extent() for text in ax.texts[-10:]]
        assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    plt.close(fig)


def test_a_landscape_shows_the_path_from_start_to_end():
    w = np.linspace(-1, 1, 5)
    loss = w[None] ** 2 + w[:, None] ** 2 + 0.1
    fig, ax = plt.subplots()
    plotting.landscape(w, w, loss, ax, path=[(1, 1), (0.5, 0.5), (0, 0)], log=True)
    assert [line.get_label() for line in ax.lines][1:] == ["start", "end"]
    assert list(ax.lines[0].get_xdata()) == [1, 0.5, 0]
    plt.close(fig)


# Every word and number of the shared pictures can be read on what lies behind it.


def legibility(fig):
    """{text: lowest contrast with the ground behind it} of all that `fig` writes, measured on the drawn picture."""
    drawn, draw = [], plt.Text.draw
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plt.Text, "draw", lambda text, renderer: (drawn.append(text), draw(text, renderer)))
        fig.canvas.draw()
    texts = [text for text in drawn if text.get_visible() and text.get_text().strip()]
    written = [(text.get_text(), plt.matplotlib.colors.to_rgb(text.get_color())) for text in texts]
    places = [text.get_window_extent().extents.astype(int) for text in texts]
    assert all(text.get_alpha() in (None, 1) for text in texts)
    pictures = []
    for color in ("magenta", (0, 0, 0, 0)):  # what lies behind stays in both, a text's own box too
        for text in texts:
            text.set_color(color)
        fig.canvas.draw()
        pictures.append(np.array(fig.canvas.buffer_rgba())[::-1, :, :3] / 255)
    ink = (pictures[0] != pictures[1]).any(axis=-1)
    found = {}
    for (name, color), (left, bottom, right, top) in zip(written, places, strict=True):
        box = np.s_[max(bottom, 0) : top, max(left, 0) : right]
        grounds = np.unique(pictures[1][box][ink[box]], axis=0)
        assert len(grounds), f"{name!r} is hidden"
        found[name] = min([plotting.contrast(color, ground) for ground in grounds] + [found.get(name, 21)])
    return found


def on_one_axes(draw):
    def made():
        fig, ax = plt.subplots(figsize=(5, 4))
        draw(ax)
        return fig

    return made


RANDOM = np.random.default_rng(0)
POINTS, CLASSES = RANDOM.normal(size=(2_000, 2)), RANDOM.integers(0, 10, 2_000)
W = np.linspace(-1, 1, 9)
BOWL = W[None] ** 2 + W[:, None] ** 2 + 0.01


def confused(counts):
    targets, predictions = (np.repeat(indices.ravel(), np.ravel(counts)) for indices in np.indices(np.shape(counts)))
    names = [f"class {k}" for k in range(len(counts))] if len(counts) < 5 else [str(k) for k in range(len(counts))]
    return plotting.confusion_matrix(targets, predictions, names, title="Some are mistaken")


WRITTEN = {
    "rain of lesson 5": lambda: confused([[4607, 69], [166, 167]]),
    "no mistakes": lambda: confused([[30, 0], [0, 20]]),
    "only mistakes": lambda: confused([[0, 30], [20, 0]]),
    "three": lambda: confused([[48, 7, 3], [9, 50, 2], [5, 4, 60]]),
    "ten": lambda: confused(np.where(np.eye(10, dtype=int), 1135, np.arange(100).reshape(10, 10) // 3)),
    "grey grid": on_one_axes(lambda ax: plotting.number_grid(np.arange(256).reshape(16, 16), ax, limits=(0, 255))),
    "purple grid": on_one_axes(lambda ax: plotting.number_grid(np.linspace(-1, 1, 49).reshape(7, 7), ax, cmap="PuOr")),
    "yellow grid": on_one_axes(
        lambda ax: plotting.number_grid(np.linspace(0, 1, 49).reshape(7, 7), ax, cmap="cividis")
    ),
    "classes": on_one_axes(lambda ax: plotting.scatter_classes(POINTS + CLASSES[:, None], CLASSES, ax)),
    "landscape": on_one_axes(lambda ax: plotting.landscape(W, W, BOWL, ax, path=[(1, 1), (0, 0)], log=True)),
    "landscape, upside down": on_one_axes(lambda ax: plotting.landscape(W, W, -BOWL, ax, path=[(1, 1), (0, 0)])),
    "image grid": lambda: plotting.image_grid(RANDOM.random((20, 8, 8)), titles=range(20), title="Twenty"),
    "curves": lambda: plotting.training_curves(
        {"loss": RANDOM.random(40), "val_loss": RANDOM.random(40)}, "loss", title="Noise all over the legend"
    ),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_what_is_written_can_be_read_on_its_ground(name):
    fig = WRITTEN[name]()
    contrasts = legibility(fig)
    plt.close(fig)
    assert contrasts and min(contrasts.values()) >= 4.5, {k: v for k, v in contrasts.items() if v < 4.5}


def test_grey_on_cream_is_found():
    fig, ax = plt.subplots()
    ax.imshow([[1]], cmap="Oranges", vmin=0, vmax=1)
    ax.text(0, 0, "166", color="black")
    assert round(legibility(fig)["166"], 1) == 2.2
    plt.close(fig)


def test_text_is_black_on_light_and_white_on_dark():
    assert plotting.contrast("white", "black") == pytest.approx(21)
    grounds = np.stack(np.meshgrid(*[np.linspace(0, 1, 12)] * 3), axis=-1).reshape(-1, 3)
    assert min(plotting.contrast(plotting.legible(ground), ground) for ground in grounds) >= 4.5
    assert [plotting.legible(ground) for ground in ("white", "#F0E442", "#0072B2", "black")] == [
        *("black", "black"),
        *("white", "white"),
    ]


def test_numbers_of_a_grid_fit_their_cells():
    fig = confused(np.full((10, 10), 8888))
    fig.canvas.draw()
    ax = fig.axes[0]
    assert max(text.get_window_extent().width for text in ax.texts) < ax.get_window_extent().width / 10
    assert min(text.get_fontsize() for text in ax.texts) >= 8
    plt.close(fig)


def test_a_path_over_a_landscape_is_seen_on_every_colour():
    fig, ax = plt.subplots()
    plotting.landscape(W, W, -BOWL, ax, path=[(0.0, -0.3), (0.0, 0.3)])
    ax.get_legend().remove()
    fig.canvas.draw()
    x, y = ax.transData.transform((0.0, 0.05)).round().astype(int)
    across = np.asarray(fig.canvas.buffer_rgba())[::-1, :, :3][y, x - 5 : x + 5].mean(axis=1)
    assert across.max() > 200 and across.min() < 90, "white on yellow, without an outline"
    plt.close(fig)


def test_persian_letters_join_and_run_from_right_to_left():
    assert plotting.persian("سه", ready=True) == "سه"
    # seen initial, heh final; then a reh, after which nothing joins; a space parts words
    assert [f"{ord(letter):X}" for letter in plotting.persian("سه", ready=False)] == ["FEEA", "FEB3"]
    assert [f"{ord(letter):X}" for letter in plotting.persian("هزار", ready=False)] == ["FEAD", "FE8D", "FEB0", "FEEB"]
    assert plotting.persian("سه سه", ready=False).count(" ") == 1
    assert plotting.persian("ab", ready=False) == "ba"
