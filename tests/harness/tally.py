"""Counts what the tests checked, in the form that `cargo xtask test` reads.

A test counts as one case, unless it recorded cases of its own (each Autobahn case is one): then those
are counted instead. A skipped test has failed, because nothing was shown.
"""

import json
import os
from dataclasses import dataclass, field


@dataclass
class Cases:
    """The cases of one test."""

    passed: int = 0
    failed: int = 0
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def passes(self, count: int = 1) -> None:
        """Records cases that passed."""
        self.passed += count

    def fails(self, what: str) -> None:
        """Records a case that failed; the test goes on to the others."""
        self.failed += 1
        self.failures.append(what)

    def note(self, text: str) -> None:
        """A figure or a count for a person to read."""
        self.notes.append(text)

    def settle(self) -> None:
        """Fails the test where a case failed."""
        assert not self.failures, "\n".join(self.failures)


class Tally:
    """The counts of a whole run."""

    def __init__(self) -> None:
        self.cases: dict[str, Cases] = {}
        self.outcomes: dict[str, str] = {}
        self.reasons: dict[str, str] = {}

    def of(self, test: str) -> Cases:
        """The cases of a test."""
        return self.cases.setdefault(test, Cases())

    def outcome(self, test: str, outcome: str, reason: str) -> None:
        """What a phase of a test came to; once failed it stays failed."""
        if outcome != "passed" or test not in self.outcomes:
            self.outcomes[test] = outcome
            self.reasons[test] = reason

    def summary(self) -> dict:
        """The form that xtask reads."""
        passed, failed = 0, 0
        notes, failures = [], []
        for test, outcome in self.outcomes.items():
            cases = self.of(test)
            own = cases.passed + cases.failed
            passed += cases.passed or (1 if outcome == "passed" and not own else 0)
            failed += cases.failed
            failures += [f"{test}: {failure}" for failure in cases.failures]
            if outcome != "passed" and not cases.failed:
                failed += 1
                failures.append(f"{test}: {outcome}: {self.reasons[test]}")
            notes += cases.notes
        return {"passed": passed, "failed": failed, "notes": notes, "failures": failures}

    def write(self) -> None:
        """Writes the summary where xtask asked for it."""
        path = os.environ.get("ROOKERY_TALLY")
        if path:
            with open(path, "w", encoding="utf-8") as file:
                json.dump(self.summary(), file, indent=1)
