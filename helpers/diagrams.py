"""Drawings of computations: nodes joined by arrows, a value above each arrow and the loss's slope below it.

One inch on the page is one unit: a node at (1.5, 0.8) stands 1.5 inches from the left and 0.8 above the lowest ground.
"""

from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch

from helpers.plotting import COLORS, WIDTH

VALUE, SLOPE, FADED = COLORS[0], COLORS[1], "#A0A0A0"
LINE = 0.165  # inches from one line of a label to the next


@dataclass(frozen=True)
class Node:
    """A place where something is computed or kept.

    `x`, `y`: its middle, in inches. `text`: what stands in it. `value`, `slope`: numbers or text above and below it.
    `kind`: "circle" (an operation, a unit), "box" (a layer, a matrix) or "bare" (text alone). `size`: the radius of a
    circle, half the height of a box, in inches. `wide`: half the width of a box (default: as the text needs).
    `faded`: drawn in grey, such as a unit that is switched off.
    """

    x: float
    y: float
    text: str = ""
    value: object = None
    slope: object = None
    kind: str = "circle"
    size: float = 0.24
    wide: float | None = None
    faded: bool = False

    def reach(self):
        """Half its width and half its height, in inches."""
        letters = max(map(len, self.text.split("\n")))
        wide = {"circle": self.size, "bare": 0.05 + 0.04 * letters, "box": 0.1 + 0.045 * letters}[self.kind]
        high = 0.1 + LINE * self.text.count("\n") / 2 if self.kind == "bare" else self.size
        return (wide if self.wide is None else self.wide), high


@dataclass(frozen=True)
class Arrow:
    """An arrow from the node named `start` to the node named `end`.

    `value`, `slope`: numbers or text (several lines will do, such as a small matrix and its shape) above and below it.
    `at`: where along the arrow they stand, from 0 to 1. `bend`: 0 is straight, 0.3 arches upwards. `faded`: in grey.
    """

    start: str
    end: str
    value: object = None
    slope: object = None
    at: float = 0.5
    bend: float = 0.0
    faded: bool = False


def number(value):
    """How a value or slope is written: text as it is, a number with at most three digits and a true minus sign."""
    return value if isinstance(value, str) else f"{float(value) + 0.0:.3g}".replace("-", "\N{MINUS SIGN}")


def diagram(nodes, arrows, *, title=None, key="value above, slope of the loss below", height=None):
    """Draw nodes and the arrows between them, values in blue and slopes in orange: returns the figure.

    `nodes`: dict from a name to a `Node`. `arrows`: list of `Arrow`. `title`: the finding. `key`: what the two colours
    mean, the two halves parted by a comma; None leaves it out. `height`: of the figure, in inches (default: as needed).
    Raises ValueError for an arrow to or from a name that is not there, and for nodes beyond the page's 7 inches.
    """
    for arrow in arrows:
        if missing := {arrow.start, arrow.end} - set(nodes):
            raise ValueError(f"An arrow names {sorted(missing)}, but the nodes are {sorted(nodes)}.")
    if outside := [name for name, node in nodes.items() if not 0 <= node.x <= WIDTH]:
        raise ValueError(f"{outside} lie off the page: x must be from 0 to {WIDTH}.")
    tops = [node.y + node.reach()[1] + _lines(node.value) * LINE for node in nodes.values()]
    ends = [node.y - node.reach()[1] - _lines(node.slope) * LINE for node in nodes.values()]
    for arrow in arrows:
        y = _course(nodes, arrow)[2][1]
        tops.append(y + 0.05 + _lines(arrow.value) * LINE)
        ends.append(y - 0.05 - _lines(arrow.slope) * LINE)
    low = min(ends) - (0.34 if key else 0.12)
    high = max(tops) + 0.12 if height is None else low + height - (0.3 if title else 0)
    fig = plt.figure(figsize=(WIDTH, high - low + (0.3 if title else 0)), layout="none")
    ax = fig.add_axes((0, 0, 1, (high - low) / fig.get_figheight()))
    ax.set(xlim=(0, WIDTH), ylim=(low, high))
    ax.set_axis_off()
    if title:
        fig.text(0.012, 1 - 0.07 / fig.get_figheight(), title, va="top", fontsize=12)
    for arrow in arrows:
        _draw_arrow(ax, nodes, arrow)
    for node in nodes.values():
        _draw_node(ax, node)
    if key:
        above, below = key.split(", ")
        ax.annotate(above, (0.08, low + 0.06), color=VALUE, fontsize=9)
        end = ax.texts[-1].get_window_extent().x1 / fig.dpi
        ax.annotate(f"· {below}", (end + 0.05, low + 0.06), color=SLOPE, fontsize=9)
    return fig


def _lines(label):
    return 0 if label is None else str(label).count("\n") + 1


def _draw_node(ax, node):
    wide, high = node.reach()
    edge = FADED if node.faded else "black"
    if node.kind == "circle":
        ax.add_patch(Circle((node.x, node.y), wide, facecolor="white", edgecolor=edge, linewidth=1.2, zorder=3))
    elif node.kind == "box":
        corner, style = (node.x - wide + 0.04, node.y - high + 0.04), "round,pad=0.04"
        sides = 2 * wide - 0.08, 2 * high - 0.08
        ax.add_patch(FancyBboxPatch(corner, *sides, style, facecolor="white", edgecolor=edge, linewidth=1.2, zorder=3))
    ax.text(node.x, node.y, node.text, ha="center", va="center", fontsize=10, color=edge, zorder=4)
    for label, color, sign in ((node.value, VALUE, 1), (node.slope, SLOPE, -1)):
        if label is not None:
            place = node.y + sign * (high + 0.03)
            ends = {"ha": "center", "va": "bottom" if sign > 0 else "top", "linespacing": 1.15}
            ax.text(node.x, place, number(label), color=color, fontsize=10, weight="bold", zorder=5, **ends)


def _course(nodes, arrow):
    """Where an arrow begins and ends, where its labels stand, which way is up across it, and 1 or, leftwards, -1."""
    start, end = nodes[arrow.start], nodes[arrow.end]
    a, b = np.array([start.x, start.y]), np.array([end.x, end.y])
    along = (b - a) / np.hypot(*(b - a))
    a, b = a + along * _border(start, along), b - along * _border(end, along)
    way = 1 if along[0] >= 0 else -1
    upwards = np.array([-along[1], along[0]]) * way
    arch = 2 * arrow.bend * arrow.at * (1 - arrow.at) * np.hypot(*(b - a))
    return a, b, a + (b - a) * arrow.at + upwards * arch, upwards, way


def _draw_arrow(ax, nodes, arrow):
    a, b, middle, upwards, way = _course(nodes, arrow)
    # Matplotlib's arc bends to the right of its direction: for an arrow to the left that would be upwards.
    arc = f"arc3,rad={-arrow.bend * way}"
    line = {"arrowstyle": "-|>", "mutation_scale": 11, "shrinkA": 1, "shrinkB": 1, "linewidth": 1.2}
    color = FADED if arrow.faded else "#404040"
    ax.add_patch(FancyArrowPatch(a, b, connectionstyle=arc, color=color, zorder=2, **line))
    turn = np.degrees(np.arctan2((b - a)[1] * way, (b - a)[0] * way))
    for label, color, sign in ((arrow.value, VALUE, 1), (arrow.slope, SLOPE, -1)):
        if label is None:
            continue
        place = middle + sign * upwards * 0.05
        if _lines(label) == 1:  # lies along the arrow
            lie = {"rotation": turn, "rotation_mode": "anchor", "ha": "center"}
        else:  # a matrix stays upright, beside a steep arrow
            side = sign * upwards[0]
            lie = {"ha": "center" if abs(side) < 0.25 else "left" if side > 0 else "right", "family": "monospace"}
        style = {"color": color, "fontsize": 10, "weight": "bold", "linespacing": 1.15, "zorder": 5}
        ax.text(*place, number(label), va="bottom" if sign > 0 else "top", **lie, **style)


def _border(node, along):
    """How far a node's border is from its middle in the direction `along`."""
    wide, high = node.reach()
    if node.kind == "circle":
        return wide
    return min(wide / max(abs(along[0]), 1e-9), high / max(abs(along[1]), 1e-9))
