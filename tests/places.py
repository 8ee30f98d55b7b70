"""`make test-places`: every lesson, with reduced parameters, in every place where it is opened.

    python tests/places.py [PLACE …] [--lessons 03 …]    all places and all lessons unless named
    python tests/places.py --spread                      each lesson in one of the places, in turn
    python tests/places.py --list                        what there is

Prints a line for each place and lesson. In each place, faults are planted too: small lessons that must fail there, with
the right message. A place that combines several conditions is, where a lesson fails in it, taken apart to say which one
it was. Environments are made with uv and kept in `.places/`. Linux only, as root or where user namespaces are allowed.

Exit code: 0 when all is as it must be, 1 when not, 2 for a wrong call.
"""

import argparse
import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path

import lessons
import links
import nbformat.v4 as v4
import psutil
import yaml
from fixtures.clean import DRAW
from lessons import LessonError

from helpers import data

ROOT, TESTS = lessons.ROOT, lessons.ROOT / "tests"
ENVIRONMENTS = ROOT / ".places"
CELL_TIMEOUT = 300
MEMORY_GB = 2.0
# From here on a measured number may lie outside its range, as in a reader's run: seeds and names are those of the end.
READER = "import os\nos.environ.pop('TWELVE_IDEAS_RUN')"
SWEEP = "from helpers.explorer import sweep\nsweep(limit=float('inf'))"


class PlaceError(RuntimeError):
    """Something is not as it must be in a place, or the place could not be made. The message says what."""


# --- environments and checkouts ---------------------------------------------------------------------------------------


def call(*command: object, **options) -> str:
    """Run a command to its end and return what it printed. Raises PlaceError where it fails."""
    done = subprocess.run(
        [str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", **options
    )
    if done.returncode:
        raise PlaceError(f"`{' '.join(map(str, command))}` ended with exit code {done.returncode}:\n{done.stdout}")
    return done.stdout


@dataclass(frozen=True)
class Environment:
    """Packages for one version of Python: `wanted` are arguments of `uv pip install`, run in the repository's root."""

    python: str
    wanted: tuple[str, ...]

    def make(self, folder: Path) -> Path:
        """Make or refresh it in `folder`, exactly; returns its Python."""
        if not shutil.which("uv"):
            raise PlaceError("uv is needed to make environments: https://docs.astral.sh/uv/")
        python = folder / "bin" / "python"
        if not python.exists():
            call("uv", "venv", "--quiet", "--clear", "--python", interpreter(self.python), folder)
        exactly = ("--quiet", "--exact", "--upgrade", "--compile-bytecode")
        call("uv", "pip", "install", *exactly, "--python", python, *self.wanted, cwd=ROOT)
        return python


def interpreter(version: str) -> str:
    """A Python of this version that pyenv has, since uv does not look there by itself; else what uv can find or get."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = sorted(pyenv.glob(f"versions/{version}.*/bin/python{version}"))
    return str(found[-1]) if found else version


MADE = {
    "binder": Environment("3.12", ("-r", "requirements.txt")),
    "colab": Environment("3.12", ("-r", "tests/colab/requirements.txt")),
    "oldest": Environment("3.11", ("-r", "requirements.txt", "--resolution=lowest-direct")),
    "newest": Environment("3.13", ("-r", "requirements.txt")),
    "kernel": Environment("3.12", ("ipykernel",)),
    "repo2docker": Environment("3.12", ("jupyter-repo2docker",)),
}


def once(method):
    """Do the work of a method once for each set of arguments, however many threads ask for it."""

    @functools.wraps(method)
    def asked(self, *arguments):
        with self.lock:
            key = (method.__name__, *arguments)
            if key not in self.made:
                try:
                    self.made[key] = method(self, *arguments)
                except PlaceError as error:  # it would fail again
                    self.made[key] = error
            if isinstance(self.made[key], PlaceError):
                raise self.made[key]
            return self.made[key]

    return asked


class Workshop:
    """What the places need, made when it is first asked for: environments, checkouts, a published repository."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.lock = threading.RLock()
        self.made: dict[tuple, object] = {}

    @once
    def environment(self, name: str) -> Path:
        """The Python of an environment of `MADE`."""
        return MADE[name].make(ENVIRONMENTS / name)

    @once
    def checkout(self, name: str = "checkout") -> Path:
        """A copy of the working tree, without what git ignores, under this name; published in a repository of git."""
        tree = self.folder / name
        for file in call("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT).split("\0"):
            if file and (ROOT / file).is_file():
                (tree / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / file, tree / file)
        git = ("git", "-c", "user.name=places", "-c", "user.email=places@example.org")
        for command in (("init", "--quiet"), ("add", "--all"), ("commit", "--quiet", "--message=all")):
            call(*git, *command, cwd=tree)
        return tree

    @once
    def installed(self) -> tuple[Path, Path]:
        """A checkout with an odd path and the environment that `make` gives it: (folder, Python)."""
        tree = self.checkout(ODD_NAME)
        call("make", ".venv/.installed", cwd=tree)
        return tree, tree / ".venv" / "bin" / "python"

    @once
    def image(self) -> tuple[Path, Path]:
        """A checkout and a Python with which postBuild has been run, as in Binder's image."""
        tree, python = self.checkout("binder"), self.environment("binder")
        call("./postBuild", cwd=tree, env=os.environ | {"PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"})
        return tree, python

    def new(self, name: str) -> Path:
        """A new empty folder."""
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder))


# --- conditions -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Start:
    """How a lesson is started: the command of its Python, the checkout, the folder it starts in, its environment
    variables (None takes one away), and the memory in GB above which it is killed."""

    python: tuple[str, ...]
    tree: Path
    folder: Path
    env: dict[str, str | None]
    memory_gb: float = float("inf")
    read_only: tuple[Path, ...] = ()

    def command(self) -> tuple[str, ...]:
        """The command that starts Python, in a mount namespace of its own where something is read-only."""
        if not self.read_only:
            return self.python
        user = () if os.geteuid() == 0 else ("--map-root-user",)
        return ("unshare", *user, "--mount", "sh", "-c", READ_ONLY, "sh", *map(str, self.read_only), "--", *self.python)


# The folder is entered again because a process stays in the mount that it was started in.
READ_ONLY = """
while [ "$1" != -- ]; do mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" || exit 9; shift; done
shift; cd "$PWD"; exec "$@"
"""
ODD_NAME = "درس‌های من/twelve ideas"
C_LOCALE = {"LANG": "C", "LC_ALL": "C", "LANGUAGE": None, "PYTHONUTF8": None, "PYTHONIOENCODING": None}
HOME_FOLDERS = ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME")
HOME_FOLDERS += ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "MPLCONFIGDIR")


def plain(shop: Workshop) -> Start:
    """A checkout, started beside the notebooks with the running Python."""
    tree = shop.checkout()
    return Start((sys.executable,), tree, tree / "notebooks", BASE | {"PYTHONPATH": str(tree)})


def odd_path(shop: Workshop) -> Start:
    """A checkout whose path has spaces and Persian letters, with the environment that `make` gives it there."""
    tree, python = shop.installed()
    return Start((str(python),), tree, tree / "notebooks", BASE)


BASE = {
    "PYTHONPATH": None,
    "VIRTUAL_ENV": None,
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # the debugger of old kernels warns on newer Pythons
    "TWELVE_IDEAS_DATA": str(data.cache_folder()),
}


def read_only(start: Start, shop: Workshop) -> Start:
    return replace(start, read_only=(*start.read_only, start.tree))


def elsewhere(start: Start, shop: Workshop) -> Start:
    return replace(start, folder=shop.new("elsewhere"))


def lang_c(start: Start, shop: Workshop) -> Start:
    return replace(start, env=start.env | C_LOCALE)


def ascii_only(start: Start, shop: Workshop) -> Start:
    """Python makes up for LANG=C by itself; held to it, text is ASCII unless a file is opened with an encoding."""
    return replace(start, env=start.env | C_LOCALE | {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"})


def no_home(start: Start, shop: Workshop) -> Start:
    home = shop.new("home")
    gone = dict.fromkeys((*HOME_FOLDERS, "TWELVE_IDEAS_PROGRESS"))
    return replace(start, env=start.env | gone | {"HOME": str(home)}, read_only=(*start.read_only, home))


def spoiled(shop: Workshop) -> Start:
    """A checkout of its own, and whatever in the reader's folders, files and settings could decide how lessons run."""
    tree, home, packages = shop.checkout("spoiled"), shop.new("home"), shop.new("packages")
    files = {
        tree / "notebooks" / "helpers.py": OTHERS,
        packages / "helpers" / "__init__.py": OTHERS,
        packages / "sitecustomize.py": NO_LOCKS,
        home / ".keras" / "keras.json": KERAS,
        home / ".config" / "matplotlib" / "matplotlibrc": MATPLOTLIB,
        home / ".config" / "pip" / "pip.conf": "[global]\nuser = true\ntarget = /nowhere\n",
    }
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    env = BASE | dict.fromkeys(HOME_FOLDERS) | SPOILERS | {"HOME": str(home), "PYTHONPATH": str(packages)}
    return Start((sys.executable,), tree, tree / "notebooks", env)


OTHERS = "raise ImportError('these are the helpers of somebody else')\n"
NO_LOCKS = """import errno, fcntl
def flock(*_):
    raise OSError(errno.ENOSYS, "this file system has no locks")
fcntl.flock = flock
"""
KERAS = '{"backend": "jax", "floatx": "float16", "epsilon": 0.1, "image_data_format": "channels_first"}'
MATPLOTLIB = """figure.facecolor: black
axes.facecolor: black
text.color: white
savefig.transparent: True
savefig.bbox: tight
text.usetex: True
backend: TkAgg
"""
SPOILERS = {
    "KERAS_BACKEND": "jax",
    "KERAS_HOME": None,
    "KERAS_MAX_EPOCHS": "1",
    "MPLBACKEND": "TkAgg",
    "PIP_REQUIRE_VIRTUALENV": "1",
    "PIP_TARGET": "/nowhere",
    "PIP_USER": "1",
    "TF_CPP_MIN_LOG_LEVEL": "0",
    "TF_ENABLE_ONEDNN_OPTS": "1",
    "TWELVE_IDEAS_PROGRESS": "~",
}


def one_core(start: Start, shop: Workshop) -> Start:
    return replace(start, python=("taskset", "--cpu-list", str(min(os.sched_getaffinity(0))), *start.python))


def two_gigabytes(start: Start, shop: Workshop) -> Start:
    start = replace(start, memory_gb=MEMORY_GB)
    group = memory_group()
    if group:
        start = replace(start, python=("sh", "-c", 'echo $$ >"$0" && exec "$@"', str(group / PROCESSES), *start.python))
    return start


GROUPS = ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")
PROCESSES = "cgroup.procs"


def memory_group(gigabytes: float = MEMORY_GB) -> Path | None:
    """A new control group, under the kernel's own limit of memory; None where that is not allowed.

    The meter of `lessons.run_lesson` kills what holds more, here as there; a control group also counts what a process
    holds for too short a time for the meter to see.
    """
    for parent, limit in GROUPS:
        with contextlib.suppress(OSError):
            group = Path(tempfile.mkdtemp(prefix=f"twelve-ideas-{os.getpid()}-", dir=parent))
            try:
                with open(group / limit, "r+") as file:  # not "w": only the kernel makes this file
                    file.write(str(int(gigabytes * 1e9)))
            except OSError:
                group.rmdir()
                raise
            return group
    return None


def remove_groups():
    for parent, _ in GROUPS:
        for group in Path(parent).glob(f"twelve-ideas-{os.getpid()}-*"):
            group.rmdir()


# --- what is tried ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fault:
    """A lesson of one cell, `code`, that must fail in a place, with a message that holds `says`."""

    about: str
    code: str
    says: str


@dataclass(frozen=True)
class Place:
    """A place. `start`: how lessons are started there. `faults`: what must come to light there. `explorers`: whether
    those of each lesson are moved as well. `again`: whether all cells are then run a second time, from the last to the
    first. `silent`: whether no cell may print a warning. `keeps`: whether what is installed must stay as it is.
    `parts`: the places whose conditions it combines. `more`: other things that must be so there, each a name and a
    function that raises PlaceError where it is not, and may return a remark.
    """

    about: str
    start: Callable[[Workshop], Start] | None
    faults: tuple[Fault, ...] = ()
    explorers: bool = False
    again: bool = False
    silent: bool = False
    keeps: bool = False
    parts: tuple[str, ...] = ()
    more: tuple[tuple[str, Callable[[Workshop], str | None]], ...] = ()


def run_in(place: Place, shop: Workshop, path: Path, more_env: dict | None = None) -> lessons.Result:
    """Run the notebook at `path` in a place. Raises LessonError, or PlaceError where the run left what it may not."""
    start = place.start(shop)
    env = start.env | (more_env or {})
    copy = shop.new("lesson") / path.name
    nb = lessons.read(path)
    if place.again:
        code = [cell for cell in nb.cells if cell.cell_type == "code"]
        nb.cells.append(v4.new_code_cell(READER, id="reader"))
        nb.cells += [v4.new_code_cell(cell.source, id=f"{cell.id}-again") for cell in reversed(code)]
    if place.explorers:
        nb.cells.append(v4.new_code_cell(SWEEP, id="sweep"))
    lessons.write(nb, copy)
    before = packages(start) if place.keeps else []
    result = lessons.run_lesson(
        copy,
        reduced(path),
        "reduced",
        cell_timeout=CELL_TIMEOUT,
        env=env,
        python=start.command(),
        folder=start.folder,
        memory_limit_gb=start.memory_gb,
    )
    if place.keeps and before != (after := packages(start)):
        raise PlaceError(f"what is installed has changed: {', '.join(sorted(set(before) ^ set(after)))}")
    for cell in result.notebook.cells if place.silent else ():
        for out in cell.get("outputs", []):
            if out.get("name") == "stderr":
                raise PlaceError(f"cell `{cell.id}` prints a warning: {out.text}")
    shown = [str(out.get("data", "")) for cell in result.notebook.cells for out in cell.get("outputs", [])]
    for says in ("This figure could not be drawn", "To fix: "):
        for found in (text.partition(says)[2][:200] for text in shown if says in text):
            # Without a home, progress is not kept, and lesson 0 says so.
            if not (found.startswith("progress.") and env.get("TWELVE_IDEAS_PROGRESS", "") is None):
                raise PlaceError(f"{says}{found}")
    return result


def reduced(path: Path) -> dict[str, object]:
    """The parameters of a lesson's reduced run."""
    return (yaml.safe_load((TESTS / "reduced.yml").read_text("utf-8")) or {}).get(path.stem, {})


def packages(start: Start) -> list[str]:
    """What is installed, a line each."""
    return call("uv", "pip", "freeze", "--quiet", "--python", start.python[-1]).splitlines()


def lesson_in(place: Place, shop: Workshop, path: Path) -> str:
    """Run a lesson in a place. Returns a remark. Raises PlaceError, which says in which of its parts it fails too."""
    if place.start is None:
        return papermill(shop, path)
    # On Colab, lesson 0 fetches all data; the others find it.
    env = {"TWELVE_IDEAS_DATA": None} if place.start is colab and path.stem.startswith("00") else {}
    try:
        return f"{run_in(place, shop, path, env).peak_memory_gb:.2f} GB"
    except (LessonError, PlaceError) as error:
        told = [f"{error}\n{getattr(error, 'trace', '')}".rstrip()]
        for part in place.parts:
            try:
                lesson_in(SINGLE[part], shop, path)
            except PlaceError:
                told.append(f"it fails in the place {part} alone")
            else:
                told.append(f"it passes in the place {part} alone")
        raise PlaceError("\n".join(told)) from error


def planted(place: Place, shop: Workshop, fault: Fault) -> str:
    """Run a fault in its place. Raises PlaceError where it does not come to light."""
    try:
        run_in(place, shop, small_lesson(shop, fault.code))
    except LessonError as error:
        if error.cell not in ("planted", "planted-again"):
            raise PlaceError(f"it failed elsewhere: {error}\n{error.trace}") from error
        said = str(error)
    except PlaceError as error:
        said = str(error)
    else:
        raise PlaceError("it came to its end, as if nothing were wrong")
    if fault.says not in said:
        raise PlaceError(f"it did not fail with {fault.says!r}: {said}")
    return f"seen: {said.splitlines()[0]}"


def small_lesson(shop: Workshop, *code: str, name: str = "99_planted") -> Path:
    """A notebook that sets up as lessons do and then has these cells, named `planted` and `then`."""
    cells = [v4.new_code_cell(links.setup(links.repository(ROOT)), id="setup")]
    cells += [v4.new_code_cell(source, id=id) for source, id in zip(code, ("planted", "then"), strict=False)]
    path = shop.new("planted") / f"{name}.ipynb"
    lessons.write(v4.new_notebook(cells=cells, metadata={"kernelspec": lessons.KERNEL}), path)
    return path


def must_fail(says: tuple[str, ...], action: Callable[[], object]) -> str:
    """Run `action`, which must raise LessonError or PlaceError with all of `says` in its message."""
    try:
        action()
    except (LessonError, PlaceError) as error:
        if missing := [word for word in says if word not in str(error)]:
            raise PlaceError(f"the message lacks {missing}: {error}") from error
        return f"seen: {says[0]}"
    raise PlaceError("it came to its end, as if nothing were wrong")


def figures_follow(start: Callable[[Workshop], Start]) -> Callable[[Workshop], str]:
    """A check that moving a control of an explorer redraws its figure where it stands."""

    def check(shop):
        imports = "import matplotlib.pyplot as plt\nfrom helpers.explorer import EXPLORERS, explore\n"
        move = "EXPLORERS[0].widgets['slope'].value = 3\nprint(EXPLORERS[0].picture.value)"
        cell = run_in(Place("", start), shop, small_lesson(shop, imports + DRAW, move)).notebook.cells[2]
        shown = "".join(output.get("text", "") for output in cell.outputs)
        if 'alt="A straight line that rises from 0 to 3."' not in shown:
            raise PlaceError(f"after the control moved, the page shows {shown[:200]!r}")

    return check


# Colab


def colab(shop: Workshop, published: Path | None = None) -> Start:
    """One notebook in an empty folder; the repository is reached at a local address of git."""
    content = shop.new("content")
    env = BASE | dict.fromkeys(HOME_FOLDERS)
    env |= {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{(published or shop.checkout()).as_uri()}.insteadOf",
        "GIT_CONFIG_VALUE_0": f"https://github.com/{links.repository(ROOT)}",
        "HOME": str(shop.new("home")),
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "PYTHONPATH": str(TESTS / "colab"),
    }
    return Start((str(shop.environment("colab")),), content, content, env)


def stand_in(shop: Workshop) -> None:
    run_in(Place("", colab), shop, small_lesson(shop, "import google.colab, google.protobuf"))


def no_repository(shop: Workshop) -> str:
    nowhere = Place("", lambda shop: colab(shop, shop.folder / "nowhere"))
    says = ("cell `setup`", "could not be fetched. Connect to the network", "git said: ")
    return must_fail(says, lambda: run_in(nowhere, shop, small_lesson(shop, "")))


# Binder


def binder(shop: Workshop) -> Start:
    """Binder's environment after postBuild, on one core and under Binder's limit of memory."""
    tree, python = shop.image()
    return two_gigabytes(one_core(Start((str(python),), tree, tree / "notebooks", BASE), shop), shop)


# What repo2docker acts on beside environment.yml and postBuild; a folder binder/ would even hide these.
ACTED_ON = ("binder", ".binder", "Dockerfile", "apt.txt", "runtime.txt", "setup.py", "Pipfile", "Pipfile.lock", "start")
ACTED_ON += ("install.R", "DESCRIPTION", "Project.toml", "REQUIRE", "default.nix")


def dockerfile(tree: Path, python: Path) -> None:
    """Raises PlaceError unless repo2docker would build the image that we want from this checkout."""
    said = call(python.with_name("jupyter-repo2docker"), "--no-build", "--debug", tree, cwd=tree.parent)
    wanted = (
        "Building conda environment for python=3.12\n",
        'env update -p ${NB_PYTHON_PREFIX} --file "environment.yml"',
        "RUN ./postBuild\n",
    )
    if missing := [line for line in wanted if line not in said]:
        raise PlaceError(f"the Dockerfile lacks {missing}:\n{said}")
    if stray := [name for name in ACTED_ON if (tree / name).exists()]:
        raise PlaceError(f"repo2docker would act on {stray}, which does not belong here")
    listed = yaml.safe_load((tree / "environment.yml").read_text("utf-8"))["dependencies"]
    if listed != ["python=3.12", "pip", {"pip": ["-r requirements.txt"]}]:
        raise PlaceError(f"environment.yml must list Python 3.12 and requirements.txt, it lists {listed}")


def good_image(shop: Workshop) -> None:
    dockerfile(shop.checkout(), shop.environment("repo2docker"))


def bad_images(shop: Workshop) -> str:
    whole = (shop.checkout() / "environment.yml").read_text("utf-8")
    spoilt = (
        ("binder/requirements.txt", "numpy\n", "the Dockerfile lacks"),
        ("environment.yml", None, "the Dockerfile lacks"),
        ("environment.yml", whole.replace("3.12", "3.10"), "the Dockerfile lacks"),
        (
            "environment.yml",
            whole.replace("-r requirements.txt", "numpy"),
            "must list Python 3.12 and requirements.txt",
        ),
        ("postBuild", None, "the Dockerfile lacks"),
        ("apt.txt", "git\n", "repo2docker would act on"),
    )
    for name, text, says in spoilt:
        tree = shop.new("spoilt") / "tree"
        shutil.copytree(shop.checkout(), tree, ignore=shutil.ignore_patterns(".git", "notebooks"))
        (tree / name).parent.mkdir(exist_ok=True)
        (tree / name).unlink(missing_ok=True)
        if text:
            (tree / name).write_text(text, "utf-8")
        must_fail((says,), lambda tree=tree: dockerfile(tree, shop.environment("repo2docker")))
    return f"seen: {', '.join(name for name, _, _ in spoilt)}"


# Unattended


def papermill(shop: Workshop, path: Path, *options: str, folder: Path | None = None) -> str:
    """Run papermill on the notebook at `path` as a reader would, in `folder` or else in the checkout.

    Raises PlaceError, with what it printed, where its exit code is not 0.
    """
    tree, python = shop.installed()
    folder = folder or tree
    if path.is_relative_to(ROOT):
        path = tree / path.relative_to(ROOT)
    values = []
    for name, value in reduced(path).items():  # `-p` gives numbers and text; the rest would arrive as text
        values += ["-y", yaml.safe_dump({name: value})] if isinstance(value, list | dict) else ["-p", name, str(value)]
    out = shop.new("out")
    removed = ("PYTHONPATH", "TWELVE_IDEAS_RUN", "VIRTUAL_ENV")
    env = {name: value for name, value in os.environ.items() if name not in removed}
    env["TWELVE_IDEAS_PROGRESS"] = str(out / "progress.json")
    name = os.path.relpath(path, folder)
    call(
        python,
        "-m",
        "papermill",
        "--no-progress-bar",
        name,
        out / "out.ipynb",
        *values,
        *options,
        cwd=folder,
        env=env,
        timeout=600,
    )
    return "exit code 0"


def from_any_folder(shop: Workshop) -> str:
    tree, _ = shop.installed()
    for folder in (tree, tree / "notebooks", shop.new("elsewhere")):
        papermill(shop, small_lesson(shop, "import helpers.lesson"), folder=folder)
    return "the root, notebooks/, another folder"


def failing_papermill(shop: Workshop) -> str:
    says = ('Exception encountered at "In [2]"', "planted_name / 0", "ended with exit code 1")
    return must_fail(says, lambda: papermill(shop, small_lesson(shop, "planted_name = 1\nplanted_name / 0")))


def hanging_papermill(shop: Workshop) -> str:
    path = small_lesson(shop, "import time\ntime.sleep(1000)")
    says = ("A cell timed out", "time.sleep(1000)", "ended with exit code 1")
    return must_fail(says, lambda: papermill(shop, path, "--execution-timeout", "3"))


def make_run(shop: Workshop) -> str:
    """Exit codes and names of `make run`: a lesson that is not there, one that fails, one that hangs."""
    tree, python = shop.installed()
    env = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}

    def run(*words):
        call(*words, cwd=tree, env=env, timeout=300)

    must_fail(("no lesson '99'", "exit code 2"), lambda: run("make", "run", "NB=99"))
    path = tree / "notebooks" / "99_planted.ipynb"
    shutil.copy(small_lesson(shop, "1 / 0"), path)
    must_fail(("FAILED 99_planted, cell `planted`: ZeroDiv", "exit code 2"), lambda: run("make", "run", "NB=99"))
    shutil.copy(small_lesson(shop, "while True: pass"), path)
    says = ("FAILED 99_planted, cell `planted`: stopped, it had not ended after 2 s", "exit code 1")
    must_fail(says, lambda: run(python, "tests/run.py", "--cell-timeout", "2", "run", "99"))
    path.unlink()
    return "seen: no such lesson, a failing one, a hanging one"


# Spoiled


USETEX = "import matplotlib\nassert not matplotlib.rcParams['text.usetex'], 'no LaTeX'"


def pass_is_remembered(shop: Workshop) -> None:
    """Raises PlaceError where a pass is lost, in a file that is named as a folder, or comes with more than its tick."""
    place = Place("", spoiled, silent=True)
    code = "from helpers.lesson import check, passed_exercises\nwith check('0.1'):\n    assert True\npassed_exercises()"
    outputs = run_in(place, shop, small_lesson(shop, code)).notebook.cells[1].outputs
    said, kept = outputs[0].text, outputs[-1].get("data", {}).get("text/plain", "")
    if said != "✓ Exercise 0.1: passed\n" or "'0.1'" not in kept:
        raise PlaceError(f"the check says {said!r}, and remembered is {kept}")


def limit_is_seen(shop: Workshop) -> str:
    """Raises PlaceError where the check of the installation passes over a limit of memory of the kernel's own."""
    group = memory_group(1)
    if not group:
        return "not tried: no control group can be made here"
    code = "from helpers.installation import check_memory\nprint(check_memory()[0].found)"
    command = ("sh", "-c", 'echo $$ >"$0" && exec "$@"', group / PROCESSES, sys.executable, "-c", code)
    said = call(*command, cwd=shop.checkout()).strip()
    if said != "1.0 GB":
        raise PlaceError(f"under a limit of 1 GB it finds {said}")
    return f"seen: {said}"


# All of it


CONDITIONS = {
    "odd-path": (
        "a path with spaces and Persian letters",
        None,
        Fault(
            "a path unquoted in a command",
            "import os\nassert not os.system(f'ls {os.getcwd()}'), 'no such path'",
            "no such path",
        ),
    ),
    "read-only": (
        "a read-only checkout",
        read_only,
        Fault("writes beside the notebook", "open('scratch.txt', 'w')", "Read-only file system"),
    ),
    "elsewhere": (
        "started from another folder",
        elsewhere,
        Fault("a path relative to the notebook", "open('../helpers/data.py')", "No such file"),
    ),
    "lang-c": (
        "LANG=C",
        lang_c,
        Fault("the locale's encoding", "import locale\n'é'.encode(locale.getencoding())", "can't encode"),
    ),
    "no-home": (
        "a home that is empty and read-only",
        no_home,
        Fault("writes to the home", "import pathlib\n(pathlib.Path.home() / '.mine').mkdir()", "Read-only file system"),
    ),
    "ascii": (
        "LANG=C, and Python held to it",
        ascii_only,
        Fault("no encoding named", "import helpers\nopen(helpers.__path__[0] + '/lesson.py').read()", "can't decode"),
    ),
}


def conditions(*names: str) -> Callable[[Workshop], Start]:
    """A start in a checkout, under all these conditions together."""

    def start(shop):
        begun = odd_path(shop) if "odd-path" in names else plain(shop)
        for condition in (CONDITIONS[name][1] for name in names):
            begun = condition(begun, shop) if condition else begun
        return begun

    return start


def versions(name: str, *more: Callable[[Start, Workshop], Start]) -> Callable[[Workshop], Start]:
    """A start beside the notebooks, in an environment that holds what requirements.txt asks for and no more."""

    def start(shop):
        tree = shop.checkout()
        begun = Start((str(shop.environment(name)),), tree, tree / "notebooks", BASE)
        for condition in more:
            begun = condition(begun, shop)
        return begun

    return start


SINGLE = {name: Place(about, conditions(name), (fault,)) for name, (about, _, fault) in CONDITIONS.items()}
SINGLE["settings"] = Place("what may spoil a lesson, as in the place spoiled, each cell once", spoiled, silent=True)
SINGLE["again"] = Place(
    "all cells, then all from the last to the first, as in the place spoiled", plain, again=True, silent=True
)
ALL_BUT_ASCII = tuple(name for name in CONDITIONS if name != "ascii")
INSTALLS = """import pathlib, sysconfig
folder = pathlib.Path(sysconfig.get_path("purelib"), "planted-1.0.dist-info")
folder.mkdir()
(folder / "METADATA").write_text("Metadata-Version: 2.1\\nName: planted\\nVersion: 1.0\\n")"""


def installing(shop: Workshop) -> str:
    python = MADE["kernel"].make(shop.new("kernel"))  # of its own, since others use Colab's at the same time
    place = Place("", lambda shop: replace(colab(shop), python=(str(python),)), keeps=True)
    return planted(place, shop, Fault("", INSTALLS, "what is installed has changed: planted==1.0"))


PLACES = {
    "colab": Place(
        "Colab's versions; one notebook in an empty folder; nothing is installed over what is there",
        colab,
        (
            Fault("a control of ipywidgets 8", "import ipywidgets\nipywidgets.TagsInput()", "'TagsInput'"),
            Fault("a module of IPython 8", "import IPython.core.guarded_eval", "No module named"),
            Fault("papermill", "import papermill", "No module named 'papermill'"),
        ),
        explorers=True,
        keeps=True,
        more=(
            ("google.colab beside what else is google's", stand_in),
            ("an explorer's figure follows", figures_follow(colab)),
            ("planted: the repository cannot be reached", no_repository),
            ("planted: installs something", installing),
        ),
    ),
    "binder": Place(
        f"what Binder installs, after postBuild, on one core, with {MEMORY_GB:g} GB of memory",
        binder,
        (
            Fault("holds 2.1 GB", "import time\nheld = b'x' * 2_100_000_000\ntime.sleep(5)", "memory"),
            Fault("needs two cores", "import os\nassert len(os.sched_getaffinity(0)) > 1, 'one core'", "one core"),
        ),
        more=(("the Dockerfile of repo2docker", good_image), ("planted: wrong files", bad_images)),
    ),
    "anywhere": Place(
        "the lock; all at once: " + ", ".join(CONDITIONS[name][0] for name in ALL_BUT_ASCII),
        conditions(*ALL_BUT_ASCII),
        parts=ALL_BUT_ASCII,
        more=tuple(
            (f"planted: {place.faults[0].about}", functools.partial(planted, place, fault=place.faults[0]))
            for place in (SINGLE[name] for name in ALL_BUT_ASCII)
        ),
    ),
    "oldest": Place(
        "the oldest versions that requirements.txt admits, Python 3.11; and text is ASCII unless said otherwise",
        versions("oldest", ascii_only),
        (
            Fault("a function of NumPy 2.1", "import numpy\nnumpy.unstack", "no attribute 'unstack'"),
            SINGLE["ascii"].faults[0],
        ),
        explorers=True,
        more=(("an explorer's figure follows", figures_follow(versions("oldest"))),),
    ),
    "newest": Place(
        "the newest versions that requirements.txt admits, Python 3.13",
        versions("newest"),
        (Fault("a function that NumPy 2.4 removed", "import numpy\nnumpy.in1d", "no attribute 'in1d'"),),
        explorers=True,
        more=(("an explorer's figure follows", figures_follow(versions("newest"))),),
    ),
    "spoiled": Place(
        "other helpers, settings of Keras, matplotlib, pip; no locks; all cells, then all from the last to the first",
        spoiled,
        (
            Fault(
                "the helpers of somebody else", "import sys\ndel sys.path[0]\nimport helpers.lesson", "somebody else"
            ),
            Fault(
                "Keras as the reader set it", "import keras\nimport helpers", "'backend': 'jax', 'floatx': 'float16'"
            ),
            Fault("figures as the reader set them", USETEX, "no LaTeX"),
            Fault(
                "a lock",
                "import fcntl, tempfile\nfcntl.flock(tempfile.TemporaryFile(), 1)",
                "this file system has no locks",
            ),
            Fault(
                "a cell that cannot be run twice", "first = 'first' not in globals()\nassert first, 'twice'", "twice"
            ),
            Fault("a warning", "import warnings\nwarnings.warn('look here')", "look here"),
        ),
        again=True,
        silent=True,
        parts=("settings", "again"),
        more=(("a pass is remembered", pass_is_remembered), ("a limit of 1 GB is seen", limit_is_seen)),
    ),
    "unattended": Place(
        "papermill, called in the folder of the checkout",
        None,
        more=(
            ("papermill from any folder", from_any_folder),
            ("planted: a failing cell", failing_papermill),
            ("planted: a hanging cell", hanging_papermill),
            ("planted: make run", make_run),
        ),
    ),
}


# --- the command line -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """One line of the report."""

    place: str
    what: str
    action: Callable[[], str | None]


def tasks(names: list[str], paths: list[Path], shop: Workshop, spread: bool = False) -> list[Task]:
    """What is to be tried in these places: their faults and facts, then the lessons.

    With `spread`, each lesson is run in one of the places only, by its number.
    """
    found = []
    for index, name in enumerate(names):
        here = [path for path in paths if not spread or int(path.stem[:2]) % len(names) == index]
        place = (PLACES | SINGLE)[name]
        found += [Task(name, what, functools.partial(check, shop)) for what, check in place.more]
        found += [
            Task(name, f"planted: {fault.about}", functools.partial(planted, place, shop, fault))
            for fault in place.faults
        ]
        found += [Task(name, path.stem, functools.partial(lesson_in, place, shop, path)) for path in here]
    return found


def attempt(task: Task) -> tuple[Task, float, str, str]:
    """(task, seconds, remark, what went wrong)."""
    start = time.monotonic()
    try:
        remark, wrong = task.action() or "", ""
    except (LessonError, PlaceError, subprocess.TimeoutExpired) as error:
        remark, wrong = "", f"{error}\n{getattr(error, 'trace', '')}".rstrip()
    return task, time.monotonic() - start, remark, wrong


def report(todo: list[Task], jobs: int) -> list[str]:
    """Do the tasks, so many at a time, and print a line for each as it ends. Returns what went wrong."""
    wrong = []
    with ThreadPoolExecutor(jobs) as pool:
        try:
            for done in as_completed([pool.submit(attempt, task) for task in todo]):
                task, seconds, remark, why = done.result()
                line = f"{'✗' if why else '✓'} {task.place:<11}{task.what:<45}{seconds:4.0f} s"
                print(f"{line}  {(why or remark).splitlines()[0][:110] if why or remark else ''}".rstrip(), flush=True)
                wrong += [f"{task.place} · {task.what}: {why}"] if why else []
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
            raise
    return wrong


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("places", nargs="*", metavar="PLACE", help=f"of {', '.join(PLACES | SINGLE)}")
    parser.add_argument("--lessons", nargs="+", default=[], help="03, 03_gradient_descent or a path; all when left out")
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time (default 2)")
    parser.add_argument("--spread", action="store_true", help="each lesson in one place only, in turn: quicker")
    parser.add_argument("--list", action="store_true", help="say what places there are")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.places if name not in PLACES | SINGLE]:
        parser.error(f"there is no place {', '.join(unknown)}. The places: {', '.join(PLACES | SINGLE)}")
    try:
        paths = [lessons.find(name) for name in options.lessons] or lessons.lessons()
    except ValueError as error:
        parser.error(str(error))
    if options.list:
        for name, place in (PLACES | SINGLE).items():
            print(f"{name:<12}{place.about}{'' if name in PLACES else ' (when named)'}")
        return 0
    if sys.platform != "linux":
        parser.error("this needs Linux: the lessons' own tests, `make test`, run everywhere")

    start = time.monotonic()
    # Called by `make test-places VENV=…`, the `make` of a checkout would else look for that environment, too.
    for name in ("MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS", "VENV"):
        os.environ.pop(name, None)
    # Lessons run side by side: threads of linear algebra that wait for one another cost more than they bring.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # to end as Ctrl-C does
    print(f"Limit of memory: {'a control group of the kernel' if memory_group() else 'a meter, five times a second'}")
    with tempfile.TemporaryDirectory(prefix="places-", ignore_cleanup_errors=True) as folder:
        todo = tasks(options.places or list(PLACES), paths, Workshop(Path(folder)), options.spread)
        try:
            wrong = report(todo, options.jobs)
        except KeyboardInterrupt:
            print("Interrupted.", file=sys.stderr)
            return 130
        finally:
            remove_groups()
    for line in wrong:
        print(f"\nFAILED {line}", file=sys.stderr)
    minutes = (time.monotonic() - start) / 60
    print(f"\n{len(todo) - len(wrong)} of {len(todo)} as they must be, in {minutes:.1f} minutes")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
