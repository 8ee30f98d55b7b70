"""helpers.pretrained: the network is the true one, and names photographs as it should."""

import time

import keras
import numpy as np
import pytest

from helpers import data, pretrained


@pytest.fixture(scope="module")
def network():
    return pretrained.efficientnet()


def named(network, picture, count=5):
    """The `count` most probable names of a picture, most probable first, and the probability of the first."""
    scores = network.predict(pretrained.square(picture)[None], verbose=0)[0]
    names, order = data.load_imagenet_names(), np.argsort(-scores)
    return [names[k] for k in order[:count]], float(keras.ops.softmax(scores)[order[0]])


def test_it_is_built_in_under_five_seconds():
    start = time.process_time()
    pretrained.efficientnet(96, top=False)
    assert time.process_time() - start < 5


def test_it_names_photographs(network):
    palace, flower = data.load_photographs()
    for picture, name, least in ((palace, "palace", 0.3), (flower, "daisy", 0.2), (data.load_portrait(), None, 0.25)):
        found, probability = named(network, picture)
        assert found[0] == (name or "military uniform") and probability > least, found


def test_it_names_pictures_of_the_film(network):
    cv2 = pytest.importorskip("cv2")
    film = cv2.VideoCapture(data.street_film())
    frames = [film.read()[1][..., ::-1] for _ in range(250)]
    assert named(network, frames[246])[0][0] == "mountain bike"
    assert "minivan" in named(network, frames[60])[0] or "cab" in named(network, frames[60])[0]


def test_without_its_weights_it_names_nothing():
    bare = keras.models.clone_model(pretrained.efficientnet(96))  # fresh weights
    scores = bare.predict(pretrained.square(data.load_portrait(), 96)[None], verbose=0)[0]
    assert keras.ops.softmax(scores).numpy().max() < 0.05


def test_its_shapes_and_its_layers(network):
    assert network.count_params() == 4_694_024
    shapes = {f"block{k}_out": (28, 28, 40) for k in (3, 4)} | {"block10_out": (14, 14, 112), "head_relu": (7, 7, 1280)}
    assert {name: network.get_layer(name).output.shape[1:] for name in shapes} == shapes
    assert [layer.name for layer in network.layers if layer.name.endswith("_out")] == [
        f"block{k}_out" for k in range(16)
    ]
    small = pretrained.efficientnet(64, top=False)
    assert small.output.shape == (None, 2, 2, 1280)
    for ours, theirs in zip(small.weights, network.weights, strict=False):
        assert np.array_equal(ours, theirs), "the size changes no weight"


def test_a_size_that_is_too_small():
    with pytest.raises(ValueError, match="32 pixels are the least"):
        pretrained.efficientnet(31)


def test_square():
    wide = np.zeros((4, 10, 3), np.uint8)
    wide[:, 3:7] = 200  # the middle square
    assert pretrained.square(wide, 4).min() == 200
    assert pretrained.square(wide.transpose(1, 0, 2), 4).min() == 200
    grey = pretrained.square(np.full((5, 5), 7, np.uint8), 8)
    assert grey.shape == (8, 8, 3) and (grey == 7).all()
    for wrong in (np.zeros((4, 4)), np.zeros((2, 4, 4, 3), np.uint8)):
        with pytest.raises(ValueError, match="uint8 picture"):
            pretrained.square(wrong)


def test_between_is_a_free_copy_of_the_layers_in_between(network):
    trunk = pretrained.efficientnet(64, top=False)
    trunk.trainable = False
    part = pretrained.between(trunk, "block12_out", "block14_out")
    pictures = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype("float32")
    ends = [trunk.get_layer(name).output for name in ("block12_out", "block14_out")]
    inside = keras.Model(trunk.input, ends)
    start, end = inside(pictures)
    assert np.allclose(part(start, training=False), end, atol=1e-5)
    assert len(part.trainable_weights) == 18, "two blocks of three convolutions, each with a scale and a shift"
    part.set_weights([0 * weight for weight in part.get_weights()])
    assert np.allclose(inside(pictures)[1], end), "the trunk stays as it is"
    with pytest.raises(ValueError, match="No such layer"):
        pretrained.between(trunk, "block12_out", "no_such_layer")
