"""delta create, delta apply: the difference of two files as delta records, by Create Delta and Apply Delta."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from idxdctl import deltafile
from idxdctl.deltafile import Header, Record
from idxdctl.options import DEFAULT_WQ, Json, Socket, Timeout, Wq
from idxdctl.output import Failed, print_json
from idxdctl.sizes import format_size

if TYPE_CHECKING:
    from idxdctl import pieces

Old = Annotated[str, typer.Argument(metavar="OLD")]
New = Annotated[str, typer.Argument(metavar="NEW")]
Delta = Annotated[str, typer.Argument(metavar="DELTA")]
app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The difference of two files, as delta records.")


@app.command()
def create(
    old: Old, new: New, delta: Delta, wq: Wq = DEFAULT_WQ, timeout: Timeout = 30.0, json: Json = False, socket: Socket = None
) -> None:
    """Write to DELTA what makes NEW of OLD."""
    from idxdctl import pieces
    from idxdctl.outputs import check_destination, check_source, written

    sizes = check_source(old, "delta create"), check_source(new, "delta create")
    check_destination(delta, "delta create", old, new)
    with pieces.session(socket, wq, timeout) as using, pieces.opened(old, new) as files, written(delta) as target:
        count, changed = _write_records(using, files, sizes, target)
        crcs = [_crc(using, fd, size, name) for (fd, name), size in zip(files, sizes, strict=True)]
        os.pwrite(target, Header(count, *sizes, *crcs).pack(), 0)
        written_bytes = os.fstat(target).st_size
    if json:
        facts = {"old": old, "new": new, "delta": delta, "pieces": count, "changed_groups": changed}
        print_json("delta create", facts | {"bytes": sizes[1], "delta_bytes": written_bytes})
    else:
        print(f"{delta}: {format_size(written_bytes)}, {changed} groups of 8 bytes differ in {count} pieces")


def _write_records(using: pieces.Session, files: list[tuple[int, str]], sizes: tuple[int, int], target: int) -> tuple[int, int]:
    """(pieces with differences, groups that differ); the header's place is left free."""
    from idxd_client import Descriptor
    from idxdctl import pieces

    # the record may be a quarter larger than its piece, and the WQ limits it, too
    piece = using.piece_of(64, "delta create", min(deltafile.PIECE_BYTES_MAX, using.queue.max_transfer_size * 4 // 5))
    room = max(80, piece // deltafile.GROUP_BYTES * deltafile.ENTRY_BYTES)
    count, changed, place = 0, 0, deltafile.HEADER.size

    def read(slot: pieces.Slot) -> None:
        for (fd, name), size, region in zip(files, sizes, slot.inputs, strict=True):
            deltafile.read_padded(fd, region.view[: slot.piece.length], slot.piece.offset, size, name)

    def build(slot: pieces.Slot) -> Descriptor:
        first, second = slot.inputs
        return Descriptor.create_delta(slot.outputs[0], first, second, slot.piece.length, max_size=room)

    def take(slot: pieces.Slot, result: Any) -> None:
        nonlocal count, changed, place
        result.raise_for_status(f"{using.queue.name}: create delta at {slot.piece.offset}")
        size = result.delta_record_size
        if not result.result:
            return
        record = deltafile.PIECE.pack(slot.piece.offset, slot.piece.length, size) + bytes(slot.outputs[0].view[:size])
        if os.pwrite(target, record, place) != len(record):
            raise OSError(28, os.strerror(28))
        place, count, changed = place + len(record), count + 1, changed + size // deltafile.ENTRY_BYTES

    total = deltafile.rounded(sizes[1])
    pieces.stream(
        using, pieces.cut(total, piece), inputs=[piece, piece], outputs=[room], read=read, build=build, take=take,
        what="delta create", total=total,
    )  # fmt: skip
    return count, changed


def _crc(using: pieces.Session, fd: int, size: int, name: str) -> int:
    """CRC-32C of a file, by the device."""
    from idxd_client import Descriptor
    from idxdctl import pieces

    value = 0
    piece = using.piece_of(1, "delta")

    def take(slot: pieces.Slot, result: Any) -> None:
        nonlocal value
        value = result.raise_for_status(f"{using.queue.name}: crc at {slot.piece.offset}").crc

    pieces.stream(
        using, pieces.cut(size, piece), inputs=[piece], read=pieces.reader((fd, name)),
        build=lambda slot: Descriptor.crc(slot.inputs[0], slot.piece.length, seed=value), take=take, chained=True,
    )  # fmt: skip
    return value


@app.command()
def apply(
    old: Old, delta: Delta, new: New, wq: Wq = DEFAULT_WQ, timeout: Timeout = 30.0, json: Json = False, socket: Socket = None
) -> None:
    """Write NEW: OLD changed as DELTA says. OLD must be the file that DELTA was made from."""
    from idxdctl import pieces
    from idxdctl.outputs import check_destination, check_source, written

    size = check_source(old, "delta apply")
    check_source(delta, "delta apply")
    check_destination(new, "delta apply", old, delta)
    with pieces.opened(old, delta) as [(source, _), (record_fd, _)], pieces.session(socket, wq, timeout) as using:
        header = deltafile.read_header(record_fd, delta)
        if header.old_size != size or _crc(using, source, size, old) != header.old_crc:
            raise Failed(f"delta apply: {delta} was not made from {old}", hint=f"it wants {header.old_size} bytes of another")
        with written(new) as target:
            _copy(using, (source, old), size, header.new_size, target)
            count = _apply_records(using, (record_fd, delta), header, target)
            os.ftruncate(target, header.new_size)
            if _crc(using, target, header.new_size, new) != header.new_crc:
                raise Failed(f"delta apply: {delta} is damaged: the result is not the file it was made for")
    if json:
        print_json("delta apply", {"old": old, "delta": delta, "new": new, "bytes": header.new_size, "pieces": count})
    else:
        print(f"{new}: {format_size(header.new_size)}, {count} pieces changed")


def _copy(using: pieces.Session, source: tuple[int, str], size: int, new_size: int, target: int) -> None:
    """As much of the old file as the new one has room for; zeros behind it."""
    from idxd_client import Descriptor
    from idxdctl import pieces
    from idxdctl.outputs import write_all

    piece = using.piece_of(1, "delta apply")
    common = min(size, new_size)

    def take(slot: pieces.Slot, result: Any) -> None:
        result.raise_for_status(f"{using.queue.name}: memmove at {slot.piece.offset}")
        write_all(target, slot.outputs[0].view[: slot.piece.length], slot.piece.offset)

    pieces.stream(
        using, pieces.cut(common, piece), inputs=[piece], outputs=[piece], read=pieces.reader(source),
        build=lambda slot: Descriptor.memmove(slot.outputs[0], slot.inputs[0], slot.piece.length), take=take,
        what="delta apply", total=common,
    )  # fmt: skip
    os.ftruncate(target, deltafile.rounded(new_size))


def _apply_records(using: pieces.Session, delta: tuple[int, str], header: Header, target: int) -> int:
    """Change the pieces that have a record; how many."""
    from idxd_client import Descriptor
    from idxdctl import pieces
    from idxdctl.outputs import read_all, write_all

    record_fd, name = delta
    found: dict[int, Record] = {}
    most = using.queue.max_transfer_size

    def listed() -> Any:
        for number, record in enumerate(deltafile.records(record_fd, header, name)):
            if max(record.length, record.size) > most:
                raise Failed(f"delta apply: {name}: a piece of {max(record.length, record.size)} bytes; "
                             f"{using.queue.name} moves {most} at most")  # fmt: skip
            found[number] = record
            yield pieces.Piece(number, record.offset, record.length)

    def read(slot: pieces.Slot) -> None:
        record = found[slot.piece.number]
        read_all(record_fd, slot.inputs[0].view[: record.size], record.place, name)
        read_all(target, slot.outputs[0].view[: record.length], record.offset, "the new file")

    def build(slot: pieces.Slot) -> Descriptor:
        record = found[slot.piece.number]
        return Descriptor.apply_delta(slot.outputs[0], slot.inputs[0], record.size, record.length)

    def take(slot: pieces.Slot, result: Any) -> None:
        record = found.pop(slot.piece.number)
        result.raise_for_status(f"{using.queue.name}: apply delta at {record.offset}")
        write_all(target, slot.outputs[0].view[: record.length], record.offset)

    room = deltafile.PIECE_BYTES_MAX
    pieces.stream(
        using, listed(), inputs=[room // deltafile.GROUP_BYTES * deltafile.ENTRY_BYTES], outputs=[room], read=read,
        build=build, take=take,
    )  # fmt: skip
    return header.pieces


PANEL = "Files through the device"


def register(group: typer.Typer) -> None:
    """Add the commands."""
    group.add_typer(app, name="delta", rich_help_panel=PANEL)
