"""The Debian package, on this host: what it installs and whose it is, that an upgrade keeps the configuration, that the
unit is sound, and that the server runs as the unit starts it. At the end everything is taken away again."""

import gzip
import os
import pwd
import socket
import ssl
import subprocess
import tomllib

import pytest

from harness import package, seccomp
from harness.package import BINARY, CONFIG, DATA, UNIT, done, owner, run
from harness.server import Port
from harness.service_manager import Manager

CONTAINER = package.ROOT / "packaging/container"


@pytest.fixture(scope="module")
def packages(folder):
    """Two versions of it."""
    if os.geteuid() != 0:
        pytest.fail("packages are installed by root")
    if package.is_known() or DATA.exists():
        pytest.fail("a rookery is installed on this host; `dpkg --purge rookery` and look at /var/lib/rookery")
    return [package.make(folder, version) for version in ("0.1.0-1", "0.1.0-2")]


@pytest.fixture(scope="module")
def installed(packages):
    """The first, installed; gone afterwards."""
    try:
        done("dpkg", "--install", packages[0])
        yield
    finally:
        package.forget()


@pytest.fixture
def manager():
    hearing = Manager(f"@rookery-package-{os.getpid()}")
    yield hearing
    hearing.close()


def low_port() -> int:
    """One that only a privileged process may listen on, and nobody does."""
    for port in range(1023, 600, -1):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
    raise AssertionError("no port below 1024 is free")


def greets(port: int) -> None:
    """Something speaks TLS there, with the certificate that the installed server made."""
    trust = ssl.create_default_context(cafile=str(DATA / "tls/certificate.pem"))
    with socket.create_connection(("127.0.0.1", port), 60) as plain:
        with trust.wrap_socket(plain, server_hostname="localhost") as tls:
            assert tls.version() == "TLSv1.3"


def test_files_are_there_and_whose_they_must_be(installed):
    assert done("dpkg", "--verify", "rookery") == ""
    assert owner(CONFIG) == ("root", "rookery", "640")
    assert owner(CONFIG.parent) == ("root", "rookery", "750")
    assert owner(BINARY) == ("root", "root", "755")
    assert done(BINARY, "--version").startswith("rookery ")
    files = done("dpkg", "--listfiles", "rookery").split()
    for file in (UNIT, "/usr/lib/sysusers.d/rookery.conf", "/usr/share/doc/rookery/copyright",
                 "/usr/share/bash-completion/completions/rookery", "/usr/share/rookery/container/seccomp-rookery.json"):
        assert str(file) in files
    with gzip.open("/usr/share/man/man1/rookery.1.gz", "rt") as page:
        assert "check\\-config" in page.read()
    assert not any("sysctl.d" in file for file in files), "kernel parameters are the operator's to set"
    user = pwd.getpwnam("rookery")
    assert (user.pw_dir, user.pw_shell) == (str(DATA), "/usr/sbin/nologin")
    assert not run("find", "/etc/systemd/system", "-name", "rookery.service").stdout, "who installs it enables it"


def test_the_licences_of_what_is_linked_travel_with_it(installed):
    with open("/usr/share/doc/rookery/third-party-licences", encoding="utf-8") as file:
        text = file.read()
    named, texts = text.split("\n\n", 2)[1], text.split("\n\n", 2)[2]
    assert len(named.splitlines()) > 150
    for each in ("rustls", "tikv-jemalloc-sys", "rdkafka-sys", "aws-lc-sys", "bitmaps"):
        assert any(line.startswith(f"{each} ") for line in named.splitlines()), each
    for each in ("Jason Evans", "Magnus Edenhill", "The OpenSSL Project", "Mozilla Public License"):
        assert each in texts, each
    assert "inferno " not in named, "only what is linked"


def test_the_configuration_says_where_the_data_is_and_passes(installed):
    checked = done(BINARY, "check-config", CONFIG)
    assert f'data = "{DATA}"' in checked
    # Every other key is at its default, and there with its comment.
    defaults = (package.ROOT / "docs/rookery.toml").read_text(encoding="utf-8").splitlines()
    shipped = CONFIG.read_text(encoding="utf-8").splitlines()
    assert [(a, b) for a, b in zip(defaults, shipped, strict=True) if a != b] == [
        ('data = "rookery-data"', f'data = "{DATA}"')]


def test_systemd_takes_the_unit_as_it_is(installed):
    verified = run("systemd-analyze", "verify", "--man=no", UNIT)
    assert (verified.returncode, verified.stdout, verified.stderr) == (0, "", "")
    # Of 100, and the lower the safer: what systemd has no wall for counts too.
    rated = run("systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", UNIT)
    assert rated.returncode == 0, rated.stdout
    service = package.unit()
    # Where 252 is, notify-reload would be no type at all.
    assert service["Type"] == "notify"
    drain = tomllib.loads(done(BINARY, "check-config", CONFIG))["drain"]
    assert int(service["TimeoutStopSec"]) * 1000 > drain["unready_ms"] + drain["window_ms"] + drain["grace_ms"]


def test_the_server_runs_as_the_unit_starts_it(installed, manager, folder):
    service = package.unit()
    DATA.mkdir()
    os.chmod(DATA, int(service["StateDirectoryMode"], 8))
    user = pwd.getpwnam(service["User"])
    os.chown(DATA, user.pw_uid, user.pw_gid)
    allowed = seccomp.of_unit(service["SystemCallFilter"])

    def prepare() -> None:
        package.read_only_but(DATA)
        package.limits(service)
        os.umask(int(service["UMask"], 8))
        allowed.load()

    port = low_port()
    environment = {**manager.environment, "ROOKERY_LISTEN_TLS": f"127.0.0.1:{port}",
                   "WATCHDOG_USEC": str(int(service["WatchdogSec"]) * 1_000_000)}
    log = folder / "service.log"
    process = package.as_service(service["ExecStart"].split(), environment, prepare, log, "net_bind_service")
    try:
        manager.wait("READY", "1")
        with open(f"/proc/{process.pid}/status", encoding="ascii") as status:
            facts = dict(line.rstrip("\n").split(":\t", 1) for line in status)
        assert facts["Uid"].split() == [str(user.pw_uid)] * 4
        assert (facts["CapEff"], facts["NoNewPrivs"], facts["Seccomp"]) == (f"{1 << 10:016x}", "1", "2")
        greets(port)
        assert owner(DATA / "tls/key.pem") == ("rookery", "rookery", "600")
        process.send_signal(1)
        manager.wait("RELOADING", "1")
        manager.wait("READY", "1")
        process.terminate()
        manager.wait("STOPPING", "1")
        assert process.wait(60) == 0
    except AssertionError as failed:
        raise AssertionError(f"{failed}\n{log.read_text(encoding='utf-8')}") from failed
    finally:
        process.kill()
        process.wait()


def start_in_container(without: list[str], environment: dict[str, str], log) -> subprocess.Popen:
    """Under the seccomp profile, without any capability."""
    allowed = seccomp.of_container(CONTAINER / "seccomp-rookery.json", without)
    return package.as_service([str(BINARY), "serve", "--config", str(CONFIG)], environment, allowed.load, log)


def test_the_profile_for_containers_lets_the_server_run(installed, manager, folder):
    port = Port()
    environment = {**manager.environment, "ROOKERY_LISTEN_TLS": f"127.0.0.1:{port.number}"}
    process = start_in_container([], environment, folder / "container.log")
    try:
        manager.wait("READY", "1")
        greets(port.number)
        process.terminate()
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("without", [seccomp.IO_URING, ["io_uring_setup"], ["io_uring_register"]])
def test_without_its_calls_the_start_says_what_is_missing(installed, folder, without):
    process = start_in_container(without, {}, folder / "refused.log")
    assert process.wait(60) == 1
    said = (folder / "refused.log").read_text(encoding="utf-8")
    assert "the container's seccomp profile" in said, said


def test_the_profile_is_dockers_default_with_three_more_calls():
    made = run("go", "-C", CONTAINER / "seccomp", "run", ".")
    assert made.returncode == 0, made.stderr
    assert made.stdout == (CONTAINER / "seccomp-rookery.json").read_text(encoding="utf-8")


def test_an_upgrade_keeps_the_configuration_and_the_data(installed, packages):
    changed = CONFIG.read_text(encoding="utf-8").replace("devices_per_user_max = 5", "devices_per_user_max = 3")
    CONFIG.write_text(changed, encoding="utf-8")
    key = (DATA / "tls/key.pem").read_bytes()
    done("dpkg", "--install", packages[1])
    assert done("dpkg-query", "--show", "--showformat=${Version}", "rookery") == "0.1.0-2"
    assert CONFIG.read_text(encoding="utf-8") == changed
    assert owner(CONFIG) == ("root", "rookery", "640")
    assert "devices_per_user_max = 3" in done(BINARY, "check-config", CONFIG)
    assert (DATA / "tls/key.pem").read_bytes() == key
    # Once more, and back: nothing is done twice.
    done("dpkg", "--install", packages[1])
    done("dpkg", "--install", packages[0])
    assert CONFIG.read_text(encoding="utf-8") == changed


def test_an_administrator_may_say_whose_the_configuration_is(installed, packages):
    done("dpkg-statoverride", "--add", "--update", "root", "root", "600", CONFIG)
    try:
        done("dpkg", "--install", packages[1])
        assert owner(CONFIG) == ("root", "root", "600")
    finally:
        done("dpkg-statoverride", "--remove", CONFIG)


def test_a_purge_leaves_the_messages_only(installed, packages):
    done("dpkg", "--remove", "rookery")
    assert CONFIG.exists() and not BINARY.exists() and not UNIT.exists()
    done("dpkg", "--purge", "rookery")
    assert not CONFIG.parent.exists()
    assert (DATA / "tls/key.pem").exists()
    assert owner(DATA) == ("rookery", "rookery", "700")
    assert not package.is_known()
    done("dpkg", "--install", packages[0])
    assert owner(DATA) == ("rookery", "rookery", "700")
    assert owner(CONFIG) == ("root", "rookery", "640")
