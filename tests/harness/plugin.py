"""What pytest does for every test: it runs coroutines, it gives back what the test holds, and it counts."""

import asyncio
import functools

import pytest

from . import codes
from .holdings import Holdings
from .peer import Peer
from .server import Server
from .tally import Cases, Tally

_TALLY = pytest.StashKey[Tally]()
_FAILED = pytest.StashKey[bool]()


def pytest_configure(config: pytest.Config) -> None:
    """One tally for the run."""
    config.stash[_TALLY] = Tally()


def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """A test may be a coroutine: it gets an event loop of its own."""
    if not asyncio.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    call = functools.partial(pyfuncitem.obj, **{name: pyfuncitem.funcargs[name] for name in names})

    async def run() -> None:
        try:
            await call()
        finally:
            await Peer.close_all()

    asyncio.run(run())
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item):
    """A test that says which codes it produces has met them. What it has opened ends with it, before its
    fixtures look at what is left."""
    held = Holdings()
    codes.forget()
    try:
        result = yield
    finally:
        held.close_sockets()
        held.end_children(but={server.pid for server in Server.running()})
    if item.config.getoption("embedded", False):
        return result  # A try of the tests of faults: none is made.
    promised = {code for mark in item.iter_markers("produces") for code in mark.args}
    missing = sorted(promised - codes.seen())
    assert not missing, f"the test is to produce {missing}, and no client saw that"
    return result


@pytest.fixture(autouse=True)
def own_servers(request: pytest.FixtureRequest):
    """Servers that were started for one test end with it: politely, or at once where it failed. The first
    fixture of a test, and so the last to end."""
    before = Server.running()
    yield
    own = Server.running() - before
    if request.node.stash.get(_FAILED, False):
        for server in own:
            server.kill()
    codes = {server: server.stop() for server in own if server.is_alive()}
    for server, code in codes.items():
        assert code == 0, f"exit code {code}\n{server.story()}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):
    """Counts what a test came to, its setup and teardown included."""
    report = yield
    if report.outcome == "failed":
        item.stash[_FAILED] = True
    if report.when == "call" or report.outcome != "passed":
        reason = str(report.longrepr)[-2000:] if report.longrepr else ""
        item.config.stash[_TALLY].outcome(item.nodeid, report.outcome, reason)
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Leaves the counts where xtask looks for them."""
    session.config.stash[_TALLY].write()


@pytest.fixture
def cases(request: pytest.FixtureRequest) -> Cases:
    """Cases and figures of this test, for the closing count."""
    return request.config.stash[_TALLY].of(request.node.nodeid)
