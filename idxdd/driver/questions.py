"""What the driver asks idxdd: to close, mark or reopen a channel's portals, and to write a completion record.

A question has a number of this process; an answer to a predecessor's question is ignored. A copy carries its request's
own number besides, under which idxdd does it once, whoever asks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Answered = Callable[[], bool]
"""Whether the answer has come."""
Copied = Callable[[], int | None]
"""How many bytes were written; None: not answered yet."""


class Questions:
    """The questions of one idxdd-irq."""

    def __init__(self, emit: Callable[[dict[str, Any]], None]) -> None:
        self._emit = emit
        self._number = 0
        self._answers: dict[int, int | None] = {}

    def _ask(self, what: str, **arguments: Any) -> Copied:
        self._number += 1
        number = self._number
        self._answers[number] = None
        self._emit({"ask": number, "what": what, **arguments})
        answer: int | None = None

        def answered() -> int | None:
            nonlocal answer
            if answer is None and self._answers[number] is not None:
                answer = self._answers.pop(number)
            return answer

        return answered

    def ask(self, what: str, number: int) -> Answered:
        """ "fence", "fenced" or "reopen" of a channel; "flr" of a device."""
        answered = self._ask(what, **{"device" if what == "flr" else "channel": number})
        return lambda: answered() is not None

    def copy_record(self, pasid: int, address: int, record: bytes, request: int) -> Copied:
        """Write a record into a client's memory, its status byte last."""
        return self._ask("copy", pasid=pasid, address=address, record=record, request=request)

    def answer(self, number: int, copied: int = 0) -> None:
        """idxdd has done what was asked."""
        if number in self._answers:
            self._answers[number] = copied
