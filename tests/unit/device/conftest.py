"""One device with a fake engine and the driver that programs it, in this thread."""

from collections.abc import Iterator

import pytest

from idxdd.testing.fake_engine import FakeEngine
from idxdd.testing.mock_driver import MockDriver


@pytest.fixture
def driver() -> Iterator[MockDriver]:
    """A dsa2 device whose engine acknowledges every request at the next turn."""
    with MockDriver() as made:
        yield made


@pytest.fixture
def slow() -> Iterator[MockDriver]:
    """A dsa2 device whose engine acknowledges when the test says so."""
    with MockDriver(engine=FakeEngine()) as made:
        yield made
