"""Checks tell right from wrong, and explorers answer: each lesson is run once, its exercises solved in many ways."""

import functools
import json
import re
import tempfile
from pathlib import Path

import lessons
import nbformat
import pytest
import rules
import yaml
from test_reduced import TESTS, reduced_parameters

EXPLORER_SECONDS = 0.3
# A redraw that is too slow may be other work on the machine: it must be so three times running.
SWEEP = f"""import json
from helpers.explorer import sweep
for tries_left in (2, 1, 0):
    try:
        print(json.dumps(sweep(limit={EXPLORER_SECONDS})))
        break
    except AssertionError:
        if not tries_left:
            raise"""


LEAST = {"wrong": 3, "right": 1}


def answers(path):
    """Answers to a lesson's exercises: {"wrong": …, "right": …}, each a dict from k ("1", …) to a list.

    Wrong ones, {why, code, says}, are the typical slips, an answer that ignores its inputs, one that is right by
    accident. Right ones, {why, code}, are of another kind than the solution.
    """
    return {kind: _answers(TESTS / f"{kind}_answers" / f"{path.stem[:2]}.yml") for kind in LEAST}


def _answers(file):
    return {str(k): found for k, found in yaml.safe_load(file.read_text("utf-8")).items()} if file.exists() else {}


def solved(nb, given):
    """A copy of a lesson in which every exercise is tried with its solution and its right and wrong answers.

    After `exercise-k-check` come cells `exercise-k-try-solution`, `exercise-k-try-right-1`, `exercise-k-try-wrong-1` …
    each with the check again; then the stub once more, so that nothing leaks into what follows. They may fail: the
    outputs tell. The last cell, `sweep`, moves every explorer. `given`: what `answers` returns.
    """
    copy = nbformat.from_dict(nb)
    copy.cells = []
    cells = rules.by_id(nb)
    for cell in nb.cells:
        copy.cells.append(cell)
        match = re.fullmatch(r"exercise-(\d+)-check", cell.id)
        if not match:
            continue
        k = match[1]
        tries = {"solution": solution(cells[f"exercise-{k}-help"].source)}
        for kind in given:
            tries |= {f"{kind}-{i}": answer["code"] for i, answer in enumerate(given[kind].get(k, []), 1)}
        for name, code in tries.items():
            copy.cells.append(_free(f"exercise-{k}-try-{name}", code))
            copy.cells.append(_free(f"exercise-{k}-try-{name}-check", cell.source))
        copy.cells.append(_free(f"exercise-{k}-try-stub", cells[f"exercise-{k}-attempt"].source))
    copy.cells.append(_free("sweep", SWEEP))
    return copy


def solution(help_):
    """The code that the help of an exercise gives as its solution; empty where there is none."""
    found = [code for summary, body in rules.folded(help_) if summary == "Solution" for code in rules.fences(body)]
    return found[0] if found else ""


def _free(id, source):
    return nbformat.v4.new_code_cell(source, id=id, metadata={"tags": ["raises-exception"]})


def exercise_complaints(executed, given, number):
    """What went otherwise than it must in a lesson made by `solved` and then run; a line each."""
    cells = rules.by_id(executed)
    complaints = []

    def expect(id, start, says=""):
        bad = ("error",) if start.startswith("✗") else ("error", "stderr")  # a wrong answer may draw a warning
        for name in (id.removesuffix("-check"), id):
            failed = [text for kind, text in rules.output_texts(cells.get(name, {})) if kind in bad]
            complaints.extend(f"`{name}` fails: {text}" for text in failed)
        got = "\n".join(text for _, text in rules.output_texts(cells[id])).strip()
        line = next((line for line in got.splitlines() if line.startswith(start)), "")
        if not line or says not in line and not re.search(says, line):
            complaints.append(f"`{id}` must give {start!r}{f' and say {says!r}' if says else ''}, it gives {got!r}")

    count = sum(bool(re.fullmatch(r"exercise-\d+", id)) for id in cells)
    for k in map(str, range(1, count + 1)):
        exercise = f"Exercise {number}.{k}"
        expect(f"exercise-{k}-check", f"○ {exercise}: not attempted yet")
        expect(f"exercise-{k}-try-solution-check", f"✓ {exercise}: passed")
        for kind, least in LEAST.items():
            if len(given[kind].get(k, [])) < least:
                file = f"tests/{kind}_answers/{number:02d}.yml"
                complaints.append(f"exercise {k} needs {least} {kind} answers or more in {file}")
        for i, _ in enumerate(given["right"].get(k, []), 1):
            expect(f"exercise-{k}-try-right-{i}-check", f"✓ {exercise}: passed")
        for i, answer in enumerate(given["wrong"].get(k, []), 1):
            expect(f"exercise-{k}-try-wrong-{i}-check", f"✗ {exercise}: not yet. ", answer["says"])
    for kind in LEAST:
        unknown = [k for k in given[kind] if not 1 <= int(k) <= count]
        complaints += [f"{kind} answers to exercise {k}, which is not there" for k in unknown]
    return complaints


def explorer_complaints(executed, number):
    """What is wrong with the explorers of a lesson made by `solved` and then run; a line each."""
    outputs = list(rules.output_texts(rules.by_id(executed)["sweep"]))
    complaints = [f"{kind}: {text}" for kind, text in outputs if kind in ("stderr", "error")]
    swept = [line for line in "".join(text for kind, text in outputs if kind == "stdout").splitlines() if line]
    found = json.loads(swept[-1]) if swept and not complaints else []
    if len(found) < 2 and number and not complaints:
        complaints.append(f"{len(found)} explorers, at least 2 are needed")
    complaints += [f"the explorer {ask!r} has one state only" for ask, states, _ in found if states < 2]
    return complaints


@functools.cache
def executed(path, parameters):
    """The lesson at `path`, made by `solved` and run with `parameters` (JSON text)."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        nbformat.write(solved(lessons.read(path), answers(path)), copy)
        return lessons.run_lesson(copy, json.loads(parameters), run="reduced").notebook


@pytest.mark.parametrize("path", lessons.lessons(), ids=lambda path: path.stem)
def test_exercises(path):
    run = executed(path, json.dumps(reduced_parameters().get(path.stem, {})))
    complaints = exercise_complaints(run, answers(path), int(path.stem[:2]))
    assert not complaints, "\n".join(complaints)


@pytest.mark.parametrize("path", lessons.lessons(), ids=lambda path: path.stem)
def test_explorers(path):
    run = executed(path, json.dumps(reduced_parameters().get(path.stem, {})))
    complaints = explorer_complaints(run, int(path.stem[:2]))
    assert not complaints, "\n".join(complaints)
