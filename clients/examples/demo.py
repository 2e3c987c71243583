"""The demonstration: four client processes copy one real file at the same time, two processes are killed, nothing is lost.

Run it with `make demo`, or: idxdd run -- python clients/examples/demo.py
"""

from __future__ import annotations

import filecmp
import os
import signal
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from idxd_client import Connection, IdxdError, connect
from idxdctl import copying, progress
from idxdctl.copying import Copy, Worker
from idxdctl.output import table
from idxdctl.sizes import format_size, percentile

FILE_BYTES_MIN = 256 << 20
CHUNK_BYTES = 128 << 10
DEPTH = 8
WQS = ["dsa0/wq0.0", "dsa0/wq0.1", "dsa0/wq0.2", "dsa0/wq0.3"]
KILL_CLIENT_AT = 0.30
KILL_IRQ_AT = 0.45
RESTART_S = 10.0


class DemoFailed(IdxdError):
    """Something that must not happen did."""


def real_files() -> Iterator[Path]:
    """Shared objects and Python's own library: files that exist on every machine this runs on."""
    for folder in (sysconfig.get_path("stdlib"), sysconfig.get_config_var("LIBDIR"), sysconfig.get_path("platlib")):
        for name in sorted(Path(folder).rglob("*")) if folder else ():
            if name.suffix in (".so", ".py", ".pyc", ".a") and name.is_file():
                yield name


def build_source(path: Path, size_min: int) -> int:
    """One large file of real contents: the files above, again and again until it is large enough. Its size."""
    size = 0
    with path.open("wb") as out:
        while size < size_min:
            before = size
            for name in real_files():
                size += out.write(name.read_bytes())
                if size >= size_min:
                    break
            if size == before:
                raise DemoFailed("no files to make the source from")
    return size


@dataclass
class Kills:
    """Kills one client and the interrupt process while the copy runs, once each."""

    copy: Copy
    irq_pid: int
    client: Worker | None = None
    irq: bool = False

    def __call__(self, worker: Worker) -> None:
        """After each event of a worker."""
        part = worker.finished / worker.job.length
        if self.client is None and worker.kernel and KILL_CLIENT_AT < part < 0.9:
            self.client = worker
            self.copy.kill(worker)
            print(f"  killed client {worker.number} (pid {worker.pid}, {worker.job.wq}) at {part:.0%} of its part")
        elif not self.irq and worker is not self.client and worker.kernel and KILL_IRQ_AT < part < 0.95:
            self.irq = True
            os.kill(self.irq_pid, signal.SIGKILL)
            print(f"  killed idxdd-irq (pid {self.irq_pid}) while client {worker.number} was at {part:.0%}")


def wait_for_irq(connection: Connection, killed_pid: int) -> dict[str, Any]:
    """The successor's facts."""
    deadline = time.monotonic() + RESTART_S
    while time.monotonic() < deadline:
        irq: dict[str, Any] = connection.stats()["irq"]
        if irq["pid"] not in (0, killed_pid) and irq["restarts"] >= 1:
            return irq
        time.sleep(0.02)
    raise DemoFailed(f"idxdd-irq was not restarted within {RESTART_S:g} s")


def check(copy: Copy, kills: Kills, source: Path, destination: Path) -> int:
    """Every byte, every completion. The CRC-32 of the file."""
    if kills.client is None or not kills.irq:
        raise DemoFailed("the copy was over before both processes were killed")
    crc32 = copying.verify(str(source), str(destination))
    if not filecmp.cmp(source, destination, shallow=False):
        raise DemoFailed("the copy differs from its source")
    if sum(worker.finished for worker in copy.workers) != copy.size:
        raise DemoFailed(f"{sum(worker.finished for worker in copy.workers)} bytes accounted for, not {copy.size}")
    for worker in copy.workers:
        if worker.kernel and worker is not kills.client:
            check_callbacks(worker)
    return crc32


def check_callbacks(worker: Worker) -> None:
    """Exactly once: as many callbacks as descriptors, and none for the same descriptor twice."""
    submitted, delivered, repeated = (worker.facts[name] for name in ("descriptors", "callbacks", "repeated"))
    if delivered != submitted or repeated:
        raise DemoFailed(f"client {worker.name}: {submitted} descriptors, {delivered} callbacks, {repeated} of them repeated")


def client_table(copy: Copy) -> str:
    """One line per client process."""
    rows = []
    for worker in copy.workers:
        facts = worker.facts
        seconds = facts.get("seconds")
        rows.append((
            worker.name,
            worker.job.wq,
            "killed" if worker.killed else "done",
            facts.get("descriptors", 0),
            format_size(worker.finished),
            f"{format_size(worker.finished / seconds)}/s" if seconds else "-",
            facts.get("retries", 0),
            facts.get("interrupts", "-"),
            facts.get("callbacks", 0) if worker.kernel else "-",
            f"{facts.get('p50_us', 0):.0f}",
            f"{facts.get('p99_us', 0):.0f}",
        ))  # fmt: skip
    header = ("client", "wq", "end", "descriptors", "bytes", "rate", "retries", "interrupts", "callbacks", "p50 µs", "p99 µs")
    return table(header, rows, left=3)


def wq_table(stats: dict[str, Any], copy: Copy, seconds: float) -> str:
    """One line per work queue: the device's own counters, and the round trips of the clients on it."""
    rows = []
    for wq in stats["wqs"]:
        clients = [worker for worker in copy.workers if worker.job.wq == wq["wq"]]
        if not clients:
            continue
        kind = f"{'dedicated' if clients[0].dedicated else 'shared'} {'kernel' if clients[0].kernel else 'user'}"
        trips_us = sorted(trip for worker in clients for trip in worker.facts.get("round_trips_us", ()))
        rows.append((
            wq["wq"],
            kind,
            wq["completed"],
            format_size(wq["bytes"]),
            f"{format_size(wq['bytes'] / seconds)}/s",
            wq["retries"],
            wq["interrupts"],
            f"{percentile(trips_us, 0.5):.0f}",
            f"{percentile(trips_us, 0.99):.0f}",
        ))  # fmt: skip
    header = ("wq", "kind", "descriptors", "bytes", "rate", "retries", "interrupts", "p50 µs", "p99 µs")
    return table(header, rows, left=2)


def run(folder: Path, size_min: int) -> None:
    """All of it; DemoFailed when anything is not as it must be."""
    begin = time.monotonic()
    source, destination = folder / "source", folder / "copy"
    size = build_source(source, size_min)
    print(f"source: {format_size(size)} ({size} bytes) made from files of this machine")
    with connect() as connection:
        irq_pid = connection.stats()["irq"]["pid"]
        copy = Copy(str(source), str(destination), WQS, procs=4, chunk=CHUNK_BYTES, depth=DEPTH, replacements=1, timeout_s=50)
        kills = Kills(copy, irq_pid)
        print(f"four clients copy it at the same time through {', '.join(WQS)}:")
        with progress.bar("copy", size) as update:

            def watch(worker: Worker) -> None:
                update(copy.finished)
                kills(worker)

            copy.watch = watch
            seconds = copy.run()
        crc32 = check(copy, kills, source, destination)
        irq = wait_for_irq(connection, irq_pid)
        stats = connection.stats()
    kernel = [worker for worker in copy.workers if worker.kernel and not worker.killed]
    callbacks = sum(worker.facts["callbacks"] for worker in kernel)
    print(f"verified: {size} bytes are equal, CRC-32 {crc32:08x} by zlib")
    print(f"idxdd-irq: restarted {irq['restarts']} time(s), now pid {irq['pid']}")
    print(f"kernel channels: {callbacks} descriptors of clients that lived, as many callbacks, none twice")
    print(f"copied in {seconds:.2f} s, {format_size(size / seconds)}/s; all in {time.monotonic() - begin:.1f} s\n")
    print(client_table(copy) + "\n")
    print(wq_table(stats, copy, seconds))
    print("\nround trips are of no-ops, submitted while the copy runs; retries: answers of a full WQ")
    print("interrupts: of a client, those its descriptors asked for; of a WQ, those signalled (several may coalesce to one)")


def main() -> int:
    """Exit status 0 only if everything held. An argument is the file's size in MiB instead of 256."""
    size_min = int(sys.argv[1]) << 20 if len(sys.argv) > 1 else FILE_BYTES_MIN
    with tempfile.TemporaryDirectory(prefix="idxdd-demo-") as folder:
        try:
            run(Path(folder), size_min)
        except IdxdError as error:
            print(f"demo: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
