"""Making a device do what it does rarely: halt, be reset by its bus, revoke interrupt handles, leave and return."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any

import typer

from idxdctl.accfg import wqs_of
from idxdctl.options import Json, Socket, ask, ask_once
from idxdctl.output import Failed, print_json, say
from idxdd.control.client import ControlClient, connect
from idxdd.control.exitcodes import ExitCode

Device = Annotated[str, typer.Argument(metavar="DEVICE", help="For example dsa0.")]
POLL_S = 0.002
RECOVERY_S = 0.5


class HaltType(StrEnum):
    """GENSTS.reset_type of a halt: the weakest reset that brings the device back."""

    SOFTWARE = "software"
    FLR = "flr"
    WARM = "warm"
    COLD = "cold"


class BusReset(StrEnum):
    """A reset that comes from outside the device."""

    WARM = "warm"
    COLD = "cold"


AGAIN = "`idxdctl disable-device -f {0}`, then enable-device and enable-wq (or load-config -e) bring it back"
AFTER_HALT = {
    HaltType.FLR: "the driver gave up: `idxdctl flr {0}`, then " + AGAIN,
    HaltType.WARM: "the driver gave up: `idxdctl bus-reset {0} --type warm`, then " + AGAIN,
    HaltType.COLD: "the driver gave up: `idxdctl bus-reset {0} --type cold`, then " + AGAIN,
}


def halt(
    device: Device,
    kind: Annotated[HaltType, typer.Option("--type", help="The reset that brings it back.")] = HaltType.SOFTWARE,
    wait: Annotated[float, typer.Option("--wait", min=0, max=600, help="Seconds to wait for what the driver does.")] = 5.0,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Halt a device, as after a fatal error (admin).

    All it had accepted is dropped without a record; portals close, so clients get PortalClosed (halted) or, on a kernel work
    queue, ABORTED completions. GENSTS says Halt with the type, INTCAUSE bit 4 interrupts the driver. After a software halt
    the driver resets and configures the device and enables it again, and clients reopen; after the others it gives up.
    """
    with connect(socket) as connection:
        enabled = _enabled(connection, device)
        before = time.monotonic()
        answer = ask(connection, "halt", device=device, reset_type=kind.value)
        back = _waited(connection, device, enabled if kind is HaltType.SOFTWARE else frozenset(), before + wait)
        if kind is HaltType.FLR and wait:  # a driver with the option "flr" resets the function itself
            back = _waited(connection, device, frozenset({device}), time.monotonic() + min(wait, RECOVERY_S))
    took_ms = round(1e3 * (time.monotonic() - before), 1)
    lost = sorted(enabled - back)
    if json:
        print_json("halt", answer | {"took_ms": took_ms, "enabled_again": sorted(back), "not_enabled_again": lost})
    elif kind is HaltType.SOFTWARE and not lost:
        say(f"{device}: halted (software); the driver enabled {', '.join(sorted(back))} again within {took_ms} ms")
    elif kind is not HaltType.SOFTWARE and back:
        say(f"{device}: halted ({kind.value}); the driver had it reset, and enabled {', '.join(sorted(back))} again")
    elif kind is not HaltType.SOFTWARE:
        say(f"{device}: halted ({kind.value}); " + AFTER_HALT[kind].format(device))
    if kind is HaltType.SOFTWARE and wait and lost:
        raise Failed(f"halt: {', '.join(lost)} not enabled again within {wait:g} s", hint="the daemon's log says why")


def _waited(connection: ControlClient, device: str, wanted: frozenset[str], until: float) -> frozenset[str]:
    """What of the device is enabled, as soon as all that is wanted is (nothing: as soon as nothing is), or time is over."""
    while True:
        now = _enabled(connection, device)
        if (wanted <= now if wanted else not now) or time.monotonic() >= until:
            return now
        time.sleep(POLL_S)


def _enabled(connection: ControlClient, device: str) -> frozenset[str]:
    """The device and its work queues that the driver believes enabled."""
    for one in ask(connection, "topology")["devices"]:
        if one["dev"] == device:
            names = [device] if one["state"] == "enabled" else []
            return frozenset(names + [f"{device}/{wq['dev']}" for wq in wqs_of(one) if wq["state"] == "enabled"])
    return frozenset()


def flr(device: Device, json: Json = False, socket: Socket = None) -> None:
    """Function-level reset of a device (admin).

    Every register initial, every handle invalid, every descriptor dropped. Works from any state but a halt that needs a
    stronger reset. The driver is not asked: to it the device looks enabled until disable-device, as after a write to a PCI
    function's `reset` file under a kernel whose idxd driver has no reset handlers.
    """
    _bus_reset("flr", device, "flr", json=json, socket=socket)


def bus_reset(
    device: Device,
    kind: Annotated[BusReset, typer.Option("--type", help="warm: of the bus; cold: power off and on.")] = BusReset.WARM,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Warm or cold reset: as an FLR, and ends such halts (admin)."""
    _bus_reset("bus-reset", device, kind.value, json=json, socket=socket)


def _bus_reset(command: str, device: str, kind: str, *, json: bool, socket: str | None) -> None:
    answer = ask_once(socket, "bus_reset", device=device, reset_type=kind)
    if json:
        print_json(command, answer)
        return
    if answer["state"] == "HALT":
        say(f"{device}: {kind} reset done, and still halted: `idxdctl regs GENSTS --decode` says which reset it needs")
    else:
        say(f"{device}: {kind} reset done, {answer['state'].lower()}; the driver was not told: " + AGAIN.format(device))


def revoke(
    device: Device,
    handle: Annotated[int | None, typer.Option("--handle", min=0, max=65535, help="Only this handle.")] = None,
    wq: Annotated[str | None, typer.Option("--wq", help="Only the handle of this kernel work queue, as dsa0/wq0.2.")] = None,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Revoke interrupt handles of a device (admin).

    So does a hypervisor that moves a guest. A descriptor that still carries such a handle ends with status 0x19 and raises no
    interrupt. INTCAUSE bit 31 tells the driver: it holds submitters back, asks for a new handle, drains, and submits again
    what ended with 0x19. A client notices nothing but time. `idxdctl regs INTCAUSE` and the daemon's log show what happened.
    """
    if handle is not None and wq is not None:
        raise Failed("revoke: --handle and --wq exclude each other", ExitCode.USAGE)
    chosen: dict[str, Any] = {"handle": handle} if handle is not None else {"wq": wq} if wq is not None else {}
    answer = ask_once(socket, "revoke", device=device, **chosen)
    if json:
        print_json("revoke", answer)
    else:
        say(f"{device}: revoked handle{'s' * (len(answer['revoked']) > 1)} {', '.join(map(str, answer['revoked']))}")


def remove(device: Device, json: Json = False, socket: Socket = None) -> None:
    """Take a device away without warning (admin).

    Reads give all ones, writes go nowhere. Portals close for good, clients get PortalClosed (removed); the driver is told
    by the bus and unbinds the device.
    """
    answer = ask_once(socket, "remove", device=device)
    if json:
        print_json("remove", answer)
    else:
        say(f"{device}: removed; `idxdctl insert {device}` brings it back")


def insert(device: Device, json: Json = False, socket: Socket = None) -> None:
    """Put a removed device back: new, and disabled (admin)."""
    answer = ask_once(socket, "insert", device=device)
    if json:
        print_json("insert", answer)
    else:
        say(
            f"{device}: inserted, {answer['state'].lower()}; enable-device and enable-wq, or load-config -e, make it work again"
        )


PANEL = "Making the device act"


def register(app: typer.Typer) -> None:
    """Add these commands."""
    commands: dict[str, Callable[..., None]] = {
        "halt": halt,
        "flr": flr,
        "bus-reset": bus_reset,
        "revoke": revoke,
        "remove": remove,
        "insert": insert,
    }
    for name, command in commands.items():
        app.command(name, rich_help_panel=PANEL)(command)
