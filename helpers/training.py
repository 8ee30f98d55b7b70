"""Training progress on one line: live in JupyterLab, one clean line in the stored notebook."""

import time

import keras
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
