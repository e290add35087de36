"""TLS to the services: each of them end to end, with its own listener, and each thing that can be wrong made wrong,
with the sentence that says so."""

import re
import ssl

import pytest
from cryptography import x509

from harness.authority import Authority, Issued
from harness.deployment import Deployment
from harness.front import Front
from harness.peer import Peer
from harness.services import Addresses, Services
from harness.trial import SERVICES, Trial

# Those of `cargo xtask services`: Kafka's listener beside the plain one, and Redis's; the others have one for both.
KAFKA_TLS_OFFSET = 200
REDIS_TLS_OFFSET = 1

# Not a name of anything here.
ELSEWHERE = "elsewhere.example"


def above(addresses: str, offset: int) -> str:
    """The same hosts, with other ports."""
    return re.sub(r":(\d+)(?=,|$)", lambda port: f":{int(port[1]) + offset}", addresses)


def plain_address(trial: Trial, service: str) -> str:
    """HOST:PORT of the service, or of several."""
    addresses = trial.deployment.addresses
    whole = {"kafka": addresses.kafka, "cql": addresses.cql, "postgres": addresses.postgres, "redis": addresses.redis}
    return whole[service].rsplit("@")[-1].split("/")[0]


def tls_address(trial: Trial, service: str) -> str:
    """The same with TLS."""
    offset = {"kafka": KAFKA_TLS_OFFSET, "redis": REDIS_TLS_OFFSET}.get(service, 0)
    return above(plain_address(trial, service), offset)


def through(trial: Trial, service: str, address: str, keys: str, config: str | None = None) -> str:
    """The configuration with the service at this address and with these keys."""
    config = config or trial.config
    plain = plain_address(trial, service)
    if service == "kafka":
        def quoted(addresses: str) -> str:
            return ", ".join(f'"{one}"' for one in addresses.split(","))
        plain, address = quoted(plain), quoted(address)
    assert plain in config, f"{plain} is not in {config}"
    return config.replace(plain, address, 1).replace(f"[{service}]\n", f"[{service}]\n{keys}\n", 1)


def keys(authority: object, *more: str) -> str:
    """What a section says where TLS is on."""
    return "\n".join(["tls = true", f'ca_file = "{authority}"', *more])


def own(issued: Issued) -> tuple[str, str]:
    """A certificate of ours."""
    return f'certificate_file = "{issued.certificate}"', f'key_file = "{issued.key}"'


@pytest.fixture(scope="module")
def trial(folder):
    """A migrated deployment."""
    deployment = Deployment(folder, Addresses.from_environment()).prepare()
    yield Trial(deployment, folder)
    deployment.end()


@pytest.fixture(scope="module")
def real():
    """The authority of the services' own certificates."""
    return Services.from_environment().folder("tls") / "authority.pem"


@pytest.fixture(scope="module")
def authority(folder):
    """One of the test."""
    return Authority(folder / "authority")


@pytest.fixture
def front(trial):
    """Makes fronts before services, with certificates."""
    fronts = []

    def made(service: str, issued: Issued | None, clients: Authority | None = None) -> str:
        context = None
        if issued:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(issued.certificate, issued.key)
            if clients:
                context.verify_mode = ssl.CERT_REQUIRED
                context.load_verify_locations(clients.file)
        target = plain_address(trial, service).split(",")[0]
        fronts.append(Front(target, context, postgres=service == "postgres"))
        return fronts[-1].address

    yield made
    for one in fronts:
        one.end()


def everything(trial: Trial, authority: object) -> str:
    """All four over TLS."""
    config = trial.config
    for service in SERVICES:
        config = through(trial, service, tls_address(trial, service), keys(authority), config)
    return config


def only(trial: Trial, config: str, service: str, *expected: str) -> None:
    """This service is wrong, and no other; it is said so."""
    wrong = trial.problems(config)
    assert set(wrong) == {service}, wrong
    for part in expected:
        assert part in wrong[service], f"{part!r} is not in: {wrong[service]}"


async def test_all_services_over_tls_carry_a_chat(trial, real):
    config = everything(trial, real)
    assert trial.problems(config) == {}
    again = trial.run("migrate", config)
    assert again.returncode == 0 and again.stdout == "everything is there already\n", again
    plain = trial.deployment.config
    trial.deployment.config = lambda _: config
    try:
        server = trial.deployment.start(1)
    finally:
        trial.deployment.config = plain
    async with await Peer.login(server, 31) as anna, await Peer.login(server, 32) as bert:
        conversation = await anna.open_direct(32)
        assert await bert.open_direct(31) == conversation
        sent = (await anna.send(conversation, b"over TLS"))["message_id"]
        await bert.wait_for(lambda: bert.seqs(conversation) == [1])
        assert [message["message_id"] for message in await bert.sync_all(conversation)] == [sent]
    assert server.stop() == 0, server.story()


@pytest.mark.parametrize("service", SERVICES)
def test_an_unknown_authority(trial, authority, service):
    config = through(trial, service, tls_address(trial, service), keys(authority.file))
    only(trial, config, service, "signed by none of the authorities", f"Set `ca_file` in [{service}]")


@pytest.mark.parametrize("service", SERVICES)
def test_a_wrong_name(trial, authority, front, service):
    issued = authority.issue(f"elsewhere-{service}", ELSEWHERE, address=None)
    address = front(service, issued)
    config = through(trial, service, address, keys(authority.file))
    only(trial, config, service, f"its certificate is for {ELSEWHERE} and not for 127.0.0.1")
    if service != "kafka":
        named = keys(authority.file, f'server_name = "{ELSEWHERE}"')
        assert trial.problems(through(trial, service, address, named)) == {}


@pytest.mark.parametrize("service", SERVICES)
def test_a_certificate_that_has_expired(trial, authority, front, service):
    # Half an hour ago.
    issued = authority.issue(f"expired-{service}", days=-1 / 48)
    config = through(trial, service, front(service, issued), keys(authority.file))
    only(trial, config, service, "its certificate has expired", "Renew the server's certificate")


@pytest.mark.parametrize("service", SERVICES)
def test_a_server_without_tls(trial, real, front, service):
    # Kafka and Redis have a port for it; the others take both, but for what stands before them.
    plain = plain_address(trial, service) if service in ("kafka", "redis") else front(service, None)
    config = through(trial, service, plain, keys(real))
    only(trial, config, service, "the server does not speak TLS there", f"`tls = false` in [{service}]")


@pytest.mark.parametrize("service", ["kafka", "cql", "redis"])
def test_a_server_with_tls_only(trial, authority, front, service):
    encrypted = front(service, authority.issue("only")) if service == "cql" else tls_address(trial, service)
    config = through(trial, service, encrypted, "")
    only(trial, config, service, "the server speaks TLS only", f"Set `tls = true` in [{service}]")


@pytest.fixture
def rule(trial):
    """Puts a rule for the deployment's database before the others in pg_hba.conf."""
    file = Services.from_environment().folder("postgres") / "data" / "pg_hba.conf"
    before = file.read_text(encoding="utf-8")

    def put(line: str) -> None:
        file.write_text(f"{line.format(trial.deployment.name)}\n{before}", encoding="utf-8")
        trial.deployment.query_in("postgres", "SELECT pg_reload_conf()")

    yield put
    file.write_text(before, encoding="utf-8")
    trial.deployment.query_in("postgres", "SELECT pg_reload_conf()")


def test_a_database_with_tls_only(trial, real, rule):
    rule("hostnossl {} all all reject")
    only(trial, trial.config, "postgres", "the server speaks TLS only", "Set `tls = true` in [postgres]")
    assert trial.problems(through(trial, "postgres", tls_address(trial, "postgres"), keys(real))) == {}


def test_a_database_that_wants_our_certificate(trial, real, rule):
    rule("hostssl {} all all scram-sha-256 clientcert=verify-ca")
    config = through(trial, "postgres", tls_address(trial, "postgres"), keys(real))
    only(trial, config, "postgres", "wants a certificate from its clients", "Set `certificate_file` and `key_file`")


@pytest.mark.parametrize("service", SERVICES)
def test_a_server_that_wants_our_certificate(trial, authority, front, service):
    address = front(service, authority.issue(f"mutual-{service}"), authority)
    config = through(trial, service, address, keys(authority.file))
    only(trial, config, service, "wants a certificate from its clients", "Set `certificate_file` and `key_file`")
    usage = x509.ExtendedKeyUsageOID.CLIENT_AUTH
    stranger = Authority(authority.folder / f"stranger-{service}").issue("edge", "edge", usage=usage)
    config = through(trial, service, address, keys(authority.file, *own(stranger)))
    only(trial, config, service, "the server refuses our certificate")
    if service != "kafka":
        edge = authority.issue(f"edge-{service}", "edge", usage=usage)
        config = through(trial, service, address, keys(authority.file, *own(edge)))
        assert trial.problems(config) == {}


def test_files_that_cannot_be_used_are_told_before_anything_is_asked(trial, folder):
    missing = folder / "nowhere.pem"
    config = through(trial, "redis", tls_address(trial, "redis"), keys(missing))
    for verb in ("check-config", "serve", "migrate"):
        options = ["--data", str(folder / "none")] if verb == "serve" else []
        refused = trial.run(verb, config, *options)
        assert refused.returncode == 2, refused
        assert f"[redis] ca_file {missing}: No such file" in refused.stderr, refused.stderr
