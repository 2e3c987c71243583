"""crc: CRC-32C, CRC-64/NVME and T10 guards of a file, by the device; and copy+CRC."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Annotated, Any

import typer

from idxdctl.numbers import parse_number
from idxdctl.options import DEFAULT_WQ, Json, Socket, Timeout, Wq
from idxdctl.output import Failed, print_json
from idxdd.control.exitcodes import ExitCode

KINDS = ("crc32c", "crc64", "t10")


def crc(
    file: Annotated[str, typer.Argument(metavar="FILE")],
    kind: Annotated[str, typer.Option("--kind", metavar="|".join(KINDS), help="t10: the guard of each block.")] = "crc32c",
    seed: Annotated[int, typer.Option("--seed", parser=parse_number, metavar="NUMBER", help="To go on from a CRC.")] = 0,
    bypass_inversion: Annotated[
        bool, typer.Option("--bypass-inversion", help="No inversion, seed and result unreflected.")
    ] = False,
    bypass_reflection: Annotated[bool, typer.Option("--bypass-reflection", help="Data bytes unreflected.")] = False,
    copy_to: Annotated[str | None, typer.Option("--copy-to", metavar="DST", help="Copy the file, too: Copy with CRC.")] = None,
    block_size: Annotated[int, typer.Option("--block-size", help="t10: 512, 520, 4096 or 4104.")] = 512,
    wq: Wq = DEFAULT_WQ,
    timeout: Timeout = 30.0,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """CRC of a file, computed by the device; with --copy-to it is copied on the way."""
    if kind not in KINDS:
        raise Failed(f"crc: no kind {kind!r:.40}", ExitCode.USAGE, hint=f"there is {', '.join(KINDS)}")
    if kind == "t10":
        if seed or bypass_inversion or bypass_reflection or copy_to:
            raise Failed("crc: --kind t10 goes with --block-size alone", ExitCode.USAGE)
        _t10(file, block_size, wq, timeout, json, socket)
        return
    width = 64 if kind == "crc64" else 32
    if seed >> width:
        raise Failed(f"crc: --seed {seed:#x} has more than {width} bits", ExitCode.USAGE)
    how = {"crc64": kind == "crc64", "bypass_inversion": bypass_inversion, "bypass_reflection": bypass_reflection}
    value, size = crc_of(file, seed, copy_to, how, wq, timeout, socket)
    if json:
        copied = {"copied_to": copy_to} if copy_to else {}
        print_json("crc", {"file": file, "bytes": size, kind: f"{value:0{width // 4}x}", "wq": wq, **copied})
    else:
        print(f"{value:0{width // 4}x}  {file}")


def crc_of(
    file: str, seed: int, copy_to: str | None, how: dict[str, bool], wq: str, timeout: float, socket: str | None
) -> tuple[int, int]:
    """(CRC, bytes): a piece is read while the device works on the one before."""
    from idxd_client import Descriptor
    from idxdctl import pieces
    from idxdctl.outputs import check_destination, written

    if os.path.isdir(file):
        raise Failed(f"crc: {file}: is a directory", ExitCode.USAGE)
    if copy_to:
        check_destination(copy_to, "crc", file)
    value, size = seed, 0
    with (
        pieces.opened(file) as [(source, _)],
        pieces.session(socket, wq, timeout) as using,
        contextlib.ExitStack() as stack,
    ):
        target = stack.enter_context(written(copy_to)) if copy_to else None
        piece = using.piece_of(1, "crc")
        under_way: tuple[Any, Any, int] | None = None
        slots = stack.enter_context(pieces.slots(using.connection, [piece], [piece] if copy_to else [], 2))

        def finish() -> None:
            nonlocal value, under_way
            if under_way is None:
                return
            slot, completion, length = under_way
            under_way = None
            value = completion.result(timeout).raise_for_status(f"{wq}: crc at {size}").crc
            if target is not None:
                _append(target, slot.outputs[0].view[:length])

        while length := _fill(source, slots[0].inputs[0].view):
            finish()
            slot = slots[0]
            descriptor = (
                Descriptor.copy_crc(slot.outputs[0], slot.inputs[0], length, seed=value, **how)
                if copy_to
                else Descriptor.crc(slot.inputs[0], length, seed=value, **how)
            )
            under_way = (slot, using.queue.submit(descriptor, timeout=timeout), length)
            size += length
            slots.reverse()
        finish()
    return value, size


def _fill(fd: int, view: memoryview) -> int:
    """As many bytes as there are: a pipe gives a few at a time."""
    got = 0
    while got < len(view) and (count := os.readv(fd, [view[got:]])):
        got += count
    return got


def _append(fd: int, view: memoryview) -> None:
    put = 0
    while put < len(view):
        put += os.write(fd, view[put:])


def _t10(file: str, block: int, wq: str, timeout: float, json: bool, socket: str | None) -> None:
    """The guard of each block: DIX Generate makes fields of which they are the first two bytes."""
    from idxd_client import Descriptor, DifFormat
    from idxdctl import pieces
    from idxdctl.outputs import check_source

    size, form = check_source(file, "crc"), DifFormat(block)
    if size % block:
        raise Failed(f"crc: {file}: {size} bytes are no whole number of blocks of {block}", ExitCode.USAGE)
    guards: list[int] = []
    with pieces.session(socket, wq, timeout) as using, pieces.opened(file) as files:
        piece = using.piece_of(block, "crc")

        def take(slot: pieces.Slot, result: Any) -> None:
            result.raise_for_status(f"{wq}: dix_gen at {slot.piece.offset}")
            fields = slot.outputs[0].view
            guards.extend(fields[at] << 8 | fields[at + 1] for at in range(0, slot.piece.length // block * 8, 8))

        pieces.stream(
            using,
            pieces.cut(size, piece),
            inputs=[piece],
            outputs=[piece // block * 8],
            read=pieces.reader(*files),
            build=lambda slot: Descriptor.dix_generate(slot.outputs[0], slot.inputs[0], slot.piece.length, form=form),
            take=take,
            what=f"crc {os.path.basename(file)}",
            total=size,
        )
    if json:
        found = [f"{guard:04x}" for guard in guards]
        print_json("crc", {"file": file, "bytes": size, "block_size": block, "t10": found, "wq": wq})
    else:
        print("\n".join(f"{guard:04x}  {file}:{number * block}" for number, guard in enumerate(guards)))


PANEL = "Files through the device"


def register(app: typer.Typer) -> None:
    """Add the command."""
    command: Callable[..., None] = crc
    app.command("crc", rich_help_panel=PANEL)(command)
