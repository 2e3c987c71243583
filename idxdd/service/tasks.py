"""Work of the device loop that must wait: a generator yields what it waits for and is resumed by the answer.

The loop itself never waits. A wait is a function that is given two continuations and calls exactly one of them, once,
at once or in a later turn: with the value the generator's `yield` shall return, or with the refusal it shall raise.
"""

from collections.abc import Callable, Generator
from typing import Any


class Refused(Exception):
    """A request cannot be done: errno's name and a line that names the field and the rule."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


Resume = Callable[[Any], None]
Fail = Callable[[Refused], None]
Wait = Callable[[Resume, Fail], None]
Steps = Generator[Wait, Any, Any]


def acknowledged(request: Callable[..., Any], *arguments: Any, **keywords: Any) -> Wait:
    """Wait for an engine request: `request` is a method of EnginePort that takes `then`."""

    def wait(resume: Resume, _fail: Fail) -> None:
        request(*arguments, **keywords, then=lambda: resume(None))

    return wait


Move = Callable[[], Wait]


def run(steps: Steps, done: Callable[[Any, Refused | None], None]) -> None:
    """Start it; `done(result, None)` or `done(None, refusal)` when it ends."""

    def advance(move: Move | None) -> None:
        while move is not None:
            try:
                wait = move()
            except StopIteration as end:
                return done(end.value, None)
            except Refused as refusal:
                return done(None, refusal)
            move = _ask(steps, wait, advance)

    advance(lambda: next(steps))


def _ask(steps: Steps, wait: Wait, advance: Callable[[Move], None]) -> Move | None:
    """Start one wait. Answered at once: the next move, so that many such steps do not nest; else None, and advance() later."""
    at_once: list[Move] = []
    asking = True

    def answer(move: Move) -> None:
        if asking:
            at_once.append(move)
        else:
            advance(move)

    wait(lambda value: answer(lambda: steps.send(value)), lambda refusal: answer(lambda: steps.throw(refusal)))
    asking = False
    return at_once[0] if at_once else None
