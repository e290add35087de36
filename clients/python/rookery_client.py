"""A client of the Rookery protocol v1, written from docs/protocol.md alone.

Needs Python 3.11 and `websockets`. One `Client` is one connection:

    client = await Client.connect("wss://127.0.0.1:8443", token, ssl=context)
    conversation = await client.open_direct(peer_user_id=8)
    ack = await client.send(conversation["conversation_id"], b"ciphertext")
    async for message in client.messages():
        ...

Delivers are put in order per conversation, without duplicates; a gap is synced by itself.
"""

import asyncio
import secrets

import websockets

from rookery_protocol import FrameError, decode, encode

SUBPROTOCOL = "rookery.v1"
# A page of messages at their largest, with their roots.
_FRAME_BYTES_MAX = 8 * 1024 * 1024


class RequestError(Exception):
    """The server answered with an Error."""

    def __init__(self, fields):
        reason = fields["reason"].decode("utf-8", "replace")
        super().__init__(f"error {fields['code']}: {reason}")
        self.code = fields["code"]
        self.retry_after_ms = fields["retry_after_ms"]


class Client:
    """One logged-in connection."""

    def __init__(self, socket):
        self._socket = socket
        self._requests = {}
        self._delivered = asyncio.Queue()
        self._have_seq = {}
        self._early = {}
        self._syncing = set()
        self._tasks = set()
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
        client = cls(socket)
        client._have_seq = dict(have_seq or {})
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
        client._start(client._read())
        client._start(client._heartbeat(fields["heartbeat_interval_ms"] / 1000))
        return client

    async def close(self):
        """Closes the connection politely."""
        await self._socket.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def send(self, conversation_id, payload, client_msg_id=None):
        """Sends a message; returns its SendAck once it is durable. After a lost connection, send
        again with the same client_msg_id."""
        client_msg_id = client_msg_id or _fresh_id()
        return await self._request(
            client_msg_id,
            "Send",
            client_msg_id=client_msg_id,
            conversation_id=conversation_id,
            payload=payload,
        )

    async def recv(self):
        """The next message, in its conversation's order. Raises when the connection has ended."""
        message = await self._delivered.get()
        if isinstance(message, Exception):
            self._delivered.put_nowait(message)
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
            self._have_seq[conversation_id] = have_seq
        while True:
            asked_from = self._have_seq.get(conversation_id, 0)
            end = await self._request(
                None,
                "Sync",
                conversation_id=conversation_id,
                have_seq=asked_from,
                limit=self.welcome["page_messages_max"],
            )
            have = self._have_seq.get(conversation_id, 0)
            if have >= end["head_seq"] or have == asked_from:
                return end

    async def history(self, conversation_id, before_message_id=0, limit=50):
        """A HistoryPage, newest first."""
        return await self._request(
            None,
            "History",
            conversation_id=conversation_id,
            before_message_id=before_message_id,
            limit=limit,
        )

    async def acknowledge(self, conversation_id, seq=None):
        """Tells the server that this device has everything up to seq: what `recv` gave, or all that
        is known here. It is not answered."""
        seq = self.have_seq(conversation_id) if seq is None else seq
        await self._write("DeliverAck", conversation_id=conversation_id, seq=seq)

    async def outbox(self, before_message_id=0, limit=100):
        """A page of what this device has not acknowledged, of all conversations, newest first: an
        OutboxPage."""
        return await self._request(
            None, "Outbox", before_message_id=before_message_id, limit=limit
        )

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
        return self._have_seq.get(conversation_id, 0)

    async def _write(self, kind, **fields):
        await self._socket.send(encode(kind, fields))

    async def _request(self, request_id, kind, **fields):
        if request_id is None:
            request_id = fields["request_id"] = _fresh_id()
        answer = asyncio.get_running_loop().create_future()
        self._requests[request_id] = answer
        try:
            await self._write(kind, **fields)
            return await answer
        finally:
            self._requests.pop(request_id, None)

    def _start(self, coroutine):
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _heartbeat(self, interval_s):
        while True:
            await asyncio.sleep(interval_s)
            await self._write("Ping", nonce=_fresh_id())

    async def _read(self):
        try:
            while True:
                try:
                    kind, fields = decode(await self._socket.recv())
                except FrameError as error:
                    if error.name == "Kind":
                        continue
                    await self._socket.close(1002, "frame")
                    raise
                await self._handle(kind, fields)
        except (websockets.ConnectionClosed, FrameError) as error:
            ended = error
        for answer in self._requests.values():
            if not answer.done():
                answer.set_exception(ended)
        self._delivered.put_nowait(ended)

    async def _handle(self, kind, fields):
        if kind == "Deliver":
            self._deliver(fields)
        elif kind == "Ping":
            await self._write("Pong", nonce=fields["nonce"])
        elif kind == "Lagged":
            self.lagged += fields["skipped"]
            for conversation_id in list(self._have_seq):
                self._sync_later(conversation_id)
        elif kind == "ConversationOpened" and fields["request_id"] == 0:
            self.opened.append(fields)
        else:
            request_id = next(
                fields[name] for name in ("request_id", "client_msg_id", "nonce") if name in fields
            )
            answer = self._requests.get(request_id)
            if answer is None or answer.done():
                return
            if kind == "Error":
                answer.set_exception(RequestError(fields))
            else:
                answer.set_result(fields)

    def _deliver(self, message):
        """Orders by seq, drops duplicates, keeps what is early and asks for what is missing."""
        conversation_id, seq = message["conversation_id"], message["seq"]
        have = self._have_seq.setdefault(conversation_id, 0)
        if seq <= have:
            return
        early = self._early.setdefault(conversation_id, {})
        early[seq] = message
        while have + 1 in early:
            have += 1
            self._delivered.put_nowait(early.pop(have))
        self._have_seq[conversation_id] = have
        if early:
            self._sync_later(conversation_id)

    def _sync_later(self, conversation_id):
        if conversation_id not in self._syncing:
            self._syncing.add(conversation_id)
            self._start(self._sync_gap(conversation_id))

    async def _sync_gap(self, conversation_id):
        try:
            await self.sync(conversation_id)
        except (RequestError, websockets.ConnectionClosed):
            pass
        finally:
            self._syncing.discard(conversation_id)


def _fresh_id():
    return secrets.randbits(64) or 1
