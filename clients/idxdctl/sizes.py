"""Sizes as people write them: 64K, 1M, 2GiB, 4096."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeVar

_SIZE = re.compile(r"(\d+)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)
T = TypeVar("T", int, float)
_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}


def parse_size(text: str | int) -> int:
    """Bytes; ValueError with the rule. Units are powers of 1024."""
    if isinstance(text, int):
        return text
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a size: write bytes, or a number with K, M, G or T")
    size = int(match[1]) << _UNITS[match[2].upper()]
    if size <= 0:
        raise ValueError(f"{text!r}: a size must be positive")
    return size


def format_size(size: float) -> str:
    """Three significant digits and a unit: "1.50 MiB"."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1000:
            return f"{size:.0f} B" if unit == "B" else f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:.3g} TiB"


def percentile(ordered: Sequence[T], fraction: float) -> T | int:
    """Of an ascending list, nearest rank; 0 of an empty one."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * fraction))] if ordered else 0
