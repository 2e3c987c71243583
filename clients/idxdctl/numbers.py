"""Numbers as people write them on a command line: 7, 0x1f, 0b101."""

from __future__ import annotations


def parse_number(text: str | int) -> int:
    """Not negative; ValueError with the rule."""
    if isinstance(text, int):
        return text
    try:
        value = int(text.strip(), 0)
    except ValueError:
        raise ValueError(f"{text!r} is not a number: write 31 or 0x1f") from None
    if value < 0:
        raise ValueError(f"{text!r} is negative")
    return value
