"""copy, with many client processes; ping."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from idxdctl.options import DEFAULT_WQ, Json, Socket, Timeout, Wq
from idxdctl.output import print_json
from idxdctl.sizes import format_size, parse_size


def copy(
    src: Annotated[str, typer.Argument(metavar="SRC")],
    dst: Annotated[str, typer.Argument(metavar="DST")],
    wq: Annotated[list[str] | None, typer.Option("--wq", help="Repeat it: clients are spread over them.")] = None,
    procs: Annotated[int, typer.Option("--procs", min=1, max=256, help="Client processes.")] = 1,
    chunk: Annotated[int, typer.Option("--chunk", parser=parse_size, metavar="SIZE", help="Bytes of one descriptor.")] = 1
    << 20,
    depth: Annotated[int, typer.Option("--depth", min=1, max=1024, help="Descriptors a client keeps in flight.")] = 8,
    verify: Annotated[bool, typer.Option("--verify", help="Compare zlib's CRC-32 of both files.")] = False,
    timeout: Timeout = 30.0,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Copy a file through the device with many client processes."""
    from idxdctl import copying, outputs, progress

    copying.check_paths(src, dst)
    with outputs.written(dst) as fd:
        unnamed = f"/proc/self/fd/{fd}"
        job = copying.Copy(
            src,
            unnamed,
            wq or [DEFAULT_WQ],
            procs=procs,
            chunk=chunk,
            depth=depth,
            socket=socket,
            wait_s=timeout,
            pass_fds=[fd],
        )
        with progress.bar(f"copy {os.path.basename(src)}", job.size) as update:
            job.watch = lambda worker: update(job.finished)
            seconds = job.run()
        crc32 = copying.verify(src, dst, unnamed) if verify else None
    clients = [worker.summary() for worker in job.workers]
    rate = job.size / seconds if seconds else 0.0
    if json:
        found = {"bytes": job.size, "seconds": seconds, "bytes_per_second": rate, "clients": clients}
        print_json("copy", found | {"verified": verify, "crc32": crc32})
    else:
        checked = f", verified: CRC-32 {crc32:08x}" if crc32 is not None else ""
        print(f"{format_size(job.size)} in {seconds:.2f} s, {format_size(rate)}/s, {len(clients)} clients{checked}")


def ping(
    wq: Wq = DEFAULT_WQ,
    count: Annotated[int, typer.Option("-n", "--count", min=1, max=10_000_000, help="Round trips.")] = 1000,
    timeout: Timeout = 30.0,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """No-op round trips with percentiles."""
    from idxdctl import measure, progress
    from idxdctl.session import queue_of

    with queue_of(socket, wq) as (connection, queue), progress.counting("ping", count) as update:
        found = measure.summary(measure.round_trips(connection, queue, count, timeout, update))
    if json:
        print_json("ping", {"wq": wq, "count": count, **found})
    else:
        print(f"{wq}: {count} round trips, " + ", ".join(f"{name[:-3]} {value:.1f}" for name, value in found.items()) + " µs")


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command(rich_help_panel="Files through the device")(copy)
    app.command(rich_help_panel="Load and measurement")(ping)
