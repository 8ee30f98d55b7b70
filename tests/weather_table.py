"""Trains the nine weather networks of lesson 8 with three seeds each, and writes helpers/weather_table.csv.

    python tests/weather_table.py               two minutes on two idle cores
    python tests/weather_table.py --seeds 5

The recipe is read out of the notebook, from the cells named in CELLS, so it cannot differ from what the lesson teaches.
"""

import argparse
import csv
import sys

import lessons

LESSON = "08_recurrent_networks"
CELLS = (
    "imports",
    "parameters",
    "weather-faults",
    "fill-forward",
    "weather-tables",
    "windows",
    "weather-parts",
    "weather-baseline",
    "networks-without",
    "networks-with",
    "weather-all",
)
TABLE = lessons.ROOT / "helpers" / "weather_table.csv"
HEAD = ["network", "seed", "error to choose by, °C", "test error, °C", "seconds"]


def main(arguments=None):
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each network (default 3)")
    options = parser.parse_args(arguments)
    if str(lessons.ROOT) not in sys.path:
        sys.path.insert(0, str(lessons.ROOT))  # the lesson imports `helpers` from there
    cells = {cell.id: cell.source for cell in lessons.read(lessons.find(LESSON)).cells}
    names = {}
    for name in CELLS:
        source = cells[name]
        if name == "weather-all":  # its functions, without the last line, which reads the table
            source = source.rpartition("\n")[0]
        exec(compile(source, f"{LESSON}:{name}", "exec"), names)
    rows = names["train_all"](options.seeds)
    with open(TABLE, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([HEAD, *rows])
    print(f"{len(rows)} rows written to {TABLE.relative_to(lessons.ROOT)}")


if __name__ == "__main__":
    main()
