"""Members of a few conversations who talk for as long as a test lasts, as clients do that
`docs/protocol.md` describes: what is refused with retry-after is sent again after that time, what was
not answered on a lost connection is sent again on a new one, under the same client_msg_id.

The first device of each member sends and listens. It never syncs, so that what it hears is live. The
second one only audits: it comes at the end and syncs everything.
"""

import asyncio
import random
import time
from collections import Counter

from websockets.exceptions import ConnectionClosed

from . import tokens
from .ledger import Ledger, Sent, settle, verify
from .ids import msg_id
from .peer import Peer, Refused
from .server import Server

MEMBERS = 4
CONVERSATIONS = 3
IN_FLIGHT = 4

# Between two messages of a sender: some 150 in a second over all, which leaves the cores to the services.
PAUSE_SECONDS = 0.1

# How long a message may be refused, or a server be away, before it counts as a hang.
PATIENCE_SECONDS = 180

# For live Delivers that follow a Sync which has everything.
HEAR_SECONDS = 5

UNCONNECTED = (ConnectionError, ConnectionClosed, OSError)

AUDITOR = 2


async def patiently(request, *, patience: float = PATIENCE_SECONDS):
    """Does a request again for as long as it is refused with retry-after."""
    deadline = time.monotonic() + patience
    while True:
        try:
            return await request()
        except Refused as refused:
            assert refused.retry_after_ms > 0, f"refused for good: {refused}"
            assert time.monotonic() < deadline, f"still refused after {patience} s: {refused}"
            await asyncio.sleep(refused.retry_after_ms / 1000)


async def patient_sync(peer: Peer, conversation: int, have: int) -> dict:
    """A Sync that a store which is away only delays."""
    return await patiently(lambda: peer.sync(conversation, have))


class Member:
    """A user's first device, which connects again when its connection is lost."""

    def __init__(self, crowd: "Crowd", user: int, servers: list[Server]) -> None:
        self.crowd = crowd
        self.user = user
        # Where it connects, the first that lets it in.
        self.servers = servers
        self.peer: Peer | None = None
        self.past: list[Peer] = []
        self.lost = 0
        self._connecting = asyncio.Lock()

    async def connect(self) -> None:
        """Logs in to the first server that answers."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            for server in self.servers:
                try:
                    self.peer = await Peer.login(server, self.user, token=self.crowd.token(server, self.user))
                    return
                except UNCONNECTED:
                    continue
            assert time.monotonic() < deadline, f"user {self.user} cannot connect to any server"
            await asyncio.sleep(0.1)

    async def connect_again(self, broken: Peer) -> None:
        """The connection was lost: once for all the senders that noticed."""
        async with self._connecting:
            if self.peer is broken:
                self.lost += 1
                await self.connect()
                self.past.append(broken)

    async def move(self) -> None:
        """Connects anew, to the server that it likes best, and leaves the old connection."""
        async with self._connecting:
            old = self.peer
            await self.connect()
            self.past.append(old)
        await old.close()

    def peers(self) -> list[Peer]:
        """All its connections, the present one last."""
        return [*self.past, self.peer]


class Crowd:
    """See the module. Begins to talk on entering; leaving lets every message be acked, and audits."""

    def __init__(self, servers: list[Server], dice: random.Random, *, pause: float = PAUSE_SECONDS) -> None:
        self.servers = servers
        self.dice = dice
        self.pause = pause
        first = dice.randrange(1 << 20, 1 << 40)
        # Halves of the members prefer different servers, where there are several.
        self.members = [Member(self, first + n, servers[n % len(servers):] + servers[:n % len(servers)])
                        for n in range(MEMBERS)]
        # Ids of all 64 bits: a store that keeps signed ones must give them back as they were.
        self.ledger = Ledger(next_id=(1 << 63) + dice.getrandbits(40))
        self.conversations: list[int] = []
        self.acks: list[float] = []
        self.refused: Counter[int] = Counter()
        self.refused_at: list[float] = []
        self.caught_up_s = 0.0
        self.longest_silence = 0.0
        self._begun = 0.0
        self._senders: list[asyncio.Task] = []
        self._ending = False

    # -- life ---------------------------------------------------------------------------------

    async def __aenter__(self) -> "Crowd":
        await asyncio.gather(*(member.connect() for member in self.members))
        for _ in range(CONVERSATIONS):
            self.conversations.append(await self.open_conversation())
        self._begun = time.monotonic()
        self._senders = [asyncio.create_task(self._send_on(member)) for member in self.members for _ in range(IN_FLIGHT)]
        return self

    async def __aexit__(self, kind: type | None, *_: object) -> None:
        try:
            if kind is None:
                await self.end()
                await self.audit()
                await self._hear_out()
        finally:
            await self._leave()

    async def _leave(self) -> None:
        for sender in self._senders:
            sender.cancel()
        await asyncio.gather(*self._senders, return_exceptions=True)
        for member in self.members:
            await asyncio.gather(*(peer.close() for peer in member.peers() if peer), return_exceptions=True)

    async def end(self) -> None:
        """No new messages; those under way are acked, however long they are refused."""
        self._ending = True
        await asyncio.gather(*self._senders)
        self.longest_silence = self.silence(self._begun)
        self.hear()

    async def runs(self, seconds: float) -> None:
        """Lets them talk, and sees that nobody gave up."""
        done, _ = await asyncio.wait(self._senders, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        for sender in done:
            sender.result()

    # -- what they do -------------------------------------------------------------------------

    def token(self, server: Server, user: int, device: int = 1) -> str:
        """A login token; good for a month, so that servers whose clocks jump take it too."""
        return tokens.hs256(user, server.key, device, ttl=30 * 86_400)

    async def open_conversation(self) -> int:
        """A conversation of all the members."""
        first, *others = self.members
        opened = await patiently(lambda: first.peer.create([member.user for member in others]))
        return opened["conversation_id"]

    async def _send_on(self, member: Member) -> None:
        await asyncio.sleep(self.dice.uniform(0, self.pause))
        while not self._ending:
            payload = self.dice.randbytes(self.dice.choice((8, 100, 300, 3000)))
            await self.until_acked(member, self.ledger.new(member.user, self.dice.choice(self.conversations), payload))
            await asyncio.sleep(self.pause)

    async def until_acked(self, member: Member, message: Sent) -> None:
        """Sends a message as often as it takes."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            peer = member.peer
            try:
                ack = await peer.send(message.conversation, message.payload, message.client_msg_id)
            except Refused as refused:
                assert refused.retry_after_ms > 0, f"a message was refused for good: {refused}"
                self.refused[refused.code] += 1
                self.refused_at.append(time.monotonic())
                await asyncio.sleep(refused.retry_after_ms / 1000)
            except TimeoutError:
                raise AssertionError(f"neither acked nor refused: {message.client_msg_id} of {message.user}") from None
            except UNCONNECTED:
                await member.connect_again(peer)
            else:
                self.ledger.acked(message, ack)
                self.acks.append(time.monotonic())
                return
            self.ledger.retried += 1
            assert time.monotonic() < deadline, f"not acked in {PATIENCE_SECONDS} s: {message.client_msg_id}"

    async def retry_acked(self, most: int) -> int:
        """Sends some acked messages again: each gets the id that it has. How many."""
        acked = [message for message in self.ledger.sent.values() if message.message_id is not None]
        by_user = {member.user: member for member in self.members}
        chosen = self.dice.sample(acked, min(most, len(acked)))
        await asyncio.gather(*(self.until_acked(by_user[message.user], message) for message in chosen))
        self.ledger.retries_of_acked += len(chosen)
        return len(chosen)

    async def settle_in(self) -> None:
        """Everybody moves to the server that they like best: one that they prefer has come."""
        for member in self.members:
            await member.move()

    # -- what became of it --------------------------------------------------------------------

    def hear(self) -> None:
        """Takes what was delivered live into the ledger."""
        for member in self.members:
            self.ledger.saw_live(member.peers())

    def lost(self) -> int:
        """Connections that ended although nobody asked."""
        return sum(member.lost for member in self.members)

    async def ping(self) -> None:
        """Every connection is alive."""
        await asyncio.gather(*(member.peer.ping() for member in self.members))

    def acked_since(self, moment: float) -> int:
        """Acks since then."""
        return sum(at >= moment for at in self.acks)

    def acked_from(self, first: int) -> set[int]:
        """Ids of the messages that were made from this number on and are acked."""
        return {sent.message_id for sent in self.ledger.sent.values()
                if sent.client_msg_id >= msg_id(first) and sent.message_id is not None}

    def refused_since(self, moment: float) -> int:
        """Refusals since then."""
        return sum(at >= moment for at in self.refused_at)

    def silence(self, since: float) -> float:
        """The longest time without an ack since then, s."""
        moments = [since, *(at for at in self.acks if at >= since), time.monotonic()]
        return max(b - a for a, b in zip(moments, moments[1:]))

    async def until_acks(self, count: int = 20, *, patience: float = PATIENCE_SECONDS) -> float:
        """Waits for so many acks from this moment on; how long the first took, s."""
        begin = time.monotonic()
        while self.acked_since(begin) < count:
            assert time.monotonic() < begin + patience, f"no acks for {patience} s"
            await self.runs(0.1)
        return min(at for at in self.acks if at >= begin) - begin

    async def auditors(self) -> list[Peer]:
        """The members' second devices, on the first server that runs."""
        server = next(server for server in self.servers if server.is_alive())
        return [await Peer.login(server, member.user, AUDITOR, token=self.token(server, member.user, AUDITOR))
                for member in self.members]

    async def audit(self, *, patience: float = PATIENCE_SECONDS) -> int:
        """After the last ack: waits until every member finds every message by Sync, and holds the order against
        the ledger and against History. How many messages there are."""
        begin = time.monotonic()
        auditors = await self.auditors()
        while True:
            await verify(auditors, self.conversations, self.ledger, while_moving=True, sync=patient_sync)
            if self.ledger.there() >= len(self.ledger.sent):
                break
            there, sent = self.ledger.there(), len(self.ledger.sent)
            assert time.monotonic() < begin + patience, f"{there} of {sent} messages are there after {patience} s"
            await asyncio.sleep(0.2)
        self.caught_up_s = time.monotonic() - begin
        await verify(auditors, self.conversations, self.ledger, from_start=True, sync=patient_sync)
        self.hear()
        total = settle(self.conversations, self.ledger)
        for conversation in self.conversations:
            await self._audit_history(auditors[0], conversation)
        await asyncio.gather(*(peer.close() for peer in auditors))
        return total

    async def _audit_history(self, peer: Peer, conversation: int) -> None:
        """Scrolling back finds the same messages."""
        found, before = [], 0
        while True:
            page = await patiently(lambda before=before: peer.history(conversation, before))
            found += page["messages"]
            if not page["has_more"]:
                break
            before = found[-1]["seq"]
        assert found[::-1] == self.ledger.order[conversation], f"History differs from Sync in conversation {conversation}"

    async def _hear_out(self) -> None:
        """Live Delivers of the last messages may be on their way."""
        deadline = time.monotonic() + HEAR_SECONDS
        while self.lost() == 0 and (live := self.live()).by_sync > live.lagged and time.monotonic() < deadline:
            await asyncio.sleep(0.1)
        self.hear()

    def stayed(self) -> None:
        """Holds a server that ran throughout to what its clients may expect: no connection ended, everything
        was delivered live to everybody or told as skipped, and in order."""
        live = self.live()
        assert self.lost() == 0, f"{self.lost()} connections were lost"
        assert live.early == 0, f"{live.early} messages were delivered after a later one"
        # A client that reads more slowly than a backlog comes is told what it was not sent.
        assert live.by_sync <= live.lagged, f"{live.by_sync} not delivered live, {live.lagged} of them told as skipped"

    def live(self) -> "Live":
        """How the live Delivers came."""
        return Live(self)


class Live:
    """The live Delivers that the members' first devices heard, against what there is."""

    def __init__(self, crowd: Crowd) -> None:
        self.delivered = 0
        # Of what there is, by member: never heard live, so that only Sync finds it.
        self.by_sync = 0
        # Again on the same connection: delivery is at least once.
        self.repeated = 0
        # For the first time after a later one.
        self.early = 0
        # What the server said that it skipped.
        self.lagged = sum(peer.lagged for member in crowd.members for peer in member.peers())
        for member in crowd.members:
            for conversation in crowd.conversations:
                heard: set[int] = set()
                for peer in member.peers():
                    heard |= self._listen(peer.seqs(conversation))
                self.delivered += len(heard)
                self.by_sync += len(crowd.ledger.order.get(conversation, [])) - len(heard)

    def _listen(self, seqs: list[int]) -> set[int]:
        heard: set[int] = set()
        highest = 0
        for seq in seqs:
            if seq in heard:
                self.repeated += 1
            elif seq < highest:
                self.early += 1
            heard.add(seq)
            highest = max(highest, seq)
        return heard
