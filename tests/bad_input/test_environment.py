"""The environment's variables, for every verb: one of ours that cannot be read is a mistake, an empty one is not
set, and what only begins like ours is told."""

import os

import pytest

from harness.server import rookery

# Each verb that reads any, with what it needs besides; no server listens on port 1.
VERBS = {
    "serve": ["serve", "--listen", "127.0.0.1:0"],
    "check-config": ["check-config"],
    "migrate": ["migrate"],
    "token": ["token", "--user", "7"],
    "chat": ["chat", "--user", "7", "--to", "8"],
    "flock": ["flock", "wss://127.0.0.1:1"],
}

CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("ROOKERY_")}


def run(folder, verb: str, **variables: str):
    place = folder / "here"
    place.mkdir(exist_ok=True)
    ran = rookery(*VERBS[verb], env=CLEAN | variables, cwd=place)
    assert "panicked" not in ran.stderr, ran.stderr
    return ran, sorted(each.name for each in place.iterdir())


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("name", ["DATA", "CONFIG", "URL", "TOKEN", "AUTH_ISSUER", "AUTH_AUDIENCE", "CQL_PASSWORD"])
def test_a_variable_that_is_not_utf_8(folder, verb, name):
    ran, made = run(folder, verb, **{f"ROOKERY_{name}": "hunter2\udcff"})
    assert ran.returncode == 2, ran
    assert ran.stderr == f"error: environment variable ROOKERY_{name}: is not UTF-8: byte 8 of its 8 is 0xff\n"
    assert not made, made


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("name, meant", [("AUTH_ISUER", "ROOKERY_AUTH_ISSUER"), ("ISSUER", "ROOKERY_AUTH_ISSUER"),
                                         ("DAT", "ROOKERY_DATA"), ("TOKENS", "ROOKERY_TOKEN")])
def test_a_slip_of_a_name(folder, verb, name, meant):
    ran, made = run(folder, verb, **{f"ROOKERY_{name}": "x"})
    assert ran.returncode == 2, ran
    assert ran.stderr.startswith(f"error: environment variable ROOKERY_{name}: "), ran.stderr
    assert f"did you mean `{meant}`?" in ran.stderr
    assert not made, made


def test_empty_ones_are_not_set(folder):
    empty = {f"ROOKERY_{name}": "" for name in ("DATA", "CONFIG", "URL", "TOKEN", "LISTEN_TLS", "AUTH_ISSUER")}
    said = run(folder, "check-config")[0]
    ran, _ = run(folder, "check-config", **empty)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, said.stdout, ""), ran
    ran, made = run(folder, "token", **empty)
    assert "no development key rookery-data/auth/dev-key" in ran.stderr and not made, (ran, made)
    ran, _ = run(folder, "chat", **empty)
    assert "no development key rookery-data/auth/dev-key" in ran.stderr, ran


def test_what_only_begins_like_ours_is_told(folder):
    strangers = {"ROOKERY_PORT": "tcp://10.0.0.1:8443", "ROOKERY_SERVICE_HOST": "\udcff"}
    ran, _ = run(folder, "check-config", **strangers)
    assert ran.returncode == 0, ran
    assert ran.stderr == ("note: environment variables ROOKERY_PORT, ROOKERY_SERVICE_HOST are none of ours and not "
                          "looked at\n")
