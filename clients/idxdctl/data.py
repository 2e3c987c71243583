"""Verbs that move, fill and look at files through the device: fill, compare, dualcast, translate, cflush."""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Callable
from typing import Annotated, Any

import typer

from idxdctl.options import DEFAULT_WQ, Json, Socket, Timeout, Wq
from idxdctl.output import Failed, print_json
from idxdctl.sizes import format_size, parse_size
from idxdd.control.exitcodes import ExitCode

PATTERN_BYTES = (1, 2, 4, 8, 16)
File = Annotated[str, typer.Argument(metavar="FILE")]
Source = Annotated[str, typer.Argument(metavar="SRC")]
Pattern = Annotated[str, typer.Option("--pattern", metavar="HEX", help="1, 2, 4, 8 or 16 bytes, repeated.")]
REGION_BYTES_MAX = 1 << 30
"""Of one Translation Fetch or Cache Flush here: their descriptors count 32 bits."""


def parse_pattern(text: str, most: int, what: str) -> bytes:
    """8 or 16 bytes; shorter ones are repeated. Failed says what a pattern is."""
    digits = text.removeprefix("0x").removeprefix("0X")
    try:
        raw = bytes.fromhex(digits)
    except ValueError:
        raise Failed(f"{what}: --pattern {text!r:.40} is not hexadecimal bytes, as cafe", ExitCode.USAGE) from None
    if len(raw) not in PATTERN_BYTES or len(raw) > most:
        sizes = ", ".join(str(size) for size in PATTERN_BYTES if size <= most)
        raise Failed(f"{what}: --pattern has {len(raw)} bytes, a pattern has one of {sizes}", ExitCode.USAGE)
    return raw * max(1, 8 // len(raw))


def fill(
    file: File,
    size: Annotated[int, typer.Option("--size", "-s", parser=parse_size, metavar="SIZE", help="Bytes of the file.")],
    pattern: Pattern = "00",
    wq: Wq = DEFAULT_WQ,
    timeout: Timeout = 30.0,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Write a file of SIZE bytes with a pattern, by Fill."""
    from idxd_client import Descriptor
    from idxdctl import pieces
    from idxdctl.outputs import check_destination, check_room, write_all, written

    raw = parse_pattern(pattern, 16, "fill")
    check_destination(file, "fill")
    check_room(file, size, "fill")
    start = time.perf_counter()
    with pieces.session(socket, wq, timeout) as using, written(file) as fd:
        piece = using.piece_of(len(raw), "fill")

        def take(slot: pieces.Slot, result: Any) -> None:
            result.raise_for_status(f"{wq}: fill at {slot.piece.offset}")
            write_all(fd, slot.outputs[0].view[: slot.piece.length], slot.piece.offset)

        pieces.stream(
            using,
            pieces.cut(size, piece),
            outputs=[piece],
            read=lambda slot: None,
            build=lambda slot: Descriptor.fill(slot.outputs[0], raw, slot.piece.length),
            take=take,
            what=f"fill {os.path.basename(file)}",
            total=size,
        )
    _done("fill", json, {"file": file, "bytes": size, "pattern": raw.hex()}, start, file)


def compare(
    first: Annotated[str, typer.Argument(metavar="FILE")],
    second: Annotated[str | None, typer.Argument(metavar="[FILE]")] = None,
    pattern: Annotated[str, typer.Option("--pattern", metavar="HEX", help="Compare with 1, 2, 4 or 8 bytes, repeated.")] = "",
    wq: Wq = DEFAULT_WQ,
    timeout: Timeout = 30.0,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Compare two files, by Compare, or a file with a pattern, by Compare Pattern; exit code 1 when they differ."""
    from idxdctl.outputs import check_source

    if bool(second) == bool(pattern):
        raise Failed("compare: give a second file, or --pattern", ExitCode.USAGE)
    sizes = [check_source(path, "compare") for path in (first, second) if path]
    common = min(sizes)
    offset = _first_difference(
        first, second, parse_pattern(pattern, 8, "compare") if pattern else b"", common, wq, timeout, socket
    )
    why = "bytes"
    if offset is None and len(set(sizes)) > 1:
        offset, why = common, "size"
    facts = {"files": [first, *([second] if second else [])], "equal": offset is None, "bytes": common, "wq": wq}
    if json:
        print_json("compare", facts | ({} if offset is None else {"offset": offset, "reason": why}))
    elif offset is None:
        print(f"{first} {second or 'pattern'} are equal: {common} bytes")
    elif why == "size":
        short = first if sizes[0] < sizes[1] else second
        print(f"{first} {second} differ: {short} ends after byte {common}")
    else:
        print(f"{first} {second or 'pattern'} differ: byte {offset + 1}")
    if offset is not None:
        raise typer.Exit(ExitCode.FAILED)


def _first_difference(
    first: str, second: str | None, raw: bytes, common: int, wq: str, timeout: float, socket: str | None
) -> int | None:
    """Offset of the first byte that differs."""
    from idxd_client import Descriptor
    from idxdctl import pieces

    paths = [first, second] if second else [first]
    found: int | None = None

    def build(slot: pieces.Slot) -> Descriptor:
        length = slot.piece.length
        if second:
            return Descriptor.compare(slot.inputs[0], slot.inputs[1], length)
        return Descriptor.compare_pattern(slot.inputs[0], raw, length)

    def take(slot: pieces.Slot, result: Any) -> bool:
        nonlocal found
        result.raise_for_status(f"{wq}: compare at {slot.piece.offset}")
        if result.equal:
            return False
        at = result.bytes_completed
        if not second:  # the architecture promises no more than "not behind the difference"
            view = slot.inputs[0].view
            at = next(place for place in range(at, slot.piece.length) if view[place] != raw[place % len(raw)])
        found = slot.piece.offset + at
        return True

    with pieces.session(socket, wq, timeout) as using, pieces.opened(*paths) as files:
        piece = using.piece_of(8, "compare")
        pieces.stream(
            using,
            pieces.cut(common, piece),
            inputs=[piece] * len(paths),
            read=pieces.reader(*files),
            build=build,
            take=take,
            what=f"compare {os.path.basename(first)}",
            total=common,
        )
    return found


def dualcast(
    src: Source,
    dst1: Annotated[str, typer.Argument(metavar="DST1")],
    dst2: Annotated[str, typer.Argument(metavar="DST2")],
    wq: Wq = DEFAULT_WQ,
    timeout: Timeout = 30.0,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Copy a file to two files at once, by Dualcast."""
    from idxd_client import Descriptor
    from idxdctl import pieces
    from idxdctl.outputs import check_destination, check_source, write_all, written

    size = check_source(src, "dualcast")
    for dst in (dst1, dst2):
        check_destination(dst, "dualcast", src)
    if os.path.realpath(dst1) == os.path.realpath(dst2):
        raise Failed(f"dualcast: {dst1} and {dst2} are the same file", ExitCode.USAGE)
    start = time.perf_counter()
    with (
        pieces.session(socket, wq, timeout) as using,
        pieces.opened(src) as files,
        written(dst1) as fd1,
        written(dst2) as fd2,
    ):
        piece = using.piece_of(1, "dualcast")

        def take(slot: pieces.Slot, result: Any) -> None:
            result.raise_for_status(f"{wq}: dualcast at {slot.piece.offset}")
            for fd, region, name in zip((fd1, fd2), slot.outputs, (dst1, dst2), strict=True):
                write_all(fd, region.view[: slot.piece.length], slot.piece.offset, name)

        pieces.stream(
            using,
            pieces.cut(size, piece),
            inputs=[piece],
            outputs=[piece, piece],
            read=pieces.reader(*files),
            build=lambda slot: Descriptor.dualcast(slot.outputs[0], slot.outputs[1], slot.inputs[0], slot.piece.length),
            take=take,
            what=f"dualcast {os.path.basename(src)}",
            total=size,
        )
    _done("dualcast", json, {"source": src, "destinations": [dst1, dst2], "bytes": size}, start, f"{dst1} and {dst2}")


def translate(
    file: File,
    stride: Annotated[
        int | None, typer.Option("--stride", parser=parse_size, metavar="SIZE", help="Distance of the addresses.")
    ] = None,
    wq: Wq = DEFAULT_WQ,
    timeout: Timeout = 30.0,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Map a file and have its addresses translated, by Translation Fetch: exit code 1 when a page is not there."""
    from idxd_client import Descriptor

    _touch("translate", file, lambda view: Descriptor.translation_fetch(view, stride=stride), wq, timeout, json, socket)


def cflush(file: File, wq: Wq = DEFAULT_WQ, timeout: Timeout = 30.0, json: Json = False, socket: Socket = None) -> None:
    """Map a file and have its pages flushed from the caches, by Cache Flush; its contents stay."""
    from idxd_client import Descriptor

    _touch("cflush", file, Descriptor.cache_flush, wq, timeout, json, socket)


def _touch(verb: str, file: str, build: Callable[[Any], Any], wq: str, timeout: float, json: bool, socket: str | None) -> None:
    """One descriptor for each part of a mapped file; the device reaches the mapping through the agent."""
    from idxdctl import pieces, progress
    from idxdctl.outputs import check_source

    size = check_source(file, verb)
    if not size:
        raise Failed(f"{verb}: {file}: is empty", ExitCode.USAGE)
    start = time.perf_counter()
    with (
        pieces.session(socket, wq, timeout) as using,
        open(file, "rb") as opened,
        mmap.mmap(opened.fileno(), 0, mmap.MAP_SHARED | mmap.MAP_POPULATE, mmap.PROT_READ) as mapped,
        memoryview(mapped) as view,
        progress.bar(f"{verb} {os.path.basename(file)}", size) as update,
    ):
        step = REGION_BYTES_MAX if verb == "translate" else using.piece_of(1, verb)
        for at in range(0, size, step):
            with view[at : at + step] as part:
                descriptor = build(part)
                result = using.run(descriptor)
                del descriptor
            result.raise_for_status(f"{wq}: {verb} {file} at {at}")
            update(min(at + step, size))
    _done(verb, json, {"file": file, "bytes": size}, start, file)


def _done(command: str, json: bool, facts: dict[str, Any], start: float, what: str) -> None:
    seconds = time.perf_counter() - start
    if json:
        print_json(command, facts | {"seconds": seconds})
    else:
        rate = facts["bytes"] / seconds if seconds else 0.0
        print(f"{what}: {format_size(facts['bytes'])} in {seconds:.2f} s, {format_size(rate)}/s")


PANEL = "Files through the device"


def register(app: typer.Typer) -> None:
    """Add these commands."""
    commands: dict[str, Callable[..., None]] = {
        "fill": fill,
        "compare": compare,
        "dualcast": dualcast,
        "translate": translate,
        "cflush": cflush,
    }
    for name, command in commands.items():
        app.command(name, rich_help_panel=PANEL)(command)
