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
    status, said = one.reload(text + "[limits]\nconnections_max = 7\n[log]\nfilter = \"warn\"\n")
    assert status == 200 and 'changed: log.filter = "warn" (was "info' in said, said
    assert "taken at the next start only: limits.connections_max = 7 (was 100000)" in said, said
    # It is told again for as long as it is so; the filter is what it is now.
    status, said = one.reload()
    assert status == 200 and "limits.connections_max" in said and "log.filter" not in said, said


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
