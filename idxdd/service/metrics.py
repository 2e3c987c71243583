"""Counters and gauges in Prometheus's text format: for the listener (scrapes.py) and for `idxdctl metrics`."""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from idxdd.service import reports
from idxdd.service.owners import COUNTED, OTHER_USERS
from idxdd.service.tasks import Refused, Steps
from idxdd.shm.clock import CLOCK
from idxdd.spec.codes import CompletionStatus, Opcode

if TYPE_CHECKING:
    from idxdd.service.daemon import Daemon
    from idxdd.service.sessions import Session

PAGE_CHARACTERS = 30_000
FRESH_NS = 100_000_000
"""A text is told again for so long: whoever asks more often learns nothing, and costs nothing."""

WQ_COUNTERS = {
    "accepted": "Descriptors taken from portals.",
    "completed": "Descriptors finished by the device, whatever their status.",
    "aborted": "Descriptors abandoned without a record.",
    "bytes": "Bytes moved.",
    "retries": "Submissions answered with retry.",
    "errors": "Descriptors that ended with an error.",
    "faults": "Page faults.",
    "interrupts": "Completion interrupts raised.",
    "interrupts_requested": "Completion interrupts that descriptors asked for.",
}
WQ_GAUGES = {"occupancy": "Descriptors in the work queue now.", "portals": "Portals open now."}
DEVICE_GAUGES = {
    "wqs_enabled": "Work queues enabled.",
    "int_handles": "Interrupt handles given.",
    "evl_waiting": "Events that wait.",
}
USER_COUNTERS = dict(
    zip(
        COUNTED,
        (
            "Descriptors finished.",
            "Bytes moved.",
            "Submissions answered with retry.",
            "Descriptors that ended with an error.",
            "Completion interrupts requested.",
        ),
        strict=True,
    )
)
ENGINE_COUNTERS = ("visits", "sleeps", "exits", "requests", "finished")
Labels = dict[str, str]
Samples = Iterable[tuple[Labels, int | float]]


class Metrics:
    """One daemon's text, written anew when it is older than FRESH_NS."""

    def __init__(self, daemon: "Daemon") -> None:
        self._daemon = daemon
        self._text = ""
        self._at_ns = -FRESH_NS
        self.pages: WeakKeyDictionary[Session, str] = WeakKeyDictionary()
        """What a client is reading page by page."""

    def text(self) -> str:
        """The text format, version 0.0.4."""
        now_ns = CLOCK.now_ns()
        if now_ns - self._at_ns >= FRESH_NS:
            self._text, self._at_ns = text(self._daemon), now_ns
        return self._text


def text(daemon: "Daemon") -> str:
    """Everything, as it is now."""
    return "".join(_family(*family) for family in _families(daemon))


def _family(name: str, kind: str, about: str, samples: Samples) -> str:
    lines = [f"# HELP {name} {about}\n# TYPE {name} {kind}\n"]
    for labels, value in samples:
        shown = ",".join(f'{key}="{_escaped(label)}"' for key, label in labels.items())
        lines.append(f"{name}{{{shown}}} {value}\n" if shown else f"{name} {value}\n")
    return "".join(lines)


def _escaped(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _families(daemon: "Daemon") -> Iterator[tuple[str, str, str, Samples]]:
    counted = reports.counters(daemon)
    for name, about in WQ_COUNTERS.items():
        yield f"idxdd_wq_{name}_total", "counter", about, _each(counted["wqs"], "wq", name)
    for name, about in WQ_GAUGES.items():
        yield f"idxdd_wq_{name}", "gauge", about, _each(counted["wqs"], "wq", name)
    yield from _ends(daemon, [wq["wq"] for wq in counted["wqs"]])
    yield from _users(daemon)
    devices = counted["devices"]
    for name in sorted({key for device in devices for key in device} - {"name"}):
        kind = "gauge" if name in DEVICE_GAUGES else "counter"
        about = DEVICE_GAUGES.get(name, f"Of the device: {name.replace('_', ' ')}.")
        yield (
            f"idxdd_device_{name}{'_total' * (kind == 'counter')}",
            kind,
            about,
            [({"device": device["name"]}, device[name]) for device in devices if name in device],
        )
    yield from _daemon(daemon, counted)


def _each(rows: list[dict[str, Any]], label: str, name: str) -> Samples:
    return [({label: row[label]}, row[name]) for row in rows]


def _ends(daemon: "Daemon", wqs: list[str]) -> Iterator[tuple[str, str, str, Samples]]:
    """By operation and by status; 0x01 has no counter of its own: it is what the others leave."""
    counts = [(name, daemon.port.wq_counts(reports.wq_index(daemon.devices, name))) for name in wqs]
    about = "Descriptors and batch members that came to an end, by operation."
    operations = [({"wq": wq, "operation": _operation(code)}, n) for wq, (ops, _) in counts for code, n in ops.items()]
    yield "idxdd_wq_operations_total", "counter", about, operations
    statuses: list[tuple[Labels, int]] = []
    for wq, (ops, others) in counts:
        success = sum(ops.values()) - sum(others.values())
        statuses += [({"wq": wq, "status": _status(code)}, n) for code, n in {1: success, **others}.items()]
    yield "idxdd_wq_status_total", "counter", "The same, by completion status.", statuses


def _operation(code: int) -> str:
    return Opcode(code).name.lower() if code in Opcode._value2member_map_ else "other" if code == 63 else f"{code:#04x}"


def _status(code: int) -> str:
    return f"{code:#04x} {CompletionStatus(code).name}" if code in CompletionStatus._value2member_map_ else f"{code:#04x}"


def _users(daemon: "Daemon") -> Iterator[tuple[str, str, str, Samples]]:
    sums = daemon.sessions.owners.by_user(daemon.engine.portal_statistics)
    for name, about in USER_COUNTERS.items():
        yield (
            f"idxdd_user_{name}_total",
            "counter",
            f"By client's user: {about}",
            [({"uid": _uid(uid)}, counted[name]) for uid, counted in sums.items()],
        )
    held: dict[int, list[int]] = {}
    for session in daemon.sessions:
        now = held.setdefault(session.peer.uid, [0, 0, 0])
        now[0] += 1
        now[1] += len(session.portals)
        now[2] += session.memory.bytes_held
    names = {"clients": "Clients now.", "client_portals": "Open portals.", "client_buffer_bytes": "Bytes of client buffers."}
    for position, (name, about) in enumerate(names.items()):
        yield f"idxdd_{name}", "gauge", about, [({"uid": _uid(uid)}, values[position]) for uid, values in held.items()]


def _uid(uid: int) -> str:
    return "other" if uid == OTHER_USERS else str(uid)


def _daemon(daemon: "Daemon", counted: dict[str, Any]) -> Iterator[tuple[str, str, str, Samples]]:
    plain: list[tuple[str, str, str, int]] = [
        ("idxdd_generation", "gauge", "Generation of the device.", counted["generation"]),
        ("idxdd_sessions", "gauge", "Control connections now.", counted["sessions"]),
        ("idxdd_channels", "gauge", "Kernel channels now.", counted["channels"]),
        ("idxdd_irq_restarts_total", "counter", "idxdd-irq restarted.", counted["irq"]["restarts"]),
        ("idxdd_irq_unanswered", "gauge", "Verbs idxdd-irq has not answered.", counted["irq"]["unanswered"]),
        ("idxdd_trace_on", "gauge", "1: every descriptor is traced.", int(daemon.tracing.on)),
        ("idxdd_fault_rules", "gauge", "Fault rules in force.", len(list(daemon.faults.entries()))),
    ]
    plain += [
        (f"idxdd_engine_{name}_total", "counter", f"Of the engine: {name}.", counted["engine"][name])
        for name in ENGINE_COUNTERS
    ]
    for name, kind, about, value in plain:
        yield name, kind, about, [({}, value)]


# ---- the operation -----------------------------------------------------------------------------------------------------
def _metrics(daemon: "Daemon", session: "Session", after: int = 0) -> Steps:
    """The text from its character `after` on; a reader that goes on gets the rest of the text it began with."""
    whole = daemon.metrics.text() if not after else daemon.metrics.pages.pop(session, "")
    if after and after >= len(whole):
        raise Refused("EINVAL", f"after: {after} is not where a text goes on")
    more = len(whole) > after + PAGE_CHARACTERS
    if more:
        daemon.metrics.pages[session] = whole
    return {"text": whole[after : after + PAGE_CHARACTERS], "more": more}, []
    yield


OPERATIONS: dict[str, Callable[..., Steps]] = {"metrics": _metrics}
