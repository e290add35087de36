"""Real services, a deployment of its own for each file, and how long a fault lasts.

    pytest tests/faults              short outages, few rounds: minutes in all
    pytest tests/faults --long       outages of minutes, many rounds (`cargo xtask faults`)
    pytest tests/faults --embedded   a try of the tests themselves: an embedded server, no fault is made
"""

import asyncio
import os
import random
from dataclasses import dataclass

import pytest

from harness.deployment import Deployment, DryDeployment
from harness.outcome import Outcome
from harness.services import Addresses, DryServices, Services


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("faults")
    group.addoption("--long", action="store_true", help="outages of minutes and many rounds")
    group.addoption("--embedded", action="store_true", help="try the tests on an embedded server: no fault is made")


@dataclass(frozen=True)
class Form:
    """How long things take, and whether faults are made at all."""

    is_long: bool
    is_dry: bool

    def seconds(self, short: float, long: float) -> float:
        """How long something lasts."""
        return 0.5 if self.is_dry else long if self.is_long else short

    def rounds(self, short: int, long: int) -> int:
        """How often something is done."""
        return 1 if self.is_dry else long if self.is_long else short

    def expect(self, condition: object, otherwise: str) -> None:
        """What only a fault that was made brings about."""
        assert condition or self.is_dry, otherwise


@pytest.fixture(scope="session")
def form(request: pytest.FixtureRequest) -> Form:
    return Form(request.config.getoption("--long"), request.config.getoption("--embedded"))


@pytest.fixture
def services(form: Form):
    """To be hurt. Whatever a test leaves down runs again after it."""
    controlled = DryServices() if form.is_dry else Services.from_environment()
    yield controlled
    asyncio.run(controlled.put_back())


@pytest.fixture(scope="module")
def deployment(form: Form, folder):
    """Migrated; its servers end with the file."""
    made = DryDeployment(folder) if form.is_dry else Deployment(folder, Addresses.from_environment())
    made.prepare()
    yield made
    made.end()


@pytest.fixture
def dice() -> random.Random:
    """Told, so that a run can be made again."""
    seed = int(os.environ.get("ROOKERY_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"ROOKERY_SEED={seed}")
    return random.Random(seed)


@pytest.fixture
def tell(cases):
    """Records what a fault came to, after the audit."""
    return lambda crowd, fault, done, seen="": Outcome.of(crowd, fault, done, seen).tell(cases)
