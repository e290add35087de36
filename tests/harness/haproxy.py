"""HAProxy of Debian in front of a server: it passes TCP on, and says for whom."""

import csv
import socket
import subprocess
import time
from pathlib import Path

from .server import START_SECONDS, Port, Server, die_with_parent

CONFIG = """\
global
    stats socket {socket} mode 600 level admin
defaults
    mode tcp
    timeout connect 10s
    timeout client 300s
    timeout server 300s
"""

# A frontend for each way: how the server is told, and on which of its listeners.
FRONT = """\
frontend {name}
    bind 127.0.0.1:{port}
    default_backend {name}
backend {name}
    server rookery 127.0.0.1:{target} {how} check inter 200ms
"""

HOW = {"v1": "send-proxy", "v2": "send-proxy-v2"}


class Haproxy:
    """A running HAProxy with a front for each version and transport."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.admin = folder / "haproxy.sock"
        self._ports = {(version, tls): Port() for version in HOW for tls in (True, False)}
        text = CONFIG.format(socket=self.admin)
        for (version, tls), port in self._ports.items():
            text += FRONT.format(name=f"{version}-{'tls' if tls else 'plain'}", port=port.number, how=HOW[version],
                                 target=server.tls_port if tls else server.plain_port)
        file = folder / "haproxy.cfg"
        file.write_text(text, encoding="utf-8")
        self.log = (folder / "haproxy.log").open("wb")
        self.process = subprocess.Popen(["haproxy", "-db", "-f", str(file)], stdin=subprocess.DEVNULL, stdout=self.log,
                                        stderr=subprocess.STDOUT, preexec_fn=die_with_parent)

    def port(self, version: str, tls: bool) -> int:
        """Of a front."""
        return self._ports[version, tls].number

    def ask(self, command: str) -> str:
        """A command of its management socket (the HAProxy Management Guide, section 9.3)."""
        with socket.socket(socket.AF_UNIX) as asked:
            asked.settimeout(START_SECONDS)
            asked.connect(str(self.admin))
            asked.sendall(command.encode() + b"\n")
            answer = b""
            while more := asked.recv(65536):
                answer += more
            return answer.decode()

    def wait_up(self) -> None:
        """Waits until its own checks have found every listener well."""
        deadline = time.monotonic() + START_SECONDS
        while any(backend["check_status"] != "L4OK" for backend in self.backends()) or not self.backends():
            assert time.monotonic() < deadline, f"{self.backends()}\n{self.story()}"
            time.sleep(0.1)

    def backends(self) -> list[dict[str, str]]:
        """What it counts of each listener of the server; nothing before it has started."""
        try:
            names, *rows = csv.reader(self.ask("show stat").removeprefix("# ").strip().splitlines())
        except OSError:
            assert self.process.poll() is None, self.story()
            return []
        stats = [dict(zip(names, row)) for row in rows]
        return [row for row in stats if row["svname"] == "rookery"]

    def story(self) -> str:
        """What it said, for an error message."""
        return Path(self.log.name).read_text(encoding="utf-8", errors="replace")

    def end(self) -> None:
        """Ends it."""
        self.process.terminate()
        self.process.wait(START_SECONDS)
        self.log.close()
