"""Progress of a training on one line, live in JupyterLab and clean when stored; and training many networks in a row."""

import ctypes
import gc
import sys
import time

import keras
import numpy as np
from IPython.display import display


class _Text(str):
    def __repr__(self):
        return str(self)


class live_line:
    """One line of text, updated in place: `line = live_line(); line("epoch 1 of 5")`.

    Updates that come faster than five a second are skipped, except those with `last=True`.
    """

    def __init__(self):
        self._handle = None
        self._shown = 0.0

    def __call__(self, text, *, last=False):
        if self._handle is None:
            self._handle = display(_Text(text), display_id=True)
        elif last or time.monotonic() - self._shown >= 0.2:
            self._handle.update(_Text(text))
        else:
            return
        self._shown = time.monotonic()


class progress(keras.callbacks.Callback):
    """A Keras callback that shows the epoch and its metrics on one line.

    Use it as `model.fit(..., verbose=0, callbacks=[progress()])`.

    `name`: put in front of the line, where several models train in one cell.
    """

    def __init__(self, name=""):
        super().__init__()
        self.name = f"{name}: " if name else ""

    def on_train_begin(self, logs=None):
        self.line = live_line()

    def on_train_batch_end(self, batch, logs=None):
        self.line(self._text(f"batch {batch + 1:,} of {self.params['steps'] or '?'}", logs))

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_epoch_end(self, epoch, logs=None):
        self.line(self._text("done", logs), last=True)

    def _text(self, state, logs):
        metrics = " · ".join(f"{key.replace('_', ' ')} {value:.4f}" for key, value in (logs or {}).items())
        return f"{self.name}epoch {self.epoch + 1} of {self.params['epochs']} · {state} · {metrics}"


def forget_networks():
    """Give back the memory of networks that nothing refers to any more: call it where one trains many in a row.

    Python finds them late by itself, because the objects of a network refer to each other, and the C library then keeps
    their memory in pieces. What exists at the first call is left out of the search, so that it takes no time.
    """
    gc.collect()
    if not gc.get_freeze_count():
        gc.freeze()
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if hasattr(library, "malloc_trim"):  # glibc has it, musl does not
        library.malloc_trim(0)


def adam(rate):
    """Keras's Adam for one machine. `rate`: a number or a schedule."""
    optimizer = keras.optimizers.Adam(rate)
    # Nothing to add up on one machine: what stands here otherwise keeps each training graph in memory for good. Changed
    # in the object and not in a class of ours, so that plain Keras can load what is saved.
    optimizer._all_reduce_sum_gradients = lambda grads_and_vars: grads_and_vars
    return optimizer


def prepare(model, x, y):
    """Make what `fit` would make in its first step: the variables of a compiled model's optimizer, loss and metrics.

    Made in `fit`, they have TensorFlow build the training graph twice, and the optimizer's keep it in memory for good.
    The weights stay as they are. `x`, `y`: arrays of examples as `fit` takes them, of which the first is looked at.
    """
    x, y = keras.tree.map_structure(lambda array: array[:1], (x, y))
    scores = model(x, training=False)
    model.optimizer.build(model.trainable_variables)
    model.compute_loss(x, y, scores)
    model.compute_metrics(x, y, scores)
    model.reset_metrics()


def train(model, x, y, epochs, rate=0.02, batch=256, loss="sparse_categorical_crossentropy", name=None):
    """Compile and fit a Keras model with Adam, and return it.

    The learning rate climbs from a tenth of `rate` to `rate` in the first fifth of the steps (warm-up), then falls to 0
    along a cosine. `x`, `y`: arrays of n examples; where the model has several inputs, `x` is a list of arrays.
    `epochs`: passes over them. `loss`: one of Keras's names, or a function. `name`: shown with the progress; None shows
    nothing. Accuracy is followed where the name of the loss is a cross-entropy.
    """
    forget_networks()
    steps = epochs * -(-len(y) // batch)
    warm_up = steps // 5
    schedule = keras.optimizers.schedules.CosineDecay(
        rate / 10, steps - warm_up, warmup_target=rate, warmup_steps=warm_up
    )
    metrics = ["accuracy"] if isinstance(loss, str) and "crossentropy" in loss else []
    model.compile(adam(schedule), loss, metrics=metrics)
    prepare(model, x, y)
    model.fit(x, y, batch, epochs, verbose=0, callbacks=[progress(name)] if name else [])
    return model


def answers(model, x):
    """The class to which a model gives the highest score, for each example of `x`: integer array (n,)."""
    # Called directly: `predict` would build a graph for each network, which takes longer than a small one's answers.
    scores = [model(x[start : start + 500], training=False) for start in range(0, len(x), 500)]
    return np.concatenate(scores).argmax(axis=1)


def accuracy(model, x, y):
    """The share of examples, 0 to 1, for which `answers` agrees with the labels `y`, an integer array (n,)."""
    return float((answers(model, x) == y).mean())
