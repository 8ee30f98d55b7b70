"""Explorers: a figure that answers one question, redrawn when a control moves."""

import gc
import html
import itertools
import time

import ipywidgets as widgets
import matplotlib.pyplot as plt
from IPython.display import display

from helpers.plotting import figure_bundle

EXPLORERS = []

# A slider over a list tells a screen reader the position in the list, and no name. This copies the label and the shown
# value onto its handle whenever they change, and makes the readout plain text: ipywidgets makes it a field to type in,
# which moves nothing. The role and the second kind of handle are for ipywidgets 7. Without it all else works.
SPEAK = """
this.removeAttribute('onload');
const box = this.closest('.explorer');
const speak = () => box.querySelectorAll('.noUi-handle, .ui-slider-handle').forEach(handle => {
    const slider = handle.closest('.widget-slider');
    const [label, readout] = ['.widget-label', '.widget-readout'].map(part => slider.querySelector(part));
    const said = {role: 'slider', 'aria-label': label.textContent, 'aria-valuetext': readout.textContent};
    Object.entries(said).forEach(([key, text]) => handle.getAttribute(key) === text || handle.setAttribute(key, text));
    if (readout.isContentEditable) readout.contentEditable = 'false';
});
new MutationObserver(speak).observe(box, {subtree: true, childList: true, attributeFilter: ['aria-valuetext']});
speak();
"""


def explore(draw, controls, *, ask, start=None):
    """Show controls and, below them, the figure that `draw` makes of their values; redraw when one moves.

    `draw(**values)`: gets one keyword a control (spaces in the label become underscores) and returns
    `(figure, alt)`: a matplotlib figure, which is closed here, and the sentence that says what it shows.
    It must answer within 0.3 s: compute ahead what is slow.
    `controls`: a dict from label to values: a list makes a slider over these values, a dict makes a menu from
    its keys. `start`: a dict from label to the value shown first (default: each control's first).
    `ask`: the question that the explorer answers, shown above the controls.
    The figure is part of the live controls, so that it moves with them after the page was reloaded, too. The first one
    is also an ordinary output, so that a reader without a kernel sees it; the live one hides it.
    Raises ValueError for controls without values, or a start that is not among them.
    """
    explorer = Explorer(draw, controls, ask, start or {})
    EXPLORERS.append(explorer)
    explorer.show()


class Explorer:
    """One explorer on the page; `explore` makes it, `sweep` tests it."""

    def __init__(self, draw, controls, ask, start):
        self.draw, self.ask = draw, ask
        # Room for the longest label: the browser cuts a longer one off.
        width = f"{max(map(len, controls), default=0) + 1}ch"
        self.widgets = {label: _widget(label, values, start, width) for label, values in controls.items()}
        unknown = set(start) - set(controls)
        if unknown or not controls:
            raise ValueError(f"explore({ask!r}) starts {sorted(unknown)}, but its controls are {sorted(controls)}.")
        self.head, self.picture = widgets.HTML(), widgets.HTML()

    def show(self):
        """Display the question, the controls, and the first figure."""
        box = widgets.VBox([self.head, *self.widgets.values(), self.picture])
        box.add_class("explorer")
        still = f"explorer-{box.model_id}"
        style = f".{still} {{display: none}} .explorer img {{max-width: 100%; height: auto}}"
        self.head.value = f'<style onload="{html.escape(SPEAK)}">{style}</style><b>{html.escape(self.ask)}</b>'
        bundle = self._bundle()
        self.picture.value = bundle["text/html"]
        view = {"model_id": box.model_id, "version_major": 2, "version_minor": 0}
        labels = ", ".join(self.widgets)
        text = f"{self.ask}\nControls: {labels} (run the notebook to use them)"
        display({"application/vnd.jupyter.widget-view+json": view, "text/plain": text}, raw=True)
        display(bundle | {"text/html": f'<div class="{still}">{bundle["text/html"]}</div>'}, raw=True)
        for widget in self.widgets.values():
            widget.observe(self._redraw, names="value")

    def _bundle(self):
        values = {label.replace(" ", "_"): widget.value for label, widget in self.widgets.items()}
        with plt.ioff():  # else Jupyter's backend keeps each figure until the next cell runs
            return figure_bundle(*self.draw(**values))

    def _redraw(self, change):
        try:
            self.picture.value = self._bundle()["text/html"]
        except Exception as error:
            # JupyterLab hides what a callback raises; the reader sees it where the figure stood.
            self.picture.value = f'<p role="alert">This figure could not be drawn: {html.escape(repr(error))}</p>'
            raise


def _widget(label, values, start, width):
    if not values:
        raise ValueError(f"The control {label!r} has no values: give a list for a slider or a dict for a menu.")
    chosen = start.get(label, next(iter(values.values() if isinstance(values, dict) else values)))
    known = list(values.values() if isinstance(values, dict) else values)
    if not any(chosen is one or chosen == one for one in known):
        raise ValueError(f"The control {label!r} starts at {chosen!r}, which is not among its values {known}.")
    kind = widgets.Dropdown if isinstance(values, dict) else widgets.SelectionSlider
    options = (
        list(values.items())
        if isinstance(values, dict)
        else [(f"{one:g}" if isinstance(one, float) else str(one), one) for one in values]
    )
    layout = widgets.Layout(width="min(36em, 95%)")
    # The description is the control's label, for a screen reader as well.
    return kind(
        options=options,
        value=chosen,
        description=label,
        layout=layout,
        style={"description_width": width},
    )


def sweep(limit=0.3):
    """Move every control of every explorer through its values, as a reader would, and time each redraw.

    All combinations up to 64 are tried; beyond that, each control alone through its values, then all at their
    first and all at their last. Returns a list of (ask, states tried, slowest seconds). Raises AssertionError
    when a redraw takes more than `limit` seconds of processor time, and whatever a callback raises.
    """
    return [(explorer.ask, *_sweep_one(explorer, limit)) for explorer in EXPLORERS]


def _sweep_one(explorer, limit):
    controls = list(explorer.widgets.values())
    first = [control.value for control in controls]
    every = [[value for _, value in control.options] for control in controls]
    states = list(itertools.islice(itertools.product(*every), 65))
    if len(states) > 64:
        states = [[*first[:i], value, *first[i + 1 :]] for i, values in enumerate(every) for value in values]
        states += [[values[0] for values in every], [values[-1] for values in every]]
    slowest = 0.0
    for state in states:
        for control, value in zip(controls, state, strict=True):
            seconds = _move(control, value)
            slowest = max(slowest, seconds)
            assert seconds <= limit, (
                f"{explorer.ask}: {control.description} = {value} took {seconds:.2f} s, over {limit} s"
            )
    for control, value in zip(controls, first, strict=True):
        control.value = value
    return len(states), slowest


def _move(control, value):
    gc.disable()  # with TensorFlow loaded, Python's rare full collection takes 0.2 s, in whichever redraw it falls
    try:
        start = time.process_time()  # processor time, which other work on the machine does not change
        control.value = value
        return time.process_time() - start
    finally:
        gc.enable()
