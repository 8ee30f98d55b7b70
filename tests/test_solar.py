"""tests/solar.py: its arithmetic, that held-out cells stay held out, and what its stored table must hold."""

import csv

import numpy as np
import pytest
import solar
from sklearn.kernel_ridge import KernelRidge


def stored():
    """The stored table: a dict from method to its accuracy on each of the eight splits."""
    _, *rows = csv.reader(solar.TABLE.read_text("utf-8").splitlines())
    return {row[0]: np.array(row[1:], float) for row in rows}


def test_the_stored_table_holds_what_the_lesson_says():
    mean = {method: values.mean() for method, values in stored().items()}
    assert all(len(values) == 8 for values in stored().values())
    assert abs(mean["hand-made features, SVM"] - 0.8244) < 0.015  # the published number
    assert min(value for method, value in mean.items() if "frozen" in method) >= 0.865
    assert max(mean.values()) >= 0.8842  # the published number of a fine-tuned VGG-19


def test_distances_and_votes():
    draw = np.random.default_rng(0)
    a, b, target = draw.normal(size=(30, 5)), draw.normal(size=(4, 5)), draw.random(30) - 0.5
    naive = [[np.mean((x - y) ** 2) for y in a] for x in b]
    assert np.allclose(solar.distances(b, a), naive)
    ridge = KernelRidge(alpha=0.2, kernel="rbf", gamma=1 / 5).fit(a, target)
    weights = solar.votes(np.exp(-solar.distances(a, a)), target, 0.2)
    assert np.allclose(np.exp(-solar.distances(b, a)) @ weights, ridge.predict(b))


@pytest.fixture
def study():
    return solar.Study(2)


def test_splits_are_stratified_quarters(study):
    for train, test in study.splits:
        assert len(train) == 1968 and len(test) == 656 and not set(train) & set(test)
        assert abs(np.mean(study.defective[test]) - np.mean(study.defective)) < 0.002


def test_a_feature_that_tells_all_is_found_and_noise_is_not(study):
    noise = np.random.default_rng(1).normal(size=(2624, 3)).astype("float32")
    told = np.concatenate([noise, 5 * study.probability[:, None]], axis=1)
    assert min(study.ridge([[told, told]])) > 0.95 and min(study.svm(told)) > 0.95
    assert max(study.ridge([[noise]])) < 0.72, "noise does not beat the baseline"


def test_twins_of_held_out_cells_do_not_help(study):
    """A number that only a cell and its own mirror image share must teach nothing about held-out cells."""
    name = np.random.default_rng(2).normal(size=(2624, 4)).astype("float32")
    assert max(study.ridge([[name, name]])) < 0.72
