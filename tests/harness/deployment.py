"""One deployment on the running services: topics, keyspace, database and keys of its own, and the servers
that share them."""

import re
import secrets
import shutil
import subprocess
from pathlib import Path

from .kafka import DryKafka, Kafka
from .server import Server, rookery
from .services import PASSWORD, USER, Addresses

# A consumer that is silent for this long has lost its partitions. The least that brokers take as they
# ship (group.min.session.timeout.ms): what a killed server leaves behind is taken up sooner.
SESSION_SECONDS = 6

# Enough that conversations spread, few enough that topics are made and moved quickly.
PARTITIONS = 6

# Migrations wait for the schema to be agreed upon.
MIGRATE_SECONDS = 120


def _psql() -> str:
    """PostgreSQL's client, which Debian keeps out of the path where only the server's package is installed."""
    found = shutil.which("psql") or "/usr/lib/postgresql/15/bin/psql"
    assert Path(found).exists(), "psql is missing: install postgresql-client"
    return found


class Deployment:
    """See the module."""

    def __init__(self, folder: Path, addresses: Addresses) -> None:
        self.folder = folder
        self.addresses = addresses
        self.name = f"t{secrets.token_hex(5)}"
        # Of the topics, and in the store.
        self.prefix = self.name
        self.keyspace = self.name
        self.kafka = Kafka(addresses.kafka)
        # One for all: a token is good on each server.
        self.key = secrets.token_bytes(32)
        self.started: list[Server] = []

    # -- names --------------------------------------------------------------------------------

    @property
    def topic(self) -> str:
        """The messages."""
        return f"{self.prefix}.messages"

    @property
    def dead_letters(self) -> str:
        """What could not be applied."""
        return f"{self.prefix}.dead-letters"

    @property
    def group(self) -> str:
        """The consumer group."""
        return f"{self.prefix}.appliers.{self.keyspace}"

    def config(self, node_id: int) -> str:
        """What `rookery serve --config` is given, but for listeners and keys."""
        quoted = ", ".join(f'"{broker}"' for broker in self.addresses.kafka.split(","))
        database = re.sub(r"/[^/]*$", f"/{self.name}", self.addresses.postgres)
        return f"""
[router]
node_id = {node_id}
[log]
kind = "kafka"
[kafka]
brokers = [{quoted}]
username = "{USER}"
password = "{PASSWORD}"
topic_prefix = "{self.prefix}"
partitions = {PARTITIONS}
replication = 3
session_timeout_ms = {SESSION_SECONDS * 1000}
[cql]
nodes = ["{self.addresses.cql}"]
username = "{USER}"
password = "{PASSWORD}"
keyspace = "{self.keyspace}"
replication = 1
[postgres]
url = "{database}"
[redis]
url = "{self.addresses.redis}"
key_prefix = "{self.name}:"
"""

    # -- life ---------------------------------------------------------------------------------

    def prepare(self) -> "Deployment":
        """Makes the database, and what `rookery migrate` makes."""
        self.create_database()
        ended = self.migrate()
        assert ended.returncode == 0, f"migrate: {ended.stdout}{ended.stderr}"
        return self

    def migrate(self, *options: str) -> subprocess.CompletedProcess:
        """`rookery migrate`, which may refuse."""
        file = self.folder / f"{self.name}-migrate-{secrets.token_hex(4)}.toml"
        file.write_text(self.config(1), encoding="utf-8")
        return rookery("migrate", "--config", str(file), *options, timeout=MIGRATE_SECONDS)

    def create_database(self) -> None:
        """Which `rookery migrate` expects."""
        self._sql(f'CREATE DATABASE "{self.name}"')

    def query(self, statement: str) -> str:
        """Rows of the deployment's database, one a line, columns with bars between."""
        return self.query_in(self.name, statement)

    def query_in(self, database: str, statement: str) -> str:
        """The same of another database."""
        return self._sql(statement, database)

    def _sql(self, statement: str, database: str = "postgres") -> str:
        url = re.sub(r"/[^/]*$", f"/{database}", self.addresses.postgres)
        ended = subprocess.run([_psql(), url, "-v", "ON_ERROR_STOP=1", "-qtAc", statement], capture_output=True, text=True,
                               check=False, timeout=60)
        assert ended.returncode == 0, f"{statement}: {ended.stderr}"
        return ended.stdout

    def new(self, node_id: int = 1, *, environment: dict[str, str] | None = None) -> Server:
        """A server of the deployment, not started yet."""
        server = Server(self.folder / f"{self.name}-{len(self.started)}", key=self.key, config=self.config(node_id),
                        environment=environment)
        self.started.append(server)
        return server

    def start(self, node_id: int = 1, *, environment: dict[str, str] | None = None) -> Server:
        """A running server of the deployment."""
        return self.new(node_id, environment=environment).start()

    def end(self) -> None:
        """Ends the servers, and what they held in topics and in the database."""
        running = [server for server in self.started if server.is_alive()]
        codes = {server: server.stop() for server in running}
        for server, code in codes.items():
            assert code == 0, f"exit code {code}\n{server.story()}"
        for server in self.started:
            assert "panicked" not in server.story(), server.story()
        self.remove()

    def remove(self) -> None:
        """Topics and database; the keyspace goes with the test services' data."""
        self.kafka.delete(self.topic, self.dead_letters)
        self._sql(f'DROP DATABASE "{self.name}"')


class DryDeployment(Deployment):
    """An embedded server in its place, to try the tests themselves."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, Addresses("", "", "", ""))
        self.kafka = DryKafka()

    def config(self, node_id: int) -> str:
        return f"[router]\nnode_id = {node_id}\nlog_segment_bytes = 4194304\n"

    def prepare(self) -> "Deployment":
        return self

    def remove(self) -> None:
        pass
