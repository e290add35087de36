"""The client against servers of a few lines in the same process."""

import asyncio
import unittest

import websockets

from rookery_client import Client, RequestError, Silent
from rookery_protocol import FrameError, decode, encode

WELCOME = {
    "user_id": 7,
    "device_id": 1,
    "session_id": 1,
    "resume_token": b"",
    "server_time_ms": 0,
    "expires_at_ms": 1 << 62,
    "heartbeat_interval_ms": 60_000,
    "reconnect_jitter_ms": 0,
    "payload_bytes_max": 65_536,
    "page_messages_max": 2,
}


def deliver(seq):
    return {
        "conversation_id": 5,
        "seq": seq,
        "message_id": 1000 + seq,
        "sender_user_id": 8,
        "sender_device_id": 1,
        "client_msg_id": seq.to_bytes(16, "big"),
        "hlc": 0,
        "payload": b"%d" % seq,
    }


async def serve(socket):
    """A conversation 5 with six messages, of which a Send delivers the last only."""

    async def write(kind, **fields):
        await socket.send(encode(kind, fields))

    async for frame in socket:
        kind, fields = decode(frame)
        if kind == "Login" and fields["token"] != b"good":
            error = {"code": 300, "retry_after_ms": 0, "reason": b"forged"}
            await write("Error", request_id=0, client_msg_id=bytes(16), **error)
            return await socket.close(4401)
        if kind == "Login":
            await write("Welcome", **WELCOME)
        elif kind == "Send":
            await write("Deliver", **deliver(6))
            await write("Deliver", **deliver(6))
            ids = {name: fields[name] for name in ("client_msg_id", "conversation_id")}
            await write("SendAck", message_id=1006, hlc=0, **ids)
        elif kind == "Sync":
            last = min(fields["have_seq"] + fields["limit"], 6)
            for seq in range(fields["have_seq"] + 1, last + 1):
                await write("Deliver", **deliver(seq))
            ids = {name: fields[name] for name in ("request_id", "conversation_id")}
            await write("SyncEnd", last_seq=last, head_seq=6, **ids)
        elif kind == "ListConversations":
            first = fields["after_conversation_id"] + 1
            rows = [{"conversation_id": id, "head_seq": 0} for id in range(first, first + 2)]
            more = int(first < 5)
            request_id = fields["request_id"]
            await write("Conversations", request_id=request_id, conversations=rows, has_more=more)


def script(*answers, heartbeat_interval_ms=60_000):
    """A server that sends a Welcome, and then for each further frame but Pings the frames of the next answer,
    a function of its fields. After the last it is silent; bytes are sent as they are."""

    async def serve(socket):
        await socket.recv()
        welcome = {**WELCOME, "heartbeat_interval_ms": heartbeat_interval_ms}
        await socket.send(encode("Welcome", welcome))
        left = list(answers)
        async for frame in socket:
            kind, fields = decode(frame)
            if kind != "Ping" and left:
                for answer in left.pop(0)(fields):
                    await socket.send(answer if isinstance(answer, bytes) else encode(*answer))

    return serve


def refusal(fields, retry_after_ms):
    """The Error to a request."""
    about = {
        "request_id": fields.get("request_id", 0),
        "client_msg_id": fields.get("client_msg_id", bytes(16)),
    }
    return "Error", {**about, "code": 201, "retry_after_ms": retry_after_ms, "reason": b"busy"}


def synced(fields, last):
    ids = {name: fields[name] for name in ("request_id", "conversation_id")}
    missing = [("Deliver", deliver(seq)) for seq in range(fields["have_seq"] + 1, last + 1)]
    return [*missing, ("SyncEnd", {"last_seq": last, "head_seq": last, **ids})]


def reconnect(*urls, not_after_ms=200):
    alternatives = [{"url": url.encode()} for url in urls]
    window = {"not_before_ms": 0, "not_after_ms": not_after_ms}
    return "Reconnect", {"server_time_ms": 0, **window, "alternatives": alternatives, "reason": b"drained"}


class ClientTest(unittest.IsolatedAsyncioTestCase):
    async def listen(self, serve):
        """The URL of a server."""
        server = websockets.serve(serve, "127.0.0.1", 0, subprotocols=["rookery.v1"])
        port = (await server.__aenter__()).sockets[0].getsockname()[1]
        self.addAsyncCleanup(server.__aexit__, None, None, None)
        return f"ws://127.0.0.1:{port}/"

    async def follow(self, *answers, **options):
        """A client of a script, that follows conversation 5 from its first message on."""
        url = await self.listen(script(*answers, **options))
        client = await Client.connect(url, "good", have_seq={5: 1})
        self.addAsyncCleanup(client.close)
        return client

    async def test_a_gap_is_synced_in_order_without_duplicates(self):
        client = await Client.connect(await self.listen(serve), "good", have_seq={5: 1})
        ack = await client.send(5, b"hello")
        self.assertEqual(ack["message_id"], 1006)
        seqs = [(await client.recv())["seq"] for _ in range(5)]
        self.assertEqual(seqs, [2, 3, 4, 5, 6])
        self.assertEqual(client.have_seq(5), 6)
        self.assertEqual(len(await client.list()), 6)
        await client.close()
        self.assertEqual([message async for message in client.messages()], [])

    async def test_a_refused_login_is_an_error(self):
        with self.assertRaises(RequestError) as caught:
            await Client.connect(await self.listen(serve), "forged")
        self.assertEqual(caught.exception.code, 300)

    async def test_a_gap_that_is_refused_is_asked_for_again(self):
        client = await self.follow(
            lambda send: [("Deliver", deliver(3))],
            lambda sync: [refusal(sync, 1)],
            lambda sync: [refusal(sync, 1)],
            lambda sync: synced(sync, 3),
        )
        await client.acknowledge(5, 1)
        self.assertEqual([(await client.recv())["seq"] for _ in range(2)], [2, 3])

    async def test_a_gap_that_is_refused_for_good_is_told_and_others_go_on(self):
        client = await self.follow(
            lambda send: [("Deliver", deliver(3))],
            lambda sync: [refusal(sync, 0), ("Deliver", deliver(2))],
            lambda sync: [refusal(sync, 0)],
        )
        await client.acknowledge(5, 1)
        with self.assertRaises(RequestError):
            await client.recv()
        self.assertEqual([(await client.recv())["seq"] for _ in range(2)], [2, 3])
        with self.assertRaises(RequestError):
            await client.sync(5)

    async def test_an_error_is_of_what_it_names(self):
        refused, opened = [], {"conversation_id": 5, "head_seq": 0, "member_user_ids": [7, 8]}
        client = await self.follow(
            lambda send: refused.append(send) or [],
            lambda open: [
                refusal(refused[0], 1),
                ("ConversationOpened", {"request_id": open["request_id"], **opened}),
            ],
            lambda open: [refusal(open, 1)],
        )
        sending = asyncio.create_task(client.send(5, b"hello", b"the first of two"))
        await asyncio.sleep(0)
        self.assertEqual((await client.open_direct(8))["conversation_id"], 5)
        with self.assertRaises(RequestError):
            await sending
        with self.assertRaises(RequestError):
            await client.open_direct(8)

    async def test_a_server_that_falls_silent_is_told(self):
        client = await self.follow(heartbeat_interval_ms=10)
        waiting = asyncio.create_task(client.sync(5))
        with self.assertRaises(Silent):
            await client.recv()
        for call in (waiting, client.recv(), client.sync(5), client.open_direct(8)):
            with self.assertRaises(Silent):
                await call

    async def test_whatever_ends_a_task_is_told_and_nothing_is_left_behind(self):
        before = asyncio.all_tasks()
        garbage = b"\x01\x91"
        # The last is an answer of a kind that a server sends once only.
        for answer, expected in ((garbage, FrameError), (("Welcome", WELCOME), RuntimeError)):
            url = await self.listen(script(lambda _: [answer]))
            client = await Client.connect(url, "good")
            for call in (client.open_direct(8), client.recv(), client.send(5, b"late")):
                with self.assertRaises(expected):
                    await call
            await client.close()
            ours = [it for it in asyncio.all_tasks() - before if "Client" in repr(it.get_coro())]
            self.assertEqual(ours, [])

    async def test_who_is_told_to_reconnect_does_so_with_nothing_under_way(self):
        elsewhere = await self.listen(serve)
        acked = []

        async def late(socket):
            """Tells to go elsewhere, then acks what is under way."""
            await socket.recv()
            await socket.send(encode("Welcome", WELCOME))
            _, sent = decode(await socket.recv())
            await socket.send(encode(*reconnect("ws://127.0.0.1:1/", "wss://127.0.0.1:1/", elsewhere)))
            await asyncio.sleep(0.1)
            ids = {name: sent[name] for name in ("client_msg_id", "conversation_id")}
            await socket.send(encode("SendAck", {"message_id": 1, "hlc": 0, **ids}))
            acked.append(True)
            await socket.wait_closed()

        client = await Client.connect(await self.listen(late), "good", have_seq={5: 1})
        send = asyncio.create_task(client.send(5, b"under way"))
        await client.told.wait()
        moved = await client.reconnect()
        self.addAsyncCleanup(moved.close)
        self.assertEqual((await send)["message_id"], 1)
        self.assertEqual(acked, [True])
        with self.assertRaises(Exception):
            await client.send(5, b"too late")
        await moved.sync(5)
        self.assertEqual([(await moved.recv())["seq"] for _ in range(5)], [2, 3, 4, 5, 6])

    async def test_a_client_goes_back_to_the_same_server_where_it_is_told_no_other(self):
        connections = []

        async def restarting(socket):
            connections.append(socket)
            await socket.recv()
            await socket.send(encode("Welcome", WELCOME))
            if len(connections) == 1:
                await socket.send(encode(*reconnect()))
            await socket.wait_closed()

        client = await Client.connect(await self.listen(restarting), "good")
        await client.told.wait()
        moved = await client.reconnect()
        await moved.close()
        self.assertEqual([socket.close_code for socket in connections], [1000, 1000])


if __name__ == "__main__":
    unittest.main()
