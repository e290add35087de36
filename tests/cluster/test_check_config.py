"""`rookery migrate` and `rookery check-config --connect` on the real services: each thing that can be wrong is
made wrong, and the sentence that says so is expected."""

import re

import pytest

from harness import cql
from harness.deployment import Deployment
from harness.server import Port
from harness.services import Addresses
from harness.trial import SERVICES, WRONG, Trial, shows_password


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
    # The log's id is drawn on the way.
    done = [re.sub("log [0-9a-f]{16} in", "the log's id in", line) for line in made.stdout.splitlines()]
    assert [line.removeprefix("made ") for line in done] == planned
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
    # Another log fills another keyspace.
    keyspace = f"{trial.deployment.keyspace}f"
    config = config.replace(f'keyspace = "{trial.deployment.keyspace}"', f'keyspace = "{keyspace}"')
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
        cql.execute(trial.deployment.addresses.cql, f"DROP KEYSPACE {keyspace}")


def test_a_server_says_what_it_stands_on_and_another_may_not_be_the_same_node(trial, folder):
    server = trial.deployment.start()
    said = "\n".join(server.said)
    for service in SERVICES:
        assert re.search(rf"^{service} \S", said, re.MULTILINE), said
    assert not shows_password(said), said
    twin = trial.run("serve", None, "--data", str(folder / "twin"), "--listen", "127.0.0.1:0")
    assert twin.returncode != 0 and "node_id 1 is another living instance's" in twin.stderr, twin
    assert server.stop() == 0, server.story()
