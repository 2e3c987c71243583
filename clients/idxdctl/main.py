"""idxdctl: configure devices, look at them, copy and check files through them, measure round trips."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from idxdctl import (
    accfg,
    act,
    batchfile,
    bench,
    completion,
    crcs,
    data,
    delta,
    doctor,
    evl,
    explain,
    inject,
    metrics,
    observe,
    pci,
    protect,
    stress,
    top,
    trace,
    why,
    windows,
)
from idxdctl.grouped import Grouped
from idxdctl.options import DEFAULT_WQ, Json, Socket, Timeout, Wq
from idxdctl.output import Failed, print_json
from idxdctl.sizes import format_size, parse_size
from idxdd.control.errors import ControlError
from idxdd.control.exitcodes import ExitCode

app = typer.Typer(
    cls=Grouped,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help="""Work with idxdd, a software Intel DSA.

    A daemon must run: `idxdd serve &`, or around one command: `idxdd run -- COMMAND`. `idxdctl doctor` says what is missing.
    Names are dsa0 (device), dsa0/wq0.1 (work queue), dsa0/group0.1, dsa0/engine0.1. Configuration has accel-config's commands
    and options; `idxdctl COMMAND --help` tells each. --json prints facts for programs; errors are one line and an exit code.
    """,
)


@app.command(rich_help_panel="Files through the device")
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


@app.command(rich_help_panel="Load and measurement")
def ping(
    wq: Wq = DEFAULT_WQ,
    count: Annotated[int, typer.Option("-n", "--count", min=1, max=10_000_000, help="Round trips.")] = 1000,
    timeout: Timeout = 30.0,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """No-op round trips with percentiles."""
    from idxdctl import measure
    from idxdctl.session import queue_of

    with queue_of(socket, wq) as (connection, queue):
        found = measure.summary(measure.round_trips(connection, queue, count, timeout))
    if json:
        print_json("ping", {"wq": wq, "count": count, **found})
    else:
        print(f"{wq}: {count} round trips, " + ", ".join(f"{name[:-3]} {value:.1f}" for name, value in found.items()) + " µs")


for part in (
    accfg,
    data,
    crcs,
    delta,
    protect,
    batchfile,
    observe,
    explain,
    trace,
    why,
    evl,
    top,
    metrics,
    stress,
    bench,
    windows,
    act,
    pci,
    inject,
    doctor,
    completion,
):
    part.register(app)


def main() -> None:
    """The program: an error of the library is one line and an exit code, never a traceback."""
    try:
        app()
    except (ControlError, Failed) as error:
        sys.exit(_fail(str(error), error.exit_code))
    except BrokenPipeError:  # the reader of our output went away: say nothing more, not even at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ExitCode.FAILED)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        sys.exit(_fail(f"{where}{error.strerror or error}", ExitCode.FAILED))
    except KeyboardInterrupt:
        sys.exit(130)


def _fail(text: str, exit_code: ExitCode) -> int:
    print(f"idxdctl: {' '.join(text.split())}", file=sys.stderr)
    return int(exit_code)


if __name__ == "__main__":
    main()
