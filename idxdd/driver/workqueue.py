"""Works: generators of steps that yield what they wait for. Nothing here blocks; `tick` runs whatever is ready.

Works with the same key run one after another, in the order they were queued (a device work queue, a mutex); works with
different keys run side by side. A work's result or its DriverError goes to its `done`.
"""

from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass
from errno import EINVAL, EOPNOTSUPP, errorcode
from typing import Any

from idxdd.shm.clock import Clock

WORKS_MAX = 8192
"""Works at a time; more than all channels can have of resubmissions at once."""
POLL_SECONDS = 0.0005
"""How often a condition is looked at that nothing announces (a client's word in shared memory)."""


class DriverError(Exception):
    """A verb failed as the driver's call would; `text` is one line naming the field and the rule."""

    def __init__(self, errno: int, text: str) -> None:
        super().__init__(text)
        self.errno = errno
        self.text = text

    @property
    def code(self) -> str:
        """The errno's name, for example EBUSY."""
        return "EOPNOTSUPP" if self.errno == EOPNOTSUPP else errorcode.get(self.errno, "EIO")  # one number, two names


@dataclass
class Wait:
    """What a work waits for: until `ready` says so. `poll`: nothing will announce it, look again and again."""

    what: str
    ready: Callable[[], bool]
    poll: bool = False


Steps = Generator[Wait, None, Any]
Key = tuple[str, int]


def immediately(result: dict[str, Any]) -> Steps:
    """A work without a step."""
    return result
    yield


def integer(arguments: dict[str, Any], key: str) -> int:
    """A verb's argument that must be a number, not negative. EINVAL."""
    value = arguments.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise DriverError(EINVAL, f"{key}: must be a number, is {value!r}")
    return value


def delay(clock: Clock, seconds: float) -> Wait:
    """A pause, without blocking."""
    until = clock.now_ns() + int(seconds * 1e9)
    return Wait(f"a delay of {seconds * 1e6:g} us", lambda: clock.now_ns() >= until, poll=True)


@dataclass
class Work:
    """One work: where it stands is in its generator; what must survive the process is in the driver state."""

    name: str
    steps: Steps
    done: Callable[[Any, DriverError | None], None] | None
    wait: Wait | None = None

    def run(self) -> bool:
        """Run until it has to wait; True when it is over."""
        try:
            while self.wait is None or self.wait.ready():
                self.wait = next(self.steps)
        except StopIteration as stop:
            self._finish(stop.value, None)
            return True
        except DriverError as error:
            self._finish(None, error)
            return True
        return False

    def _finish(self, result: Any, error: DriverError | None) -> None:
        if self.done is not None:
            self.done(result, error)


class WorkQueue:
    """All works of the driver. One thread; `done` may queue further works."""

    def __init__(self, limit: int = WORKS_MAX) -> None:
        self.limit = limit
        self._queues: dict[Key, deque[Work]] = {}
        self._running = False

    def queue(self, key: Key, name: str, steps: Steps, done: Callable[[Any, DriverError | None], None] | None = None) -> None:
        """Append a work; it starts at the next tick."""
        self._queues.setdefault(key, deque()).append(Work(name, steps, done))

    def has_room(self) -> bool:
        """What an allocation in an interrupt or a resubmission asks first; verbs are limited by who sends them."""
        return sum(map(len, self._queues.values())) < self.limit

    def tick(self) -> int:
        """Advance every work that can go on; returns how many ended."""
        if self._running:
            return 0  # a work's step ran a handler that ticks: the outer tick goes on
        self._running = True
        ended = 0
        try:
            progress = True
            while progress:
                progress = False
                for key in list(self._queues):
                    while (works := self._queues.get(key)) and works[0].run():
                        works.popleft()
                        ended += 1
                        progress = True
                    if not self._queues.get(key):
                        self._queues.pop(key, None)
        finally:
            self._running = False
        return ended

    def busy(self, key: Key) -> bool:
        """Whether works of this key are left."""
        return key in self._queues

    @property
    def polls(self) -> bool:
        """Whether a work waits for something that nothing announces."""
        return any(works[0].wait is None or works[0].wait.poll for works in self._queues.values() if works)

    @property
    def idle(self) -> bool:
        """No work is left."""
        return not self._queues

    def statistics(self) -> dict[str, str]:
        """What each running work waits for."""
        return {works[0].name: works[0].wait.what if works[0].wait else "its turn" for works in self._queues.values() if works}
