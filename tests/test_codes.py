"""Each code of the tables in `docs/protocol.md` has a test that produces it through a real socket: the one
that is marked with it. That such a test does meet it is checked when it runs (`harness/plugin.py`)."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
DOCUMENT = TESTS.parent / "docs/protocol.md"


def documented() -> set[int]:
    """The codes of both tables, but for those that are reserved."""
    text = DOCUMENT.read_text(encoding="utf-8")
    sections = (text.split(f"\n## {title}\n")[1].split("\n## ")[0] for title in ("Errors", "Close codes"))
    rows = [re.match(r"\| (\d+) \|", line) and line for section in sections for line in section.splitlines()]
    return {int(row.split("|")[1]) for row in rows if row and "Reserved" not in row}


class Marks:
    """The marks of all tests, none of which runs."""

    def __init__(self) -> None:
        self.codes: set[int] = set()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Gathers them."""
        marks = (mark for item in session.items for mark in item.iter_markers("produces"))
        self.codes = {code for mark in marks for code in mark.args}


def test_every_code_has_a_test_that_produces_it():
    marks = Marks()
    arguments = ["--collect-only", "-qq", "-p", "no:cacheprovider", f"--rootdir={TESTS}", "-c", f"{TESTS}/pytest.ini"]
    assert pytest.main([*arguments, str(TESTS)], plugins=[marks]) == 0
    assert len(documented()) > 20, "has the form of the tables changed?"
    assert marks.codes == documented()
