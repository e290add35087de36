"""A conversation that was written through the edge is read back from Kafka and from the store by their own
programs, with the commands that docs/deploy/README.md gives."""

import asyncio
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.peer import Peer
from harness.records import Message, message

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/deploy/README.md"
HEADING = "## Read a conversation back"

# Heads are written about once a second; cqlsh takes as long to start.
STORED_SECONDS = 30

PAYLOADS = [b"plain text", b"", bytes(range(256)), "gr\u00fc\u00df dich".encode(), b"a\tb\nc\\d|e"]


def commands(page: str) -> dict[str, list[str]]:
    """The commands of that section, by the program that they start: Kafka's consumer, and cqlsh."""
    section = page.split(HEADING, 1)[1].split("\n## ", 1)[0]
    blocks = re.findall(r"^```\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2, f"{len(blocks)} blocks of commands in '{HEADING}'"
    consumer, cqlsh = blocks
    assert "tools.consumer.ConsoleConsumer" in consumer and cqlsh.startswith("cqlsh "), blocks
    return {"consumer": [consumer], "cqlsh": re.split(r"^(?=cqlsh )", cqlsh, flags=re.MULTILINE)[1:]}


def run(command: str) -> str:
    """What it prints. The tests' own programs come first in the path."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    ended = subprocess.run(["bash", "-euo", "pipefail", "-c", command], cwd=ROOT, env={**os.environ, "PATH": path},
                           capture_output=True, text=True, check=False, timeout=120)
    assert ended.returncode == 0, f"{command}\n{ended.stdout[-2000:]}{ended.stderr[-2000:]}"
    return ended.stdout


def printed(value: str) -> bytes:
    """The bytes that Kafka's BytesDeserializer has printed: what is no printable ASCII as \\xNN."""
    return re.sub(rb"\\x([0-9A-F]{2})", lambda found: bytes.fromhex(found[1].decode()), value.encode("ascii"))


def consumed(output: str, conversation: int) -> list[Message]:
    """The conversation's messages among the consumer's lines: partition, offset, key, value."""
    found = []
    # It also logs there that nothing more came within its time.
    for line in filter(re.compile(r"Partition:\d+\tOffset:\d+\t").match, output.splitlines()):
        _, _, key, value = line.split("\t", 3)
        if int(key) == conversation and (record := message(printed(value))):
            found.append(record)
    return found


def rows(output: str) -> list[dict[str, str]]:
    """cqlsh's table."""
    lines = output.splitlines()
    rule = next(at for at, line in enumerate(lines) if re.fullmatch(r"[-+]+", line.strip() or " "))
    names = [name.strip() for name in lines[rule - 1].split("|")]
    cells = [line.split("|") for line in lines[rule + 1:] if "|" in line]
    return [dict(zip(names, (cell.strip() for cell in row), strict=True)) for row in cells]


@pytest.fixture(scope="module")
def server(deployment):
    return deployment.start()


async def written(server) -> tuple[int, list[dict], int]:
    """A conversation of some messages: which, what its member heard, and who sent them."""
    user = 8_001
    token = server.token(user)
    async with await Peer.login(server, user, token=token) as peer:
        conversation = await peer.open_direct(user + 1)
        for payload in PAYLOADS:
            await peer.send(conversation, payload)
        await peer.wait_for(lambda: len(peer.seqs(conversation)) == len(PAYLOADS))
        return conversation, sorted(peer.delivered[conversation], key=lambda heard: heard["seq"]), user


async def test_by_their_own_programs(deployment, server, form, cases):
    given = commands(PAGE.read_text(encoding="utf-8"))
    conversation, heard, user = await written(server)
    assert [it["payload"] for it in heard] == PAYLOADS
    if form.is_dry:
        return

    command = given["consumer"][0].replace("--topic rookery.messages", f"--topic {deployment.topic}")
    command = command.replace("127.0.0.1:19092", deployment.addresses.kafka)
    assert deployment.topic in command, command
    reading = asyncio.create_task(asyncio.to_thread(run, command))

    head, stored = await asyncio.to_thread(from_store, given["cqlsh"], deployment, conversation)
    assert int(head["last_seq"]) == len(PAYLOADS)
    assert [int(row["seq"]) for row in stored] == list(range(len(PAYLOADS), 0, -1)), "newest first"
    for row, it in zip(stored, reversed(heard), strict=True):
        assert (int(row["message_id"]), int(row["sender_user_id"])) == (it["message_id"], user), row
        assert bytes.fromhex(row["payload"].removeprefix("0x")) == it["payload"], row

    records = consumed(await reading, conversation)
    assert len(records) == len(heard), records
    for record, it in zip(records, heard, strict=True):
        expected = Message(it["message_id"], it["hlc"], conversation, user, 1, it["client_msg_id"], it["payload"])
        assert record == expected, "the n-th record of a conversation is its n-th message"
    cases.note(f"{len(PAYLOADS)} messages read back with the commands of {PAGE.relative_to(ROOT)}: by Kafka's console "
               "consumer in order, by cqlsh newest first, each with its ids and its payload")


def from_store(given: list[str], deployment, conversation: int) -> tuple[dict[str, str], list[dict[str, str]]]:
    """The head of a conversation and its messages, by the two commands."""
    host, port = deployment.addresses.cql.split(":")

    def ours(command: str) -> str:
        command = command.replace("127.0.0.1 19042", f"{host} {port}").replace("= 4242", f"= {conversation}")
        return re.sub(r"\brookery\.messages\b", f"{deployment.keyspace}.messages", command)

    deadline = time.monotonic() + STORED_SECONDS
    while not (heads := rows(run(ours(given[0])))) or int(heads[0]["last_seq"]) < len(PAYLOADS):
        assert time.monotonic() < deadline, f"the head is not written: {heads}"
    return heads[0], rows(run(ours(given[1])))
