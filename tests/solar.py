"""`make solar`: how well lesson 7's way of sorting solar cells does, measured in full, for the table in that lesson.

    python tests/solar.py            measure, and write helpers/solar-cells.csv
    python tests/solar.py --splits 2 fewer splits, printed and not written

Eight stratified splits, a quarter of the cells held out in each. Every choice (the strength of the votes, the votes' C)
is made by cross-validation inside the training cells, and features are scaled by the training cells alone.
"""

import argparse
import csv
import time
from pathlib import Path

import numpy as np
import scipy.linalg
from sklearn.model_selection import GridSearchCV, StratifiedKFold, StratifiedShuffleSplit
from sklearn.svm import SVC

from helpers import data, quiet

with quiet():
    import keras
    from keras import layers

from helpers import pretrained

TABLE = Path(data.__file__).with_name("solar-cells.csv")
SIZES = (128, 160, 224)
PLACES = ("block4_out", "block7_out", "block10_out", "block14_out", "head_relu")
FLIPS = [(1, 1), (1, -1), (-1, 1), (-1, -1)]  # of rows and columns: the first is the cell as it is
ALPHAS = (0.1, 0.2, 0.4)


def edge_histograms(pictures):
    """Histograms of edge directions, as in the lesson: array (n, 1764) from pictures (n, 128, 128)."""
    down, right = np.gradient(pictures.astype("float32"), axis=(1, 2))
    strength = np.hypot(down, right)
    direction = np.minimum(np.arctan2(down, right) % np.pi / np.pi * 9, 8.99).astype(int)
    sums = [np.where(direction == k, strength, 0).reshape(-1, 8, 16, 8, 16).sum(axis=(2, 4)) for k in range(9)]
    each = np.stack(sums, axis=-1)
    blocks = np.concatenate([each[:, :-1, :-1], each[:, 1:, :-1], each[:, :-1, 1:], each[:, 1:, 1:]], axis=-1)
    return (blocks / (np.linalg.norm(blocks, axis=-1, keepdims=True) + 100)).reshape(len(pictures), -1)


def extract(size, flips):
    """Features of all cells at one size: a list, one a place, of lists of arrays (n, d), one a flip."""
    cells, _, _ = data.load_solar_cells(size)
    trunk = pretrained.efficientnet(size, top=False)
    maps = [trunk.get_layer(place).output for place in PLACES]
    pooled = [
        layers.Concatenate()([layers.GlobalAveragePooling2D()(one), layers.GlobalMaxPooling2D()(one)]) for one in maps
    ]
    inside = keras.Model(trunk.inputs, pooled)
    grey = keras.Input((size, size, 1))
    model = keras.Model(grey, inside(layers.Concatenate()([grey, grey, grey])))
    found = []
    for down, across in flips:
        found.append(model.predict(cells[:, ::down, ::across, None], batch_size=32, verbose=0))
        print(f"features at {size} pixels, flipped by {down, across}", flush=True)
    return [list(one) for one in zip(*found, strict=True)]


def scaled(train, test):
    """Both, scaled by `train` and cut off at six spreads."""
    mean, spread = train.mean(axis=0), train.std(axis=0) + 1e-6
    return [np.clip((one - mean) / spread, -6, 6).astype("float32") for one in (train, test)]


def distances(a, b):
    """The mean squared difference of features of each row of a and each row of b."""
    return np.maximum((a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T, 0) / a.shape[1]


def votes(among, targets, alpha):
    """The weight of each training cell: kernel ridge regression."""
    among = among.copy()
    among[np.diag_indices(len(among))] += alpha
    return scipy.linalg.solve(among, targets, assume_a="pos", overwrite_a=True, check_finite=False)


class Study:
    """The cells, their splits, and the features as far as they were computed."""

    def __init__(self, splits):
        _, self.probability, mono = data.load_solar_cells(8)
        self.defective = self.probability > 0.5
        self.kinds = np.rint(3 * self.probability) + 10 * mono
        splitter = StratifiedShuffleSplit(splits, test_size=0.25, random_state=0)
        self.splits = list(splitter.split(self.kinds, self.kinds))

    def svm(self, features):
        """Held-out accuracy on each split of an SVM on one array of features."""
        found = []
        for train, test in self.splits:
            a, b = scaled(features[train], features[test])
            search = GridSearchCV(SVC(kernel="precomputed"), {"C": [1, 4, 16]}, cv=3)
            search.fit(np.exp(-distances(a, a)), self.defective[train])
            found.append(search.score(np.exp(-distances(b, a)), self.defective[test]))
        return found

    def ridge(self, sets):
        """Held-out accuracy on each split of soft labels. `sets`: a list, one a place, of lists of arrays, one a flip.

        Each place has the same say in the distance of two cells. The training cells are there in every flip, and the
        answer to a held-out cell is the mean over its flips.
        """
        found = []
        for train, test in self.splits:
            flips, targets = len(sets[0]), self.probability[train] - 0.5
            among, across = 0, 0
            for one in sets:
                a, b = scaled(np.concatenate([x[train] for x in one]), np.concatenate([x[test] for x in one]))
                among, across = among + distances(a, a) / len(sets), across + distances(b, a) / len(sets)
            np.exp(-among, out=among)
            np.exp(-across, out=across)
            alpha = self.choose(among[: len(train), : len(train)], train)  # as they are: the flips would tell too much
            weights = votes(among, np.tile(targets, flips), alpha)
            answers = (across @ weights).reshape(flips, -1).mean(axis=0) > 0
            found.append(np.mean(answers == self.defective[test]))
        return found

    def choose(self, among, train):
        """The alpha with the smallest squared error in three-fold cross-validation inside the training cells."""
        folds = list(StratifiedKFold(3, shuffle=True, random_state=0).split(among, self.kinds[train]))
        target = self.probability[train] - 0.5
        errors = [
            np.mean(
                [
                    np.mean((among[np.ix_(j, i)] @ votes(among[np.ix_(i, i)], target[i], alpha) - target[j]) ** 2)
                    for i, j in folds
                ]
            )
            for alpha in ALPHAS
        ]
        return ALPHAS[int(np.argmin(errors))]


def rows(study):
    """(method, accuracies) of each method, the quickest first."""
    cells, _, _ = data.load_solar_cells(128)
    hand_made = np.concatenate([edge_histograms(cells[start : start + 200]) for start in range(0, len(cells), 200)])
    yield "hand-made features, SVM", study.svm(hand_made)
    flipped = extract(128, FLIPS)
    plain = {128: [[one[0]] for one in flipped]}
    yield "frozen features, 128 pixels", study.ridge(plain[128])
    yield "frozen features, 128 pixels, four flips", study.ridge(flipped)
    for size in SIZES[1:]:
        plain[size] = extract(size, FLIPS[:1])
        yield f"frozen features, {size} pixels", study.ridge(plain[size])
    yield "frozen features, three sizes", study.ridge([one for size in SIZES for one in plain[size]])


def main(arguments=None):
    """Measure, print and, for eight splits, store the table."""
    parser = argparse.ArgumentParser(prog="python tests/solar.py", description=__doc__.partition("\n")[0])
    parser.add_argument("--splits", type=int, default=8)
    options = parser.parse_args(arguments)
    start, table = time.monotonic(), []
    for method, values in rows(Study(options.splits)):
        table.append([method, *(f"{value:.4f}" for value in values)])
        told = f"{np.mean(values):.2%} ± {np.std(values):.2%} over {len(values)} splits"
        print(f"{method}: {told} · {time.monotonic() - start:.0f} s", flush=True)
    if options.splits == 8:
        with TABLE.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([["method", *range(1, 9)], *table])


if __name__ == "__main__":
    main()
