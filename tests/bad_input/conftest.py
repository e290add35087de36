"""One server for a file of bad inputs, a pair of users who chat on it and must not notice any of them,
and the watch that nothing leaks."""

import os

import pytest

from harness.chatter import Chatter

# Short, so that what is late is late soon.
LOGIN_TIMEOUT_MS = 2000

CONFIG = f"[limits]\nlogin_timeout_ms = {LOGIN_TIMEOUT_MS}\n[auth]\nleeway_ms = 0\n"


@pytest.fixture(scope="module")
def server(servers):
    return servers.start(config=CONFIG, key=os.urandom(32))


@pytest.fixture(scope="module")
def chatter(server):
    with Chatter(server) as pair:
        yield pair


@pytest.fixture
def undisturbed(server, chatter, watch):
    """Before and after the test the pair talks, and the server holds no more than before."""
    chatter.check()
    watch(server)
    yield
    chatter.check()
