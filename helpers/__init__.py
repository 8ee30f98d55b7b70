"""What the lessons share: data, figures, explorers, exercise checks."""

import contextlib
import errno
import logging
import os
import sys

import filelock
from platformdirs import user_cache_path

# Set before Keras and TensorFlow are imported, so that the reader's shell and files do not decide how lessons run.
os.environ |= {
    "KERAS_BACKEND": "tensorflow",
    # Without a keras.json in it, Keras takes its own defaults, not those of the reader's ~/.keras.
    "KERAS_HOME": str(user_cache_path("deep-learning-in-twelve-ideas") / "keras"),
    "TF_CPP_MIN_LOG_LEVEL": "3",
    # oneDNN's kernels round differently from one processor to the next.
    "TF_ENABLE_ONEDNN_OPTS": "0",
}
for _name in ("KERAS_MAX_EPOCHS", "KERAS_MAX_STEPS_PER_EPOCH"):
    os.environ.pop(_name, None)
# Each network has its own training step, translated once. TensorFlow counts these of all networks together, since they
# stand in the same line of Keras, and warns under a cell that makes five of them, or is run five times.
logging.getLogger("tensorflow").addFilter(lambda record: "<function TensorFlowTrainer." not in record.getMessage())


def keras_settings():
    """What differs from Keras's own defaults where Keras is loaded: a dict from setting to value, else an empty one."""
    if "keras" not in sys.modules:
        return {}
    config = sys.modules["keras"].config
    wanted = {"backend": "tensorflow", "floatx": "float32", "epsilon": 1e-7, "image_data_format": "channels_last"}
    found = {name: getattr(config, name)() for name in wanted}
    return {name: value for name, value in found.items() if value != wanted[name]}


if keras_settings():
    raise RuntimeError(
        f"Keras was loaded before this lesson, with settings of its own: {keras_settings()}. Restart the kernel, and "
        "run the lesson from its first cell. If that does not help, a start-up file of Python or IPython loads Keras."
    )


def lock(path, seconds):
    """A lock between processes, for use with `with`: the file `path`, for which `with` waits so many seconds at most.

    Where the file system has no locks, as on some network drives, nothing is held. Raises OSError where the file cannot
    be written, and on entry filelock.Timeout.
    """
    if os.name == "posix":
        import fcntl

        try:
            with open(path, "a") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:  # another process holds it
            pass
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP):
                raise
            return contextlib.nullcontext()
    return filelock.FileLock(path, timeout=seconds)


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
