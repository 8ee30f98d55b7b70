"""`make links`: one line says where the repository is published, and everything that names it agrees."""

import os
import shutil
import subprocess
import sys

import lessons
import links
import pytest


@pytest.fixture
def course(tmp_path):
    """A copy of what names the address: pyproject.toml, README.md, two lessons."""
    (tmp_path / "notebooks").mkdir()
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(lessons.ROOT / name, tmp_path)
    for path in lessons.lessons()[:2]:
        shutil.copy(path, tmp_path / "notebooks")
    links.write(tmp_path, "someone/course")
    return tmp_path


def files(root):
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_all_lessons_agree_with_pyproject():
    wrong = links.write(lessons.ROOT, links.repository(lessons.ROOT), check=True)
    assert not wrong, f"run `make links`, which mends {', '.join(path.name for path in wrong)}"


def test_the_address_is_written_everywhere_and_a_second_time_changes_nothing(course):
    stamps = {path: lessons.stamp(lessons.read(path)) for path in course.glob("notebooks/*.ipynb")}
    assert len(links.write(course, "new-owner/Other.name")) == 4
    assert links.repository(course) == "new-owner/Other.name"
    for path, stamp in stamps.items():
        nb, text = lessons.read(path), path.read_text("utf-8")
        assert nb.cells[0].source.count(links.badges("new-owner/Other.name", path.name)) == 1
        assert 'REPOSITORY = "https://github.com/new-owner/Other.name"\n' in nb.cells[2].source
        assert text.count("new-owner/Other.name") == 3 and "someone/course" not in text
        assert lessons.stamp(nb) == stamp, "the address is no reason to run a lesson again"
    readme = (course / "README.md").read_text("utf-8")
    assert readme.count("new-owner/Other.name") == 2 and "someone/course" not in readme
    before = files(course)
    assert links.write(course, "new-owner/Other.name") == []
    assert files(course) == before


def test_the_readme_says_that_its_links_are_dead_while_they_are(course):
    readme = course / "README.md"
    for repo, says in (("OWNER/course", 1), ("OWNER/other", 1), ("someone/course", 0), ("OWNER/course", 1)):
        links.write(course, repo)
        text = readme.read_text("utf-8")
        assert text.count(f"{links.badges(repo, '00_start_here.ipynb')}{links.NOTE if says else ''}\n") == 1
        assert text.count("lead nowhere yet") == text.count("`make links REPO=owner/name`") == says


def test_outputs_and_the_rest_stay(course):
    path = lessons.find("0")
    before, after = lessons.read(path), lessons.read(course / "notebooks" / path.name)
    for nb in (before, after):
        nb.cells[0].source = links.BADGES.sub("", nb.cells[0].source)
        nb.cells[2].source = ""
    assert before == after


@pytest.mark.parametrize("name", ["pyproject.toml", "README.md", lessons.lessons()[0].name])
def test_check_names_a_file_that_disagrees_and_changes_nothing(course, name, capsys):
    path = next(course.rglob(name))
    if name == "pyproject.toml":
        path.write_text(path.read_text("utf-8").replace("someone/course", "someone/else"), "utf-8")
    else:
        text = path.read_text("utf-8")
        path.write_text(text.replace("mybinder.org/v2/gh/someone", "mybinder.org/v2/gh/other"), "utf-8")
    before = files(course)
    assert links.main(["--check"], course) == 1
    assert f"{name} does not name someone" in capsys.readouterr().out or name == "pyproject.toml"
    assert files(course) == before
    assert links.main([], course) == 0 == links.main(["--check"], course)


def test_a_setup_cell_of_its_own_is_found(course):
    path = next(course.glob("notebooks/01*.ipynb"))
    nb = lessons.read(path)
    nb.cells[2].source += "\nimport this"
    lessons.write(nb, path)
    assert links.write(course, "someone/course", check=True) == [path]


@pytest.mark.parametrize(
    "repo", ["", "course", "a/b/c", "https://github.com/a/b", "a b/c", "a/b.git", "-a/b", "a/..", "a/b\nc", "a/b;c"]
)
def test_a_wrong_address_is_refused_in_plain_words(course, repo, capsys):
    before = files(course)
    with pytest.raises(SystemExit) as caught:
        links.main([f"--repo={repo}"], course)
    assert caught.value.code == 2 and "must be given as owner/name" in capsys.readouterr().err
    assert files(course) == before


def test_a_lesson_without_its_links_is_named_and_nothing_is_written(course):
    path = next(course.glob("notebooks/01*.ipynb"))
    nb = lessons.read(path)
    nb.cells[0].source = links.BADGES.sub("", nb.cells[0].source)
    lessons.write(nb, path)
    before = files(course)
    with pytest.raises(ValueError, match=f"{path.name} must have"):
        links.write(course, "other/name")
    assert files(course) == before


# What the cell does


def setup(folder, before="import sys; sys.path.remove('')", **env):
    """Run the cell in `folder`, with a Python that has no packages; returns how that process ended.

    `before`: code that runs first; unless given, the folder itself is not looked at for modules.
    """
    code = f"{before}\n{links.setup('someone/course')}\nprint(find_spec('helpers.lesson').origin)"
    command = [sys.executable, "-S", "-c", code]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, encoding="utf-8", timeout=60)


def instead(address):
    """Environment variables with which git looks for someone/course at another address."""
    git = {"KEY_0": f"url.{address}.insteadOf", "VALUE_0": "https://github.com/someone/course", "COUNT": "1"}
    return {f"GIT_CONFIG_{key}": value for key, value in git.items()} | {"PATH": os.environ["PATH"]}


def course_alone(folder):
    """Write the least that the cell takes for the course's helpers; returns their lesson.py."""
    (folder / "helpers").mkdir(parents=True)
    for name in ("__init__.py", "lesson.py"):
        (folder / "helpers" / name).touch()
    return folder / "helpers" / "lesson.py"


def test_setup_finds_the_course_around_it(tmp_path):
    wanted = course_alone(tmp_path)
    (tmp_path / "notebooks").mkdir()
    for folder in (tmp_path / "notebooks", tmp_path):
        assert setup(folder).stdout.strip() == str(wanted)


def test_setup_finds_the_course_where_python_looks(tmp_path):
    wanted = course_alone(tmp_path / "course")
    (tmp_path / "alone").mkdir()
    assert setup(tmp_path / "alone", PYTHONPATH=str(tmp_path / "course")).stdout.strip() == str(wanted)


@pytest.mark.parametrize("other", ["helpers.py", "helpers/__init__.py", "helpers/data.py"])
def test_setup_passes_over_another_module_of_the_name(tmp_path, other):
    wanted = course_alone(tmp_path)
    for folder in (tmp_path / "notebooks", tmp_path / "elsewhere"):
        (folder / other).parent.mkdir(parents=True)
        (folder / other).write_text("1 / 0")
    path = {"PYTHONPATH": str(tmp_path / "elsewhere")}
    assert setup(tmp_path / "notebooks", before="", **path).stdout.strip() == str(wanted)


def test_setup_names_another_module_that_is_loaded(tmp_path):
    course_alone(tmp_path)
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "helpers.py").touch()
    done = setup(tmp_path / "notebooks", before="import helpers")
    assert done.returncode == 1 and "RuntimeError: Another module called helpers is in use" in done.stderr
    assert f"{tmp_path / 'notebooks' / 'helpers.py'}. Rename it, and restart the kernel." in done.stderr


def test_setup_can_be_run_again(tmp_path):
    wanted = course_alone(tmp_path)
    assert setup(tmp_path, before=links.setup("someone/course")).stdout.strip() == str(wanted)


def test_setup_fetches_the_course_once(tmp_path):
    published, alone = tmp_path / "published", tmp_path / "alone"
    course_alone(published)
    alone.mkdir()
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message=all"]):
        subprocess.run([*git, *command], cwd=published, check=True)
    for env in (instead(published.as_uri()), instead("file:///nowhere")):
        done = setup(alone, **env)
        assert done.stdout.strip() == str(alone / "deep-learning-in-twelve-ideas" / "helpers" / "lesson.py"), done


@pytest.mark.parametrize("env", [instead("file:///nowhere"), {"PATH": ""}], ids=["no such address", "no git"])
def test_setup_says_what_to_do_when_fetching_fails(tmp_path, env):
    done = setup(tmp_path, **env)
    assert done.returncode == 1
    assert "RuntimeError: The helpers of this lesson could not be fetched. Connect to the network" in done.stderr
    assert "git said: " in done.stderr and list(tmp_path.iterdir()) == []
