"""What a daemon is told: by option, then by environment, then by default; each limit with its unit."""

import os
import re
from dataclasses import dataclass, field

from idxdd.control.address import DEFAULT_INSTANCE, daemon_socket_path

SPIN_US = 100
SPIN_US_MAX = 1_000_000
AGENT_TIMEOUT_S = 1.0
AGENT_TIMEOUT_MS_MAX = 60_000
INSTANCE = re.compile(r"[A-Za-z0-9_-]{1,32}")


class BadSetting(ValueError):
    """An option or variable that cannot be used; the text names it and the rule."""


@dataclass(frozen=True)
class Limits:
    """What one client may hold. A client beyond one of these is refused with ENOMEM or EMFILE; nobody else notices."""

    buffers_max: int = 64
    buffer_bytes_max: int = 4 << 30
    portals_max: int = 32
    sessions_max: int = 1024
    sessions_per_uid_max: int = 512
    outbox_frames_max: int = 8


@dataclass(frozen=True)
class Settings:
    """One daemon."""

    instance: str = DEFAULT_INSTANCE
    socket: str = ""
    config: str | None = None
    spin_us: int = SPIN_US
    agent_timeout_s: float = AGENT_TIMEOUT_S
    """How long a client may take to reach an address of its own, before that is a page fault."""
    ready_fd: int | None = None
    parent_dies: bool = False
    limits: Limits = field(default_factory=Limits)


def settings(
    *,
    instance: str | None = None,
    socket: str | None = None,
    config: str | None = None,
    spin_us: int | None = None,
    ready_fd: int | None = None,
    parent_dies: bool = False,
) -> Settings:
    """Options over environment over defaults. BadSetting."""
    name = instance or os.environ.get("IDXDD_INSTANCE") or DEFAULT_INSTANCE
    if not INSTANCE.fullmatch(name):
        raise BadSetting(f"instance {name!r} must be 1 to 32 of A-Z a-z 0-9 _ -")
    return Settings(
        instance=name,
        socket=os.path.abspath(socket or daemon_socket_path(name)),
        config=config,
        spin_us=_spin_us(spin_us),
        agent_timeout_s=_agent_timeout_s(),
        ready_fd=ready_fd,
        parent_dies=parent_dies,
        limits=_limits(),
    )


def _spin_us(option: int | None) -> int:
    if option is None:
        option = _number("IDXDD_SPIN_US", SPIN_US if len(os.sched_getaffinity(0)) > 1 else 0)
    if not 0 <= option <= SPIN_US_MAX:
        raise BadSetting(f"spin time of {option} us must be between 0 and {SPIN_US_MAX}")
    return option


def _agent_timeout_s() -> float:
    milliseconds = _number("IDXDD_AGENT_TIMEOUT_MS", int(AGENT_TIMEOUT_S * 1000))
    if not 1 <= milliseconds <= AGENT_TIMEOUT_MS_MAX:
        raise BadSetting(f"IDXDD_AGENT_TIMEOUT_MS={milliseconds} must be between 1 and {AGENT_TIMEOUT_MS_MAX}")
    return milliseconds / 1000


def _limits() -> Limits:
    return Limits(
        buffers_max=_number("IDXDD_BUFFERS_MAX", Limits.buffers_max),
        buffer_bytes_max=_number("IDXDD_BUFFER_BYTES_MAX", Limits.buffer_bytes_max),
        portals_max=_number("IDXDD_PORTALS_MAX", Limits.portals_max),
    )


def _number(variable: str, default: int) -> int:
    value = os.environ.get(variable)
    if value is None or value == "":
        return default
    if not re.fullmatch(r"[0-9]{1,15}", value):
        raise BadSetting(f"{variable}={value!r} must be a number")
    return int(value)
