"""`rookery migrate` and `rookery check-config --connect` on the real services: each thing that can be wrong is
made wrong, and the sentence that says so is expected."""

import re

import pytest

from harness.deployment import Deployment
from harness.server import Port, rookery
from harness.services import PASSWORD, Addresses

WRONG = "a-wrong-password"

# The checks wait for services that do not answer; migrations for the schema to be agreed upon.
PATIENCE_SECONDS = 120

SERVICES = ("kafka", "cql", "postgres", "redis")


def shows_password(said: str) -> bool:
    """Whether a password stands where one would. (The name of a test's folder may have the same letters.)"""
    return WRONG in said or re.search(f"[:\"'= ]{PASSWORD}(?![-\\w])", said) is not None


class Trial:
    """A deployment's configuration, and what the verbs say of it, changed or not."""

    def __init__(self, deployment: Deployment, folder) -> None:
        self.deployment = deployment
        self.folder = folder
        self.config = deployment.config(1)

    def with_(self, pattern: str, replacement: str, section: str) -> str:
        """The configuration with one place of one section changed."""
        head, body = self.config.split(f"[{section}]\n")
        body, found = re.subn(pattern, replacement, body, count=1)
        assert found, f"{pattern} is not in [{section}]"
        return f"{head}[{section}]\n{body}"

    def run(self, verb: str, config: str | None = None, *options: str):
        """The verb on this configuration."""
        file = self.folder / "trial.toml"
        file.write_text(config or self.config, encoding="utf-8")
        where = ["--config", str(file)] if verb != "check-config" else [str(file)]
        ended = rookery(verb, *where, *options, timeout=PATIENCE_SECONDS)
        said = ended.stdout + ended.stderr
        assert "panicked" not in said, said
        assert not shows_password(said), f"a password was shown: {said}"
        return ended

    def problems(self, config: str | None = None) -> dict[str, str]:
        """What `check-config --connect` says is wrong: service to its lines. Warnings are left out; they
        do not count for the exit code."""
        ended = self.run("check-config", config, "--connect")
        wrong: dict[str, str] = {}
        lines = ended.stdout.splitlines()
        for line, advice in zip(lines, lines[1:] + [""]):
            kind, service, *_ = line.split()
            if kind == "wrong":
                assert "what to do:" in advice, ended.stdout
                wrong[service] = wrong.get(service, "") + f"{line}\n{advice}\n"
        for service in SERVICES:
            assert re.search(rf"^(ok|wrong|warning) +{service} ", ended.stdout, re.MULTILINE), ended.stdout
        assert ended.returncode == (1 if wrong else 0), f"{ended.stdout}{ended.stderr}"
        return wrong


@pytest.fixture(scope="module")
def trial(folder):
    """A migrated deployment. The sentences before its migration were looked at on the way."""
    deployment = Deployment(folder, Addresses.from_environment())
    trial = Trial(deployment, folder)

    # The database is missing first, then everything in it.
    wrong = trial.problems()
    assert "does not exist" in wrong["postgres"], wrong
    deployment.create_database()
    wrong = trial.problems()
    assert set(wrong) == {"kafka", "cql", "postgres"}, wrong
    assert f"no topic {deployment.topic}" in wrong["kafka"], wrong
    assert f"keyspace `{deployment.keyspace}` is missing" in wrong["cql"], wrong
    assert "the schema lacks 0001_conversations" in wrong["postgres"], wrong
    for lines in wrong.values():
        assert "rookery migrate" in lines, lines

    # No server starts on it.
    refused = trial.run("serve", None, "--data", str(folder / "refused"), "--listen", "127.0.0.1:0")
    assert refused.returncode == 1, refused
    assert "Run `rookery migrate`" in refused.stderr, refused.stderr

    # A dry run says what it would do, and does nothing.
    dry = trial.run("migrate", None, "--dry-run")
    assert dry.returncode == 0, dry
    planned = [line.removeprefix("would make ") for line in dry.stdout.splitlines()]
    assert any(deployment.topic in line for line in planned), planned
    assert trial.problems() == wrong

    made = trial.run("migrate")
    assert made.returncode == 0, made
    assert [line.removeprefix("made ") for line in made.stdout.splitlines()] == planned
    yield trial
    deployment.end()


def test_a_migrated_deployment_is_well_and_migrates_no_further(trial):
    assert trial.problems() == {}
    for options in ([], ["--dry-run"]):
        again = trial.run("migrate", None, *options)
        assert again.returncode == 0 and again.stdout == "everything is there already\n", again


# Which part of a section holds the password.
PASSWORDS = {
    "kafka": (r'password = "[^"]*"', f'password = "{WRONG}"'),
    "cql": (r'password = "[^"]*"', f'password = "{WRONG}"'),
    "postgres": (r":[^:@/]*@", f":{WRONG}@"),
    "redis": (r":[^:@/]*@", f":{WRONG}@"),
}

REFUSALS = {
    "kafka": "uthentication",
    "cql": "refuses the role `rookery`",
    "postgres": "refuses the credentials",
    "redis": "refuses the credentials",
}


@pytest.mark.parametrize("service", SERVICES)
def test_a_wrong_password(trial, service):
    wrong = trial.problems(trial.with_(*PASSWORDS[service], service))
    assert set(wrong) == {service}, wrong
    assert REFUSALS[service] in wrong[service], wrong


@pytest.mark.parametrize("service", SERVICES)
def test_a_closed_port(trial, service):
    held = Port()
    closed = f"127.0.0.1:{held.number}"
    place = r'"[\w.]+:\d+"(, "[\w.]+:\d+")*' if service in ("kafka", "cql") else r"@[\w.]+:\d+"
    there = f'"{closed}"' if service in ("kafka", "cql") else f"@{closed}"
    wrong = trial.problems(trial.with_(place, there, service))
    assert set(wrong) == {service}, wrong
    assert closed in wrong[service], wrong
    assert re.search("reach|cannot be used", wrong[service]), wrong


def test_a_missing_topic(trial):
    wrong = trial.problems(trial.with_('topic_prefix = "[^"]*"', 'topic_prefix = "nowhere-else"', "kafka"))
    assert set(wrong) == {"kafka"} and "no topic nowhere-else.messages" in wrong["kafka"], wrong


def test_a_topic_that_is_not_as_it_must_be(trial):
    """Too few copies are a warning, since a test may want them; a topic that forgets is wrong."""
    kafka, topic = trial.deployment.kafka, f"{trial.deployment.name}-few.messages"
    config = trial.with_('topic_prefix = "[^"]*"', f'topic_prefix = "{trial.deployment.name}-few"', "kafka")
    config = config.replace("replication = 3", "replication = 1", 1)
    try:
        assert trial.run("migrate", config).returncode == 0
        kafka.alter(topic, "min.insync.replicas", "2")
        said = trial.run("check-config", config, "--connect")
        assert said.returncode == 0, said
        for warning in ("replication factor of 1", "wants 2 replicas in sync and has 1"):
            assert re.search(f"^warning +kafka .*{warning}", said.stdout, re.MULTILINE), said.stdout
        kafka.alter(topic, "cleanup.policy", "compact")
        wrong = trial.problems(config)
        assert set(wrong) == {"kafka"} and "is compacted" in wrong["kafka"], wrong
    finally:
        kafka.delete(topic, topic.replace("messages", "dead-letters"))


def test_a_server_says_what_it_stands_on_and_another_may_not_be_the_same_node(trial, folder):
    server = trial.deployment.start()
    said = "\n".join(server.said)
    for service in SERVICES:
        assert re.search(rf"^{service} \S", said, re.MULTILINE), said
    assert not shows_password(said), said
    twin = trial.run("serve", None, "--data", str(folder / "twin"), "--listen", "127.0.0.1:0")
    assert twin.returncode != 0 and "node_id 1 is another living instance's" in twin.stderr, twin
    assert server.stop() == 0, server.story()
