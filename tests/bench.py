"""`make bench`: a lesson's recipe against the book's: test accuracy, and the time that training takes. Two races.

    python tests/bench.py                       both races, three trainings of each recipe: half an hour on two cores
    python tests/bench.py --race digits         one race: seven minutes
    python tests/bench.py --runs 1 --samples 2000 --epochs 1        a quick look at whether it works

The bars: the median test accuracy of the lesson's network is at least 99.1 % for digits (lesson 6) and 88.5 % for film
reviews (lesson 8), and the median time of its training is at most a third, for reviews a fifth, of the book's, by the
clock and in processor time (which other work on the machine changes less).

Both recipes learn from the same data, all 60,000 training digits of MNIST or all 15,000 training reviews. What was
chosen was chosen on validation data. The trainings take turns, each in a process of its own; loading the data and
testing are not timed. The lesson's recipe is read out of the notebook, so it cannot differ from what the lesson
teaches. The book's are those of F. Chollet, Deep Learning with Python, first edition (2017), sections 5.1 and 6.2: a
convnet, and an LSTM that reads the last 500 words of a review, zeros in front, for ten passes.

Exit code: 0 when the bars are reached, 1 when one is missed or a training fails, 2 for a wrong call, 130 when
interrupted.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from typing import NamedTuple

import lessons

RECIPES = ("book", "lesson")


class Race(NamedTuple):
    """A lesson, its cells that hold the recipe, how many examples there are to learn from, and the bar."""

    lesson: str
    cells: tuple
    samples: int
    accuracy: float
    ratio: float


RACES = {
    "digits": Race(
        "06_convolutional_networks", ("imports", "parameters", "load-data", "build-convnet"), 60_000, 0.991, 1 / 3
    ),
    "reviews": Race(
        "08_recurrent_networks",
        ("imports", "parameters", "reviews-words", "pad", "review-network", "review-arrays"),
        15_000,
        0.885,
        1 / 5,
    ),
}


class Run(NamedTuple):
    """One training: test accuracy (0 to 1), seconds by the wall clock, seconds of processor time of all cores."""

    recipe: str
    accuracy: float
    wall: float
    processor: float


# --- one training, in a process of its own ----------------------------------------------------------------------------


def recipe_of_the_lesson(race):
    """What the notebook's cells define: a dict from name to value, with `convnet`, `train`, `EPOCHS`, `images` …

    Raises ValueError where the notebook lacks one of the cells.
    """
    lesson, wanted = RACES[race].lesson, RACES[race].cells
    cells = {cell.id: cell.source for cell in lessons.read(lessons.find(lesson)).cells}
    if missing := [name for name in wanted if name not in cells]:
        raise ValueError(f"{lesson} has no cell {', '.join(missing)}: bench.py takes the recipe from there.")
    if str(lessons.ROOT) not in sys.path:
        sys.path.insert(0, str(lessons.ROOT))  # the lesson imports `helpers` from there
    names = {}
    for name in wanted:
        exec(compile(cells[name], f"{lesson}:{name}", "exec"), names)
    return names


def book_recipe(keras, race):
    """The book's network, not compiled: the convnet for digits, or the LSTM for reviews."""
    layers = keras.layers
    if race == "reviews":
        body = [layers.Embedding(10_000, 32), layers.LSTM(32), layers.Dense(1, activation="sigmoid")]
        return keras.Sequential([keras.Input((500,)), *body])
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


def examples(race, recipe, lesson):
    """((inputs, answers) to learn from, (inputs, answers) of the test), as the recipe wants them."""
    if race == "digits":
        return (lesson["images"], lesson["labels"]), (lesson["test_images"], lesson["test_labels"])
    learn, test = lesson["x_reviews"], lesson["x_review_test"]
    if recipe == "book":
        learn, test = (
            lesson["pad"]([row[-500:] for row in lesson[name]], 500, "in front") for name in ("train_ids", "test_ids")
        )
    return (learn, lesson["train_labels"]), (test, lesson["test_labels"])


def fit(race, recipe, lesson, x, y, epochs):
    """Train one recipe on (x, y); returns the model."""
    keras, train = lesson["keras"], lesson["train"]
    if recipe == "lesson" and race == "digits":
        return train(lesson["convnet"](), x, y, epochs or lesson["EPOCHS"])
    if recipe == "lesson":
        return train(
            lesson["review_network"](), x, y, epochs or lesson["REVIEW_EPOCHS"], 0.004, 128, "binary_crossentropy"
        )
    model = book_recipe(keras, race)
    if race == "digits":
        model.compile("rmsprop", "sparse_categorical_crossentropy", metrics=["accuracy"])
        model.fit(x, y, batch_size=64, epochs=epochs or 5, verbose=0)
    else:
        model.compile("rmsprop", "binary_crossentropy", metrics=["accuracy"])
        model.fit(x, y, batch_size=128, epochs=epochs or 10, verbose=0)
    return model


def train_once(race, recipe, seed, samples, epochs):
    """Train one recipe and test it on all test examples; returns a `Run`.

    `samples`: how many examples to learn from, from the first on. `epochs`: passes, or None for the recipe's own.
    """
    lesson = recipe_of_the_lesson(race)
    (x, y), (x_test, y_test) = examples(race, recipe, lesson)
    x, y = x[:samples], y[:samples]
    lesson["keras"].utils.set_random_seed(seed)
    wall, processor = time.monotonic(), time.process_time()
    model = fit(race, recipe, lesson, x, y, epochs)
    wall, processor = time.monotonic() - wall, time.process_time() - processor
    scores = model.predict(x_test, batch_size=500, verbose=0)
    said = scores.argmax(axis=1) if race == "digits" else scores[:, 0] > 0.5
    return Run(recipe, float((said == y_test).mean()), wall, processor)


def in_a_process(race, recipe, seed, samples, epochs):
    """`train_once` in a new Python. Raises RuntimeError with what it printed where it fails."""
    command = [sys.executable, __file__, "--race", race, "--one", recipe, "--seed", str(seed)]
    command += ["--samples", str(samples)] + (["--epochs", str(epochs)] if epochs else [])
    done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace")
    if done.returncode:
        raise RuntimeError(f"the training of the {recipe}'s recipe for {race} failed:\n{done.stderr.strip()}")
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


def missed(runs, race):
    """What of a race's bar is missed: a list of sentences, empty when it is reached."""
    accuracy, longest = median(runs, "lesson", "accuracy"), max(ratios(runs))
    bar, found = RACES[race], []
    if accuracy < bar.accuracy:
        told = f"the lesson's median accuracy is {accuracy:.2%}, at least {bar.accuracy:.1%} is wanted"
        found.append(f"{race}: {told}")
    if longest > bar.ratio:
        told = f"the lesson's training takes {longest:.2f} of the book's time, at most {bar.ratio:.2f} is wanted"
        found.append(f"{race}: {told}")
    return found


def main(arguments=None):
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--race", choices=RACES, help="digits (lesson 6) or reviews (lesson 8); default both")
    parser.add_argument("--runs", type=int, default=3, help="trainings of each recipe (default 3)")
    parser.add_argument("--samples", type=int, help="examples to learn from (default all)")
    parser.add_argument("--epochs", type=int, help="passes of both recipes (default: each its own)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first run; the others count on from it")
    parser.add_argument("--one", choices=RECIPES, help="train one recipe here, and print its numbers as JSON")
    options = parser.parse_args(arguments)
    epochs = 1 if options.epochs is None else options.epochs
    races = [options.race] if options.race else list(RACES)
    most = min(RACES[race].samples for race in races)
    if min(options.runs, epochs) < 1 or options.seed < 0 or not 1 <= (options.samples or 1) <= most:
        parser.error(f"--runs and --epochs must be 1 or more, --samples 1 to {most:,}, --seed 0 or more")
    if options.samples == 0 or (options.one and not options.race):
        parser.error("--samples must be 1 or more; --one needs --race")
    if options.one:
        run = train_once(options.race, options.one, options.seed, options.samples, options.epochs)
        print(json.dumps(run._asdict()))
        return 0
    failed = []
    try:
        for race in races:
            runs = one_race(race, options)
            print(f"{race}\n{table(runs)}", flush=True)
            failed += missed(runs, race)
    except RuntimeError as error:
        print(f"FAILED {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    for sentence in failed:
        print(f"MISSED {sentence}", file=sys.stderr)
    return 1 if failed else 0


def one_race(race, options):
    """Let the recipes of one race take turns; returns the runs."""
    runs = []
    for seed in range(options.seed, options.seed + options.runs):
        for recipe in RECIPES:
            run = in_a_process(race, recipe, seed, options.samples or RACES[race].samples, options.epochs)
            runs.append(run)
            told = f"{race}, {recipe}, seed {seed}: {run.accuracy:.2%}, {run.wall:.1f} s, "
            print(f"{told}processor {run.processor:.1f} s", file=sys.stderr, flush=True)
    return runs


if __name__ == "__main__":
    sys.exit(main())
