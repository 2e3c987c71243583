"""Waiting for several completions, of any queues, with one time-out."""

from __future__ import annotations

import select
import time
from collections.abc import Iterable, Sequence

from idxd_client.completions import WAIT_TIMEOUT_S, Completion
from idxd_client.errors import WaitTimeout
from idxd_client.queue import Queue
from idxd_client.results import Result

LOOK_S = 0.05
"""With several queues: a sleeper looks at all of them at least so often."""


def wait_all(completions: Iterable[Completion], timeout: float = WAIT_TIMEOUT_S) -> list[Result]:
    """The result of each, in order. WaitTimeout when `timeout` seconds were not enough for all together."""
    deadline = time.monotonic() + timeout
    return [completion.result(max(0.0, deadline - time.monotonic())) for completion in completions]


def wait_any(completions: Sequence[Completion], timeout: float = WAIT_TIMEOUT_S) -> list[Completion]:
    """Those that are done, as soon as at least one is. WaitTimeout."""
    deadline = time.monotonic() + timeout
    queues = list({id(c.queue): c.queue for c in completions}.values())
    if not queues:
        return []
    while True:
        seen = [queue.progress() for queue in queues]
        done = [completion for completion in completions if completion.done()]
        if done:
            return done
        left = deadline - time.monotonic()
        if left <= 0:
            raise WaitTimeout(f"none of {len(completions)} descriptors is complete after {timeout:g} s")
        if len(queues) == 1:
            queues[0].wait_progress(seen[0], min(left, LOOK_S))
        else:
            _sleep_on_bells(list(zip(queues, seen, strict=True)), min(left, LOOK_S))
        still = {id(queue) for queue, before in zip(queues, seen, strict=True) if queue.progress() == before}
        for completion in completions:
            if id(completion.queue) in still:  # perhaps closed or gone, which a look does not tell
                completion.queue.check(completion)


def wait_some(completions: Sequence[Completion], count: int, timeout: float = WAIT_TIMEOUT_S) -> list[Completion]:
    """At least `count` of them that are done."""
    deadline = time.monotonic() + timeout
    done: list[Completion] = []
    left = list(completions)
    while len(done) < min(count, len(completions)):
        done += wait_any(left, max(0.0, deadline - time.monotonic()))
        left = [completion for completion in left if not completion.settled]
    return done


def _sleep_on_bells(queues: list[tuple[Queue, int]], timeout: float) -> None:
    """Until one of the queues gets beyond what was seen of it."""
    bells = select.poll()
    armed: list[Queue] = []
    try:
        for queue, seen in queues:
            fd = queue.arm(seen)
            if fd < 0:
                return
            armed.append(queue)
            bells.register(fd, select.POLLIN)
        bells.poll(timeout * 1e3)
    finally:
        for queue in armed:
            queue.drain_bell()
