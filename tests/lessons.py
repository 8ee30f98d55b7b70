"""The lessons as the tests and `make run` see them: find, read, run one with one set of parameters, store.

Nothing in here knows a command line. `run_lesson` is the piece to call from elsewhere: one lesson, one set of
parameters, one result. Import it as `import lessons`: pytest and `python tests/run.py` have this folder on the path.
"""

import ast
import atexit
import contextlib
import copy
import hashlib
import os
import re
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import nbformat
import papermill
import psutil
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"

# What a full run may cost on two cores; `make run` fails a lesson that breaks one of these.
MAX_LESSON_SECONDS = 240
MAX_CELL_SECONDS = 40
MAX_TRAINING_SECONDS = 75  # for the slowest cell, where it trains and shows its progress
MAX_MEMORY_GB = 1.5

# The one kernel that a stored notebook names.
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


def cell_limit(source: str) -> int:
    """Seconds that the slowest cell of a lesson may take, by its code."""
    return MAX_TRAINING_SECONDS if re.search(r"\b(train|fit)\(", source) else MAX_CELL_SECONDS


class LessonError(RuntimeError):
    """A lesson did not run to its end. Says which one, which cell, and why.

    `lesson` (file stem), `cell` (cell id, or None when no cell had started), `reason` (one line),
    `trace` (the traceback of the kernel, may be empty).
    """

    def __init__(self, lesson: str, cell: str | None, reason: str, trace: str = ""):
        super().__init__(lesson, cell, reason, trace)
        self.lesson, self.cell, self.reason, self.trace = lesson, cell, reason, trace

    def __str__(self) -> str:
        where = f"cell `{self.cell}`" if self.cell else "before its first cell"
        return f"{self.lesson}, {where}: {self.reason}"


class Measured(NamedTuple):
    """One number that a lesson compares with a range, as `helpers.lesson.measured` printed it: in its unit.

    `low`, `high`: the range over five seeds; None where chance has no part, and in reduced runs.
    """

    name: str
    value: float
    unit: str
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Result:
    """What one run of one lesson gave.

    `notebook`: the executed copy, with raw outputs (see `normalise`); `seconds`: wall time, kernel start included;
    `worst_cell`: (cell id, seconds) of the slowest cell; `peak_memory_gb`: resident memory of the kernel and its
    children, in units of 10^9 bytes; `measured`: the numbers that the lesson compared with a range, in order.
    """

    notebook: NotebookNode
    seconds: float
    worst_cell: tuple[str, float]
    peak_memory_gb: float
    measured: list[Measured]


def lessons() -> list[Path]:
    """The notebooks of the curriculum, in order: every `notebooks/NN_name.ipynb`."""
    return sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))


def find(name: str | Path) -> Path:
    """The lesson that `name` means: "3", "03", "03_gradient_descent", its file name or its path.

    Raises ValueError, listing the lessons, when there is none.
    """
    stem = Path(name).name.removesuffix(".ipynb")
    for path in lessons():
        if stem in (path.stem, path.stem[:2]) or (stem.isdigit() and int(stem) == int(path.stem[:2])):
            return path
    known = ", ".join(path.stem for path in lessons()) or "none yet"
    raise ValueError(f"There is no lesson {str(name)!r} in {NOTEBOOKS.name}/. The lessons: {known}.")


def read(path: str | Path) -> NotebookNode:
    """The notebook stored at `path`, in the current format (nbformat 4)."""
    return nbformat.read(path, as_version=4)


def code_hash(nb: NotebookNode) -> str:
    """SHA-256 (hex) over the code cells of a notebook: ids and sources, in order. Outputs and prose do not count.

    Nor does `setup`, which finds the helpers and shows nothing: it is the same in all lessons (see links.py), and a new
    address in it is no reason to run them again.
    """
    digest = hashlib.sha256()
    for cell in nb.cells:
        if cell.cell_type == "code" and cell.get("id") != "setup":
            digest.update(f"{cell.get('id', '')}\0{cell.source}\0".encode())
    return digest.hexdigest()


def stamp(nb: NotebookNode) -> str | None:
    """The `code_hash` that a full run stored in the notebook, None where it never ran."""
    return nb.metadata.get("twelve_ideas", {}).get("code_sha256")


def parameters(path: str | Path) -> dict[str, object]:
    """Names and default values in the `parameters` cell of a notebook, in order.

    Raises ValueError where a default is not a plain literal.
    """
    nb = read(path)
    nb.metadata.kernelspec = NotebookNode(KERNEL)  # papermill asks for one, to know the language
    values = {}
    for name, found in papermill.inspect_notebook(nb).items():
        try:
            values[name] = ast.literal_eval(found["default"])
        except (ValueError, SyntaxError) as error:
            raise ValueError(
                f"{Path(path).name}: the parameter {name} must be a plain literal, not {found['default']!r}"
            ) from error
    return values


def prepare(path: str | Path, out: str | Path, params: dict[str, object] | None = None) -> Path:
    """Write a copy of the notebook at `path` to `out`, `params` injected after its parameters cell. Nothing is run.

    Stored outputs are kept. Raises ValueError for a name that the parameters cell does not have.
    """
    params = dict(params or {})
    known = parameters(path)
    unknown = sorted(params.keys() - known.keys())
    if unknown:  # papermill itself only warns
        raise ValueError(
            f"{Path(path).name} has no parameter {', '.join(unknown)}. Its parameters: {', '.join(known) or 'none'}."
        )
    # Given as a notebook, because papermill takes braces in a path for something to fill in.
    nb = papermill.execute_notebook(
        read(path), None, params, prepare_only=True, progress_bar=False, kernel_name="python3", language="python"
    )
    nbformat.write(nb, out)
    return Path(out)


def _kernels_of(python: Sequence[str]) -> type[AsyncKernelManager]:
    """A class of managers that start kernels with this command, whatever kernels the user has registered."""
    # The kernel's log would go to our terminal; whatever goes wrong in a cell comes back as a message.
    command = [*python, "-m", "ipykernel_launcher", "-f", "{connection_file}", "--log-level=CRITICAL"]

    class Kernels(AsyncKernelManager):
        @property
        def kernel_spec(self) -> KernelSpec:
            return KernelSpec(argv=command, display_name="Python 3", language="python")

    return Kernels


class _Memory:
    """Samples the resident memory of a process and its children; `peak` is in bytes.

    Where they hold more than `limit` bytes, they are killed, and `exceeded` is true.
    """

    def __init__(self, limit: float = float("inf")):
        self.peak = 0
        self.limit = limit
        self.exceeded = False
        self._stop = threading.Event()
        self._thread = None

    def start(self, pid: int):
        self._thread = threading.Thread(target=self._watch, args=(pid,), daemon=True)
        self._thread.start()

    def stop(self):
        self._stop.set()
        if self._thread:
            self._thread.join()

    def _watch(self, pid: int):
        # A process that ends between two looks is no error: there is then nothing left to measure.
        with contextlib.suppress(psutil.NoSuchProcess):
            kernel = psutil.Process(pid)
            while not self._stop.wait(0.2):
                tree = [kernel, *kernel.children(recursive=True)]
                self.peak = max(self.peak, sum(map(_resident, tree)))
                if self.peak > self.limit:
                    self.exceeded = True
                    for process in reversed(tree):
                        with contextlib.suppress(psutil.NoSuchProcess):
                            process.kill()


def _resident(process: psutil.Process) -> int:
    """Resident bytes of a process: its peak so far where the system keeps one (Linux), else what it holds now."""
    with contextlib.suppress(OSError):
        if peak := re.search(r"VmHWM:\s*(\d+) kB", Path(f"/proc/{process.pid}/status").read_text()):
            return int(peak[1]) * 1024
    with contextlib.suppress(psutil.Error):
        return process.memory_info().rss
    return 0


def run_lesson(
    path: str | Path,
    parameters: dict[str, object] | None = None,
    run: str | None = "full",
    out: str | Path | None = None,
    cell_timeout: int = 120,
    env: dict[str, str | None] | None = None,
    on_cell=None,
    python: Sequence[str] = (sys.executable,),
    folder: str | Path | None = None,
    memory_limit_gb: float = float("inf"),
) -> Result:
    """Run one lesson with one set of parameters in a kernel.

    A copy is run: the file at `path` is never written to. The kernel gets a throw-away progress file and
    TWELVE_IDEAS_RUN as `run` says: "full" and "reduced" make a measured number outside its range an error, None leaves
    it unset, as for a reader.

    `parameters`: values for the parameters cell; a name that it does not have raises ValueError. `out`: where to write
    the executed copy, outputs as they came (nothing is written when the run fails). `cell_timeout`: seconds that one
    cell may take before it is stopped. `env`: more environment variables for the kernel; None takes one away.
    `on_cell(cell_id)`: called after each code cell. `python`: the command that starts the kernel's Python, the running
    interpreter unless given. `folder`: where it starts, the notebook's own folder unless given. `memory_limit_gb`:
    resident memory, in 10^9 bytes, above which the kernel is killed.

    Raises LessonError, naming the lesson and the cell, when a cell fails, hangs, or kills the kernel. Safe in threads.
    """
    path = Path(path)
    if run not in ("full", "reduced", None):
        raise ValueError(f'run is "full", "reduced" or None, not {run!r}')

    seconds: dict[str, float] = {}
    at: list[tuple[str, float]] = []  # the cell that runs now or ran last, and when it started
    memory = _Memory(memory_limit_gb * 1e9)

    def cell_starts(cell, cell_index):
        at.append((cell.get("id", f"number {cell_index}"), time.monotonic()))

    def cell_ends(cell, cell_index, execute_reply):
        name, start = at[-1]
        seconds[name] = time.monotonic() - start
        if on_cell:
            on_cell(name)

    start = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="lesson-") as scratch,
        open(Path(scratch) / "log", "w+", encoding="utf-8", errors="replace") as log,
    ):
        copied = prepare(path, Path(scratch) / path.name, parameters)
        client = NotebookClient(
            read(copied),
            kernel_name="python3",
            kernel_manager_class=_kernels_of(python),
            resources={"metadata": {"path": str(Path(folder or path.parent).resolve())}},
            timeout=cell_timeout,
            startup_timeout=120,
            iopub_timeout=30,
            raise_on_iopub_timeout=True,  # otherwise late output would be lost without a word
            store_widget_state=False,
            record_timing=False,
            on_notebook_start=lambda notebook: memory.start(client.km.provisioner.pid),
            on_cell_execute=cell_starts,
            on_cell_executed=cell_ends,
        )
        kernel_env = os.environ | {"TWELVE_IDEAS_PROGRESS": str(Path(scratch) / "progress.json")} | (env or {})
        kernel_env = {name: value for name, value in kernel_env.items() if value is not None}
        kernel_env.pop("TWELVE_IDEAS_RUN", None)
        if run:
            kernel_env["TWELVE_IDEAS_RUN"] = run
        cell = trace = None
        try:
            client.execute(env=kernel_env, stderr=log)
        except CellExecutionError as error:
            reason, trace = f"{error.ename}: {error.evalue}", error.traceback
        except CellTimeoutError:
            reason = f"stopped, it had not ended after {cell_timeout} s"
        except DeadKernelError:
            if memory.exceeded:
                reason = f"killed, it held {memory.peak / 1e9:.2f} GB of memory, more than {memory_limit_gb} GB"
            else:
                reason = "the kernel died (out of memory, or ended from outside)"
        except RuntimeError as error:  # the kernel did not start
            reason = str(error)
            atexit.unregister(client._cleanup_kernel)  # which fails, loudly, where there is no kernel
        else:
            reason = None
        finally:
            memory.stop()
        if reason:
            cell = at[-1][0] if at else None
            if not cell:  # then there is no traceback, but the process may have said why it did not start
                log.seek(0)
                trace = log.read()
            raise LessonError(path.stem, cell, reason, trace or "")
    took = time.monotonic() - start
    if out:
        nbformat.write(client.nb, out)
    worst = max(seconds.items(), key=lambda item: item[1], default=("", 0.0))
    return Result(client.nb, took, worst, memory.peak / 1e9, measured_lines(client.nb))


_MEASURED = re.compile(
    r"^▪ (?P<name>.+): (?P<value>[-\d.,e+naif]+)(?P<unit> [^(⚠\n]*?)?"
    r"(?: \(five seeds lay within (?P<low>[-\d.,e+]+).* to (?P<high>[-\d.,e+]+).*\)|  ⚠ OUTSIDE.*)?$",
    re.MULTILINE,
)


def measured_lines(nb: NotebookNode) -> list[Measured]:
    """The numbers that an executed notebook compared with a range, read from the lines it printed, in order."""
    text = "".join(
        output.text
        for cell in nb.cells
        for output in cell.get("outputs", [])
        if output.output_type == "stream" and output.name == "stdout"
    )

    def number(text):
        return None if text is None else float(text.replace(",", ""))

    return [
        Measured(m["name"], number(m["value"]), (m["unit"] or "").strip(), number(m["low"]), number(m["high"]))
        for m in _MEASURED.finditer(text)
    ]


def normalise(nb: NotebookNode) -> NotebookNode:
    """A copy of an executed notebook in the form in which it is stored.

    Execution counts are 1..n; text printed in a row is one output; no widget views or states, no traces of papermill or
    of execution times, one kernel name; stamped with `code_hash`. Text is left as printed, since exact cells are
    compared to the letter. Applying it twice changes nothing.

    Raises ValueError for a run with injected parameters: its outputs are not those of the lesson.
    """
    nb = copy.deepcopy(nb)
    count = 0
    for cell in nb.cells:
        if "injected-parameters" in cell.metadata.get("tags", []):
            raise ValueError("A run with other parameters than the lesson's own is never stored.")
        for key in ("execution", "papermill", "trusted"):
            cell.metadata.pop(key, None)
        if not cell.metadata.get("tags", True):  # papermill adds an empty list
            del cell.metadata["tags"]
        _fold(cell)
        if cell.cell_type == "code":
            cell.outputs = _stored_outputs(cell.outputs)
            count += 1 if cell.source.strip() else 0
            cell.execution_count = count if cell.source.strip() else None
            for output in cell.outputs:
                if output.output_type == "execute_result":
                    output.execution_count = cell.execution_count
    for key in ("papermill", "widgets"):
        nb.metadata.pop(key, None)
    nb.metadata.kernelspec = NotebookNode(KERNEL)
    nb.metadata.language_info = NotebookNode(name="python", file_extension=".py", mimetype="text/x-python")
    nb.metadata.twelve_ideas = NotebookNode(code_sha256=code_hash(nb))
    nb.nbformat, nb.nbformat_minor = 4, max(nb.nbformat_minor, 5)
    return nb


def _fold(cell: NotebookNode) -> None:
    """Fold the code of a cell tagged `machinery`, in JupyterLab and on Colab, and of no other."""
    folded = cell.cell_type == "code" and "machinery" in cell.metadata.get("tags", [])
    jupyter = dict(cell.metadata.pop("jupyter", {})) | {"source_hidden": True}
    cell.metadata.pop("cellView", None)
    if not folded:
        del jupyter["source_hidden"]
    if jupyter:
        cell.metadata.jupyter = NotebookNode(jupyter)
    if folded:
        cell.metadata.cellView = "form"


_STILL = re.compile(r'^<div class="explorer-\w+">(.*)</div>$', re.DOTALL)


def _stored_outputs(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Outputs of one cell without widget views, and with neighbouring pieces of one stream joined.

    The figure of an explorer loses the mark by which the live one hides it: it differs in each run, and in the stored
    notebook nothing hides it.
    """
    kept = []
    for output in outputs:
        if "data" in output and output.data.pop("application/vnd.jupyter.widget-view+json", None) and not output.data:
            continue
        if "text/html" in output.get("data", {}):
            output.data["text/html"] = _STILL.sub(r"\1", output.data["text/html"])
        last = kept[-1] if kept else None
        if last and output.output_type == last.output_type == "stream" and output.name == last.name:
            last.text += output.text
        else:
            kept.append(output)
    return kept


def write(nb: NotebookNode, path: str | Path) -> bool:
    """Store a notebook at `path`, all of it or nothing of it. True where that changed the file."""
    return write_text(path, nbformat.writes(nb).rstrip("\n") + "\n")


def write_text(path: str | Path, text: str) -> bool:
    """Replace the file at `path` by `text` (UTF-8, \\n) in one step. True where that changed the file."""
    path = Path(path)
    data = text.encode()
    if path.exists() and path.read_bytes() == data:
        return False
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(data)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return True
