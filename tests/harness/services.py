"""The services behind a distributed server: where they are, and what is done to them.

They are started by `cargo xtask services up`, which also says where they are (ROOKERY_TEST_...); each
is stopped, killed and frozen through the same program (ROOKERY_XTASK).
"""

import asyncio
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

BROKERS = ("kafka-1", "kafka-2", "kafka-3")
STORE = "cassandra"
DATABASE = "postgres"
CACHE = "redis"

# What `cargo xtask services` and docs/deploy set; test services listen on loopback only.
USER = "rookery"
PASSWORD = "rookery-test"

# A start is over when the service answers; a JVM on a busy machine takes its time.
CONTROL_SECONDS = 180


class Missing(Exception):
    """The services are not there."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} is not set: needs services: cargo xtask test --only faults")


@dataclass(frozen=True)
class Addresses:
    """Where the services answer."""

    kafka: str
    cql: str
    postgres: str
    redis: str

    @classmethod
    def from_environment(cls) -> "Addresses":
        """As `cargo xtask` gives them to tests."""
        def told(name: str) -> str:
            if not (value := os.environ.get(name)):
                raise Missing(name)
            return value

        return cls(told("ROOKERY_TEST_KAFKA"), told("ROOKERY_TEST_CQL"), told("ROOKERY_TEST_POSTGRES"),
                   told("ROOKERY_TEST_REDIS"))


class Services:
    """Ends, starts and freezes services, and knows what it has left changed."""

    def __init__(self, xtask: Path) -> None:
        self.xtask = xtask
        self._down: set[str] = set()
        self._frozen: set[str] = set()

    @classmethod
    def from_environment(cls) -> "Services":
        """The program that started them."""
        if not (xtask := os.environ.get("ROOKERY_XTASK")):
            raise Missing("ROOKERY_XTASK")
        return cls(Path(xtask))

    def folder(self, name: str) -> Path:
        """Where a service that `cargo xtask services` started keeps its files."""
        return self.xtask.parents[1] / "services" / name

    def _control(self, verb: str, name: str, *options: str, must: bool = True) -> None:
        ended = subprocess.run([self.xtask, "services", verb, name, *options], capture_output=True, text=True, check=False,
                               timeout=CONTROL_SECONDS)
        told = f"services {verb} {name}: {ended.stdout[-1000:]}{ended.stderr[-1000:]}"
        assert ended.returncode == 0 or not must, told

    async def _each(self, verb: str, names: tuple[str, ...], *options: str, must: bool = True) -> None:
        await asyncio.gather(*(asyncio.to_thread(self._control, verb, name, *options, must=must) for name in names))

    async def kill(self, *names: str) -> None:
        """SIGKILL."""
        self._down |= set(names)
        await self._each("kill", names)

    async def end(self, *names: str) -> None:
        """SIGKILL to what may have ended by itself."""
        self._down |= set(names)
        await self._each("kill", names, must=False)

    async def stop(self, *names: str) -> None:
        """Asked to end, and ended."""
        self._down |= set(names)
        await self._each("stop", names)

    async def start(self, *names: str) -> None:
        """Started again with the data that it had, and answering."""
        await self._each("start", names, "--wait")
        self._down -= set(names)

    async def freeze(self, *names: str) -> None:
        """SIGSTOP: its connections stay open and nothing answers."""
        self._frozen |= set(names)
        await self._each("pause", names)

    async def thaw(self, *names: str) -> None:
        """SIGCONT."""
        await self._each("resume", names)
        self._frozen -= set(names)

    async def put_back(self) -> None:
        """Everything runs again, whatever a test has left."""
        await self.thaw(*self._frozen)
        await self.start(*self._down)


class DryServices(Services):
    """No services: nothing is done to them. For trying the tests themselves against an embedded server."""

    def __init__(self) -> None:
        super().__init__(Path())

    def _control(self, verb: str, name: str, *options: str, must: bool = True) -> None:
        pass
