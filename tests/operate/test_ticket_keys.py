"""Session tickets under keys of a file: servers resume each other's sessions, and their own over a restart; keys come
and go by reload."""

import base64
import os
import socket
import ssl

import pytest

from harness.admin import Admin
from harness.authority import Authority
from harness.server import Server, rookery


def key() -> str:
    return base64.b64encode(os.urandom(80)).decode()


class Client:
    """Somebody who comes again with a ticket."""

    def __init__(self, authority: Authority, version: ssl.TLSVersion) -> None:
        self.context = ssl.create_default_context(cafile=authority.file)
        self.context.minimum_version = self.context.maximum_version = version
        self.ticket: ssl.SSLSession | None = None

    def connects(self, server: Server) -> bool:
        """Whether its session is resumed. It keeps the newest ticket."""
        with socket.create_connection(("127.0.0.1", server.tls_port), 30) as tcp, self.context.wrap_socket(
                tcp, server_hostname="localhost", session=self.ticket) as tls:
            tls.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert tls.recv(1)
            self.ticket = tls.session
            return tls.session_reused


@pytest.fixture(scope="module")
def authority(folder) -> Authority:
    return Authority(folder / "tls")


def configured(servers, authority: Authority, file) -> Server:
    issued = authority.issue("edge")
    return servers.start(config=f'[tls]\ncertificate = "{issued.certificate}"\nkey = "{issued.key}"\n'
                                f'ticket_keys_file = "{file}"\n')


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2])
def test_servers_take_each_others_tickets_while_keys_change(servers, authority, folder, version):
    old, new = key(), key()
    files = [folder / f"{version.name}-{n}.keys" for n in range(2)]

    def give(*keys: str) -> None:
        for file in files:
            file.write_text("# of both\n" + "\n".join(keys) + "\n", encoding="utf-8")
            file.chmod(0o600)

    give(old)
    one, two = (configured(servers, authority, file) for file in files)
    client = Client(authority, version)
    assert [client.connects(one), client.connects(two), client.connects(one)] == [False, True, True]
    # Over a restart.
    two.kill()
    two.start()
    assert client.connects(two)
    # The new one is known everywhere before it seals anywhere; then the old one goes.
    for keys in [(old, new), (new, old), (new,)]:
        give(*keys)
        for server in (one, two):
            assert Admin(server).post("/reload")[0] == 200
            assert client.connects(one) and client.connects(two)
    ticket = client.ticket
    give(key())
    assert Admin(one).post("/reload")[0] == 200
    assert not client.connects(one)
    client.ticket = ticket
    assert client.connects(two)
    # A broken file changes nothing.
    files[1].write_text(new[1:], encoding="utf-8")
    status, why = Admin(two).post("/reload")
    assert status == 409 and b"line 1 is no key" in why and files[1].name.encode() in why, why
    assert client.connects(two)
    # Without a file the server has keys of its own, not those that others know.
    two_config = two.data.parent / f"{two.data.name}.toml"
    two_config.write_text("", encoding="utf-8")
    assert Admin(two).post("/reload")[0] == 200
    client.context.check_hostname, client.context.verify_mode = False, ssl.CERT_NONE
    assert [client.connects(two), client.connects(two)] == [False, True]
    assert new not in one.story() + two.story()


def test_what_is_no_file_of_keys_stops_a_start(servers, folder):
    file = folder / "broken.keys"
    for text, told in [("", "no ticket key"), ("a key\n", "line 1 is no key"), (f"{key()}\n{key()[:40]}", "line 2")]:
        file.write_text(text, encoding="utf-8")
        config = folder / "broken.toml"
        config.write_text(f'data = "{folder}/nowhere"\n[tls]\nticket_keys_file = "{file}"\n', encoding="utf-8")
        for verb in (["check-config", str(config)], ["serve", "--config", str(config), "--listen", "127.0.0.1:0"]):
            done = rookery(*verb)
            assert done.returncode == 2 and told in done.stderr + done.stdout, (verb, done)
