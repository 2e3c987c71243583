"""A connection, a work queue and a channel over fakes."""

from collections.abc import Iterator

import pytest
from unit.client.client_fakes import FakeChannel, FakeConnection, FakePortal, opened

from idxd_client import KernelChannel, WorkQueue


@pytest.fixture
def connection() -> Iterator[FakeConnection]:
    fake = FakeConnection()
    yield fake
    fake.close()


@pytest.fixture
def portal_and_wq(connection: FakeConnection) -> Iterator[tuple[FakePortal, WorkQueue]]:
    answer = opened()
    queue = WorkQueue(connection, answer)  # type: ignore[arg-type]
    with queue:
        yield answer.fake_portal, queue


@pytest.fixture
def native_and_channel(connection: FakeConnection) -> Iterator[tuple[FakeChannel, KernelChannel]]:
    answer = opened("dsa0/wq0.2", kernel=True)
    queue = KernelChannel(connection, answer)  # type: ignore[arg-type]
    with queue:
        yield answer.fake_channel, queue
