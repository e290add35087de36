"""Starting, watching and ending a `rookery serve`."""

import asyncio
import contextlib
import ctypes
import os
import queue
import re
import signal
import socket
import ssl
import subprocess
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

from . import tokens

BINARY = os.environ.get("ROOKERY_BIN", str(Path(__file__).parents[2] / "target/release/rookery"))

# A hang, not a slow machine, should meet these.
START_SECONDS = 60
STOP_SECONDS = 60
QUIET_SECONDS = 60

# A listener's state in the kernel's tables of sockets.
_LISTEN = "0A"

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


class Port:
    """A port that is ours for as long as this object lives. It is bound and not listened on: the kernel gives
    it to no connection and to no other listener meanwhile, and who asks for it by number with SO_REUSEADDR,
    as servers do, may listen on it. Until then it is closed."""

    def __init__(self) -> None:
        self._holder = socket.socket()
        self._holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._holder.bind(("127.0.0.1", 0))
        self.number: int = self._holder.getsockname()[1]


def rookery(*arguments: str, **kwargs) -> subprocess.CompletedProcess:
    """Runs a verb of the command line to its end."""
    kwargs.setdefault("timeout", 60)
    return subprocess.run([BINARY, *arguments], capture_output=True, text=True, check=False, **kwargs)


def die_with_parent() -> None:
    """In the child: SIGKILL when the test runner ends, however it ends."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Server:
    """One server process and its data directory. The same object may be started again."""

    # Those that were started, for whoever gives back what a test holds.
    _started: weakref.WeakSet["Server"] = weakref.WeakSet()

    def __init__(self, data: Path, *, address: str = "127.0.0.1", shards: int = 2, echo: bool = False, config: str = "",
                 key: bytes | None = None, environment: dict[str, str] | None = None, plain: bool = True,
                 drain_window_ms: int = 0) -> None:
        """`key` signs login tokens (HS256); without it the server makes a development key. `environment`
        is added to this process's own. Without a `drain_window_ms` SIGTERM is a stop
        at once. Without `plain` the plain listeners are the configuration's."""
        self.data = data
        self._ports = Port(), Port()
        self.tls_port, self.plain_port = (port.number for port in self._ports)
        self.address = address
        self.plain = plain
        self.shards = shards
        self.echo = echo
        self.key = key
        self.environment = {"ROOKERY_DRAIN_WINDOW_MS": str(drain_window_ms), **(environment or {})}
        self.config = config + (tokens.key_section(data, key) if key else "")
        self.process: subprocess.Popen | None = None
        self.said: list[str] = []
        self.log = data.parent / f"{data.name}.log"

    # -- life ---------------------------------------------------------------------------------

    def start(self) -> "Server":
        """Starts it and waits until it says that it is ready."""
        self.launch()
        self.wait_ready()
        return self

    async def begin(self) -> None:
        """`start`, for a coroutine whose peers go on meanwhile."""
        # On this thread: the process dies with the thread that started it (prctl(2), PR_SET_PDEATHSIG).
        self.launch()
        await asyncio.to_thread(self.wait_ready)

    def launch(self) -> None:
        """Starts the process."""
        self.data.mkdir(parents=True, exist_ok=True)
        command = [BINARY, "serve", "--data", str(self.data), "--listen", f"{self.address}:{self.tls_port}",
                   "--shards", str(self.shards)]
        command += ["--listen-plain", f"{self.address}:{self.plain_port}"] if self.plain else []
        command += ["--echo"] if self.echo else []
        if self.config:
            file = self.data.parent / f"{self.data.name}.toml"
            file.write_text(self.config, encoding="utf-8")
            command += ["--config", str(file)]
        self.said = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True,
                preexec_fn=die_with_parent, env={**os.environ, **self.environment})
        self._started.add(self)
        threading.Thread(target=self._listen, args=(self.process, self._lines), daemon=True).start()

    @staticmethod
    def _listen(process: subprocess.Popen, lines: queue.Queue) -> None:
        for line in process.stdout:
            lines.put(line.rstrip("\n"))
        lines.put(None)

    def wait_ready(self) -> None:
        """Reads what it says up to `ready`."""
        deadline = time.monotonic() + START_SECONDS
        while "ready" not in self.said:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"not ready after {START_SECONDS} s\n{self.story()}") from None
            assert line is not None, f"ended before it was ready\n{self.story()}"
            self.said.append(line)

    def kill(self) -> None:
        """SIGKILL, at once; then the ports are free."""
        self.process.kill()
        self.process.wait()
        # The kernel takes down what a process's rings hold after the process is gone.
        self._wait_down_to(0, self._listeners, "listeners")

    def stop(self) -> int:
        """SIGTERM, and its exit code."""
        if self.process is None:
            return 0
        self.process.terminate()
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"did not stop within {STOP_SECONDS} s\n{self.story()}") from None

    def interrupt(self) -> None:
        """SIGINT: it stops at once."""
        self.process.send_signal(signal.SIGINT)

    def freeze(self) -> None:
        """SIGSTOP: it is there and does nothing, and its clocks run on."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self.process.send_signal(signal.SIGCONT)

    def hang_up(self) -> None:
        """SIGHUP: the configuration, keys and certificates are read again."""
        self.process.send_signal(signal.SIGHUP)

    @classmethod
    def running(cls) -> set["Server"]:
        """All that run."""
        return {server for server in cls._started if server.is_alive()}

    # -- what it is like ----------------------------------------------------------------------

    @property
    def pid(self) -> int:
        """The process."""
        return self.process.pid

    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self.process is not None and self.process.poll() is None

    def story(self) -> str:
        """What it said, for an error message."""
        log = self.log.read_text(encoding="utf-8", errors="replace")[-4000:] if self.log.exists() else ""
        return "stdout:\n" + "\n".join(self.said) + "\nstderr:\n" + log

    def connections(self) -> int:
        """TCP sockets of the server's ports that somebody holds, as the kernel counts them. Direct
        descriptors are in no /proc/PID/fd, so this is where a leaked one shows."""
        # What was closed and only waits for the peer has no inode any more.
        return sum(fields[3] != _LISTEN and fields[9] != "0" for fields in self._sockets())

    def _sockets(self) -> Iterator[list[str]]:
        """The rows of the kernel's tables (proc_net_tcp in its documentation) that have one of our ports."""
        ports = {f"{self.tls_port:04X}", f"{self.plain_port:04X}"}
        for table in ("/proc/net/tcp", "/proc/net/tcp6"):
            with open(table, encoding="ascii") as rows:
                next(rows)
                for row in rows:
                    fields = row.split()
                    if fields[1].rsplit(":", 1)[1] in ports:
                        yield fields

    def wait_connections(self, most: int) -> None:
        """Waits until at most so many connections are left."""
        self._wait_down_to(most, self.connections, "connections")

    def wait_descriptors(self, most: int) -> None:
        """Waits until at most so many descriptors are left."""
        self._wait_down_to(most, self.descriptors, "descriptors")

    @staticmethod
    def _wait_down_to(most: int, count: Callable[[], int], what: str) -> None:
        deadline = time.monotonic() + QUIET_SECONDS
        while (left := count()) > most:
            assert time.monotonic() < deadline, f"{left} {what} are left, {most} expected"
            time.sleep(0.05)

    def descriptors(self) -> int:
        """Open ordinary descriptors that are no files: the store opens and closes its files as it likes."""
        count = 0
        for descriptor in Path(f"/proc/{self.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                count += not os.readlink(descriptor).startswith("/")
        return count

    def rss_bytes(self) -> int:
        """Resident memory."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        return int(re.search(r"VmRSS:\s+(\d+) kB", status).group(1)) * 1024

    def wait_rss_bytes(self, most: int) -> int:
        """Waits until resident memory is no more than that; what it is then. What is free goes back to the
        kernel within seconds, what is leaked never does."""
        self._wait_down_to(most, self.rss_bytes, "resident bytes")
        return self.rss_bytes()

    def wait_accepted(self) -> None:
        """Waits until the server has accepted whoever has connected."""
        self._wait_down_to(0, self._unaccepted, "connections that nobody accepts")

    def _listeners(self) -> int:
        return sum(fields[3] == _LISTEN for fields in self._sockets())

    def _unaccepted(self) -> int:
        """Of its listeners, as the kernel counts them."""
        return sum(int(fields[4].split(":")[1], 16) for fields in self._sockets() if fields[3] == _LISTEN)

    # -- how to talk to it --------------------------------------------------------------------

    @property
    def wss(self) -> str:
        """Its address with TLS."""
        return f"wss://localhost:{self.tls_port}/"

    @property
    def ws(self) -> str:
        """Its address without TLS."""
        return f"ws://127.0.0.1:{self.plain_port}/"

    @property
    def certificate(self) -> Path:
        """The self-signed certificate that it made."""
        return self.data / "tls/certificate.pem"

    def tls_context(self) -> ssl.SSLContext:
        """A client's context that trusts this server only."""
        return ssl.create_default_context(cafile=str(self.certificate))

    def token(self, user: int, device: int = 1, *options: str) -> str:
        """A login token: made here where the key is known, else by the command line."""
        if self.key:
            return tokens.hs256(user, self.key, device)
        minted = rookery("token", "--user", str(user), "--device", str(device), "--data", str(self.data), *options)
        assert minted.returncode == 0, minted.stderr
        return minted.stdout.strip()
