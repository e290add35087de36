"""Where a server listens, and what the host allows it: addresses as people write them, ports that are taken or
asked for twice, limits of open files. What is wrong is told before anything is written, with what is right."""

import os
import resource
import socket

import pytest

from harness.server import Port, rookery

MANY = "[limits]\nconnections_max = 1000000\n"


def limited(soft: int, hard: int):
    """Run in the child: so many open files."""
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# -- open files ---------------------------------------------------------------------------------


def test_the_soft_limit_of_open_files_is_raised(servers):
    """1,024 is what a shell or a service manager leaves; the hard limit is what the operator means."""
    server = servers.new(config=MANY)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
    try:
        server.launch()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    server.wait_ready()
    assert resource.prlimit(server.pid, resource.RLIMIT_NOFILE) == (hard, hard)


def test_too_few_open_files_are_told_with_what_to_raise(folder):
    file, data = folder / "many.toml", folder / "few-files"
    file.write_text(MANY, encoding="utf-8")
    ran = rookery("serve", "--config", str(file), "--data", str(data), "--listen", "127.0.0.1:0", "--shards", "2",
                  preexec_fn=limited(512, 512))
    assert ran.returncode == 1, ran
    assert "ulimit -n" in ran.stderr and "LimitNOFILE" in ran.stderr, ran.stderr
    assert "io_uring" not in ran.stderr, f"the kernel is not to blame: {ran.stderr}"
    assert not data.exists(), "something was written before the host was asked"


def test_the_load_generator_says_the_same(folder):
    with socket.create_server(("0.0.0.0", 0)) as server:
        ran = rookery("flock", f"ws://127.0.0.1:{server.getsockname()[1]}", "--echo", "--connections", "1000000",
                      "--shards", "2", preexec_fn=limited(512, 512), cwd=folder)
    assert ran.returncode == 1, ran
    assert "ulimit -n" in ran.stderr and "LimitNOFILE" in ran.stderr, ran.stderr


# -- a port -------------------------------------------------------------------------------------


def test_both_wildcards_on_one_port(servers):
    held = Port()
    port = held.number
    server = servers.start(config=f'[listen]\nplain = ["0.0.0.0:{port}", "[::]:{port}"]\n', plain=False)
    assert f"listening plain 0.0.0.0:{port}" in server.said and f"listening plain [::]:{port}" in server.said
    for host in ("127.0.0.1", "::1"):
        with socket.create_connection((host, port), 60) as connection:
            connection.sendall(b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 404 ")


def test_the_ipv6_wildcard_alone_takes_both(servers):
    held = Port()
    port = held.number
    servers.start(config=f'[listen]\nplain = ["[::]:{port}"]\n', plain=False)
    for host in ("127.0.0.1", "::1"):
        socket.create_connection((host, port), 60).close()


@pytest.mark.parametrize("verb", ["check-config", "serve"])
def test_a_port_that_is_asked_for_twice(folder, verb):
    file = folder / "twice.toml"
    file.write_text('[listen]\ntls = ["127.0.0.1:8443"]\nplain = ["0.0.0.0:8443"]\n', encoding="utf-8")
    ran = rookery(*(["check-config", str(file)] if verb == "check-config" else
                    ["serve", "--config", str(file), "--data", str(folder / "unused")]))
    assert ran.returncode == 2, ran
    assert "twice.toml:3:" in ran.stderr and "0.0.0.0:8443" in ran.stderr and "127.0.0.1:8443" in ran.stderr, ran.stderr


def test_a_taken_port_is_told_once_and_before_anything_is_written(folder):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address, data = f"127.0.0.1:{taken.getsockname()[1]}", folder / "taken"
        ran = rookery("serve", "--data", str(data), "--listen", address)
    assert ran.returncode == 1, ran
    assert address in ran.stderr and ran.stderr.count("in use") == 1, ran.stderr
    assert not data.exists(), list(data.rglob("*"))


# -- an address ---------------------------------------------------------------------------------

# What is written, and what the message must say is right.
MEANT = {
    "localhost:8443": ["127.0.0.1:8443", "[::1]:8443"],
    ":8443": ["0.0.0.0:8443", "[::]:8443"],
    "chat.example:8443": ["IP address", "192.0.2.1:8443"],
    "8443": ["127.0.0.1:8443"],
    "127.0.0.1": ["127.0.0.1:8443"],
    "::1": ["[::1]:8443"],
}


@pytest.mark.parametrize("written", MEANT)
@pytest.mark.parametrize("place", ["option", "file", "environment"])
def test_what_is_no_address_is_told_with_what_is_right(folder, written, place):
    data = folder / "no-address"
    arguments, environment = ["serve", "--data", str(data)], dict(os.environ)
    if place == "option":
        arguments.append(f"--listen={written}")
    elif place == "file":
        (folder / "address.toml").write_text(f'[listen]\ntls = ["{written}"]\n', encoding="utf-8")
        arguments += ["--config", str(folder / "address.toml")]
    else:
        environment["ROOKERY_LISTEN_TLS"] = written
    ran = rookery(*arguments, env=environment)
    assert ran.returncode == 2, ran
    for right in MEANT[written]:
        assert right in ran.stderr, ran.stderr
    assert not data.exists()
