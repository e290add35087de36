"""A deployment's configuration on trial: what `rookery check-config --connect` and other verbs say of it, changed
or not."""

import re
from pathlib import Path

from .deployment import Deployment
from .server import rookery
from .services import PASSWORD

WRONG = "a-wrong-password"

# The checks wait for services that do not answer; migrations for the schema to be agreed upon.
PATIENCE_SECONDS = 120

SERVICES = ("kafka", "cql", "postgres", "redis")


def shows_password(said: str) -> bool:
    """Whether a password stands where one would. (The name of a test's folder may have the same letters.)"""
    return WRONG in said or re.search(f"[:\"'= ]{PASSWORD}(?![-\\w])", said) is not None


class Trial:
    """See the module."""

    def __init__(self, deployment: Deployment, folder: Path) -> None:
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
