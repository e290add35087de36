"""A running server, as a process beside the test's own knows it."""

import json
import os
import ssl
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from . import tokens
from .server import die_with_parent


@dataclass
class Target:
    """Where it listens, and what signs its tokens."""

    tls_port: int
    plain_port: int
    certificate: str
    key: str

    @classmethod
    def of(cls, server) -> "Target":
        return cls(server.tls_port, server.plain_port, str(server.certificate), server.key.hex())

    @classmethod
    def parse(cls, text: str) -> "Target":
        return cls(**json.loads(text))

    def __str__(self) -> str:
        return json.dumps(asdict(self))

    def token(self, user: int, device: int = 1) -> str:
        """A login token."""
        return tokens.hs256(user, bytes.fromhex(self.key), device)

    def tls_context(self) -> ssl.SSLContext:
        """A client's context that trusts this server only."""
        return ssl.create_default_context(cafile=self.certificate)


def beside(module: str, server, *arguments: str) -> subprocess.Popen:
    """Runs a module of ours in a process of its own; what it prints can be read. It ends with this one."""
    return subprocess.Popen(
        [sys.executable, "-m", module, str(Target.of(server)), *arguments], cwd=Path(__file__).parent.parent,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, preexec_fn=die_with_parent,
        stdout=subprocess.PIPE, text=True)
