"""`make run` and `make seeds`: run lessons in full and store what they gave.

    python tests/run.py run [03 …]            outputs, costs and the table in the README; all lessons unless named
    python tests/run.py seeds 03 --seeds 5    the measured numbers of one lesson over several seeds

Exit code: 0 when every lesson ran within its budget, 1 when one failed or broke it, 2 for a wrong call, 130 when
interrupted. A failed or interrupted run leaves the stored notebook as it was.
"""

import argparse
import contextlib
import csv
import io
import json
import re
import signal
import sys
import time
import traceback
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

import lessons
import psutil
from lessons import LessonError, Result
from nbformat import NotebookNode
from tqdm import tqdm

COSTS = lessons.ROOT / "tests" / "costs.json"
SEEDS = lessons.ROOT / "tests" / "seeds.csv"
README = lessons.ROOT / "README.md"
AT_ONCE = {"run": 1, "seeds": 2}  # one lesson alone, as a reader runs it, where its costs are measured


# --- several runs side by side ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """One run of one lesson: its file, its parameters, and what TWELVE_IDEAS_RUN says (see `lessons.run_lesson`)."""

    path: Path
    parameters: dict[str, object] = field(default_factory=dict)
    run: str | None = "full"

    def __str__(self):
        return " ".join([self.path.stem, *(f"{name}={value}" for name, value in self.parameters.items())])


def side_by_side(jobs: list[Job], cell_timeout: int, at_once: int) -> Iterator[tuple[Job, Result | Exception]]:
    """Run jobs, `at_once` at a time, with one bar over all their cells; yields each as it ends, with result or error.

    The work is done by the kernels, which are processes of their own: threads are enough to wait for them.
    """
    cells = sum(cell.cell_type == "code" for job in jobs for cell in lessons.read(job.path).cells)
    with (
        tqdm(total=cells, unit="cell", desc=f"{len(jobs)} to run", dynamic_ncols=True, disable=None) as bar,
        ThreadPoolExecutor(at_once) as pool,
    ):
        running = {
            pool.submit(
                lessons.run_lesson,
                job.path,
                job.parameters,
                job.run,
                cell_timeout=cell_timeout,
                on_cell=lambda _: bar.update(),
            ): job
            for job in jobs
        }
        try:
            while running:
                # With a limit, because a wait without one cannot be interrupted on Windows.
                for future in wait(running, timeout=0.5, return_when=FIRST_COMPLETED).done:
                    job = running.pop(future)
                    bar.set_description(f"{len(running)} to go")
                    yield job, future.exception() or future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            while not all(future.done() for future in running):
                for kernel in psutil.Process().children(recursive=True):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        kernel.kill()
                time.sleep(0.2)
            raise


# --- what a lesson costs ----------------------------------------------------------------------------------------------


def reading_minutes(nb: NotebookNode) -> dict[str, int]:
    """Minutes that reading a lesson and doing its exercises takes, for each part, to the nearest 5. An estimate.

    The keys: "Part 1", "Part 2" …, "Deeper" for the sections marked ◆, "rest" for what stands before and after the
    parts. 80 words of prose a minute, 5 lines of open code a minute, half a minute for each code cell to guess, run and
    look, 12 minutes for each exercise. On average that was 14 minutes off what six lessons of 150 to 210 minutes took
    somebody who had never trained a network. Hints, solutions and folded code are not counted, nor are an exercise's
    own cells.
    """
    minutes, part, deeper = {}, "rest", 0
    for cell in nb.cells:
        name = cell.get("id", "")
        for level, text in re.findall(
            r"^(#{1,6})\s+(.+?)\s*$", cell.source if cell.cell_type == "markdown" else "", re.M
        ):
            if len(level) <= deeper or text.startswith("◆"):
                deeper = len(level) if text.startswith("◆") else 0
            if len(level) == 2:
                part = found[0] if (found := re.match(r"Part \d+", text)) else "rest"
        if re.fullmatch(r"exercise-\d+-(attempt|check|help)", name):
            continue
        taken = 12.0 if re.fullmatch(r"exercise-\d+", name) else 0.0
        if cell.cell_type == "code":
            folded = "machinery" in cell.metadata.get("tags", [])
            taken += 0.5 + (0 if folded else len([line for line in cell.source.splitlines() if line.strip()]) / 5)
        else:
            prose = re.sub(r"```.*?```|<[^>]+>|\]\([^)]*\)", " ", cell.source, flags=re.DOTALL)
            taken += len(re.findall(r"\w+", prose)) / 80
        where = "Deeper" if deeper else part
        minutes[where] = minutes.get(where, 0) + taken
    return {where: max(5, 5 * round(taken / 5)) for where, taken in minutes.items()}


def cost_of(result: Result, before: dict | None) -> dict:
    """The entry of one lesson in costs.json.

    Two runs never take the same time, and one machine may be twice as fast as the next; to readers, the slower one's
    numbers are the safer promise. So what was measured before stays while the new measurement is no more than 15 %
    above and 55 % below it.
    """
    cell, cell_seconds = result.worst_cell
    measured = {
        "run_seconds": round(result.seconds, 1),
        "worst_cell": cell,
        "worst_cell_seconds": round(cell_seconds, 1),
        "peak_memory_gb": round(result.peak_memory_gb, 2),
    }
    numbers = ("run_seconds", "worst_cell_seconds", "peak_memory_gb")
    if before and all(0.45 * before[key] <= measured[key] <= 1.15 * before[key] for key in numbers):
        measured = {key: before[key] for key in measured}
    return {"read_minutes": reading_minutes(result.notebook)} | measured


def cost_line(cost: dict) -> str:
    """The text of a lesson's `cost` cell."""
    return (
        f"**Reading and doing**: about {_needed(cost)} minutes{_by_part(cost)} · "
        f"**Running all cells**: {_running(cost)} on two cores · "
        f"**Memory**: {cost['peak_memory_gb']:.1f} GB"
    )


def _needed(cost: dict) -> int:
    return sum(minutes for part, minutes in cost["read_minutes"].items() if part != "Deeper")


def _by_part(cost: dict) -> str:
    parts = [f"{part} {minutes}" for part, minutes in cost["read_minutes"].items() if part.startswith("Part")]
    deeper = cost["read_minutes"].get("Deeper")
    more = f"; the sections marked ◆ take {deeper} more" if deeper else ""
    return f" ({', '.join(parts)}{more})" if parts else ""


def _running(cost: dict) -> str:
    seconds = cost["run_seconds"]
    return f"{seconds / 60:.1f} minutes" if seconds >= 55 else f"{max(10, 10 * round(seconds / 10))} seconds"


def over_budget(result: Result) -> list[str]:
    """What a full run took more of than a lesson may; one phrase each, with the cell where it is one."""
    cell, cell_seconds = result.worst_cell
    broken = []
    if result.seconds > lessons.MAX_LESSON_SECONDS:
        broken.append(f"took {result.seconds:.0f} s, the budget is {lessons.MAX_LESSON_SECONDS} s")
    source = next((one.source for one in result.notebook.cells if one.get("id") == cell), "")
    if cell_seconds > (limit := lessons.cell_limit(source)):
        broken.append(f"cell `{cell}` took {cell_seconds:.0f} s, the budget is {limit} s")
    if result.peak_memory_gb > lessons.MAX_MEMORY_GB:
        broken.append(f"held {result.peak_memory_gb:.2f} GB of memory, the budget is {lessons.MAX_MEMORY_GB} GB")
    return broken


def cost_table(costs: dict[str, dict]) -> str:
    """The README's table of what each lesson costs, in Markdown. `costs`: what costs.json holds."""
    rows = [
        "| Lesson | Reading and doing | Running all cells | Slowest cell | Peak memory |",
        "|---|--:|--:|--:|--:|",
    ]
    for path in lessons.lessons():
        if cost := costs.get(path.stem):
            title = lessons.read(path).cells[0].source.splitlines()[0].lstrip("# ")
            rows.append(
                f"| [{title}](notebooks/{path.name}) | {_needed(cost)} min | {_running(cost)} | "
                f"{cost['worst_cell_seconds']:.0f} s | {cost['peak_memory_gb']:.1f} GB |"
            )
    return "\n".join(rows)


def put_table(text: str, table: str) -> str:
    """`text` with what stands between the markers `<!-- costs -->` and `<!-- /costs -->` replaced by `table`."""
    start, end = "<!-- costs -->", "<!-- /costs -->"
    if text.count(start) != 1 or text.count(end) != 1:
        raise ValueError(f"The README must hold the markers {start} and {end} once each.")
    return f"{text.partition(start)[0]}{start}\n{table}\n{end}{text.partition(end)[2]}"


# --- the two commands -------------------------------------------------------------------------------------------------


def run(paths: list[Path], cell_timeout: int = 120, costs_file: Path = COSTS, readme: Path = README) -> list[str]:
    """Run lessons in full and store them. Returns what went wrong, a line each; every lesson is tried.

    A lesson that runs to its end is stored, with its costs, even where it breaks a budget; one that fails is not.
    """
    costs = json.loads(costs_file.read_text("utf-8")) if costs_file.exists() else {}
    put_table(readme.read_text("utf-8"), "")  # better found out now than after the runs
    as_read = {path: path.read_bytes() for path in paths}
    wrong = []
    for job, result in side_by_side([Job(path) for path in paths], cell_timeout, AT_ONCE["run"]):
        if isinstance(result, Exception):
            wrong.append(_failure(job, result))
            continue
        lesson = job.path.stem
        nb = lessons.normalise(result.notebook)
        cost = cost_of(result, costs.get(lesson))
        cost_cells = [cell for cell in nb.cells if cell.id == "cost"]
        if not cost_cells:
            wrong.append(f"{lesson}: not stored, it has no markdown cell with the id `cost`")
            continue
        if job.path.read_bytes() != as_read[job.path]:
            wrong.append(f"{lesson}: not stored, the file was changed while it ran; run it again")
            continue
        cost_cells[0].source = cost_line(cost)
        changed = lessons.write(nb, job.path)
        costs[lesson] = cost
        costs = {path.stem: costs[path.stem] for path in lessons.lessons() if path.stem in costs}
        lessons.write_text(costs_file, json.dumps(costs, indent=1, ensure_ascii=False) + "\n")
        lessons.write_text(readme, put_table(readme.read_text("utf-8"), cost_table(costs)))
        wrong += [f"{lesson}: {phrase}" for phrase in over_budget(result)]
        tqdm.write(
            f"{lesson}: {result.seconds:.0f} s, slowest cell `{result.worst_cell[0]}` {result.worst_cell[1]:.0f} s, "
            f"{result.peak_memory_gb:.2f} GB, {'stored' if changed else 'unchanged'}"
        )
    return wrong


def _failure(job: Job, error: Exception) -> str:
    """What to print of a run that failed: which, where, why, and the traceback."""
    if isinstance(error, LessonError):
        return f"{job}{str(error).removeprefix(error.lesson)}\n{error.trace}".rstrip()
    return f"{job}: {''.join(traceback.format_exception(error))}".rstrip()


def seeds(path: Path, count: int, cell_timeout: int = 120, table: Path = SEEDS) -> list[str]:
    """Run one lesson with SEED = 0 … count - 1 and collect the numbers it measures in the table at `table`.

    Its old rows go, those of other lessons stay; nothing is written when a run fails. Prints the smallest and the
    largest value of each number. Returns what went wrong, a line each.
    """
    jobs = [Job(path, {"SEED": seed}, run=None) for seed in range(count)]
    rows, wrong = [], []
    for job, result in side_by_side(jobs, cell_timeout, AT_ONCE["seeds"]):
        if isinstance(result, Exception):
            wrong.append(_failure(job, result))
        else:
            rows += [(m.name, job.parameters["SEED"], m.value) for m in result.measured]
    if not rows and not wrong:
        wrong.append(f"{path.stem}: it measures nothing")
    if wrong:
        return wrong
    merge_seeds(table, path.stem[:2], rows)
    values = defaultdict(list)
    for name, _, value in rows:
        values[name].append(value)
    for name, found in sorted(values.items()):
        print(f"{name}: {min(found):g} to {max(found):g} over {len(found)} values")
    return []


def merge_seeds(table: Path, lesson: str, rows: list[tuple[str, int, float]]) -> None:
    """Put `rows` (name, seed, value) of one lesson ("03") into the CSV table in place of its old ones, sorted."""
    kept = []
    if table.exists():
        with table.open(encoding="utf-8", newline="") as file:
            kept = [
                (row["lesson"], row["name"], int(row["seed"]), float(row["value"]))
                for row in csv.DictReader(file)
                if row["lesson"] != lesson
            ]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("lesson", "name", "seed", "value"))
    writer.writerows(sorted(kept + [(lesson, *row) for row in rows]))
    lessons.write_text(table, text.getvalue())


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cell-timeout", type=int, default=120, help="seconds that one cell may take (default 120)")
    commands = parser.add_subparsers(dest="command", required=True)
    run_parser = commands.add_parser("run", help="run lessons in full and store their outputs")
    run_parser.add_argument("lessons", nargs="*", help="03, 03_gradient_descent or a path; all when left out")
    seeds_parser = commands.add_parser("seeds", help="run one lesson over several seeds")
    seeds_parser.add_argument("lesson")
    seeds_parser.add_argument("--seeds", type=int, default=5, help="how many (default 5)")
    options = parser.parse_args(arguments)

    try:
        if options.command == "run":
            paths = [lessons.find(name) for name in options.lessons] or lessons.lessons()
            if not paths:
                raise ValueError(f"there is no lesson in {lessons.NOTEBOOKS}")
            wrong = run(paths, options.cell_timeout)
        else:
            wrong = seeds(lessons.find(options.lesson), options.seeds, options.cell_timeout)
    except ValueError as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        print("Interrupted: notebooks that were running are as they were.", file=sys.stderr)
        return 130
    for line in wrong:
        print(f"FAILED {line}", file=sys.stderr)
    return 1 if wrong else 0


def _stop(signum, frame):
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)  # to end as Ctrl-C does: kernels stopped, notebooks whole
    sys.exit(main())
