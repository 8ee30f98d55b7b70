"""EfficientNet-Lite0, trained on ImageNet, as an ordinary Keras model, and what prepares a photograph for it.

It is built here; `helpers.data` brings its weights, so that neither a login nor a download site is needed.
"""

import ctypes
import sys

import keras
import numpy as np
from keras import layers
from PIL import Image

from helpers import data

if sys.platform == "linux" and hasattr(ctypes.CDLL(None), "mallopt"):  # glibc has it, musl does not
    # Large arrays are given back at once (M_MMAP_THRESHOLD, 4 MB), and few threads keep a store of their own
    # (M_ARENA_MAX): together a third of a gigabyte in lesson 7.
    ctypes.CDLL(None).mallopt(-3, 4 * 2**20)
    ctypes.CDLL(None).mallopt(-8, 2)

# The seven stages: how many blocks, window, stride of the first, how many times wider inside, filters at the end.
# fmt: off
STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112),
          (4, 5, 2, 6, 192), (1, 3, 1, 6, 320))
# fmt: on


def efficientnet(size=224, top=True):
    """EfficientNet-Lite0 with the weights that it learned from ImageNet: a Keras model, built in about a second.

    `size`: how many pixels high and wide its colour pictures are, values 0 to 255; it learned at 224. `top`: whether
    its last two layers stand on it, a pooling and a dense layer that gives 1,000 scores (before softmax), in the order
    of `data.load_imagenet_names()`. Without them it gives 1,280 maps.

    The layers "block0_out" … "block15_out" are the ends of its blocks: keras.Model(model.input, those outputs) looks
    inside. Raises ValueError for a size under 32, DataError where the weights cannot be had.
    """
    if size < 32:
        raise ValueError(f"efficientnet(size={size}): its maps shrink 32 times, so 32 pixels are the least.")
    inputs = keras.Input((size, size, 3))
    x = layers.Rescaling(1 / 128, offset=-127 / 128)(inputs)
    x = _step(x, "stem", layers.Conv2D(32, 3, strides=2, padding="same", use_bias=False, name="stem_conv"))
    number = 0
    for repeats, window, stride, wider, filters in STAGES:
        for repeat in range(repeats):
            x = _block(x, f"block{number}", window, 1 if repeat else stride, wider, filters)
            number += 1
    x = _step(x, "head", layers.Conv2D(1280, 1, use_bias=False, name="head_conv"))
    if top:
        x = layers.GlobalAveragePooling2D(name="pool")(x)
        x = layers.Dense(1000, name="scores")(x)
    model = keras.Model(inputs, x, name="efficientnet_lite0")
    model.set_weights(_in_keras_order(data.load_imagenet_weights())[: len(model.weights)])
    return model


def _step(x, name, convolution, relu=True):
    """A convolution, batch normalisation, and relu that ends at 6."""
    x = layers.BatchNormalization(epsilon=1e-3, name=f"{name}_norm")(convolution(x))
    return layers.ReLU(6.0, name=f"{name}_relu")(x) if relu else x


def _block(x, name, window, stride, wider, filters):
    """An inverted residual block: more maps, a window over each map alone, then fewer maps, added to what came in."""
    start, depthwise, project = x, f"{name}_depthwise", f"{name}_project"
    if wider > 1:
        expand = layers.Conv2D(wider * x.shape[-1], 1, use_bias=False, name=f"{name}_expand_conv")
        x = _step(x, f"{name}_expand", expand)
    alone = layers.DepthwiseConv2D(window, strides=stride, padding="same", use_bias=False, name=f"{depthwise}_conv")
    x = _step(x, depthwise, alone)
    x = _step(x, project, layers.Conv2D(filters, 1, use_bias=False, name=f"{project}_conv"), relu=False)
    if start.shape == x.shape:
        x = layers.Add(name=f"{name}_add")([start, x])
    return layers.Identity(name=f"{name}_out")(x)


def _in_keras_order(weights):
    """PyTorch's weights as Keras wants them: the same order of layers, other axes, no counters of batches."""
    axes = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}
    return [
        array.transpose((2, 3, 0, 1) if "depthwise" in name else axes[array.ndim])
        for name, array in weights.items()
        if not name.endswith("num_batches_tracked")
    ]


def square(picture, size=224):
    """The largest square in the middle of a picture, made `size` pixels wide: uint8 array (size, size, 3).

    `picture`: uint8 array (height, width, 3), or (height, width) if it is grey. The network learned from such squares;
    a wide picture that is squashed into one is recognised less well.
    """
    picture = np.asarray(picture)
    if picture.dtype != np.uint8 or picture.ndim not in (2, 3):
        raise ValueError(f"Expected a uint8 picture with two or three axes, got {picture.dtype} {picture.shape}.")
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    middle = Image.fromarray(picture[top : top + side, left : left + side]).convert("RGB")
    return np.asarray(middle.resize((size, size), Image.Resampling.BILINEAR))


def between(model, start, end):
    """A model of its own: the layers of `model` behind the layer named `start`, up to the one named `end`.

    Its weights begin as copies, so that training it leaves `model` as it is. They are free to learn, whether those of
    `model` are or not.
    """
    part = keras.Model(model.get_layer(start).output, model.get_layer(end).output)
    copy = keras.models.clone_model(part)
    copy.set_weights(part.get_weights())
    for layer in copy.layers:
        layer.trainable = True
    return copy
