"""Every lesson keeps every rule; and every rule is seen to find the error it is for."""

import base64
import struct

import lessons
import nbformat
import pytest
import rules
from fixtures.clean import NAME
from rules import by_id

from helpers.lesson import LESSONS


@pytest.fixture
def path(tmp_path):
    """Where the clean lesson lies: beside the lessons that it links to."""
    for neighbour in (LESSONS[0], LESSONS[2]):
        (tmp_path / neighbour.file).touch()
    return tmp_path / NAME


@pytest.mark.parametrize("path", lessons.lessons(), ids=lambda path: path.stem)
@pytest.mark.parametrize("rule", rules.RULES, ids=lambda rule: rule.__name__)
def test_lesson(rule, path):
    complaints = rule(lessons.read(path), path)
    assert not complaints, "\n".join(complaints)


def test_setup_is_the_same_everywhere():
    setups = {by_id(lessons.read(path))["setup"].source for path in lessons.lessons()}
    assert len(setups) <= 1, "\n\n".join(["the cell `setup` differs between lessons: make it the same", *setups])


def edit(id, old, new):
    """A planted error: `old` replaced by `new` in the source of one cell."""

    def plant(nb):
        assert old in by_id(nb)[id].source, f"nothing to replace in {id}"
        by_id(nb)[id].source = by_id(nb)[id].source.replace(old, new)

    return plant


def drop(*ids):
    """A planted error: cells missing."""

    def plant(nb):
        nb.cells = [cell for cell in nb.cells if cell.id not in ids]

    return plant


def output(text, mime="text/plain", id="mean"):
    """A planted error: one more stored output."""
    shown = nbformat.v4.new_output("display_data", {mime: text})
    return lambda nb: by_id(nb)[id].outputs.append(shown)


def printed(name, text):
    return lambda nb: by_id(nb)["mean"].outputs.append(nbformat.v4.new_output("stream", name=name, text=text))


def code(source, id="mean"):
    """A planted error: other code in a cell."""
    return lambda nb: by_id(nb)[id].update(source=source)


def say(text):
    """A planted error: one more paragraph of prose."""
    return lambda nb: by_id(nb)["about-mean"].update(source=by_id(nb)["about-mean"].source + f"\n\n{text}")


def meta(id=None, **entries):
    return lambda nb: (by_id(nb)[id] if id else nb).metadata.update(entries)


def rename(old, new):
    return lambda nb: by_id(nb)[old].update(id=new)


def swap(nb):
    """A planted error: two cells before `seed` and two before the help of an exercise changed about."""
    for id in ("seed", "exercise-2-help"):
        at = [cell.id for cell in nb.cells].index(id)
        nb.cells[at], nb.cells[at - 1] = nb.cells[at - 1], nb.cells[at]


def image(alt='alt="A square that is entirely black."', width=100):
    png = base64.b64encode(b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, 9) + b"12345678").decode()
    return f'<img {alt} src="data:image/png;base64,{png}">'


def add(count, make, text):
    return lambda nb: nb.cells.extend(make(text, id=f"more-{k}") for k in range(count))


md, py = nbformat.v4.new_markdown_cell, nbformat.v4.new_code_cell

# rule, planted error, what the complaint must say
PLANTED = [
    ("head", edit("head", "# 1 ·", "# 2 ·"), "must have the id `head` and begin"),
    ("head", say("# Another title"), "exactly one heading of level 1"),
    ("head", edit("head", "?**", "**"), "question"),
    ("head", edit("head", f"notebooks/{NAME})\n[", "notebooks/other.ipynb)\n["), "Colab badge"),
    ("head", edit("head", "mybinder.org/v2", "example.org"), "Binder badge"),
    ("head", edit("head", "- draw a line\n", ""), "it lists 2"),
    ("head", edit("head", "Before this", "Before"), "*Before this* is missing"),
    ("opening", drop("cost"), "must open with the cells"),
    ("opening", swap, "must open with the cells"),
    ("opening", edit("cost", "0.2 GB", "little"), "minutes and memory"),
    ("opening", edit("setup", "\n", "\n\n\n\n"), "at most 18"),
    ("parameters", meta("parameters", tags=[]), "is missing"),
    ("parameters", edit("parameters", "SAMPLES = 1_000", "SAMPLES = 10 * SEED"), "plain literal"),
    ("parameters", edit("parameters", "SAMPLES = 1_000", "print(1_000)"), "plain assignment"),
    ("parameters", edit("parameters", "# random numbers drawn", ""), "needs a comment"),
    ("parameters", edit("parameters", "SEED", "START"), "must be SEED"),
    ("parameters", edit("seed", "SEED", "0"), "must seed the random numbers"),
    ("size", add(80, md, "Word."), "cells: 40 to 120"),
    ("size", say("word " * 6_000), "words of prose"),
    ("size", drop("about-exact-1", "about-exact-2", "exercise-1", "exercise-2", "exercise-3"), "words of prose"),
    ("size", add(30, py, "x = 1"), "at least as many"),
    ("open_code", code("x = 1\n" * 15, "exact-1"), "15 lines of open code"),
    ("open_code", code(f"x = '{'x' * 83}'", "exact-1"), "has 89 characters"),
    ("open_code", code("show(fig, alt)", "exact-1"), "it calls show"),
    ("open_code", add(20, py, "x = 1\n" * 8), "lines of open code, at most 150"),
    ("machinery", meta("mean", tags=[]), "has not the tag"),
    ("machinery", meta("mean", cellView=None), "must be folded"),
    ("machinery", meta("mean", jupyter={}), "must be folded"),
    ("machinery", edit("mean", "# @title Compares", "# compares"), "must say what it does"),
    ("machinery", edit("mean", "range\n", "range.\n"), "must say what it does"),
    ("machinery", code("# @title Counts to forty\n" + "x = 1\n" * 40), "41 lines of machinery"),
    ("parts", edit("second-part", "Part 2", "Part 3"), "found: [1, 3]"),
    ("parts", edit("second-part", "## Part 2 · More", "### More"), "found: [1]"),
    ("parts", drop("exercise-1", "exercise-2"), "the part before Part 2 has no exercise"),
    ("checks_look", edit("exercise-1-check", "    assert", "    if times1:\n        assert"), "may all be passed over"),
    ("checks_look", edit("exercise-1-check", "    assert", "    for x in times1(5):\n        assert"), "passed over"),
    ("checks_look", edit("exercise-1-check", "times1(5) == 5", "True"), "passed over"),
    ("cell_ids", rename("mean", "Mean_1"), "kebab case"),
    ("cell_ids", rename("mean", "1f3a9c02"), "kebab case"),
    ("cell_ids", rename("mean", "a1f3a9c0"), "kebab case"),
    ("cell_ids", rename("mean", "cell-12"), "kebab case"),
    ("cell_ids", rename("mean", "seed"), "two cells"),
    ("cell_ids", lambda nb: nb.update(nbformat_minor=4), "4.5"),
    ("heading_order", say("##### Deep"), "make it level"),
    ("exercises", drop("exercise-1"), "exercises: LESSONS says"),
    ("exercises", swap, "must follow one another"),
    ("exercises", edit("exercise-2", "### Exercise 1.2 ·", "### Exercise 2:"), "the heading must be"),
    ("exercises", edit("exercise-2-attempt", "raise NotImplementedError", "return 2 * number"), "stub must"),
    ("exercises", edit("exercise-2-check", "1.2", "1.3"), "must hold `with check"),
    ("exercises", edit("exercise-2-help", "Hint", "Help"), "Hint and Solution"),
    ("exercises", edit("exercise-2-help", "```python", "```"), "exactly one ```python"),
    ("explorers", code("pass", "line-1"), "at least 2"),
    ("quiz", drop("quiz-2"), "quiz-1 …"),
    ("quiz", edit("quiz-2", "<details><summary>C", "<p><summary>C"), "at least 3"),
    ("quiz", edit("quiz-2", "B. ", ""), "must begin `B. `"),
    ("quiz", edit("quiz-2", "**Right.** It lies", "It lies"), "must say"),
    ("quiz", edit("quiz-2", "</summary>\n\n", "</summary> "), "after a blank line"),
    ("quiz", edit("quiz-2", "**Right.**", "**Wrong.**"), "0 options are right"),
    ("ending", edit("take-aways", "## Take-aways\n\n- A", "## Take-aways\n\nA"), "it lists 4"),
    ("ending", edit("sources", "second", "2nd"), "'second' is missing"),
    ("ending", edit("sources", "00_start_here", "00_begin"), "the link to lesson 0"),
    ("counts", lambda nb: by_id(nb)["mean"].update(execution_count=99), "1…n"),
    ("counts", lambda nb: [cell.update(outputs=[]) for cell in rules.cells(nb, "code")], "no outputs"),
    ("outputs_clean", printed("stderr", "careful"), "is stderr"),
    ("outputs_clean", output("iVBOR", "image/png"), "without its text"),
    ("outputs_clean", output(image(), "text/html"), "as HTML only"),
    ("outputs_clean", output("<svg></svg>", "image/svg+xml"), "helpers.plotting.show"),
    ("outputs_clean", output("{}", "application/vnd.jupyter.widget-view+json"), "widget"),
    ("outputs_clean", printed("stdout", "FutureWarning: soon"), "a warning"),
    ("outputs_clean", printed("stdout", "saved /home/someone/x"), "path of one machine"),
    ("outputs_clean", output("<Line2D object at 0x7f2a11>"), "address"),
    (
        "outputs_clean",
        lambda nb: by_id(nb)["mean"].outputs.append(nbformat.v4.new_output("error", ename="E", evalue="bad")),
        "is error",
    ),
    ("metadata_clean", meta(papermill={}), "metadata.papermill"),
    ("metadata_clean", meta(widgets={}), "metadata.widgets"),
    ("metadata_clean", meta("mean", execution={}), "metadata.execution"),
    ("metadata_clean", meta("mean", tags=["injected-parameters"]), "injected"),
    ("metadata_clean", meta(kernelspec={"name": "mine"}), "python3"),
    ("metadata_clean", output("x" * 1_000_000), "under 1 MB"),
    ("stamp_fresh", code("2 + 2"), "code has changed"),
    ("alternative_text", output(image(alt=""), "text/html"), "must say what it shows"),
    ("alternative_text", output(image(alt='alt="A figure"'), "text/html"), "must say what it shows"),
    ("alternative_text", output(image(width=800), "text/html"), "800 pixels"),
    ("alternative_text", say("![short](picture.png)"), "20 characters"),
    ("figures_explained", drop("look-1", "about-line-2"), "not followed by prose"),
    ("offline", code("import urllib.request"), "uses the network"),
    ("offline", code('path = "http://example.org"'), "uses the network"),
    ("offline", say("```python\n!pip install x\n```"), "uses the network"),
    ("local_links", say("[lost](../nowhere.md)"), "does not exist"),
    ("local_links", say("[lost](#no-such-part)"), "no such heading"),
    ("local_links", output('<a href="nowhere.ipynb">lost</a>', "text/html"), "does not exist"),
    ("banned_words", say("It is simply so."), "'simply'"),
    ("exact_cells", meta("exact-1", tags=[]), "at least 3"),
    ("exact_cells", lambda nb: by_id(nb)["exact-1"].update(outputs=[]), "no output"),
    ("exact_cells", meta("line-1", tags=["nbval-check-output"]), "figure"),
    ("measured_claims", edit("mean", ", reduced=(0.2, 0.8)", ""), "no `measured("),
    ("numbers_computed", say("It reaches 97.8 % in the end."), "'97.8 %'"),
    ("numbers_computed", say("It costs 0.123 of a second."), "'0.123'"),
    ("numbers_computed", say("It lies between 0.4 and 61 %."), "'61 %'"),
    ("numbers_computed", edit("quiz-1", "half-way", "0.77 of the way"), "'0.77'"),
]


@pytest.fixture
def tables(monkeypatch):
    """The clean lesson's rows in the tables of seeds and costs, to plant errors in."""
    rows = [{"lesson": "01", "name": "mean of the draws", "seed": str(k), "value": "0.5"} for k in range(5)]
    cost = {"run_seconds": 60, "worst_cell": "mean", "worst_cell_seconds": 5, "peak_memory_gb": 0.2}
    content = {"seeds.csv": rows, "costs.json": {NAME.removesuffix(".ipynb"): cost}}
    monkeypatch.setattr(rules, "table", content.get)
    return content


@pytest.mark.parametrize("rule", rules.RULES, ids=lambda rule: rule.__name__)
def test_clean_lesson_keeps(rule, clean, path, tables):
    assert rule(clean, path) == []


@pytest.mark.parametrize("name, plant, says", PLANTED, ids=[f"{name}: {says}" for name, _, says in PLANTED])
def test_planted_error_is_found(name, plant, says, clean, path):
    plant(clean)
    complaints = getattr(rules, name)(clean, path)
    assert any(says in complaint for complaint in complaints), complaints
    assert all(complaint.startswith(f"{NAME} · `") for complaint in complaints)


def test_planted_seeds_are_found(clean, path, tables):
    rows = tables["seeds.csv"]
    rows[0]["value"] = "0.7"
    assert "is 0.7 with seed 0, outside 0.4 to 0.6" in rules.seeds(clean, path)[0]
    rows.pop()
    assert "needs 5 seeds" in rules.seeds(clean, path)[0]
    rows.append({"lesson": "01", "name": "old", "seed": "0", "value": "1"})
    assert "has 'old', which the lesson does not measure" in rules.seeds(clean, path)[0]


def test_planted_costs_are_found(clean, path, tables):
    tables["costs.json"][path.stem]["worst_cell_seconds"] = 41
    assert "worst_cell_seconds is 41, at most 40" in rules.budget(clean, path)[0]
    by_id(clean)["mean"].source = "model.fit(x, y)"
    assert rules.budget(clean, path) == []
    tables["costs.json"][path.stem]["worst_cell_seconds"] = 76
    assert "worst_cell_seconds is 76, at most 75" in rules.budget(clean, path)[0]
    tables["costs.json"].clear()
    assert "run `make run`" in rules.budget(clean, path)[0]


def test_every_rule_has_a_planted_error():
    planted = {name for name, _, _ in PLANTED} | {"seeds", "budget"}
    assert planted == {rule.__name__ for rule in rules.RULES}


def test_what_numbers_in_prose_may_mean():
    found = dict(rules.numbers_in("97–98.5 % of 60,000 in 1.5e-3 s, −0.5, from 3 to 4"))
    assert found["97 %"] == {97.0, 0.97} and found["98.5 %"] == {98.5, 0.985}
    assert found["60,000"] == {60000.0} and found["1.5e-3"] == {0.0015} and found["0.5"] == {0.5} and found["3"] == {3}


def test_the_stored_check_of_the_installation_found_nothing_wrong():
    output = by_id(lessons.read(lessons.find("00")))["installation"].outputs[0].data["text/html"]
    assert "Everything is in place." in output, "run lesson 0 again in an environment made by `make lab`"
