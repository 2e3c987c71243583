"""For tests, ours and yours: a private instance (Dsa), fault rules (Rule, on), the pytest plugin, the reference model, mocks.

The names here are imported when they are asked for: pytest imports this package in every run.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from idxdd.device.faults import BadRule, Rule
    from idxdd.device.faults.build import on
    from idxdd.testing.instance import Dsa

__all__ = ["BadRule", "Dsa", "Rule", "on"]

_HOMES = {
    "BadRule": "idxdd.device.faults",
    "Dsa": "idxdd.testing.instance",
    "Rule": "idxdd.device.faults",
    "on": "idxdd.device.faults.build",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
