"""The table that lesson 8 reads: all networks, three seeds each, by the lesson's own recipe. No TensorFlow."""

import csv

import lessons
import weather_table


def cells():
    return {cell.id: cell.source for cell in lessons.read(lessons.find(weather_table.LESSON)).cells}


def test_the_table_is_whole():
    head, *rows = csv.reader(weather_table.TABLE.read_text("utf-8").splitlines())
    assert head == weather_table.HEAD
    names = list(dict.fromkeys(row[0] for row in rows))
    assert len(names) == 9 and [row[:2] for row in rows] == [[name, str(seed)] for seed in range(3) for name in names]
    assert all(0.5 < float(error) < 6 for row in rows for error in row[2:4])
    assert all(f'"{name}":' in cells()["networks-without"] + cells()["networks-with"] for name in names)


def test_the_recipe_is_the_lessons():
    assert set(weather_table.CELLS) < cells().keys()
    assert cells()["weather-all"].splitlines()[-1] == (
        "scored = train_all(WEATHER_SEEDS) if WEATHER_SEEDS else table_made_beforehand()"
    )
    call = "train(model, x_train, y_train, passes(name), 0.01, 96, "
    assert call in cells()["weather-all"] and call in cells()["weather-train"]
