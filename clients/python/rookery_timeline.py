"""One conversation's messages in order, each once, and the Sync that fetches what is missing. The rule is
docs/protocol.md, "How a client stays complete".

Nothing here does I/O or reads a clock: times are seconds, from wherever the caller counts them.
"""

# Messages above a gap that are kept; what comes beyond them a later Sync brings again.
EARLY_MAX = 256
WAIT_MAX_S = 30.0
# The first wait before a Sync is asked again that brought nothing of what it was to bring.
STALLED_S = 0.5


class Timeline:
    """A conversation that is followed. It outlives connections."""

    def __init__(self, have_seq, unsure=False):
        """`unsure`: Delivers that came before were not taken."""
        self.have_seq = have_seq
        self._known_seq = have_seq
        self._unsure = unsure
        self._early = {}
        self._asked = None
        self._refusals = 0
        self._again_at = None

    def is_complete(self):
        """Whether nothing is missing, as far as is known."""
        return not self._unsure and self._known_seq <= self.have_seq

    def on_lost(self):
        """The connection has ended, and with it what was asked on it."""
        if self._asked:
            self._unsure |= self._asked["unsure"]
        self._asked = self._again_at = None

    def on_head(self, head_seq):
        """Something tells how far the conversation goes."""
        self._known_seq = max(self._known_seq, head_seq)

    def on_lagged(self):
        """The server has skipped Delivers."""
        self._unsure = True

    def on_deliver(self, message):
        """A message, live or of a Sync. Returns those whose turn it is."""
        seq, turn = message["seq"], []
        if seq <= self.have_seq:
            return turn
        self.on_head(seq)
        if seq == self.have_seq + 1 or len(self._early) < EARLY_MAX:
            self._early[seq] = message
        while self.have_seq + 1 in self._early:
            self.have_seq += 1
            turn.append(self._early.pop(self.have_seq))
        return turn

    def on_sync_end(self, end, now):
        """The end of a Sync's answer."""
        if not self.is_asked(end["request_id"]):
            return
        asked, self._asked = self._asked, None
        self.on_head(end["head_seq"])
        same = (self.have_seq, self._known_seq) == (asked["have_seq"], asked["known_seq"])
        if same and self._known_seq > self.have_seq:
            self._put_off(now, STALLED_S)
        else:
            self._refusals = 0

    def is_asked(self, request_id):
        """Whether a request is the Sync that is under way."""
        return self._asked is not None and self._asked["request_id"] == request_id

    def on_refused(self, retry_after_s, now):
        """The Sync under way was refused. Where it never will be taken, what tells of a message later asks
        again."""
        asked, self._asked = self._asked, None
        if retry_after_s == 0:
            self._known_seq = self.have_seq
        else:
            self._unsure |= asked["unsure"]
            self._put_off(now, retry_after_s)

    def poll_timeout(self):
        """When `poll_sync` has something to ask that must wait."""
        return None if self.is_complete() else self._again_at

    def poll_sync(self, now, request_id):
        """The have_seq of the Sync that is due, or None; from here on it is under way."""
        if self.is_complete() or self._asked:
            return None
        if self._again_at is not None and now < self._again_at:
            return None
        self._asked = {
            "request_id": request_id,
            "have_seq": self.have_seq,
            "known_seq": self._known_seq,
            "unsure": self._unsure,
        }
        self._unsure, self._again_at = False, None
        return self.have_seq

    def _put_off(self, now, asked_s):
        wait_s = min(asked_s * 2**self._refusals, max(WAIT_MAX_S, asked_s))
        self._refusals = min(self._refusals + 1, 10)
        self._again_at = now + wait_s
