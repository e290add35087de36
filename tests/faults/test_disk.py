"""A broker's disk is full: the other two go on, and it comes back when there is room."""

import asyncio
import errno
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from harness.crowd import Crowd

BROKER = "kafka-3"

# Room beside what the broker has: for its next segments, and soon filled.
ROOM_BYTES = 48 << 20


@pytest.fixture(scope="module")
def server(deployment):
    return deployment.start()


def run(*command: str | Path) -> None:
    """A command of the host's, which needs root."""
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 0, f"{' '.join(map(str, command))} (needs root): {ended.stderr}"


class SmallDisk:
    """A folder that is moved to a file system of its own, with little room, and back."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.aside = folder.with_name(f"{folder.name}-aside")
        self.filler = folder / "filler"

    def mount(self) -> None:
        """Needs whoever uses it to have ended."""
        used = sum(file.stat().st_blocks * 512 for file in self.folder.rglob("*"))
        self.folder.rename(self.aside)
        self.folder.mkdir()
        run("mount", "-t", "tmpfs", "-o", f"size={used + ROOM_BYTES}", "tmpfs", self.folder)
        run("cp", "-a", f"{self.aside}/.", self.folder)
        shutil.rmtree(self.aside)

    def fill(self) -> None:
        """To the last byte."""
        block = bytes(64 << 10)
        with self.filler.open("wb", buffering=0) as file:
            try:
                while file.write(block) == len(block):
                    pass
            except OSError as full:
                assert full.errno == errno.ENOSPC, full

    def make_room(self) -> None:
        """As before."""
        self.filler.unlink(missing_ok=True)

    def unmount(self) -> None:
        """What is on it goes back to the disk of the others."""
        self.make_room()
        self.aside.mkdir()
        run("cp", "-a", f"{self.folder}/.", f"{self.aside}/")
        run("umount", self.folder)
        self.folder.rmdir()
        self.aside.rename(self.folder)


@pytest.fixture
def disk(services, form):
    """A small one under the broker."""
    if form.is_dry:
        yield None
        return
    small = SmallDisk(services.folder(BROKER) / "data")
    asyncio.run(services.stop(BROKER))
    small.mount()
    asyncio.run(services.start(BROKER))
    yield small
    asyncio.run(services.end(BROKER))
    small.unmount()
    asyncio.run(services.start(BROKER))


async def test_full(deployment, server, services, disk, form, dice, tell):
    fills = form.rounds(1, 2)
    async with Crowd([server], dice) as crowd:
        silences, recovered = [], []
        for _ in range(fills):
            await asyncio.to_thread(deployment.kafka.wait_in_sync, deployment.topic)
            await crowd.runs(form.seconds(2, 10))
            full = time.monotonic()
            if disk:
                await asyncio.to_thread(disk.fill)
            await crowd.runs(form.seconds(10, 30))
            silences.append(crowd.silence(full))
            refused = crowd.refused_since(full)
            assert silences[-1] < 20 or refused, f"neither acks nor refusals for {silences[-1]:.1f} s"
            room = time.monotonic()
            if disk:
                disk.make_room()
            # It has ended by itself: a broker without a place to write is none.
            await services.end(BROKER)
            await services.start(BROKER)
            await asyncio.to_thread(deployment.kafka.wait_in_sync, deployment.topic)
            recovered.append(time.monotonic() - room)
            await crowd.until_acks()
        await crowd.ping()
    crowd.stayed()
    tell(crowd, "a broker's disk is full", f"the file system of {BROKER} filled to the last byte, {fills} times",
         f"without an ack for at most {max(silences):.1f} s; the broker in sync again {max(recovered):.1f} s after there "
         "was room and it was started")
