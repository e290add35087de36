"""TLS as foreign stacks see it: OpenSSL with key updates, Python's ssl, testssl.sh and sslyze.

The server has a certificate of a test authority here, so that the scanners judge the server alone."""

import fcntl
import json
import re
import socket
import ssl
import subprocess
import struct
import sys
import termios
import time
from pathlib import Path

import pytest

from harness.authority import Authority
from harness.raw import BINARY, CLOSE, UPGRADE, Raw, frame
from harness.server import Server

# A hang, not a slow machine, should meet it.
WAIT_SECONDS = 60


@pytest.fixture(scope="module")
def authority(folder) -> Authority:
    return Authority(folder / "authority")


@pytest.fixture(scope="module")
def server(servers, authority) -> Server:
    issued = authority.issue("first")
    config = f'[tls]\ncertificate = "{issued.certificate}"\nkey = "{issued.key}"\n'
    return servers.start(echo=True, config=config)


@pytest.fixture(autouse=True)
def watched(server, watch):
    watch(server)


def context(authority: Authority, **versions) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=str(authority.file))
    for name, value in versions.items():
        setattr(made, name, value)
    return made


def connect(server: Server, made: ssl.SSLContext, **options) -> ssl.SSLSocket:
    plain = socket.create_connection(("127.0.0.1", server.tls_port), WAIT_SECONDS)
    return made.wrap_socket(plain, server_hostname="localhost", **options)


class Echo(Raw):
    """The raw client on a TLS socket made here."""

    def __init__(self, wrapped: ssl.SSLSocket) -> None:
        self.socket, self._ahead = wrapped, b""
        self.upgraded()

    def echoes(self, payload: bytes) -> None:
        self.send(frame(BINARY, payload))
        assert self.read_frame() == (BINARY, payload)

    def bye(self) -> None:
        self.send(frame(CLOSE, b"\x03\xe8"))
        assert self.read_frame() == (CLOSE, b"\x03\xe8")
        self.expect_end()
        self.socket.close()


# -- OpenSSL ------------------------------------------------------------------------------------


# A masking key under which text has no byte that is a letter: s_client reads its input 8 KiB at a time, and
# a read in the middle of a frame that happens to begin with a command letter (k, K, Q, R) is taken for it.
NO_LETTERS = b"\x80\x80\x80\x80"


class SClient:
    """`openssl s_client`: a line with the letter k updates our key, K asks the server to do it too."""

    def __init__(self, server: Server, authority: Authority, *options: str) -> None:
        self.process = subprocess.Popen(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{server.tls_port}", "-servername", "localhost",
             "-CAfile", str(authority.file), "-verify_return_error", "-quiet", "-no_ign_eof", *options],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)

    def write(self, data: bytes) -> None:
        # A command letter counts at the start of a read only: this begins one, once the pipe is empty.
        deadline = time.monotonic() + WAIT_SECONDS
        while self._unread():
            assert time.monotonic() < deadline, "s_client does not read"
            time.sleep(0.01)
        self.process.stdin.write(data)

    def _unread(self) -> int:
        """Bytes in the pipe that is its input."""
        return struct.unpack("i", fcntl.ioctl(self.process.stdin, termios.FIONREAD, bytes(4)))[0]

    def read_until(self, wanted: bytes) -> None:
        got = b""
        while wanted not in got:
            more = self.process.stdout.read(65536)
            assert more, (got, self.process.stderr.read())
            got += more

    def end(self) -> str:
        self.write(b"Q\n")
        _, errors = self.process.communicate(timeout=WAIT_SECONDS)
        assert self.process.returncode == 0, errors
        return errors.decode()


def upgrade_bytes() -> bytes:
    lines = ["GET / HTTP/1.1", *(f"{name}: {value}" for name, value in UPGRADE.items()), "", ""]
    return "\r\n".join(lines).encode()


@pytest.mark.parametrize("suite", ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"])
def test_openssl_key_updates(server, authority, cases, suite):
    client = SClient(server, authority, "-tls1_3", "-ciphersuites", suite)
    client.write(upgrade_bytes())
    client.read_until(b"\r\n\r\n")
    updates = b"kKkkKK"
    for number, letter in enumerate(updates):
        client.write(bytes([letter]) + b"\n")
        for size in (5, 20_000):
            payload = f"{number}.{size}:".encode() + b"x" * size
            client.write(frame(BINARY, payload, mask=NO_LETTERS))
            client.read_until(payload)
    assert client.end().count("KEYUPDATE") == len(updates)
    cases.passes(len(updates))
    cases.note(f"s_client {suite}: {len(updates)} key updates (k and K), echoes after each")


def test_openssl_tls12(server, authority):
    client = SClient(server, authority, "-tls1_2")
    client.write(upgrade_bytes())
    client.read_until(b"\r\n\r\n")
    client.write(frame(BINARY, b"over TLS 1.2", mask=NO_LETTERS))
    client.read_until(b"over TLS 1.2")
    client.end()


# -- Python -------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_python_ssl(server, authority, version):
    client = Echo(connect(server, context(authority, minimum_version=version, maximum_version=version)))
    assert client.socket.version() == {771: "TLSv1.2", 772: "TLSv1.3"}[version]
    for size in (0, 1, 16_383, 16_384, 16_385, 100_000, 1 << 20):
        client.echoes(bytes(size))
    client.bye()


def test_alpn(server, authority):
    made = context(authority)
    made.set_alpn_protocols(["http/1.1"])
    client = Echo(connect(server, made))
    assert client.socket.selected_alpn_protocol() == "http/1.1"
    client.bye()


def test_alpn_of_something_else_is_refused(server, authority):
    made = context(authority)
    made.set_alpn_protocols(["h2"])
    with pytest.raises(ssl.SSLError, match="(?i)no.application.protocol"):
        connect(server, made).recv(1)


def test_resumption(server, authority):
    made = context(authority, minimum_version=ssl.TLSVersion.TLSv1_3)
    first = Echo(connect(server, made))
    first.echoes(b"first")
    ticket = first.socket.session
    first.bye()
    second = Echo(connect(server, made, session=ticket))
    assert second.socket.session_reused
    second.echoes(b"second")
    second.bye()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_old_versions_are_refused(server, authority):
    for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
        made = context(authority, minimum_version=version, maximum_version=version)
        made.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            connect(server, made)


def test_sighup_takes_a_new_certificate_and_keeps_connections(server, authority):
    made = context(authority, minimum_version=ssl.TLSVersion.TLSv1_3)
    before = Echo(connect(server, made))
    old = before.socket.getpeercert()["serialNumber"]
    before.echoes(b"with it comes a ticket")
    issued = authority.issue("second")
    for new, used in ((issued.key, "first-key.pem"), (issued.certificate, "first.pem")):
        Path(new).replace(authority.folder / used)
    server.hang_up()
    deadline = time.monotonic() + WAIT_SECONDS
    while (after := Echo(connect(server, context(authority)))).socket.getpeercert()["serialNumber"] == old:
        after.bye()
        assert time.monotonic() < deadline, "still the old certificate"
        time.sleep(0.1)
    # When everybody comes again, tickets are what makes it cheap.
    again = Echo(connect(server, made, session=before.socket.session))
    assert again.socket.session_reused
    again.bye()
    before.echoes(b"the old connection lives")
    before.bye()
    after.bye()


# -- scanners -----------------------------------------------------------------------------------


def test_testssl(server, authority, folder, cases):
    report = folder / "testssl.json"
    # All but the simulation of browsers and the long list of single ciphers, which judge nothing.
    checks = ["--protocols", "--std", "--fs", "--server-preference", "--server-defaults", "--headers", "--vulnerable"]
    ran = subprocess.run(
        ["testssl", *checks, "--quiet", "--color", "0", "--warnings", "off", "--openssl-timeout", "10", "--add-ca",
         str(authority.file), "--ip", "one", "--jsonfile", str(report), f"127.0.0.1:{server.tls_port}"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=400, check=False)
    # 242 and above: it could not finish. Below it counts hiccups of single checks.
    assert ran.returncode < 242, ran.stdout[-2000:]
    findings = json.loads(report.read_text(encoding="utf-8"))
    for finding in findings:
        if finding["severity"] in ("MEDIUM", "HIGH", "CRITICAL", "FATAL"):
            cases.fails(f"{finding['severity']} {finding['id']}: {finding['finding']}")
        elif finding["severity"] in ("OK", "INFO"):
            cases.passes()
    for finding in findings:
        if finding["severity"] in ("LOW", "WARN"):
            cases.note(f"testssl.sh {finding['severity']} {finding['id']}: {finding['finding']}")
    checked = {finding["id"] for finding in findings}
    assert checked >= {"TLS1_3", "heartbleed", "ROBOT", "LUCKY13", "cert_chain_of_trust"}, sorted(checked)
    cases.note(f"testssl.sh: {len(findings)} findings, {cases.failed} of medium or above")
    assert cases.passed >= 80
    cases.settle()


def test_sslyze(server, authority, folder, cases):
    report = folder / "sslyze.json"
    ran = subprocess.run(
        [str(Path(sys.executable).parent / "sslyze"), "--mozilla_config=intermediate",
         f"--certinfo_ca_file={authority.file}", f"--json_out={report}", f"127.0.0.1:{server.tls_port}"],
        capture_output=True, text=True, timeout=400, check=False)
    result = json.loads(report.read_text(encoding="utf-8"))["server_scan_results"][0]
    assert result["scan_status"] == "COMPLETED", ran.stdout
    checks = {name: check["status"] for name, check in result["scan_result"].items() if check["status"] != "NOT_SCHEDULED"}
    assert set(checks.values()) == {"COMPLETED"}, checks
    verdict = re.search(r"127\.0\.0\.1:\d+: (OK - Compliant|FAILED.*)", ran.stdout)
    assert verdict and verdict.group(1) == "OK - Compliant" and ran.returncode == 0, ran.stdout[-1500:]
    cases.passes(len(checks))
    cases.note(f"sslyze: {len(checks)} checks, compliant with Mozilla's intermediate profile")
