"""A client for tests that need many at once: everything that arrives is kept and can be waited for.

Frames are made and read by `clients/python`, which was written from `docs/protocol.md` alone.
"""

import asyncio
import itertools
import random
from collections import defaultdict

from rookery_protocol import decode, encode
from websockets.asyncio.client import ClientConnection, connect

from . import codes
from .ids import fresh_msg_id
from .server import Server

# A hang, not a slow machine, should meet it.
WAIT_SECONDS = 60

SUBPROTOCOL = "rookery.v1"

# No Send's client_msg_id, and where a walk through an outbox begins.
NOBODYS, FIRST_PAGE = bytes(16), bytes(36)


class Refused(Exception):
    """The server answered a request with an Error."""

    def __init__(self, error: dict) -> None:
        super().__init__(f"code {error['code']}: {error['reason'].decode(errors='replace')}")
        self.code = error["code"]
        self.retry_after_ms = error["retry_after_ms"]


class Peer:
    """One device of one user, logged in."""

    _open: set["Peer"] = set()

    def __init__(self, socket: ClientConnection, user: int, device: int) -> None:
        self.socket = socket
        self.user = user
        self.device = device
        self.welcome: dict = {}
        self.delivered: dict[int, list[dict]] = defaultdict(list)
        self.opened: dict[int, dict] = {}
        self.lagged = 0
        self.told: list[dict] = []
        self.errors: list[dict] = []
        self._ids = itertools.count(random.getrandbits(62))
        self._waiting: dict[tuple[str, int | bytes], asyncio.Future] = {}
        self._syncs: dict[int, list[dict]] = {}
        self._arrival = asyncio.Condition()
        self._reader: asyncio.Task | None = None
        self._loop = asyncio.get_running_loop()
        self._open.add(self)

    # -- the connection -----------------------------------------------------------------------

    @classmethod
    async def login(cls, server: Server, user: int, device: int = 1, *, token: str | None = None,
                    tls: bool = True, resume: bytes = b"") -> "Peer":
        """Connects and logs in."""
        if token is None:
            token = await asyncio.to_thread(server.token, user, device)
        socket = await connect(
            server.wss if tls else server.ws, ssl=server.tls_context() if tls else None,
            subprotocols=[SUBPROTOCOL], compression=None, max_size=None, open_timeout=WAIT_SECONDS,
            ping_interval=None, proxy=None)
        peer = cls(socket, user, device)
        await socket.send(encode("Login", {"token": token.encode(), "resume_token": resume}))
        kind, fields = decode(await asyncio.wait_for(socket.recv(), WAIT_SECONDS))
        assert kind == "Welcome", (kind, fields)
        assert (fields["user_id"], fields["device_id"]) == (user, device), fields
        peer.welcome = fields
        peer._reader = asyncio.create_task(peer._read())
        return peer

    async def close(self) -> None:
        """Closes politely."""
        self._open.discard(self)
        await self.socket.close()
        if self._reader:
            await asyncio.gather(self._reader, return_exceptions=True)

    @classmethod
    async def close_all(cls) -> None:
        """Closes what a test that failed has left open on this event loop."""
        loop = asyncio.get_running_loop()
        left = [peer for peer in cls._open if peer._loop is loop]
        await asyncio.gather(*(peer.close() for peer in left), return_exceptions=True)

    async def closed(self) -> int:
        """Waits until the server has closed the connection; the close code."""
        await asyncio.wait_for(self.socket.wait_closed(), WAIT_SECONDS)
        codes.saw(self.socket.close_code)
        return self.socket.close_code

    async def __aenter__(self) -> "Peer":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # -- what arrives -------------------------------------------------------------------------

    async def _read(self) -> None:
        try:
            async for message in self.socket:
                async with self._arrival:
                    self._take(*decode(message))
                    self._arrival.notify_all()
        finally:
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(ConnectionError("the connection ended"))
                    waiting.exception()

    def _take(self, kind: str, fields: dict) -> None:
        if kind == "Deliver":
            self.delivered[fields["conversation_id"]].append(fields)
        elif kind == "ConversationOpened" and fields["request_id"] == 0:
            self.opened[fields["conversation_id"]] = fields
        elif kind == "Lagged":
            self.lagged += fields["skipped"]
        elif kind == "Reconnect":
            self.told.append(fields)
        elif kind == "Error":
            self.errors.append(fields)
            codes.saw(fields["code"])
            assert fields["request_id"] == 0 or fields["client_msg_id"] == NOBODYS, fields
            about = fields["request_id"] or fields["client_msg_id"]
            for key, waiting in self._waiting.items():
                if key[1] == about and not waiting.done():
                    waiting.set_exception(Refused(fields))
                    waiting.exception()
        else:
            key = next(fields[name] for name in ("client_msg_id", "request_id", "nonce") if name in fields)
            waiting = self._waiting.get((kind, key))
            if waiting and not waiting.done():
                waiting.set_result(fields)

    async def wait_for(self, condition) -> None:
        """Waits until something that arrived makes the condition true."""
        async with self._arrival:
            await asyncio.wait_for(self._arrival.wait_for(condition), WAIT_SECONDS)

    def seqs(self, conversation: int) -> list[int]:
        """The sequence numbers delivered so far."""
        return [message["seq"] for message in self.delivered[conversation]]

    # -- requests -----------------------------------------------------------------------------

    def next_id(self) -> int:
        """An id of this client's."""
        return next(self._ids)

    async def request(self, kind: str, answer: str, key: int | bytes, fields: dict) -> dict:
        """Sends a frame and waits for its answer; raises `Refused` for an Error."""
        waiting = asyncio.get_running_loop().create_future()
        self._waiting[(answer, key)] = waiting
        try:
            await self.socket.send(encode(kind, fields))
            return await asyncio.wait_for(waiting, WAIT_SECONDS)
        finally:
            del self._waiting[(answer, key)]

    async def _ask(self, kind: str, answer: str, **fields) -> dict:
        key = self.next_id()
        return await self.request(kind, answer, key, {"request_id": key, **fields})

    async def send(self, conversation: int, payload: bytes, client_msg_id: bytes | None = None) -> dict:
        """Sends a message and waits for its SendAck."""
        key = client_msg_id or fresh_msg_id()
        fields = {"client_msg_id": key, "conversation_id": conversation, "payload": payload}
        return await self.request("Send", "SendAck", key, fields)

    async def open_direct(self, peer_user: int) -> int:
        """The direct conversation with a user."""
        opened = await self._ask("OpenDirect", "ConversationOpened", peer_user_id=peer_user)
        return opened["conversation_id"]

    async def create(self, members: list[int]) -> dict:
        """A new conversation with these others."""
        return await self._ask("CreateConversation", "ConversationOpened", member_user_ids=members)

    async def history(self, conversation: int, before: int = 0, limit: int = 100) -> dict:
        """A page of the past: the messages before a seq."""
        return await self._ask("History", "HistoryPage", conversation_id=conversation, before_seq=before, limit=limit)

    async def received(self, conversation: int, seq: int) -> None:
        """This device has everything up to here; not answered."""
        await self.socket.send(encode("DeliverAck", {"conversation_id": conversation, "seq": seq}))

    async def outbox(self, cursor: bytes = FIRST_PAGE, limit: int = 100) -> dict:
        """A page of what this device has not acked, in the document's order."""
        page = await self._ask("Outbox", "OutboxPage", cursor=cursor, limit=limit)
        ids = [message["message_id"] for message in page["messages"]]
        assert ids == sorted(ids, reverse=True), f"a page in disorder: {ids}"
        return page

    async def whole_outbox(self, limit: int = 100, *pages: dict) -> tuple[list[dict], bool]:
        """A walk, from its beginning or behind pages of it, in the document's order; and whether a full sync is
        needed."""
        walk = list(pages)
        while not walk or walk[-1]["has_more"]:
            walk.append(await self.outbox(walk[-1]["next_cursor"] if walk else FIRST_PAGE, limit))
        messages = [message for page in walk for message in page["messages"]]
        seqs: dict[int, int] = {}
        for message in messages:
            below = seqs.setdefault(message["conversation_id"], message["seq"] + 1)
            assert message["seq"] < below, f"seq {message['seq']} after {below} of {message['conversation_id']}"
            seqs[message["conversation_id"]] = message["seq"]
        return messages, walk[-1]["needs_full_sync"] == 1

    async def sync(self, conversation: int, have_seq: int = 0, limit: int = 100) -> dict:
        """One Sync; the messages are in `delivered`."""
        return await self._ask("Sync", "SyncEnd", conversation_id=conversation, have_seq=have_seq, limit=limit)

    async def sync_all(self, conversation: int) -> list[dict]:
        """The whole conversation by Sync, in order; Delivers that came meanwhile are among it."""
        self.delivered[conversation].clear()
        have = 0
        while True:
            end = await self.sync(conversation, have)
            have = end["last_seq"]
            if have >= end["head_seq"]:
                by_seq = {message["seq"]: message for message in self.delivered[conversation]}
                return [by_seq[seq] for seq in sorted(by_seq)]

    async def members(self, conversation: int) -> list[int]:
        """Who is in a conversation."""
        answer = await self._ask("ListMembers", "Members", conversation_id=conversation)
        return answer["member_user_ids"]

    async def list_conversations(self, after: int = 0, limit: int = 100) -> dict:
        """A page of the user's conversations."""
        return await self._ask("ListConversations", "Conversations", after_conversation_id=after, limit=limit)

    async def ping(self) -> None:
        """A Ping and its Pong."""
        nonce = self.next_id()
        await self.request("Ping", "Pong", nonce, {"nonce": nonce})
