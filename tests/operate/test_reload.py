"""A reload while clients are there: login keys come and go, from files and from a JSON Web Key Set; the log's filter;
and what is broken, or only a start can change, changes nothing."""

import json
import os
import time
from pathlib import Path

import pytest

from harness import tokens
from harness.admin import Admin, wait_until
from harness.key_set import Issuer
from harness.raw import BINARY, Raw, frame
from harness.raw_session import RawSession, refusal
from rookery_protocol import decode, encode

KEY = b"a key of thirty-two bytes, or more"
TOKEN_INVALID, LOGIN_INVALID = 300, 4401
TOO_MANY_DEVICES, RATE_LIMITED = 4409, 200


def log_in(server, token: bytes) -> tuple[int | None, int] | None:
    """Nothing where it is let in, else the codes of the refusal."""
    with Raw(server).upgraded() as door:
        door.send(frame(BINARY, encode("Login", {"token": token, "resume_token": b""})))
        opcode, payload = door.read_frame()
        kind, fields = decode(payload)
        if kind == "Welcome":
            return None
        assert (opcode, kind) == (BINARY, "Error")
        return fields["code"], door.close_code()


class Configured:
    """A server and the file that it reads."""

    def __init__(self, servers, text: str) -> None:
        self.server = servers.new(config=text)
        self.server.start()
        self.admin = Admin(self.server)
        self.file = self.server.data.parent / f"{self.server.data.name}.toml"

    def reload(self, text: str | None = None) -> tuple[int, str]:
        if text is not None:
            self.file.write_text(text, encoding="utf-8")
        status, body = self.admin.post("/reload")
        return status, body.decode()


def key_of(issuer: Issuer, folder: Path) -> str:
    file = folder / f"{issuer.kid}.pem"
    file.write_bytes(issuer.pem())
    return f'[[auth.keys]]\nid = "{issuer.kid}"\nalgorithm = "{issuer.kind}"\nfile = "{file}"\n'


def test_keys_come_and_go_and_nobody_is_disconnected(servers, folder, watch):
    old, new = Issuer("old", "ES256"), Issuer("new", "EdDSA")
    one = Configured(servers, key_of(old, folder))
    watch(one.server)
    assert log_in(one.server, old.token(7)) is None
    assert log_in(one.server, new.token(7)) == (TOKEN_INVALID, LOGIN_INVALID)
    with Raw(one.server).upgraded() as stays:
        stays.send(frame(BINARY, encode("Login", {"token": old.token(8), "resume_token": b""})))
        assert decode(stays.read_frame()[1])[0] == "Welcome"
        # Both for a while, as a change of keys goes.
        status, said = one.reload(key_of(old, folder) + key_of(new, folder))
        assert status == 200 and "changed: auth.keys" in said, said
        assert log_in(one.server, old.token(7)) is None and log_in(one.server, new.token(7)) is None
        status, said = one.reload(key_of(new, folder))
        assert status == 200, said
        assert log_in(one.server, old.token(7)) == (TOKEN_INVALID, LOGIN_INVALID)
        assert log_in(one.server, new.token(7)) is None
        # Who is in stays in, until the token ends.
        stays.send(frame(BINARY, encode("Ping", {"nonce": 3})))
        assert decode(stays.read_frame()[1]) == ("Pong", {"nonce": 3})
    assert "changed: auth.keys" in one.server.story()


def test_a_key_set_in_a_file(servers, folder, watch):
    first, second, third = Issuer("a", "ES256"), Issuer("b", "EdDSA"), Issuer("c", "ES256")
    file = folder / "jwks.json"

    def publish(*issuers: Issuer, others: tuple = ()) -> None:
        file.write_text(json.dumps({"keys": [*others, *(issuer.jwk() for issuer in issuers)]}), encoding="utf-8")

    publish(first, second, others=({"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "rsa"}, {"kty": "PQ"}))
    one = Configured(servers, f'[auth]\njwks_file = "{file}"\n' + key_of(third, folder))
    watch(one.server)
    assert [log_in(one.server, issuer.token(9)) for issuer in (first, second, third)] == [None] * 3
    # It is renewed where it lies; SIGHUP is enough.
    publish(second)
    one.server.hang_up()
    wait_until(lambda: "the login keys were read again" in one.server.story(), "the reload is told")
    assert log_in(one.server, first.token(9)) == (TOKEN_INVALID, LOGIN_INVALID)
    assert [log_in(one.server, issuer.token(9)) for issuer in (second, third)] == [None] * 2


@pytest.mark.parametrize("broken", ["no json", '{"keys": []}', '{"keys": [7]}', "x" * 70_000])
def test_a_broken_key_set_changes_nothing(servers, folder, broken):
    issuer = Issuer("a", "ES256")
    file = folder / f"jwks-{hash(broken)}.json"
    file.write_text(json.dumps({"keys": [issuer.jwk()]}), encoding="utf-8")
    one = Configured(servers, f'[auth]\njwks_file = "{file}"\n')
    file.write_text(broken, encoding="utf-8")
    status, why = one.reload()
    assert status == 409 and "nothing was reloaded" in why and file.name in why, why
    assert log_in(one.server, issuer.token(9)) is None


def test_a_broken_configuration_changes_nothing(servers, folder, watch):
    issuer, other = Issuer("one", "ES256"), Issuer("other", "ES256")
    text = key_of(issuer, folder)
    one = Configured(servers, text)
    watch(one.server)
    missing = f'[[auth.keys]]\nalgorithm = "ES256"\nfile = "{folder / "nowhere.pem"}"\n'
    for broken, word in [
        ("[auth\n", ".toml:1"), ("[auth]\nkeyz = []\n", "keyz"), (missing, "nowhere.pem"),
        # The certificate is read before anything is taken.
        (key_of(other, folder) + f'[tls]\ncertificate = "{folder}/no.pem"\nkey = "{folder}/no.key"\n', "no.pem"),
        # Else whoever can read the data directory could log in as anybody.
        ("", "names no key any more"),
        (text + '[log]\nfilter = "info=="\n', "filter"),
    ]:
        status, why = one.reload(broken)
        assert status == 409 and word in why, (broken, why)
        assert log_in(one.server, issuer.token(9)) is None
        assert log_in(one.server, other.token(9)) == (TOKEN_INVALID, LOGIN_INVALID)
    status, said = one.reload(text)
    assert status == 200 and "changed" not in said, said


def test_what_only_a_start_can_change_is_told(servers, folder):
    text = tokens.key_section(folder / "any", KEY)
    one = Configured(servers, text)
    status, said = one.reload(text + "[limits]\npayload_bytes_max = 700\n[log]\nfilter = \"warn\"\n")
    assert status == 200 and 'changed: log.filter = "warn" (was "info' in said, said
    assert "taken at the next start only: limits.payload_bytes_max = 700 (was 65536)" in said, said
    # It is told again for as long as it is so; the filter is what it is now.
    status, said = one.reload()
    assert status == 200 and "limits.payload_bytes_max" in said and "log.filter" not in said, said


def test_the_refused_are_told_apart(servers):
    """The development key stays what it was."""
    one = Configured(servers, "[limits]\ndevices_per_user_max = 4\n")
    assert one.reload()[0] == 200
    with RawSession(one.server, 3):
        pass
    with Raw(one.server).upgraded() as door:
        door.send(frame(BINARY, encode("Login", {"token": tokens.hs256(3, KEY).encode(), "resume_token": b""})))
        assert refusal(door) == (TOKEN_INVALID, LOGIN_INVALID)


def test_what_is_no_regular_file_is_refused_and_not_waited_for(servers, folder):
    """A pipe without a writer would be waited at for ever."""
    issuer = Issuer("piped", "ES256")
    text = key_of(issuer, folder)
    one = Configured(servers, text)
    pipe = folder / "pipe"
    os.mkfifo(pipe)
    certificate = one.server.data / "tls"
    for broken in [
        f'[[auth.keys]]\nalgorithm = "ES256"\nfile = "{pipe}"\n', f'[auth]\njwks_file = "{pipe}"\n',
        text + f'[tls]\ncertificate = "{pipe}"\nkey = "{certificate}/key.pem"\n',
        text + f'[tls]\ncertificate = "{certificate}/certificate.pem"\nkey = "{pipe}"\n',
        f'[auth]\njwks_file = "{folder}"\n', '[auth]\njwks_file = "/dev/zero"\n',
    ]:
        status, why = one.reload(broken)
        assert status == 409 and "no regular file" in why, (broken, why)
        assert log_in(one.server, issuer.token(9)) is None


def test_files_that_cannot_be_read_hold_nobody_up(servers, folder, watch):
    """As on a mount that hangs: here the configuration is a pipe to which nobody writes."""
    issuer = Issuer("hung", "ES256")
    text = key_of(issuer, folder)
    one = Configured(servers, text)
    watch(one.server)
    one.file.unlink()
    os.mkfifo(one.file)
    one.server.hang_up()
    wait_until(lambda: "could not be read within 10 s" in one.server.story(), "it is given up")
    # The main thread did everything else meanwhile, and does.
    assert one.admin.get("/readyz")[0] == 200
    assert log_in(one.server, issuer.token(9)) is None
    status, why = one.reload()
    assert status == 409 and "still being read" in why, why
    # Whoever hung comes back: what it read then is not used, and the next reload is as any other.
    with one.file.open("w", encoding="utf-8") as pipe:
        pipe.write("")
    wait_until(lambda: "they are not used" in one.server.story(), "it has come back")
    one.file.unlink()
    status, said = one.reload(text)
    assert status == 200, said


def test_a_stop_waits_for_no_file(servers, folder):
    issuer = Issuer("stopped", "ES256")
    one = Configured(servers, key_of(issuer, folder))
    one.file.unlink()
    os.mkfifo(one.file)
    one.server.hang_up()
    time.sleep(0.5)
    assert one.server.stop() == 0
    assert "could not be read" not in one.server.story()


def limits(**values) -> str:
    return "[limits]\n" + "".join(f"{name} = {value}\n" for name, value in values.items())


def test_limits_change_for_who_comes_from_then_on(servers, watch):
    one = Configured(servers, limits(connections_max=100))
    server = watch(one.server)
    with RawSession(server, 20, 1) as first, RawSession(server, 20, 2) as second, RawSession(server, 21) as other:
        status, said = one.reload(limits(connections_max=100, devices_per_user_max=1))
        assert status == 200 and "changed: limits.devices_per_user_max = 1 (was 5)" in said, said
        assert "next start" not in said, said
        # Nobody goes for it, until one more comes.
        for client in (first, second):
            client.ask("Ping", nonce=5)
            assert client.hear() == ("Pong", {"nonce": 5})
        with RawSession(server, 20, 3):
            assert (first.close_code(), second.close_code()) == (TOO_MANY_DEVICES, TOO_MANY_DEVICES)
        server.wait_connections(1)
        status, said = one.reload(limits(connections_max=1))
        assert status == 200 and "limits.connections_max = 1 (was 100)" in said, said
        assert Raw(server).request().status == 503
        status, said = one.reload(limits(connections_max=2))
        assert status == 200, said
        RawSession(server, 22).socket.close()
        other.ask("Ping", nonce=6)
        assert other.hear() == ("Pong", {"nonce": 6})


def test_rates_change_for_what_is_sent_from_then_on(servers, watch):
    one = Configured(servers, limits(rate_mode='"count"', send_bytes_per_user_per_second_max=65536, send_burst_ms=1000))
    with RawSession(watch(one.server), 30) as client:
        client.ask("OpenDirect", request_id=1, peer_user_id=31)
        conversation = client.hear_kind("ConversationOpened")["conversation_id"]

        def answers(count: int) -> list[str]:
            for _ in range(count):
                client.ask("Send", conversation_id=conversation, client_msg_id=os.urandom(16), payload=bytes(30_000))
            found: list[str] = []
            while len(found) < count:
                kind, fields = client.hear()
                if kind == "Error":
                    assert fields["code"] == RATE_LIMITED, fields
                if kind in ("SendAck", "Error"):
                    found.append(kind)
            return found

        assert answers(10) == ["SendAck"] * 10, "they are counted only"
        status, said = one.reload(limits(send_bytes_per_user_per_second_max=65536, send_burst_ms=1000))
        assert status == 200 and "limits.rate_mode" in said, said
        assert "Error" in answers(10)
        status, said = one.reload(limits())
        assert status == 200, said
        assert answers(10) == ["SendAck"] * 10


def test_what_there_is_no_room_for_waits_for_the_next_start(servers, watch):
    one = Configured(servers, limits(connections_max=10))
    watch(one.server)
    status, said = one.reload(limits(connections_max=11, payload_bytes_max=1000, login_timeout_ms=5000))
    assert status == 200, said
    taken, waits = said.split("taken at the next start only: ")
    assert "limits.login_timeout_ms = 5000" in taken and "connections_max" not in taken, said
    assert "limits.connections_max = 11 (was 10)" in waits and "limits.payload_bytes_max = 1000" in waits, said
    assert one.admin.metrics().total("rookery_connections_max") == 10
