"""Your own copies of the lessons: `python -m helpers.copies` puts them into the folder my-notebooks.

Work in these, and a new version of the course never meets what you wrote. A copy that is there already stays as it is,
and where the lesson is another by now, that is said.
"""

import json
import shutil
from pathlib import Path

COURSE = Path(__file__).resolve().parent.parent


def main(course=COURSE):
    """Copy each lesson in the folder `course` that my-notebooks lacks; print a line for each that has changed since."""
    copies = course / "my-notebooks"
    copies.mkdir(exist_ok=True)
    for lesson in sorted((course / "notebooks").glob("*.ipynb")):
        copy = copies / lesson.name
        if not copy.exists():
            shutil.copyfile(lesson, copy)
        elif _version(copy) != _version(lesson):
            print(
                f"my-notebooks/{lesson.name} stays as it is, but the course has another version of this lesson by now. "
                "To get it, give yours another name, and run this again."
            )


def _version(path):
    """The stamp of a lesson's code, which Jupyter keeps when it saves; None where there is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))["metadata"]["twelve_ideas"]["code_sha256"]
    except (ValueError, KeyError, TypeError):
        return None


if __name__ == "__main__":
    main()
