"""The training that lessons share, on a tiny network."""

import gc
import subprocess
import sys
import weakref

import numpy as np

from helpers import quiet

with quiet():
    import keras

from helpers.training import accuracy, answers, forget_networks, prepare, train

X = np.random.default_rng(0).normal(size=(300, 4)).astype("float32")
Y = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0)


def network(outputs=3, activation="softmax"):
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(outputs, activation)])


def test_train_learns_and_the_rate_ends_at_zero():
    model = network()
    before = accuracy(model, X, Y)
    assert train(model, X, Y, epochs=20, rate=0.1, batch=50) is model
    assert accuracy(model, X, Y) > max(before, 0.6)
    schedule = model.optimizer._learning_rate
    rates = [float(schedule(step)) for step in (0, 24, 120)]  # 6 batches, 20 passes: a fifth is 24 steps
    assert np.allclose(rates, [0.01, 0.1, 0], atol=1e-6)


def test_plain_keras_loads_a_trained_network_again(tmp_path):
    model = train(network(), X, Y, epochs=2)
    model.save(tmp_path / "model.keras")
    code = "import sys, keras\nmodel = keras.saving.load_model('model.keras')\nassert 'helpers' not in sys.modules\n"
    code += "print(type(model.optimizer).__name__, int(model.optimizer.iterations))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.split() == ["Adam", "4"], done.stderr


def test_train_takes_other_losses_and_few_examples():
    model = train(network(1, "linear"), X[:3], X[:3, :1], epochs=1, loss="mean_absolute_error")
    assert model.predict(X, verbose=0).shape == (300, 1)


def test_train_takes_a_function_as_loss_and_several_inputs():
    one, other = keras.Input((X.shape[1],)), keras.Input((1,))
    outputs = keras.layers.Dense(1)(keras.layers.Concatenate()([one, other]))
    x = [X, X[:, :1]]
    model = train(keras.Model([one, other], outputs), x, X[:, :1], 40, 0.1, 50, lambda y, p: (y - p) ** 2)
    schedule = model.optimizer._learning_rate
    assert np.isclose(float(schedule(6 * 40)), 0, atol=1e-6) and float(schedule(6 * 39)) > 0  # 6 batches a pass
    assert np.mean((model.predict(x, verbose=0) - X[:, :1]) ** 2) < 0.1 * np.var(X[:, 0])


def fitted(model, x, y, loss, metrics, prepared):
    """How often the training step was put into a graph, and the history of the training."""
    model.compile("rmsprop", loss, metrics=metrics)
    if prepared:
        prepare(model, x, y)
    built, step = [], model.train_step
    model.train_step = lambda batch: built.append(1) or step(batch)
    history = model.fit(x, y, epochs=2, verbose=0).history
    return len(built), history


def test_prepare_changes_no_number_and_has_the_graph_built_once():
    loss = "sparse_categorical_crossentropy"
    (often, plain), (once, history) = (fitted(network(), X, Y, loss, ["accuracy"], ready) for ready in (False, True))
    assert once == 1 < often
    assert history == plain


def test_prepare_takes_several_inputs_and_outputs():
    def two_ends():
        keras.utils.set_random_seed(0)
        inputs = [keras.Input((4,)), keras.Input((4,))]
        both = keras.layers.Dropout(0.5)(keras.layers.Add()(inputs))
        return keras.Model(inputs, {name: keras.layers.Dense(1, name=name)(both) for name in "ab"})

    y = {"a": X[:, 0], "b": X[:, 1]}
    losses = {"a": "mean_absolute_error", "b": "mean_squared_error"}
    (_, plain), (once, history) = (fitted(two_ends(), [X, X], y, losses, None, ready) for ready in (False, True))
    assert once == 1
    assert history == plain


def test_answers_and_accuracy():
    model = network()
    found = answers(model, X)
    assert found.shape == (300,) and set(found) <= {0, 1, 2}
    assert accuracy(model, X, found) == 1
    assert accuracy(model, X, (found + 1) % 3) == 0


def test_networks_are_forgotten():
    forget_networks()
    kept = network()
    gone = weakref.ref(train(network(), X, Y, epochs=1))
    forget_networks()
    assert gone() is None
    assert answers(kept, X).shape == (300,)


def graphs_alive():
    gc.unfreeze()
    gc.collect()
    return sum(type(thing).__name__ == "FuncGraph" for thing in gc.get_objects())


def test_training_graphs_are_forgotten():
    train(network(), X, Y, epochs=1)
    before = graphs_alive()
    for _ in range(3):
        train(network(), X, Y, epochs=1)
    assert graphs_alive() <= before
