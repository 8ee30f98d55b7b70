"""What the lessons share: data, figures, explorers, exercise checks."""

import contextlib
import os
import sys

# Set before TensorFlow is first imported; what the reader has set already stays.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# oneDNN's kernels round differently from one processor to the next.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")


@contextlib.contextmanager
def quiet():
    """Silence the start-up log that TensorFlow writes to the terminal, past Python.

    It points file descriptor 2 at the null device inside the `with` block, and back after it. Exceptions
    pass through, and Python's own warnings inside the block are still recorded by `warnings`.
    """
    sys.stderr.flush()
    saved = os.dup(2)
    try:
        with open(os.devnull, "w") as null:
            os.dup2(null.fileno(), 2)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(saved, 2)
        os.close(saved)
