"""Two users who keep talking in the background. Whatever a test does to the server, they must not
notice: no error, no lost or repeated message, no closed connection."""

import asyncio
import threading

from .peer import WAIT_SECONDS, Peer
from .server import Server

# User ids that no test uses.
ANNA, BERT = 900_001, 900_002

# Between two messages: enough talk to notice a disturbance, little enough to leave the core free.
PAUSE_SECONDS = 0.02


class Chatter:
    """The pair, on a thread with an event loop of its own."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.exchanged = 0
        self.failure: BaseException | None = None
        self._progress = threading.Condition()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()
        self.check()

    def __enter__(self) -> "Chatter":
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        if kind is None:
            assert self.end() > 0
        else:
            self._stop.set()

    def check(self) -> None:
        """Waits until five more messages each way were acked and delivered in order."""
        with self._progress:
            goal = self.exchanged + 5
            self._progress.wait_for(lambda: self.failure or self.exchanged >= goal, WAIT_SECONDS)
            if self.failure:
                raise AssertionError(f"the healthy pair was disturbed: {self.failure!r}") from self.failure
            assert self.exchanged >= goal, f"the healthy pair hangs after {self.exchanged} exchanges"

    def end(self) -> int:
        """Stops them; how many exchanges there were."""
        self._stop.set()
        self._thread.join(WAIT_SECONDS)
        assert not self._thread.is_alive(), "the healthy pair does not end"
        if self.failure:
            raise AssertionError(f"the healthy pair was disturbed: {self.failure!r}") from self.failure
        return self.exchanged

    async def _run(self) -> None:
        try:
            async with await Peer.login(self.server, ANNA) as anna, await Peer.login(self.server, BERT) as bert:
                conversation = await anna.open_direct(BERT)
                while not self._stop.is_set():
                    await self._exchange(conversation, anna, bert)
                    await asyncio.sleep(PAUSE_SECONDS)
        except BaseException as failure:  # noqa: BLE001 (it is shown by the thread that asks)
            self.failure = failure
        finally:
            with self._progress:
                self._progress.notify_all()

    async def _exchange(self, conversation: int, anna: Peer, bert: Peer) -> None:
        for sender, reader in ((anna, bert), (bert, anna)):
            ack = await sender.send(conversation, f"talk {self.exchanged}".encode())
            await reader.wait_for(lambda reader=reader, ack=ack: any(
                message["message_id"] == ack["message_id"] for message in reader.delivered[conversation]))
        for peer in (anna, bert):
            seqs = peer.seqs(conversation)
            assert seqs == sorted(set(seqs)), f"out of order or repeated: {seqs[-20:]}"
            # Keep what is compared small.
            del peer.delivered[conversation][:-50]
        with self._progress:
            self.exchanged += 1
            self._progress.notify_all()
