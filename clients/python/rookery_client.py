"""A client of the Rookery protocol v1, written from docs/protocol.md alone.

Needs Python 3.11 and `websockets`. One `Client` is one connection:

    client = await Client.connect("wss://127.0.0.1:8443", token, ssl=context)
    conversation = await client.open_direct(peer_user_id=8)
    ack = await client.send(conversation["conversation_id"], b"ciphertext")
    async for message in client.messages():
        ...

Delivers are put in order per conversation, without duplicates; what is missing is synced by itself, as
`rookery_timeline` says. A conversation that nothing was known of begins with its first message.

A server that goes tells its clients (`told`), each at a moment of its own. Who is told calls `reconnect`:

    client = await client.reconnect()

Three tasks live as long as the connection: one reads, one sends heartbeats, one asks again what was refused.
When one of them fails, all end, and whoever waits for something is told why.
"""

import asyncio
import random
import secrets
import uuid

import websockets

from rookery_protocol import FrameError, decode, encode
from rookery_timeline import Timeline

SUBPROTOCOL = "rookery.v1"
# A page of messages at their largest, with their roots.
_FRAME_BYTES_MAX = 8 * 1024 * 1024
# Pings without a sign of life after them. They are counted, not timed: this process may have stood still.
_UNANSWERED_MAX = 2


class RequestError(Exception):
    """The server answered with an Error."""

    def __init__(self, fields):
        reason = fields["reason"].decode("utf-8", "replace")
        super().__init__(f"error {fields['code']}: {reason}")
        self.code = fields["code"]
        self.retry_after_ms = fields["retry_after_ms"]


class Silent(ConnectionError):
    """The server has answered none of several Pings."""


class Client:
    """One logged-in connection."""

    def __init__(self, socket, have_seq):
        self._socket = socket
        self._requests = {}
        self._delivered = asyncio.Queue()
        self._timelines = {it: Timeline(seq) for it, seq in have_seq.items()}
        # Conversations to look at, those of which something is missing, and whose Sync is under which request_id.
        self._touched = set()
        self._behind = set()
        self._syncs = {}
        # By conversation: who waits for it to be complete, and the last SyncEnd.
        self._waiting = {}
        self._ends = {}
        self._refused = asyncio.Event()
        self._heard = False
        self._ended = None
        self._running = None
        self._connected = None
        self._leaves = False
        # Set once the server has told us to reconnect; `reconnect_frame` is what it said, and when.
        self.told = asyncio.Event()
        self.reconnect_frame = None
        self._told_at = None
        self.welcome = None
        self.lagged = 0
        self.opened = []

    @classmethod
    async def connect(cls, url, token, ssl=None, resume_token=b"", have_seq=None):
        """Connects and logs in. `have_seq` says, by conversation, what is known from before."""
        socket = await websockets.connect(
            url,
            ssl=ssl,
            subprotocols=[SUBPROTOCOL],
            compression=None,
            max_size=_FRAME_BYTES_MAX,
            ping_interval=None,
        )
        client = cls(socket, have_seq or {})
        client._connected = (url, token, ssl)
        token = token.encode() if isinstance(token, str) else token
        await client._write("Login", token=token, resume_token=resume_token)
        kind, fields = decode(await socket.recv())
        if kind == "Error":
            await socket.close()
            raise RequestError(fields)
        if kind != "Welcome":
            await socket.close()
            raise FrameError("Kind", f"{kind} in place of Welcome")
        client.welcome = fields
        client._running = asyncio.create_task(client._run())
        return client

    async def close(self):
        """Closes the connection politely."""
        await self._socket.close()
        await self._running

    async def reconnect(self):
        """Leaves as the server wanted it, and connects again: a new Client, at one of the servers that it
        named, or at the same URL. It waits for a moment of its own within the window, and for what is under
        way; nothing new can be asked meanwhile. Messages that `recv` has not given yet come again."""
        if self.reconnect_frame is not None:
            await self._await_moment()
        await self.close()
        url, token, ssl = self._connected
        have_seq = {it: timeline.have_seq for it, timeline in self._timelines.items()}
        while not self._delivered.empty():
            message = self._delivered.get_nowait()
            if not isinstance(message, Exception):
                before = message["seq"] - 1
                conversation_id = message["conversation_id"]
                have_seq[conversation_id] = min(before, have_seq[conversation_id])
        failed = None
        for server in [*self._alternatives(url), url]:
            try:
                resume_token = self.welcome["resume_token"]
                return await Client.connect(server, token, ssl, resume_token, have_seq)
            except (OSError, websockets.WebSocketException) as error:
                failed = error
        raise failed

    async def _await_moment(self):
        told = self.reconnect_frame
        window = sorted((told["not_before_ms"], told["not_after_ms"]))
        moment = self._told_at + random.uniform(*window) / 1000
        last = self._told_at + window[1] / 1000
        await asyncio.sleep(max(0, moment - _now()))
        self._leaves = True
        under_way = list(self._requests.values())
        if under_way:
            await asyncio.wait(under_way, timeout=max(0, last - _now()))

    def _alternatives(self, url):
        """In any order. None that would take away the TLS that there is."""
        told = self.reconnect_frame or {"alternatives": []}
        urls = [it["url"].decode("utf-8", "replace") for it in told["alternatives"]]
        scheme = url.split("://")[0]
        return [it for it in random.sample(urls, len(urls)) if it.split("://")[0] == scheme]

    async def send(self, conversation_id, payload, client_msg_id=None):
        """Sends a message; returns its SendAck once it is durable. After a lost connection, send
        again with the same client_msg_id: the 16 bytes of a UUID, unique for the user."""
        client_msg_id = client_msg_id or uuid.uuid4().bytes
        return await self._request(
            client_msg_id,
            "Send",
            client_msg_id=client_msg_id,
            conversation_id=conversation_id,
            payload=payload,
        )

    async def recv(self):
        """The next message, in its conversation's order. Raises what ended the connection, once it has;
        and a RequestError where messages are missing that the server refuses for good, once for each."""
        message = await self._delivered.get()
        if message is self._ended:
            self._delivered.put_nowait(message)
        if isinstance(message, Exception):
            raise message
        return message

    async def messages(self):
        """All messages until the connection ends."""
        while True:
            try:
                yield await self.recv()
            except websockets.ConnectionClosed:
                return

    async def sync(self, conversation_id, have_seq=None):
        """Asks for all that is missing after have_seq; it comes through `recv`. Returns the last
        SyncEnd."""
        if have_seq is not None:
            self._timelines[conversation_id] = Timeline(have_seq)
        self._timeline(conversation_id).on_lagged()
        self._raise_ended()
        complete = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(conversation_id, []).append(complete)
        self._touched.add(conversation_id)
        await self._catch_up()
        return await complete

    async def history(self, conversation_id, before_seq=0, limit=50):
        """A HistoryPage, newest first; the next one is before the last message's seq."""
        return await self._request(
            None,
            "History",
            conversation_id=conversation_id,
            before_seq=before_seq,
            limit=limit,
        )

    async def acknowledge(self, conversation_id, seq=None):
        """Tells the server that this device has everything up to seq: what `recv` gave, or all that
        is known here. It is not answered."""
        seq = self.have_seq(conversation_id) if seq is None else seq
        await self._write("DeliverAck", conversation_id=conversation_id, seq=seq)

    async def outbox(self, cursor=bytes(36), limit=100):
        """A page of what this device has not acknowledged, of all conversations, what came last
        first: an OutboxPage. While its has_more is 1 there is another, at its next_cursor."""
        return await self._request(None, "Outbox", cursor=cursor, limit=limit)

    async def open_direct(self, peer_user_id):
        """The direct conversation with a user: a ConversationOpened."""
        return await self._request(None, "OpenDirect", peer_user_id=peer_user_id)

    async def create_conversation(self, member_user_ids):
        """A new conversation with these others: a ConversationOpened."""
        return await self._request(None, "CreateConversation", member_user_ids=member_user_ids)

    async def list(self):
        """All conversations of the user: dicts of conversation_id and head_seq."""
        rows, more = [], 1
        while more:
            page = await self._request(
                None,
                "ListConversations",
                after_conversation_id=rows[-1]["conversation_id"] if rows else 0,
                limit=self.welcome["page_messages_max"],
            )
            rows += page["conversations"]
            more = page["has_more"]
        for row in rows:
            self._on_head(**row)
        await self._catch_up()
        return rows

    async def members(self, conversation_id):
        """The user ids of a conversation's members, ascending."""
        answer = await self._request(None, "ListMembers", conversation_id=conversation_id)
        return answer["member_user_ids"]

    async def ping(self):
        """A round trip."""
        nonce = _fresh_id()
        return await self._request(nonce, "Ping", nonce=nonce)

    def have_seq(self, conversation_id):
        """The highest seq below which nothing is missing."""
        timeline = self._timelines.get(conversation_id)
        return timeline.have_seq if timeline else 0

    def _raise_ended(self):
        if self._ended:
            raise self._ended
        if self._leaves:
            raise ConnectionError("this connection is being left: ask on the next one")

    async def _write(self, kind, **fields):
        await self._socket.send(encode(kind, fields))

    async def _request(self, request_id, kind, **fields):
        if request_id is None:
            request_id = fields["request_id"] = _fresh_id()
        self._raise_ended()
        answer = asyncio.get_running_loop().create_future()
        self._requests[request_id] = answer
        try:
            await self._write(kind, **fields)
            return await answer
        finally:
            self._requests.pop(request_id, None)

    async def _run(self):
        """The connection's tasks, until the first fails."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._read())
                tasks.create_task(self._heartbeat(self.welcome["heartbeat_interval_ms"] / 1000))
                tasks.create_task(self._ask_again())
        except* Exception as failed:
            self._end(failed.exceptions[0])
        code = 1002 if isinstance(self._ended, FrameError) else 1000
        await self._socket.close(code)

    def _end(self, why):
        self._ended = why
        waiting = [answer for all in self._waiting.values() for answer in all]
        for answer in [*self._requests.values(), *waiting]:
            if not answer.done():
                answer.set_exception(why)
        self._delivered.put_nowait(why)

    async def _heartbeat(self, interval_s):
        unanswered = 0
        while True:
            self._heard = False
            await asyncio.sleep(interval_s * 0.8)
            unanswered = 0 if self._heard else unanswered + 1
            if unanswered > _UNANSWERED_MAX:
                raise Silent("the server went silent")
            await self._write("Ping", nonce=_fresh_id())

    async def _ask_again(self):
        while True:
            times = (self._timelines[it].poll_timeout() for it in self._behind)
            due = min((time for time in times if time is not None), default=None)
            self._refused.clear()
            try:
                await asyncio.wait_for(self._refused.wait(), due and max(0, due - _now()))
            except TimeoutError:
                self._touched |= self._behind
                await self._catch_up()

    async def _catch_up(self):
        """Asks for what is missing, where it is time to; tells those who waited for it that nothing is."""
        touched, self._touched = self._touched, set()
        for conversation_id in touched:
            timeline = self._timelines[conversation_id]
            self._behind.add(conversation_id)
            if timeline.is_complete():
                self._behind.discard(conversation_id)
                end = self._ends.pop(conversation_id, None)
                self._settle(conversation_id, lambda answer: answer.set_result(end))
                continue
            request_id = _fresh_id()
            have_seq = timeline.poll_sync(_now(), request_id)
            if have_seq is not None:
                self._syncs[request_id] = conversation_id
                await self._write(
                    "Sync",
                    request_id=request_id,
                    conversation_id=conversation_id,
                    have_seq=have_seq,
                    limit=self.welcome["page_messages_max"],
                )

    def _settle(self, conversation_id, how):
        for answer in self._waiting.pop(conversation_id, []):
            if not answer.done():
                how(answer)

    async def _read(self):
        while True:
            frame = await self._socket.recv()
            self._heard = True
            try:
                kind, fields = decode(frame)
            except FrameError as error:
                if error.name == "Kind":
                    continue
                raise
            await self._handle(kind, fields)
            await self._catch_up()

    async def _handle(self, kind, fields):
        if kind == "Deliver":
            conversation_id = fields["conversation_id"]
            for message in self._timeline(conversation_id).on_deliver(fields):
                self._delivered.put_nowait(message)
            self._touched.add(conversation_id)
        elif kind == "Ping":
            await self._write("Pong", nonce=fields["nonce"])
        elif kind == "Reconnect":
            self.reconnect_frame, self._told_at = fields, _now()
            self.told.set()
        elif kind == "Lagged":
            self.lagged += fields["skipped"]
            for timeline in self._timelines.values():
                timeline.on_lagged()
            self._touched.update(self._timelines)
        elif kind == "SyncEnd":
            conversation_id = self._syncs.pop(fields["request_id"], None)
            if conversation_id is not None:
                self._timelines[conversation_id].on_sync_end(fields, _now())
                self._touched.add(conversation_id)
                self._ends[conversation_id] = fields
        elif kind == "Error" and fields["request_id"] in self._syncs:
            self._on_refused(self._syncs.pop(fields["request_id"]), fields)
        else:
            if kind == "ConversationOpened":
                self._on_head(fields["conversation_id"], fields["head_seq"])
                if fields["request_id"] == 0:
                    return self.opened.append(fields)
            self._on_answer(kind, fields)

    def _on_answer(self, kind, fields):
        names = ("client_msg_id", "request_id", "nonce")
        # An Error has two of them, and zeros in the one that it does not mean.
        ids = (fields[name] for name in names if fields.get(name) not in (None, bytes(16)))
        answer = self._requests.get(next(ids))
        if answer is None or answer.done():
            return
        if kind == "Error":
            answer.set_exception(RequestError(fields))
        else:
            answer.set_result(fields)

    def _on_refused(self, conversation_id, error):
        timeline = self._timelines[conversation_id]
        if not timeline.is_asked(error["request_id"]):
            return
        timeline.on_refused(error["retry_after_ms"] / 1000, _now())
        self._refused.set()
        if error["retry_after_ms"] == 0:
            refused = RequestError(error)
            if conversation_id not in self._waiting:
                self._delivered.put_nowait(refused)
            self._settle(conversation_id, lambda answer: answer.set_exception(refused))

    def _on_head(self, conversation_id, head_seq):
        """How far a conversation goes: of interest where it is followed."""
        if conversation_id in self._timelines:
            self._timelines[conversation_id].on_head(head_seq)
            self._touched.add(conversation_id)

    def _timeline(self, conversation_id):
        return self._timelines.setdefault(conversation_id, Timeline(0))


def _now():
    return asyncio.get_running_loop().time()


def _fresh_id():
    return secrets.randbits(64) or 1
