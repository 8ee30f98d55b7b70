"""`make links REPO=owner/name`: where this repository is published, written wherever a link needs it.

`Repository` in pyproject.toml is the one line that says it. From there it goes into each lesson's links to Colab and
Binder, the links of the README, and the cell `setup` of each lesson, which fetches the helpers on Colab.

    python tests/links.py [--repo owner/name]    write them all; without --repo, for the address that stands there
    python tests/links.py --check                change nothing; exit code 1, naming the files, where one disagrees
"""

import argparse
import re
import sys
import tomllib
from pathlib import Path

import lessons

SETUP = """# @title Finds the course's helpers
import sys
from importlib.util import find_spec
from pathlib import Path
from subprocess import getstatusoutput

REPOSITORY = "{address}"
root = Path("deep-learning-in-twelve-ideas").absolute()  # fetched where a notebook is on its own, as on Colab
places = [Path.cwd(), *Path.cwd().parents, root, *map(Path, sys.path)]
near = [folder for folder in places if (folder / "helpers" / "lesson.py").is_file()]
failed, said = (0, "") if near else getstatusoutput(f"git clone --depth=1 {REPOSITORY} {root.name}")
if failed:
    advice = "Connect to the network and run this cell again, or open the lesson in a copy of the whole course."
    raise RuntimeError(f"The helpers of this lesson could not be fetched. {advice}\\ngit said: {said}")
sys.path.insert(0, str((near or [root])[0]))  # before any other module of that name
found = str(find_spec("helpers").origin)
if not (Path(found).parent / "lesson.py").is_file():
    raise RuntimeError(f"Another module called helpers is in use: {found}. Rename it, and restart the kernel.")"""
# In the README, behind its links, for as long as nobody has said where the course is published.
PLACEHOLDER = "OWNER/"
NOTE = """\n
*These two links, and those in the lessons, lead nowhere yet: this copy does not know where it is published. The command
`make links REPO=owner/name`, with the owner and the name of the repository on GitHub, tells it and takes this away.*"""
LINE = re.compile(r'^Repository = "https://github\.com/([^"]*)"$', re.MULTILINE)
BADGES = re.compile(r"\[Open in Colab\]\([^)\s]*/([\w.-]+\.ipynb)\) · \[Open in Binder\]\([^)\s]*\)")


def setup(repo: str) -> str:
    """The source of every lesson's cell `setup`, for the repository `owner/name`."""
    return SETUP.replace("{address}", f"https://github.com/{repo}")


def badges(repo: str, notebook: str) -> str:
    """The line of links that opens a lesson, `notebook` its file name, on Colab and on Binder."""
    colab = f"https://colab.research.google.com/github/{repo}/blob/main/notebooks/{notebook}"
    binder = f"https://mybinder.org/v2/gh/{repo}/HEAD?urlpath=lab/tree/notebooks/{notebook}"
    return f"[Open in Colab]({colab}) · [Open in Binder]({binder})"


def repository(root: Path) -> str:
    """`owner/name`, as `Repository` in pyproject.toml says. Raises ValueError where that is no address on GitHub."""
    address = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]["urls"]["Repository"]
    return checked(address.removeprefix("https://github.com/"))


def checked(repo: str) -> str:
    """`repo`, if it has the form owner/name, in the letters that GitHub admits. Raises ValueError otherwise."""
    if not re.fullmatch(r"[A-Za-z0-9](-?[A-Za-z0-9])*/[A-Za-z0-9._-]+", repo) or repo.endswith((".git", "/.", "/..")):
        raise ValueError(
            f"The repository must be given as owner/name, as in its address https://github.com/owner/name, not {repo!r}"
        )
    return repo


def write(root: Path, repo: str, check: bool = False) -> list[Path]:
    """Make everything under `root` name the repository `owner/name`. Returns the files that did not; with `check`,
    they stay as they are.

    Outputs and stamps of lessons stay: the cell `setup` counts in neither (see `lessons.code_hash`). Raises ValueError,
    before anything is written, for a wrong `repo`, a pyproject.toml without its line, or a lesson without its links.
    """
    checked(repo)
    changed = {}  # path -> text, or notebook

    def text(path, new):
        if path.read_text("utf-8") != new:
            changed[path] = new

    def at(found):
        return badges(repo, found[1]) + (NOTE if repo.startswith(PLACEHOLDER) else "")

    pyproject, readme = root / "pyproject.toml", root / "README.md"
    new, lines = LINE.subn(f'Repository = "https://github.com/{repo}"', pyproject.read_text("utf-8"))
    if lines != 1:
        raise ValueError('pyproject.toml must have one line `Repository = "https://github.com/owner/name"`')
    text(pyproject, new)
    text(readme, BADGES.sub(at, readme.read_text("utf-8").replace(NOTE, "")))
    for path in sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        nb = lessons.read(path)
        cells = {cell.get("id"): cell for cell in nb.cells}
        if not {"head", "setup"} <= cells.keys() or len(BADGES.findall(cells["head"].source)) != 1:
            line = badges("owner/name", path.name)
            raise ValueError(f"{path.name} must have a cell `setup`, and in its cell `head` one line {line}")
        sources = {"head": BADGES.sub(badges(repo, path.name), cells["head"].source), "setup": setup(repo)}
        if any(cells[id].source != source for id, source in sources.items()):
            for id, source in sources.items():
                cells[id].source = source
            changed[path] = nb
    for path, new in changed.items() if not check else ():
        lessons.write_text(path, new) if isinstance(new, str) else lessons.write(new, path)
    return list(changed)


def main(arguments: list[str] | None = None, root: Path = lessons.ROOT) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repo", help="owner/name on GitHub (default: what pyproject.toml says)")
    parser.add_argument("--check", action="store_true", help="change nothing, and say which files disagree")
    options = parser.parse_args(arguments)
    try:
        repo = checked(options.repo) if options.repo is not None else repository(root)
        changed = write(root, repo, options.check)
    except ValueError as error:
        parser.error(str(error))
    for path in changed:
        print(f"{path.relative_to(root)} {'does not name' if options.check else 'now names'} {repo}")
    if options.check and changed:
        print("To mend them all: make links", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
