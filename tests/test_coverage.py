"""Every point of the syllabus is taught, shown running and practised, in cells that exist; open ones are named."""

import lessons
import pytest
import rules
import yaml

# How many points each of the twelve ideas has.
POINTS = (5, 4, 4, 3, 8, 4, 4, 6, 4, 4, 4, 5)
KINDS = ("taught", "shown", "practised")


def coverage():
    """tests/coverage.yml: a dict from point ("1.1") to {title, cells: "pending" or {taught, shown, practised}}."""
    return yaml.safe_load((lessons.ROOT / "tests" / "coverage.yml").read_text("utf-8"))


def written():
    """A dict from lesson number to notebook, for the lessons that are written."""
    return {int(path.stem[:2]): lessons.read(path) for path in lessons.lessons()}


def complaints(table, notebooks):
    """What the coverage table promises and the notebooks do not keep; a line each."""
    wanted = [f"{idea}.{k}" for idea, points in enumerate(POINTS, 1) for k in range(1, points + 1)]
    found = [f"point {point} is missing: add it" for point in wanted if point not in table]
    found += [f"point {point} is not one of the syllabus: remove it" for point in table if point not in wanted]
    for point, entry in table.items():
        nb = notebooks.get(int(point.split(".")[0]))
        if entry["cells"] == "pending":
            if nb is not None:
                found.append(f"point {point} is pending, but its lesson is written: name its cells")
            continue
        if nb is None:
            found.append(f"point {point} names cells of a lesson that is not written: make it pending")
            continue
        cells = rules.by_id(nb)
        for kind in KINDS:
            ids = entry["cells"].get(kind) or []
            if not ids:
                found.append(f"point {point} has no cell under {kind!r}: add one")
            for id in ids:
                if id not in cells:
                    found.append(f"point {point}, {kind}: there is no cell `{id}`")
                elif kind == "taught" and cells[id].cell_type != "markdown":
                    found.append(f"point {point}, taught: `{id}` is not prose")
                elif kind == "shown" and not cells[id].get("outputs"):
                    found.append(f"point {point}, shown: `{id}` has no stored output")
    return found


def test_every_point_is_kept():
    found = complaints(coverage(), written())
    assert not found, "\n".join(found)


def test_points_still_pending():
    pending = [f"{point} {entry['title']}" for point, entry in coverage().items() if entry["cells"] == "pending"]
    if pending:
        pytest.skip(f"{len(pending)} of {sum(POINTS)} points wait for their lesson: {'; '.join(pending)}")
