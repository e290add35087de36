"""Login keys that are fetched: an endpoint that is away, slow, endless, hostile, or changes its keys while a storm logs
in. Whatever it does, the last good keys stay in use, and nobody makes the server ask more often than it may."""

import json
import ssl
import threading
import time
from contextlib import ExitStack

import pytest

from harness.admin import Admin, wait_until
from harness.authority import Authority
from harness.key_set import Issuer, Publisher, answer, key_set, raw
from harness.raw import BINARY, Raw, frame
from harness.server import Port
from rookery_protocol import decode, encode

TOKEN_INVALID, LOGIN_INVALID = 300, 4401
UNAVAILABLE, TRY_AGAIN_LATER = 203, 1013
LATER = (UNAVAILABLE, TRY_AGAIN_LATER)
AGAIN = "can be fetched again"

# Lets all logins of a test come from one address.
QUICK = "jwks_refresh_s = 3600\njwks_refresh_min_s = 1\n"


def log_in(server, token: bytes) -> tuple[int, int] | None:
    """Nothing where it is let in, else the codes of the refusal."""
    with Raw(server, tls=False).upgraded() as door:
        door.send(frame(BINARY, encode("Login", {"token": token, "resume_token": b""})))
        kind, fields = decode(door.read_frame()[1])
        if kind == "Welcome":
            return None
        assert kind == "Error", (kind, fields)
        assert (fields["retry_after_ms"] > 0) == (fields["code"] == UNAVAILABLE), fields
        return fields["code"], door.close_code()


def configured(servers, url: str, more: str = QUICK, **options):
    server = servers.new(config=f'[auth]\njwks_url = "{url}"\n{more}', **options)
    server.start()
    return server


def is_let_in(server, token: bytes):
    return wait_until(lambda: log_in(server, token) is None, "it is let in")


@pytest.mark.produces(UNAVAILABLE, TRY_AGAIN_LATER)
def test_a_start_without_it_and_its_coming(servers, watch):
    issuer, port = Issuer("a"), Port()
    server = configured(servers, f"http://127.0.0.1:{port.number}/keys")
    watch(server)
    assert log_in(server, issuer.token(7)) == LATER
    assert "the login keys cannot be fetched" in server.story()
    assert Admin(server).get("/readyz")[0] == 200
    with Publisher(port.number) as publisher:
        publisher.publish(issuer)
        is_let_in(server, issuer.token(7))
        # Now it is known what there is not: a token of before is refused for good.
        old = int(time.time()) - 60
        assert log_in(server, Issuer("b").token(7, iat=old)) == (TOKEN_INVALID, LOGIN_INVALID)
    # What it was is kept over a restart, at which it is away.
    server.kill()
    server.start()
    assert log_in(server, issuer.token(8)) is None
    assert log_in(server, Issuer("b").token(7)) == LATER


def test_whatever_it_answers_the_last_keys_stay(servers, watch):
    good, other = Issuer("good"), Issuer("other")
    with ExitStack() as stack:
        publisher, elsewhere = stack.enter_context(Publisher()), stack.enter_context(Publisher())
        publisher.publish(good)
        elsewhere.publish(other)
        server = configured(servers, publisher.url())
        watch(server)
        is_let_in(server, good.token(7))
        body = key_set(other)
        bad, log = 0, server.log.read_text
        deep = b'{"keys":' + b"[" * 60_000
        for behave, told in [
            (lambda to: answer(to, b"", 302, Location=elsewhere.url()), "redirects are not followed"),
            (lambda to: answer(to, b"", 301, Location="file:///etc/passwd"), "redirects are not followed"),
            (lambda to: answer(to, body, Content_Type="text/html"), "with text/html"),
            (lambda to: answer(to, body, Content_Encoding="gzip"), "compressed"),
            (lambda to: answer(to, body, 500), "500 Internal Server Error"),
            (lambda to: answer(to, body, 206), "206"),
            (lambda to: answer(to, body + b" " * 65_536), "larger than 64 KiB"),
            (publisher.endless, "larger than 64 KiB"),
            (publisher.endless_head, "no HTTP"),
            (lambda to: raw(to, b"keys? which keys?\r\n\r\n"), "no HTTP"),
            (lambda to: raw(to, b""), "no HTTP"),
            (lambda to: answer(to, body, Content_Length="60000"), "broke off"),
            (lambda to: answer(to, b"<html>"), "no JSON Web Key Set"),
            (lambda to: answer(to, deep), "no JSON Web Key Set"),
            (lambda to: answer(to, b'{"keys": []}'), "no key that can be used"),
            (lambda to: answer(to, key_set(other, other)), "two keys with one"),
            (lambda to: answer(to, b'{"keys": [' + b"7," * 64 + b"7]}"), "over 64 keys"),
            (publisher.drip, "no answer within 10 s"),
            (publisher.nothing, "no answer within 10 s"),
        ]:
            # Each is told once: after a good answer it is new.
            publisher.publish(good)
            wait_until(lambda: log_in(server, other.token(7)) and log().count(AGAIN) == bad, AGAIN)
            before, bad = len(log()), bad + 1
            publisher.behave = behave

            def is_told(told=told, before=before) -> bool:
                assert log_in(server, other.token(7)) in (LATER, (TOKEN_INVALID, LOGIN_INVALID))
                return told in log()[before:]

            wait_until(is_told, told)
            assert log_in(server, good.token(7)) is None
        assert elsewhere.asked == []
        # And back.
        publisher.publish(good, other)
        is_let_in(server, other.token(7))
        assert log().count(AGAIN) == bad


def test_strangers_cannot_have_it_asked_more_often(servers, watch):
    good = Issuer("good")
    with Publisher() as publisher:
        publisher.publish(good)
        server = configured(servers, publisher.url(), "jwks_refresh_min_s = 2\n")
        watch(server)
        is_let_in(server, good.token(7))
        began, stop = time.monotonic(), threading.Event()
        refused = []

        def strangers(name: str) -> None:
            while not stop.is_set():
                refused.append(log_in(server, Issuer(f"{name}{len(refused)}").token(7)))

        threads = [threading.Thread(target=strangers, args=(f"made up {n} ",)) for n in range(4)]
        for thread in threads:
            thread.start()
        while time.monotonic() < began + 9:
            assert log_in(server, good.token(7)) is None
        stop.set()
        for thread in threads:
            thread.join()
        assert len(refused) > 100 and set(refused) <= {LATER, (TOKEN_INVALID, LOGIN_INVALID)}, len(refused)
        gaps = [later - sooner for sooner, later in zip(publisher.asked, publisher.asked[1:])]
        # The publisher's own clock may see two of them closer together than they were asked.
        assert 3 <= len(publisher.asked) <= 7 and min(gaps) > 1.5, gaps


def test_the_key_changes_while_a_storm_logs_in(servers, watch):
    """A client that does as the codes say is in in the end, and never refused for good."""
    old, new = Issuer("old"), Issuer("new")
    with Publisher() as publisher:
        publisher.publish(old)
        server = configured(servers, publisher.url())
        watch(server)
        is_let_in(server, old.token(7))
        changed, counts, wrong = threading.Event(), {"old": 0, "new": 0, "later": 0}, []

        def storm(user: int) -> None:
            for _ in range(40):
                issuer = new if changed.is_set() else old
                token = issuer.token(user)
                while (refusal := log_in(server, token)) is not None:
                    if refusal != LATER:
                        wrong.append((issuer.kid, refusal))
                        return
                    counts["later"] += 1
                    time.sleep(0.05)
                counts[issuer.kid] += 1

        threads = [threading.Thread(target=storm, args=(100 + n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        wait_until(lambda: counts["old"] > 40, "the storm is on")
        # From one moment to the next, as nobody should.
        publisher.publish(new)
        changed.set()
        for thread in threads:
            thread.join()
        assert wrong == [] and counts["new"] > 8 and counts["old"] + counts["new"] == 320, (wrong, counts)
        assert counts["later"] > 0, "some came before the keys"
        # The old one is gone, without a restart or a reload.
        assert log_in(server, old.token(7, iat=int(time.time()) - 60)) in (LATER, (TOKEN_INVALID, LOGIN_INVALID))
        wait_until(lambda: log_in(server, old.token(7, iat=int(time.time()) - 60)) == (TOKEN_INVALID, LOGIN_INVALID),
                   "the old key is no key any more")


def test_a_reload_waits_for_no_endpoint_and_trusts_no_other(servers):
    one, other = Issuer("one"), Issuer("other")
    with Publisher() as first, Publisher() as second:
        first.publish(one)
        server = configured(servers, first.url())
        admin, file = Admin(server), server.data.parent / f"{server.data.name}.toml"
        is_let_in(server, one.token(7))

        def reload(url: str) -> tuple[int, str]:
            file.write_text(f'[auth]\njwks_url = "{url}"\n{QUICK}', encoding="utf-8")
            status, body = admin.post("/reload")
            return status, body.decode()

        for bad, why in [("http://id.example/keys", "use https"), ("no url", "no URL"), ("ftp://localhost/", "scheme")]:
            status, told = reload(bad)
            assert status == 409 and why in told, told
        assert log_in(server, one.token(7)) is None
        # The second one hangs.
        status, told = reload(second.url())
        assert status == 200 and "auth.jwks_url" in told, told
        assert log_in(server, one.token(7)) == LATER
        wait_until(lambda: second.asked, "it is asked")
        # It is asked while the server is told otherwise again.
        assert reload(first.url())[0] == 200
        is_let_in(server, one.token(7))
        second.publish(other)
        assert reload(second.url())[0] == 200
        is_let_in(server, other.token(7))
        assert server.stop() == 0


def context(authority: Authority) -> ssl.SSLContext:
    """What a server that it vouches for speaks TLS with."""
    issued = authority.issue("keys")
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(issued.certificate, issued.key)
    return made


def test_over_tls_by_whom_the_host_trusts(servers, folder):
    trusted, stranger = Authority(folder / "trusted"), Authority(folder / "stranger")
    issuer = Issuer("a")
    with Publisher(tls=context(trusted)) as good, Publisher(tls=context(stranger)) as bad:
        good.publish(issuer)
        bad.publish(issuer)
        environment = {"SSL_CERT_FILE": str(trusted.file)}
        server = configured(servers, good.url("https"), environment=environment)
        is_let_in(server, issuer.token(7))
        server = configured(servers, bad.url("https"), environment=environment)
        wait_until(lambda: "cannot be fetched" in server.story(), "it is not trusted")
        assert log_in(server, issuer.token(7)) == LATER
        assert "invalid peer certificate" in server.story() and bad.asked == []


def test_a_kept_set_that_is_broken_or_anothers_is_not_used(servers):
    issuer, port = Issuer("a"), Port()
    url = f"http://127.0.0.1:{port.number}/keys"
    for kept, told in [("{", "does not hold a key set"), (json.dumps({"url": url, "set": "{}"}), "no JSON Web Key Set"),
                       (json.dumps({"url": url + "2", "set": key_set(issuer).decode()}), "logins wait")]:
        server = servers.new(config=f'[auth]\njwks_url = "{url}"\n{QUICK}')
        file = server.data / "auth" / "jwks.json"
        file.parent.mkdir(parents=True)
        file.write_text(kept, encoding="utf-8")
        server.start()
        assert told in server.story()
        assert log_in(server, issuer.token(7)) == LATER
