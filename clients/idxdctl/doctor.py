"""idxdctl doctor: what this machine lacks, and what to do about it. Works with and without a daemon."""

from __future__ import annotations

import os
import platform
import resource
import stat
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import typer

from idxdctl.options import Json, Socket, ask
from idxdctl.output import Failed, print_json
from idxdctl.refusals import out_of_reach
from idxdctl.sizes import format_size
from idxdd.control.address import ENVIRONMENT, client_socket_path
from idxdd.control.client import connect
from idxdd.control.errors import ControlError

SHM_FREE_BYTES_MIN = 64 << 20
NOFILE_MIN = 4096
KERNEL_MIN = (5, 4)  # pidfd_open, memfd seals for future writes, eventfd and epoll as they are used
KERNEL_PIDFD = (6, 5)
CPU_FLAGS = ("sse4_2", "pclmulqdq", "avx", "avx2")
CPU_FLAGS_SERVED = {"movdir64b", "enqcmd"}
DISTRIBUTIONS = ("idxdd", "typer", "rich", "msgpack", "posix_ipc")
OK, NOTE, WARN, FAIL = "ok", "note", "warn", "fail"


@dataclass(frozen=True)
class Check:
    """One finding; `fix` says what to do, empty when nothing need be done."""

    name: str
    state: str
    found: str
    fix: str = ""


def checks(socket: str | None, *, proc: Path = Path("/proc"), shm: Path = Path("/dev/shm")) -> Iterator[Check]:
    """Every check, in the order a start would meet them."""
    yield from _versions()
    yield _kernel(platform.release())
    yield from _cpu(proc)
    yield _shm(shm)
    yield _leftovers(shm)
    yield _descriptors(resource.getrlimit(resource.RLIMIT_NOFILE))
    yield _ptrace(proc)
    yield from _daemon(socket)


def _versions() -> Iterator[Check]:
    python = sys.version_info[:2]
    good = (3, 11) <= python <= (3, 13)
    yield Check("python", OK if good else FAIL, platform.python_version(), "" if good else "use Python 3.11, 3.12 or 3.13")
    for name in DISTRIBUTIONS:
        try:
            yield Check(f"package {name}", OK, metadata.version(name))
        except metadata.PackageNotFoundError:
            yield Check(f"package {name}", FAIL, "not installed", f"pip install {name}")


def _kernel(release: str) -> Check:
    numbers = tuple(int(part) for part in release.split("-")[0].split(".")[:2] if part.isdecimal())
    if numbers < KERNEL_MIN:
        return Check("kernel", FAIL, release, f"needs Linux {KERNEL_MIN[0]}.{KERNEL_MIN[1]} or later")
    if numbers < KERNEL_PIDFD:
        return Check("kernel", NOTE, f"{release}: no SO_PEERPIDFD", "from 6.5 on a reused pid cannot be mistaken for a client")
    return Check("kernel", OK, release)


def _cpu(proc: Path) -> Iterator[Check]:
    machine = platform.machine()
    yield Check("machine", OK if machine == "x86_64" else FAIL, machine, "" if machine == "x86_64" else "needs x86-64")
    try:
        flags = next((line for line in (proc / "cpuinfo").read_text().splitlines() if line.startswith("flags")), "").split()
    except OSError as error:
        yield Check("cpu flags", WARN, f"unknown: {error.strerror}", f"mount {proc}")
        return
    missing = [flag for flag in CPU_FLAGS if flag not in flags]
    fix = "portable paths are used instead, slower" if missing else ""
    yield Check("cpu flags", WARN if missing else OK, f"without {', '.join(missing)}" if missing else " ".join(CPU_FLAGS), fix)
    real = sorted(CPU_FLAGS_SERVED & set(flags))
    yield Check("cpu dsa", NOTE, f"{' '.join(real)} here" if real else "no movdir64b, enqcmd", "not needed: portals are memory")
    cores = len(os.sched_getaffinity(0))
    yield Check(
        "cores",
        OK if cores > 1 else WARN,
        str(cores),
        "" if cores > 1 else "the engine does not spin: higher latency",
    )


def _shm(shm: Path) -> Check:
    try:
        found = os.statvfs(shm)
    except OSError as error:
        return Check("shared memory", FAIL, f"{shm}: {error.strerror}", f"mount -t tmpfs tmpfs {shm}")
    free = found.f_bavail * found.f_frsize
    if not os.access(shm, os.W_OK | os.X_OK):
        return Check("shared memory", FAIL, f"{shm} is not writable", f"chmod 1777 {shm}")
    fix = "" if free >= SHM_FREE_BYTES_MIN else f"mount -o remount,size=1G {shm}; in a container: docker run --shm-size=1g"
    return Check(
        "shared memory", FAIL if fix else OK, f"{format_size(free)} free of {format_size(found.f_blocks * found.f_frsize)}", fix
    )


def _leftovers(shm: Path) -> Check:
    try:
        names = [entry.name for entry in shm.iterdir() if entry.name.removeprefix("sem.").startswith(f"idxdd.{os.geteuid()}.")]
    except OSError:
        names = []
    instances = sorted({name.removeprefix("sem.").split(".")[2] for name in names if name.count(".") > 2})
    return Check("instances", OK, f"{', '.join(instances) or 'none'} ({len(names)} names)", "")


def _descriptors(limits: tuple[int, int]) -> Check:
    hard = limits[1]
    enough = hard == resource.RLIM_INFINITY or hard >= NOFILE_MIN
    found = f"soft {limits[0]}, hard {'unlimited' if hard == resource.RLIM_INFINITY else hard}"
    return Check(
        "open files", OK if enough else WARN, found, "" if enough else f"raise the hard limit: ulimit -Hn {NOFILE_MIN}"
    )


def _ptrace(proc: Path) -> Check:
    try:
        scope = (proc / "sys/kernel/yama/ptrace_scope").read_text().strip()
    except OSError:
        return Check("ptrace scope", OK, "no Yama", "")
    return Check("ptrace scope", NOTE, scope, "" if scope == "0" else "idxdd needs no ptrace; only a debugger would")


def _daemon(socket: str | None) -> Iterator[Check]:
    path = socket or client_socket_path()
    source = "--socket" if socket else ENVIRONMENT if os.environ.get(ENVIRONMENT) else "default"
    try:
        mode = os.stat(path)
        kind = "socket" if stat.S_ISSOCK(mode.st_mode) else "not a socket"
        yield Check("socket", OK, f"{path} ({source}), {kind}, mode {stat.S_IMODE(mode.st_mode):04o}, uid {mode.st_uid}")
    except OSError as error:
        yield Check("socket", WARN, f"{path} ({source}): {error.strerror}", "idxdd serve, or systemctl start idxdd")
        return
    try:
        with connect(socket, 2.0) as connection:
            yield from _running(connection)
    except ControlError as error:
        yield Check(
            "daemon",
            FAIL,
            str(error),
            "groups of a login change with the next login: see `id`" if "permission" in str(error) else "",
        )


def _running(connection: Any) -> Iterator[Check]:
    hello = connection.hello
    yield Check("daemon", OK, f"instance {hello['instance']}, pid {hello['pid']}, protocol {hello['version']}")
    began = time.perf_counter()
    counted = ask(connection, "stats")
    yield Check("round trip", OK, f"{1e6 * (time.perf_counter() - began):.0f} us")
    restarts = counted["irq"]["restarts"]
    state = OK if counted["irq"]["pid"] and not restarts else WARN
    fix = "" if state == OK else "the daemon's log says why: journalctl -u idxdd"
    yield Check("idxdd-irq", state, f"pid {counted['irq']['pid']}, restarted {restarts} times", fix)
    for device in ask(connection, "topology")["devices"]:
        yield _device(connection, device["dev"], device["state"])


def _device(connection: Any, name: str, state: str) -> Check:
    if state == "enabled":
        return Check(name, OK, state)
    reach, helps = out_of_reach(connection, name)
    if reach:
        return Check(name, WARN, reach, helps)
    return Check(name, WARN, state, "idxdctl load-config -c FILE -e" if state == "disabled" else f"idxdctl reset {name}")


def doctor(json: Json = False, socket: Socket = None) -> None:
    """Check this machine and the daemon; say what to do about what is wrong."""
    found = list(checks(socket))
    failed = [check for check in found if check.state == FAIL]
    if json:
        print_json("doctor", {"healthy": not failed, "checks": [vars(check) for check in found]})
    else:
        width = max(len(check.name) for check in found)
        for check in found:
            print(f"{check.state:<4}  {check.name:<{width}}  {check.found}{': ' if check.fix else ''}{check.fix}")
    if failed:
        raise Failed(f"doctor: {len(failed)} of {len(found)} checks failed: {', '.join(check.name for check in failed)}")


def register(app: typer.Typer) -> None:
    """Add the command."""
    command: Callable[..., None] = doctor
    app.command("doctor", rich_help_panel="Looking")(command)
