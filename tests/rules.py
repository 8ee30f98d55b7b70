"""Every rule for a stored lesson that a program can see, each as a function `rule(nb, path) -> list of complaints`.

`RULES` lists them all; `nb` is the notebook (NotebookNode), `path` where it lies. A complaint names the notebook and
the cell, says what is wrong and what to do. Rules marked `ideas` hold for the lessons 1-12, not for lesson 0.
"""

import ast
import base64
import csv
import functools
import html
import json
import re
import struct
import urllib.parse
from pathlib import Path

import lessons
import nbformat
from IPython.core.inputtransformer2 import TransformerManager

from helpers.lesson import LESSONS

RULES = []
WIDE = (3, 5, 8, 10)
# Lines of open code that a lesson may have, the reader's own attempts and the parameters left out.
OPEN_LINES = {8: 200, 10: 220}
# What belongs into machinery: drawing, explorers, ranges, checks.
MACHINERY = ("show", "explore", "measured", "subplots", "check", "progress_map", "check_installation")
NETWORK = re.compile(
    r"https?://|pip install|keras\.datasets|\b(urllib|requests|wget|curl|get_file|fetch_openml|kagglehub)\b"
)
MACHINE_PATHS = re.compile(r"/(home|root|Users|tmp|usr|opt)/|[A-Z]:\\\\?\w|site-packages")
NUMBER = re.compile(r"(?<![\w.])(\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)(e[+-]?\d+)?(\s*%)?")
SPAN = re.compile(r"(\d+(?:\.\d+)?)(?=\s*(?:–|-|to|and|or)\s*\d+(?:\.\d+)?\s*%)")  # 97–98 %: the sign holds for both
NAMES_WITH_NUMBERS = re.compile(
    r"(exercises?|lessons?|chapters?|sections?|Python|Keras|TensorFlow|NumPy|JAX|PyTorch|CC BY|version)"
    r"\s+\d+(\.\d+)*((,|\s+and|–|\s+to)\s*\d+\.\d+)*",
    re.IGNORECASE,
)


def rule(function=None, *, ideas=False):
    """Register a generator of (cell id, complaint) as a rule that returns complaints as text."""
    if function is None:
        return functools.partial(rule, ideas=ideas)

    @functools.wraps(function)
    def checked(nb, path):
        number = int(Path(path).stem[:2])
        if ideas and number == 0:
            return []
        return [f"{Path(path).name} · `{cell}`: {text}" for cell, text in function(nb, path, LESSONS[number])]

    RULES.append(checked)
    return checked


# Reading a notebook


def cells(nb, kind=None):
    """The cells of a notebook, or those of one kind ("code" or "markdown")."""
    return [cell for cell in nb.cells if kind in (None, cell.cell_type)]


def by_id(nb):
    """A dict from cell id to cell."""
    return {cell.id: cell for cell in nb.cells}


def tags(cell):
    return cell.metadata.get("tags", [])


def without_code(text):
    """Markdown without fenced code, code spans and comments."""
    text = re.sub(r"^(```|~~~).*?^\1\s*$", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"<!--.*?-->|`[^`\n]+`", "", text, flags=re.DOTALL)


def plain(text):
    """What a reader reads of Markdown: no code, no tags, no addresses."""
    text = re.sub(r"!?\[((?:!\[[^]]*\]\([^)]*\)|[^]])*)\]\([^)]*\)", lambda m: "" if "![" in m[0] else m[1], text)
    return html.unescape(re.sub(r"</?\w[^>]*>", " ", text))


def folded(text):
    """The (summary, body) of each <details> in Markdown."""
    return re.findall(r"<details>\s*<summary>(.*?)</summary>(.*?)</details>", text, re.DOTALL)


def fences(text):
    """The bodies of the ```python fences in Markdown."""
    return re.findall(r"^```python\n(.*?)^```\s*$", text, re.DOTALL | re.MULTILINE)


def headings(nb):
    """(cell id, level, text) of each Markdown heading, in order."""
    found = []
    for cell in cells(nb, "markdown"):
        text = re.sub(r"^```.*?^```\s*$", "", cell.source, flags=re.DOTALL | re.MULTILINE)
        found += [(cell.id, len(m[1]), m[2]) for m in re.finditer(r"^(#{1,6})\s+(.+?)\s*$", text, re.MULTILINE)]
    return found


def lines(cell):
    return [line for line in cell.source.splitlines() if line.strip()]


@functools.lru_cache(maxsize=2000)
def tree(source):
    """The syntax tree of a code cell, IPython's own syntax allowed."""
    return ast.parse(TransformerManager().transform_cell(source))


def calls(nb, name):
    """(cell, call node) of each call of the function `name` in the code cells."""
    for cell in cells(nb, "code"):
        for node in ast.walk(tree(cell.source)):
            if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", None)) == name:
                yield cell, node


def output_texts(cell):
    """(kind, text) of each stored output: kind is "stdout", "stderr", "error" or a MIME type."""
    for output in cell.get("outputs", []):
        if output.output_type == "stream":
            yield output.name, output.text
        elif output.output_type == "error":
            yield "error", f"{output.ename}: {output.evalue}"
        else:
            for mime, data in output.data.items():
                yield mime, re.sub(r"data:[\w/+-]+;base64,[\w+/=]+", "", data if isinstance(data, str) else str(data))


def pictures(cell):
    """The <img> tags in a cell's stored HTML outputs and in its Markdown."""
    texts = [output.data.get("text/html", "") for output in cell.get("outputs", []) if "data" in output]
    if cell.cell_type == "markdown":
        texts.append(without_code(cell.source))
    return [tag for text in texts for tag in re.findall(r"<img\b[^>]*>", text)]


# From top to bottom


@rule
def head(nb, path, lesson):
    """The first cell opens the lesson: title, question, badges, aims, what comes before."""
    text = nb.cells[0].source if nb.cells[0].id == "head" else ""
    if not text.startswith(f"# {lesson.number} · {lesson.title}\n"):
        yield "head", f"the first cell must have the id `head` and begin `# {lesson.number} · {lesson.title}`"
    if [level for _, level, _ in headings(nb)].count(1) != 1:
        yield "head", "exactly one heading of level 1 is allowed, in the first cell; make the others level 2 or lower"
    if not re.search(r"\?\**\s*$", plain(text), re.MULTILINE):
        yield "head", "no line ends in a question mark: state the question that this lesson answers, in one sentence"
    for site, start in (("Colab", "colab.research.google.com/github/"), ("Binder", "mybinder.org/v2/gh/")):
        if not re.search(rf"https://{re.escape(start)}[^)\s\"]*notebooks(/|%2F){re.escape(path.name)}", text):
            yield "head", f"the {site} badge is missing or does not link to notebooks/{path.name}"
    aims = re.search(r"You will be able to[^\n]*\n+((?:[-*] .*\n|  .*\n)*)", f"{text}\n")
    count = len(re.findall(r"^[-*] ", aims[1], re.MULTILINE)) if aims else 0
    if not 3 <= count <= 5:
        yield "head", f"*You will be able to* must list 3 to 5 things, it lists {count}"
    if "Before this" not in text:
        yield "head", "*Before this* is missing: say what the reader should have done first"


@rule
def opening(nb, path, lesson):
    """The fixed cells at the top stand in their order, and set up in 15 lines at most."""
    wanted = ["head", "cost", "setup"] + (["parameters", "seed"] if lesson.number else [])
    found = [cell.id for cell in nb.cells if cell.id in wanted]
    if found != wanted or found[:3] != [cell.id for cell in nb.cells[:3]]:
        yield "notebook", f"it must open with the cells {wanted[:3]}, and have {wanted} in this order, not {found}"
    cost = by_id(nb).get("cost")
    if cost and not (re.search(r"\d+ min", cost.source) and re.search(r"\d [GM]B", cost.source)):
        yield "cost", "minutes and memory (GB) are missing: `make run` writes this cell"
    setup = by_id(nb).get("setup")
    if setup and len(setup.source.splitlines()) > 18:
        yield "setup", f"{len(setup.source.splitlines())} lines, at most 18: move the rest into helpers/"


@rule(ideas=True)
def parameters(nb, path, lesson):
    """Parameters are plain, explained, and begin with the seed, which the seed cell uses."""
    cell = by_id(nb).get("parameters")
    if cell is None or "parameters" not in tags(cell):
        yield "parameters", "the code cell `parameters` with the tag `parameters` is missing"
        return
    names = []
    for node in tree(cell.source).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if not isinstance(target, ast.Name) or not isinstance(node, (ast.Assign, ast.AnnAssign)):
            yield "parameters", f"line {node.lineno} is not a plain assignment `NAME = value`"
            continue
        names.append(target.id)
        try:
            ast.literal_eval(node.value)
        except ValueError:
            yield "parameters", f"{target.id} must be a plain literal, so that a run can replace it"
        if "#" not in cell.source.splitlines()[node.end_lineno - 1][node.end_col_offset :]:
            yield "parameters", f"{target.id} needs a comment on its line that says what it is"
    if names[:1] != ["SEED"]:
        yield "parameters", f"the first parameter must be SEED, it is {names[:1]}"
    if "SEED" not in by_id(nb).get("seed", cell).source or "seed" not in by_id(nb):
        yield "seed", "the code cell `seed` must seed the random numbers with SEED"


@rule
def size(nb, path, lesson):
    """The number of cells and of words: aims, with wide limits."""
    low, high = (8, 50) if lesson.number == 0 else (40, 160 if lesson.number in WIDE else 120)
    if not low <= len(nb.cells) <= high:
        yield "notebook", f"{len(nb.cells)} cells: {low} to {high} are allowed"
    text = " ".join(cell.source for cell in cells(nb, "markdown"))
    # A number is no word, so that nobody shortens what is worked out by hand.
    prose = plain(without_code(re.sub(r"<details>.*?</details>", "", text, flags=re.S)))
    count = len(re.findall(r"[^\W\d][\w'’-]*", prose))
    low, high = (0, 2_500) if lesson.number == 0 else (2_000, 8_500 if lesson.number in WIDE else 7_000)
    if not low <= count <= high:
        yield "notebook", f"{count} words of prose outside <details>: {low} to {high} are allowed"
    ideas = [cell for cell in cells(nb, "code") if "machinery" not in tags(cell)]
    if len(cells(nb, "markdown")) < len(ideas):
        told = len(cells(nb, "markdown"))
        yield "notebook", f"{len(ideas)} open code cells but only {told} of prose: at least as many"


@rule
def open_code(nb, path, lesson):
    """Open code is the lesson: short cells, short lines, nothing that draws, checks or compares with a range."""
    total = 0
    for cell in cells(nb, "code"):
        if "machinery" in tags(cell):
            continue
        length = len(lines(cell))
        if cell.id != "parameters" and not re.fullmatch(r"exercise-\d+-attempt", cell.id):
            total += length
        if length > 14 and cell.id != "parameters":
            yield cell.id, f"{length} lines of open code, at most 14: split it, or fold what is machinery"
        for line in cell.source.splitlines():
            if len(line) > 88:
                yield cell.id, f"a line of open code has {len(line)} characters, at most 88: {line.strip()[:40]}…"
        for name in MACHINERY:
            if any(found is cell for found, _ in calls(nb, name)):
                yield cell.id, f"it calls {name}: put that into a cell of its own with the tag `machinery`"
    if total > (most := OPEN_LINES.get(lesson.number, 150)):
        yield "notebook", f"{total} lines of open code, at most {most}: take something out, or fold what is machinery"


@rule
def machinery(nb, path, lesson):
    """Machinery is folded wherever folding exists, and its first line says what it does."""
    for cell in cells(nb, "code"):
        hidden = cell.metadata.get("jupyter", {}).get("source_hidden"), cell.metadata.get("cellView")
        if "machinery" not in tags(cell):
            if hidden != (None, None):
                yield cell.id, "it is folded, but has not the tag `machinery`: run `make run`"
            continue
        if hidden != (True, "form"):
            yield cell.id, "machinery must be folded in JupyterLab and in Colab: run `make run`"
        first = cell.source.partition("\n")[0]
        if not re.fullmatch(r"# @title [A-Z][^\n]{8,69}[^.\n]", first):
            yield cell.id, f"its first line must say what it does, such as `# @title Draws both curves`, not {first!r}"
        if len(lines(cell)) > 40:
            yield cell.id, f"{len(lines(cell))} lines of machinery, at most 40: move what two lessons need to helpers/"


@rule(ideas=True)
def parts(nb, path, lesson):
    """Two parts or more, numbered, each closed by an exercise."""
    found, exercise_seen = [], True
    for cell in cells(nb, "markdown"):
        for part in re.findall(r"^## Part (\d+) · \S", cell.source, re.MULTILINE):
            if not exercise_seen:
                yield cell.id, f"the part before Part {part} has no exercise: each part must have one"
            found.append(int(part))
            exercise_seen = False
        exercise_seen = exercise_seen or bool(re.fullmatch(r"exercise-\d+", cell.id))
    if len(found) < 2 or found != list(range(1, len(found) + 1)):
        yield "notebook", f"the headings `## Part 1 · …` must be numbered from 1, two or more of them; found: {found}"


@rule
def cell_ids(nb, path, lesson):
    """Ids speak: kebab case, unique, not the random ones that an editor gives."""
    if nb.nbformat_minor < 5:
        yield "notebook", f"nbformat 4.{nb.nbformat_minor} has no cell ids: store it as 4.5 or later"
    seen = set()
    for cell in nb.cells:
        speaks = re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", cell.id) and not re.fullmatch(r"[0-9a-f]{6,}", cell.id)
        if not speaks or re.fullmatch(r"(cell|code|markdown|text)-?\d*", cell.id):
            yield cell.id, "the id must say what the cell does, in kebab case, such as `train-dense`"
        if cell.id in seen:
            yield cell.id, "two cells have this id: rename one"
        seen.add(cell.id)


@rule
def heading_order(nb, path, lesson):
    """Headings never skip a level on the way down."""
    before = 0
    for cell, level, text in headings(nb):
        if level > before + 1:
            yield cell, f"the heading {text!r} has level {level} after level {before}: make it level {before + 1}"
        before = level


@rule
def exercises(nb, path, lesson):
    """Each exercise has its statement, attempt, check, hint and solution, one after another."""
    ids = [cell.id for cell in nb.cells]
    count = sum(bool(re.fullmatch(r"exercise-\d+", id)) for id in ids)
    if count < (4 if lesson.number else 0) or count != lesson.exercises:
        yield "notebook", f"{count} exercises: LESSONS says {lesson.exercises}, and a lesson needs at least 4"
    for k in range(1, count + 1):
        number, first = f"{lesson.number}.{k}", f"exercise-{k}"
        parts = [first, f"{first}-attempt", f"{first}-check", f"{first}-help"]
        at = [ids.index(part) for part in parts if part in ids]
        if len(at) < 4 or at != sorted(at) or any(not id.startswith(first) for id in ids[at[0] : at[3]]):
            yield first, f"the cells {parts} must follow one another, with no others between than {first}-…"
            continue
        statement, attempt, check, help_ = (nb.cells[i].source for i in at)
        if not re.search(rf"^### Exercise {re.escape(number)} · \S", statement, re.MULTILINE):
            yield first, f"the heading must be `### Exercise {number} · title`"
        if "..." not in attempt and "NotImplementedError" not in attempt:
            yield f"{first}-attempt", "the stub must hold `...` or raise NotImplementedError"
        if f'with check("{number}"' not in check or "assert" not in check:
            yield f"{first}-check", f'it must hold `with check("{number}"):` and at least one assertion'
        details = folded(help_)
        if [summary for summary, _ in details] != ["Hint", "Solution"]:
            yield f"{first}-help", "it must hold two <details>, with the summaries Hint and Solution"
        elif len(fences(details[1][1])) != 1:
            yield f"{first}-help", "the solution must hold exactly one ```python fence, which replaces the attempt"


@rule(ideas=True)
def explorers(nb, path, lesson):
    """At least two explorers."""
    count = len(list(calls(nb, "explore")))
    if count < 2:
        yield "notebook", f"{count} explorers (calls of `explore`): at least 2 are needed"


@rule(ideas=True)
def quiz(nb, path, lesson):
    """Four to six questions, three options or more, a reason for each, one right."""
    ids = [cell.id for cell in nb.cells if cell.id.startswith("quiz-")]
    if not 4 <= len(ids) <= 6 or ids != [f"quiz-{k}" for k in range(1, len(ids) + 1)]:
        yield "notebook", f"the quiz must have the cells quiz-1 … quiz-4 (to quiz-6), it has {ids}"
    for id in ids:
        options = folded(by_id(nb)[id].source)
        if len(options) < 3:
            yield id, f"{len(options)} options, each in its own <details>: at least 3 are needed"
        for letter, (summary, reason) in zip("ABCDEFGH", options, strict=False):
            if not summary.startswith(f"{letter}. "):
                yield id, f"the option {summary!r} must begin `{letter}. `"
            if not re.match(r"\s*\n\s*\n\*\*(Right|Wrong)\.\*\* \S", reason):
                yield id, f"after a blank line, option {letter} must say `**Right.**` or `**Wrong.**` and the reason"
        right = sum("**Right.**" in reason for _, reason in options)
        if right != 1:
            yield id, f"{right} options are right: exactly one must be"


@rule(ideas=True)
def ending(nb, path, lesson):
    """Five take-aways; the chapters of all three editions; the way back and on."""
    take_aways = by_id(nb).get("take-aways", nbformat.v4.new_markdown_cell()).source
    count = len(re.findall(r"^\s*(?:[-*]|\d\.) ", take_aways, re.MULTILINE))
    if count != 5:
        yield "take-aways", f"the cell must list 5 lines to keep, it lists {count}"
    sources = by_id(nb).get("sources", nbformat.v4.new_markdown_cell()).source
    for word in ("chapter", "first", "second", "third", "edition"):
        if not re.search(rf"\b{word}", sources, re.IGNORECASE):
            yield "sources", f"the word {word!r} is missing: name the chapter in the first, second and third edition"
    for number in (lesson.number - 1, lesson.number + 1):
        if number < len(LESSONS) and (file := LESSONS[number].file) and f"({file}" not in sources:
            yield "sources", f"the link to lesson {number}, {file}, is missing"


# What is stored


@rule
def counts(nb, path, lesson):
    """Outputs of one run from top to bottom are stored."""
    code = [cell for cell in cells(nb, "code") if cell.source.strip()]
    found = [cell.execution_count for cell in code]
    if found != list(range(1, len(code) + 1)):
        yield "notebook", "the execution counts must be 1…n, of one run from the top: run `make run`"
    if not any(cell.outputs for cell in code):
        yield "notebook", "no outputs are stored: run `make run`"


@rule
def outputs_clean(nb, path, lesson):
    """No errors, warnings, raw images, machine paths or addresses in memory in the outputs."""
    for cell in cells(nb, "code"):
        for output in cell.outputs:
            data = output.get("data", {})
            png = data.get("image/png")
            if png and f'src="data:image/png;base64,{"".join(png.split())}"' not in data.get("text/html", ""):
                yield cell.id, "a figure is stored without its text: show it with helpers.plotting.show, `make run`"
            elif "<img" in data.get("text/html", "") and not png:
                yield cell.id, "a figure is stored as HTML only: show it with helpers.plotting.show, `make run`"
        for kind, text in output_texts(cell):
            if kind == "image/png":
                continue  # seen above; its letters mean nothing
            if kind in ("stderr", "error", "image/jpeg", "image/svg+xml"):
                fix = "show figures with helpers.plotting.show" if "image" in kind else "mend what causes it"
                yield cell.id, f"a stored output is {kind} ({text[:60]!r}): {fix}, then run `make run`"
            if "widget" in kind:
                yield cell.id, f"a stored output holds {kind}: store notebooks with `make run`"
            if bad := re.search(r"\w*Warning:|\bWARNING\b", text):
                yield cell.id, f"a warning is stored ({bad[0]}): mend what causes it"
            if bad := MACHINE_PATHS.search(text):
                yield cell.id, f"a path of one machine is stored ({bad[0]}…): print a name instead"
            if bad := re.search(r"\bat 0x[0-9a-f]{4,}", text):
                yield cell.id, f"an object's address is stored ({bad[0]}): end the line with `;` or print a value"


@rule
def metadata_clean(nb, path, lesson):
    """No traces of papermill, widgets or execution times; one kernel name; under 1 MB."""
    for key in {"papermill", "widgets"} & nb.metadata.keys():
        yield "notebook", f"metadata.{key} is stored: store notebooks with `make run`"
    if nb.metadata.get("kernelspec", {}).get("name") != "python3":
        yield "notebook", "the kernel must be python3: store notebooks with `make run`"
    for cell in nb.cells:
        for key in {"papermill", "execution"} & cell.metadata.keys():
            yield cell.id, f"metadata.{key} is stored: store notebooks with `make run`"
        if "injected-parameters" in tags(cell):
            yield cell.id, "injected parameters are stored: store notebooks with `make run`"
    bytes_ = len(nbformat.writes(nb).encode())
    if bytes_ >= 1_000_000:
        yield "notebook", f"{bytes_ / 1e6:.2f} MB, must stay under 1 MB: make figures fewer or smaller"


@rule
def stamp_fresh(nb, path, lesson):
    """The stored outputs belong to this very code."""
    if lessons.stamp(nb) != lessons.code_hash(nb):
        yield "notebook", "the code has changed since the outputs were made: run `make run`"


@rule
def alternative_text(nb, path, lesson):
    """Every picture says what it shows, and fits the page."""
    for cell in nb.cells:
        for tag in pictures(cell):
            alt = re.search(r'\balt="([^"]*)"', tag)
            if not alt or len(html.unescape(alt[1]).strip()) < 20:
                yield cell.id, f"a picture's alt must say what it shows, in 20 characters or more: {tag[:60]}"
            if (width := picture_width(tag)) and width > 700:
                yield cell.id, f"a picture is {width} pixels wide: at most 700 fit the page"
        if cell.cell_type == "markdown" and cell.id != "head":
            for alt in re.findall(r"!\[([^]]*)\]\(", without_code(cell.source)):
                if len(alt) < 20:
                    yield cell.id, f"a picture's alternative text must have 20 characters or more: {alt!r}"


def picture_width(tag):
    """The width of an <img> in pixels: its attribute, else that of the PNG inside it; None where neither is there."""
    if width := re.search(r'\bwidth="?(\d+)', tag):
        return int(width[1])
    if data := re.search(r"data:image/png;base64,([\w+/]{32})", tag):
        return struct.unpack(">I", base64.b64decode(data[1])[16:20])[0]
    return None


@rule
def figures_explained(nb, path, lesson):
    """Every figure is followed by prose that says what to look for in it."""
    # What holds the figure's numbers to their ranges may stand between.
    shown = [cell for cell in nb.cells if pictures(cell) or "machinery" not in tags(cell)]
    for cell, after in zip(shown, [*shown[1:], None], strict=True):
        if cell.cell_type == "code" and pictures(cell) and (after is None or after.cell_type != "markdown"):
            yield cell.id, "the figure is not followed by prose: say what to look for in it"


# What is said


@rule
def offline(nb, path, lesson):
    """Nothing but helpers.data fetches anything."""
    for cell in nb.cells:
        sources = [cell.source] if cell.cell_type == "code" else fences(cell.source)
        for source in sources if cell.id != "setup" else []:
            if bad := NETWORK.search(source):
                yield cell.id, f"the code uses the network ({bad[0]!r}): take data from helpers.data"


@rule
def local_links(nb, path, lesson):
    """Links to files and headings lead somewhere."""
    for cell in nb.cells:
        text = without_code(cell.source) if cell.cell_type == "markdown" else ""
        text += " ".join(text for kind, text in output_texts(cell) if kind == "text/html")
        for link in re.findall(r"\]\(\s*([^)\s]+)", text) + re.findall(r'(?:href|src)="([^"]+)"', text):
            target = urllib.parse.urlsplit(html.unescape(link))
            if target.scheme or target.netloc or not (target.path or target.fragment):
                continue
            file = path.parent / urllib.parse.unquote(target.path) if target.path else path
            if target.path and not file.exists():
                yield cell.id, f"the link {link} leads nowhere: {target.path} does not exist"
            elif target.fragment and file.suffix == ".ipynb":
                there = nb if file == path else lessons.read(file)
                anchors = {_letters(text) for _, _, text in headings(there)}
                if _letters(urllib.parse.unquote(target.fragment)) not in anchors:
                    yield cell.id, f"the link {link} leads nowhere: {file.name} has no such heading"


def _letters(text):
    return re.sub(r"[\W_]", "", text.lower())


@rule
def banned_words(nb, path, lesson):
    """Words that tell a reader who struggles that it is easy."""
    for cell in cells(nb, "markdown"):
        for word in re.findall(r"\b(simply|just|obviously)\b", plain(without_code(cell.source)), re.IGNORECASE):
            yield cell.id, f"the word {word!r} is not used here: cut it"


@rule(ideas=True)
def exact_cells(nb, path, lesson):
    """At least three cells are compared to the letter, and none of them varies from run to run."""
    exact = [cell for cell in cells(nb, "code") if "nbval-check-output" in tags(cell)]
    if len(exact) < 3:
        yield "notebook", f"{len(exact)} cells have the tag nbval-check-output: at least 3 exact cells are needed"
    for cell in exact:
        if not cell.outputs:
            yield cell.id, "tagged nbval-check-output, but it has no output to compare"
        if pictures(cell) or re.search(r"\b(explore|show|live_line|progress)\(", cell.source):
            yield cell.id, "tagged nbval-check-output, but it holds a figure or a live display: split the cell"


@rule(ideas=True)
def measured_claims(nb, path, lesson):
    """At least one number is held to a range, in reduced runs too."""
    if not any(word.arg == "reduced" for _, call in calls(nb, "measured") for word in call.keywords):
        yield "notebook", "no `measured(…, reduced=…)`: hold at least one number to a range"


@rule
def checks_look(nb, path, lesson):
    """No check passes without having looked: an assertion is reached whatever the attempt is."""
    for cell in cells(nb, "code"):
        for node in ast.walk(tree(cell.source)):
            if isinstance(node, ast.With) and any(
                isinstance(item.context_expr, ast.Call) and getattr(item.context_expr.func, "id", "") == "check"
                for item in node.items
            ):
                attempt = by_id(nb).get(cell.id.replace("-check", "-attempt"))
                theirs = _assigned(tree(attempt.source)) if attempt else set()
                if not any(_always_reached(statement, theirs) for statement in node.body):
                    yield cell.id, "its assertions may all be passed over: put one where it is always reached"


def _always_reached(statement, theirs):
    """Whether a statement is an assertion, or a loop over something of the check's own that holds one."""
    if isinstance(statement, ast.Assert):
        return not isinstance(statement.test, ast.Constant)
    if isinstance(statement, ast.For):
        names = {node.id for node in ast.walk(statement.iter) if isinstance(node, ast.Name)}
        return not names & theirs and any(_always_reached(one, theirs) for one in statement.body)
    return isinstance(statement, ast.With) and any(_always_reached(one, theirs) for one in statement.body)


def _assigned(body):
    """The names that code assigns or defines at its top level."""
    names = set()
    for node in body.body:
        names |= {node.name} if isinstance(node, (ast.FunctionDef, ast.ClassDef)) else set()
        names |= {name.id for name in ast.walk(node) if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)}
    return names


@rule
def numbers_computed(nb, path, lesson):
    """Every decimal number or percentage in the prose stands in the code or in a stored output."""
    known = set()
    for cell in cells(nb, "code"):
        for node in ast.walk(tree(cell.source)):
            if isinstance(node, ast.Constant) and type(node.value) in (int, float):
                known.add(_rounded(node.value))
        for kind, text in output_texts(cell):
            if kind in ("stdout", "text/plain", "text/html"):
                known |= {value for _, values in numbers_in(plain(text)) for value in values}
    for cell in cells(nb, "markdown"):
        if cell.id in ("cost", "sources"):
            continue
        text = re.sub(r"^#+ .*$|!?\[[^]]*\]\([^)]*\)|https?://\S+", "", without_code(cell.source), flags=re.MULTILINE)
        for said, values in numbers_in(NAMES_WITH_NUMBERS.sub("", plain(text))):
            if ("." in said or "%" in said) and not values & known:
                yield cell.id, f"{said!r} is neither in the code nor in a stored output: compute it, or quote what is"


def numbers_in(text):
    """(as written, set of values it may mean) of each number in a text: 97.8 % is 97.8 or 0.978."""
    found = []
    text = SPAN.sub(r"\1 %", text)
    for match in NUMBER.finditer(text):
        value = float(match[1].replace(",", "") + (match[2] or ""))
        found.append((match[0], {_rounded(value)} | ({_rounded(value / 100)} if match[3] else set())))
    return found


def _rounded(value):
    return float(f"{abs(value):.10g}")


@rule(ideas=True)
def seeds(nb, path, lesson):
    """Each measured number was seen over five seeds, always inside the range that the lesson prints.

    Where it prints none, chance has no part: all seeds gave the same.
    """
    ours = [row for row in table("seeds.csv") if row["lesson"] == path.stem[:2]]
    measured = lessons.measured_lines(nb)
    repair = f"run `make seeds NB={path.stem[:2]} SEEDS=5`"
    for name in sorted({row["name"] for row in ours} - {line.name for line in measured}):
        yield "notebook", f"tests/seeds.csv has {name!r}, which the lesson does not measure: {repair}"
    for line in measured:
        rows = [row for row in ours if row["name"] == line.name]
        if len({row["seed"] for row in rows}) < 5:
            yield "notebook", f"{line.name!r} needs 5 seeds in tests/seeds.csv, it has {len(rows)}: {repair}"
        values = {float(row["value"]) for row in rows}
        if line.low is None and len(values) > 1:
            told = f"is {min(values):g} to {max(values):g} over the seeds, but says `chance=False`"
            yield "notebook", f"{line.name!r} {told}: give it the range"
        for row in rows if line.low is not None else []:
            if not line.low <= float(row["value"]) <= line.high:
                told = f"{row['value']} with seed {row['seed']}, outside {line.low:g} to {line.high:g}"
                yield "notebook", f"{line.name!r} is {told}: widen the range in the code and in the prose"


@rule
def budget(nb, path, lesson):
    """The last full run stayed within minutes and memory."""
    cost = table("costs.json").get(path.stem)
    if cost is None:
        yield "cost", "tests/costs.json does not know this lesson: run `make run`"
        return
    slowest = by_id(nb).get(cost["worst_cell"], {"source": ""})["source"]
    for key, limit in (
        ("run_seconds", lessons.MAX_LESSON_SECONDS),
        ("worst_cell_seconds", lessons.cell_limit(slowest)),
        ("peak_memory_gb", lessons.MAX_MEMORY_GB),
    ):
        if cost[key] > limit:
            yield "cost", f"{key} is {cost[key]}, at most {limit} is allowed (slowest cell: {cost['worst_cell']})"


@functools.lru_cache
def table(name):
    """What tests/seeds.csv (a list of dicts) or tests/costs.json (a dict) holds; empty where there is none yet."""
    file = Path(__file__).with_name(name)
    if name.endswith(".json"):
        return json.loads(file.read_text("utf-8")) if file.exists() else {}
    return list(csv.DictReader(file.read_text("utf-8").splitlines())) if file.exists() else []
