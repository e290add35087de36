"""What a fault came to, as a note of the run and as a row of docs/faults.md."""

import json
import os
from dataclasses import asdict, dataclass

from .crowd import Crowd
from .tally import Cases


@dataclass
class Outcome:
    """A row. Counts are of messages; every figure is from this run."""

    # What failed, and what exactly was done.
    fault: str
    done: str
    # Distinct messages, and those of them that were acked in the end (a test fails where some were not).
    sent: int
    acked: int
    # Answers that were an Error with retry-after, and messages that were sent again for any reason.
    refused: int
    retried: int
    # Of all members' messages: heard live, and found only by Sync afterwards.
    live: int
    by_sync: int
    # Connections that ended although nobody asked.
    lost: int
    # The longest time without an ack, s.
    silence_s: float
    # From the last ack until every member found everything, s.
    level_s: float
    # What else was seen: when acks came again, what was refused meanwhile.
    seen: str

    @classmethod
    def of(cls, crowd: Crowd, fault: str, done: str, seen: str) -> "Outcome":
        """After the audit."""
        live, ledger = crowd.live(), crowd.ledger
        acked = sum(sent.message_id is not None for sent in ledger.sent.values())
        return cls(fault, done, len(ledger.sent), acked, sum(crowd.refused.values()), ledger.retried, live.delivered,
                   live.by_sync, crowd.lost(), round(crowd.longest_silence, 2), round(crowd.caught_up_s, 2), seen)

    def tell(self, cases: Cases) -> None:
        """To the tally, and to the file of rows that `cargo xtask faults` reads."""
        cases.note(f"{self.fault}: {self.done}. {self.sent} sent, {self.acked} acked, {self.refused} refused with "
                   f"retry-after, {self.live} delivered live, {self.by_sync} found by Sync only, {self.lost} connections "
                   f"lost; longest without an ack {self.silence_s} s, level {self.level_s} s after the last. {self.seen}")
        if path := os.environ.get("ROOKERY_FAULTS_ROWS"):
            with open(path, "a", encoding="utf-8") as rows:
                print(json.dumps(asdict(self)), file=rows)
