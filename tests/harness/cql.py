"""The store's own driver beside the server under test: what an operator does to a keyspace."""

from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import Cluster

from .services import PASSWORD, USER


def execute(address: str, statement: str) -> list:
    """Runs one statement on a node; its rows."""
    host, port = address.rsplit(":", 1)
    cluster = Cluster([host], port=int(port), auth_provider=PlainTextAuthProvider(USER, PASSWORD))
    try:
        return list(cluster.connect().execute(statement, timeout=60))
    finally:
        cluster.shutdown()
