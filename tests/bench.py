"""`make bench`: the convnet of lesson 6 against the book's recipe: test accuracy, and the time that training takes.

    python tests/bench.py                                   three trainings of each, seven minutes on two cores
    python tests/bench.py --runs 1 --samples 2000 --epochs 1        a quick look at whether it works

The bar: the median test accuracy of the lesson's convnet is at least 99.1 %, and the median time of its training is at
most a third of the book's, by the clock and in processor time (which other work on the machine changes less).

Both learn from all 60,000 training digits of MNIST. The number of passes was chosen on validation digits, in the
lesson. The trainings take turns, each in a process of its own; loading the data and testing are not timed. The lesson's
recipe is read out of the notebook, from the cells named in CELLS, so it cannot differ from what the lesson teaches. The
book's is the one of F. Chollet, Deep Learning with Python, first edition (2017), section 5.1.

Exit code: 0 when the bar is reached, 1 when it is missed or a training fails, 2 for a wrong call, 130 when interrupted.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from typing import NamedTuple

import lessons

LESSON = "06_convolutional_networks"
CELLS = ("imports", "parameters", "load-data", "build-convnet")
RECIPES = ("book", "lesson")
ACCURACY, RATIO = 0.991, 1 / 3


class Run(NamedTuple):
    """One training: test accuracy (0 to 1), seconds by the wall clock, seconds of processor time of all cores."""

    recipe: str
    accuracy: float
    wall: float
    processor: float


# --- one training, in a process of its own ----------------------------------------------------------------------------


def recipe_of_the_lesson():
    """What the notebook's cells define: a dict from name to value, with `convnet`, `train`, `EPOCHS`, `images` …

    Raises ValueError where the notebook lacks one of the cells.
    """
    cells = {cell.id: cell.source for cell in lessons.read(lessons.find(LESSON)).cells}
    if missing := [name for name in CELLS if name not in cells]:
        raise ValueError(f"{LESSON} has no cell {', '.join(missing)}: bench.py takes the recipe from there.")
    if str(lessons.ROOT) not in sys.path:
        sys.path.insert(0, str(lessons.ROOT))  # the lesson imports `helpers` from there
    names = {}
    for name in CELLS:
        exec(compile(cells[name], f"{LESSON}:{name}", "exec"), names)
    return names


def book_recipe(keras):
    """The book's convnet for digits, not compiled."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(64, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )


def train_once(recipe, seed, samples, epochs):
    """Train one recipe and test it on the 10,000 test digits; returns a `Run`.

    `samples`: how many training digits, from the first on. `epochs`: passes, or None for the recipe's own.
    """
    lesson = recipe_of_the_lesson()
    keras = lesson["keras"]
    images, labels = lesson["images"][:samples], lesson["labels"][:samples]
    keras.utils.set_random_seed(seed)
    wall, processor = time.monotonic(), time.process_time()
    if recipe == "lesson":
        model = lesson["train"](lesson["convnet"](), images, labels, epochs or lesson["EPOCHS"])
    else:
        model = book_recipe(keras)
        model.compile("rmsprop", "sparse_categorical_crossentropy", metrics=["accuracy"])
        model.fit(images, labels, batch_size=64, epochs=epochs or 5, verbose=0)
    wall, processor = time.monotonic() - wall, time.process_time() - processor
    predictions = model.predict(lesson["test_images"], batch_size=500, verbose=0).argmax(axis=1)
    return Run(recipe, float((predictions == lesson["test_labels"]).mean()), wall, processor)


def in_a_process(recipe, seed, samples, epochs):
    """`train_once` in a new Python. Raises RuntimeError with what it printed where it fails."""
    command = [sys.executable, __file__, "--one", recipe, "--seed", str(seed), "--samples", str(samples)]
    command += ["--epochs", str(epochs)] if epochs else []
    done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace")
    if done.returncode:
        raise RuntimeError(f"the training of the {recipe}'s recipe failed:\n{done.stderr.strip()}")
    return Run(**json.loads(done.stdout.splitlines()[-1]))


# --- what came of it --------------------------------------------------------------------------------------------------


def median(runs, recipe, number):
    """The median of one number ("accuracy", "wall" or "processor") over the runs of one recipe."""
    return statistics.median(getattr(run, number) for run in runs if run.recipe == recipe)


def ratios(runs):
    """(processor, wall): the lesson's median time of training, in medians of the book's."""
    return tuple(median(runs, "lesson", time) / median(runs, "book", time) for time in ("processor", "wall"))


def table(runs):
    """The runs, the medians and the ratio as text, one line each."""
    row = "{:8}  {:>8}  {:>9}  {:>11}".format
    lines = [row("recipe", "test", "wall, s", "processor, s")]
    for recipe in RECIPES:
        for run in runs:
            if run.recipe == recipe:
                lines.append(row(recipe, f"{run.accuracy:.2%}", f"{run.wall:.1f}", f"{run.processor:.1f}"))
    for recipe in RECIPES:
        accuracy, wall, processor = (median(runs, recipe, number) for number in Run._fields[1:])
        lines.append(row(recipe, f"{accuracy:.2%}", f"{wall:.1f}", f"{processor:.1f}") + "  median")
    processor, wall = ratios(runs)
    lines.append(row("ratio", "", f"{wall:.2f}", f"{processor:.2f}") + "  lesson / book")
    return "\n".join(lines)


def missed(runs):
    """What of the bar is missed: a list of sentences, empty when it is reached."""
    accuracy, longest = median(runs, "lesson", "accuracy"), max(ratios(runs))
    found = []
    if accuracy < ACCURACY:
        found.append(f"the lesson's median accuracy is {accuracy:.2%}, at least {ACCURACY:.1%} is wanted")
    if longest > RATIO:
        found.append(f"the lesson's training takes {longest:.2f} of the book's time, at most {RATIO:.2f} is wanted")
    return found


def main(arguments=None):
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3, help="trainings of each recipe (default 3)")
    parser.add_argument("--samples", type=int, default=60_000, help="training digits, 1 to 60,000 (default all)")
    parser.add_argument("--epochs", type=int, help="passes of both recipes (default: each its own)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first run; the others count on from it")
    parser.add_argument("--one", choices=RECIPES, help="train one recipe here, and print its numbers as JSON")
    options = parser.parse_args(arguments)
    epochs = 1 if options.epochs is None else options.epochs
    if min(options.runs, epochs) < 1 or not 1 <= options.samples <= 60_000 or options.seed < 0:
        parser.error("--runs and --epochs must be 1 or more, --samples 1 to 60,000, --seed 0 or more")
    if options.one:
        print(json.dumps(train_once(options.one, options.seed, options.samples, options.epochs)._asdict()))
        return 0
    runs = []
    try:
        for seed in range(options.seed, options.seed + options.runs):
            for recipe in RECIPES:
                run = in_a_process(recipe, seed, options.samples, options.epochs)
                runs.append(run)
                told = f"{recipe}, seed {seed}: {run.accuracy:.2%}, {run.wall:.1f} s, processor {run.processor:.1f} s"
                print(told, file=sys.stderr, flush=True)
    except RuntimeError as error:
        print(f"FAILED {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    print(table(runs))
    for sentence in missed(runs):
        print(f"MISSED {sentence}", file=sys.stderr)
    return 1 if missed(runs) else 0


if __name__ == "__main__":
    sys.exit(main())
