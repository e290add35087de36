"""The client against a server of thirty lines in the same process."""

import unittest

import websockets

from rookery_client import Client, RequestError
from rookery_protocol import decode, encode

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
        "client_msg_id": seq,
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
            await write("Error", request_id=0, code=300, retry_after_ms=0, reason=b"forged")
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


class ClientTest(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        server = websockets.serve(serve, "127.0.0.1", 0, subprotocols=["rookery.v1"])
        self.server = await server.__aenter__()
        self.addAsyncCleanup(server.__aexit__, None, None, None)
        port = self.server.sockets[0].getsockname()[1]
        self.url = f"ws://127.0.0.1:{port}/"

    async def test_a_gap_is_synced_in_order_without_duplicates(self):
        client = await Client.connect(self.url, "good", have_seq={5: 1})
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
            await Client.connect(self.url, "forged")
        self.assertEqual(caught.exception.code, 300)


if __name__ == "__main__":
    unittest.main()
