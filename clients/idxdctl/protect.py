"""dif check|insert|strip|update, dix generate: protection fields of files of blocks."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from idxdctl.numbers import parse_number
from idxdctl.options import DEFAULT_WQ, Json, Socket, Timeout, Wq
from idxdctl.output import Failed, print_json
from idxdctl.sizes import format_size
from idxdd.control.exitcodes import ExitCode

if TYPE_CHECKING:
    from idxd_client import Descriptor, DifDestination, DifFormat, DifSource

File = Annotated[str, typer.Argument(metavar="FILE")]
Source = Annotated[str, typer.Argument(metavar="SRC")]
Target = Annotated[str, typer.Argument(metavar="DST")]
Block = Annotated[int, typer.Option("--block-size", help="512, 520, 4096 or 4104: a block without its field.")]
SeedOnes = Annotated[bool, typer.Option("--crc-seed-ones", help="The guard's CRC begins with 0xffff.")]
Inverted = Annotated[bool, typer.Option("--crc-inverted", help="The guard is inverted.")]


def number_option(name: str, text: str) -> Any:
    """An option that takes 7 or 0x7."""
    return typer.Option(name, parser=parse_number, metavar="NUMBER", help=text)


Ref = Annotated[int, number_option("--ref-tag", "Reference tag of the first block.")]
App = Annotated[int, number_option("--app-tag", "Application tag of the first block.")]
Mask = Annotated[int, number_option("--app-mask", "Bits of the application tag that do not count.")]
RefFixed = Annotated[bool, typer.Option("--ref-fixed", help="The reference tag does not advance.")]
AppIncrements = Annotated[bool, typer.Option("--app-increments", help="The application tag advances.")]
NoGuard = Annotated[bool, typer.Option("--no-guard", help="Do not check guards.")]
NoRef = Annotated[bool, typer.Option("--no-ref", help="Do not check reference tags.")]
AllF = Annotated[bool, typer.Option("--all-f", help="Fields of all ones are not checked.")]
AllFError = Annotated[bool, typer.Option("--all-f-error", help="With --all-f: they are an error.")]
AppF = Annotated[bool, typer.Option("--app-f", help="Fields with application tag 0xffff are not checked.")]
AppRefF = Annotated[bool, typer.Option("--app-ref-f", help="The same, with reference tag 0xffffffff as well.")]
NewRef = Annotated[int, number_option("--new-ref-tag", "Reference tag of the first block written.")]
NewApp = Annotated[int, number_option("--new-app-tag", "Application tag of the first block written.")]
NewMask = Annotated[int, number_option("--new-app-mask", "Bits of the application tag that are written as 0.")]
NewRefFixed = Annotated[bool, typer.Option("--new-ref-fixed", help="The written reference tag does not advance.")]
NewAppIncrements = Annotated[bool, typer.Option("--new-app-increments", help="The written application tag advances.")]

dif = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Protection fields behind each block of a file.")
dix = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Protection fields of a file, apart from its blocks.")


@dif.command()
def check(
    file: File, block_size: Block = 512, ref_tag: Ref = 0, app_tag: App = 0, app_mask: Mask = 0, ref_fixed: RefFixed = False,
    app_increments: AppIncrements = False, no_guard: NoGuard = False, no_ref: NoRef = False, all_f: AllF = False,
    all_f_error: AllFError = False, app_f: AppF = False, app_ref_f: AppRefF = False, crc_seed_ones: SeedOnes = False,
    crc_inverted: Inverted = False, wq: Wq = DEFAULT_WQ, timeout: Timeout = 30.0, json: Json = False, socket: Socket = None,
) -> None:  # fmt: skip
    """Check the field behind each block; exit code 1 and the first wrong block when there is one."""
    from idxd_client import DifFormat, DifSource

    source = DifSource(
        ref_tag, app_tag, app_mask, ref_fixed, app_increments, not no_guard, not no_ref, all_f, all_f_error, app_f, app_ref_f
    )
    form = DifFormat(block_size, crc_seed_ones, crc_inverted)
    _protect("dif check", file, None, form, source, None, wq, timeout, json, socket)


@dif.command()
def insert(
    src: Source, dst: Target, block_size: Block = 512, ref_tag: Ref = 0, app_tag: App = 0, app_mask: Mask = 0,
    ref_fixed: RefFixed = False, app_increments: AppIncrements = False, crc_seed_ones: SeedOnes = False,
    crc_inverted: Inverted = False, wq: Wq = DEFAULT_WQ, timeout: Timeout = 30.0, json: Json = False, socket: Socket = None,
) -> None:  # fmt: skip
    """Copy a file of blocks and put a field behind each."""
    from idxd_client import DifDestination, DifFormat

    destination = DifDestination(ref_tag, app_tag, app_mask, ref_fixed, app_increments)
    form = DifFormat(block_size, crc_seed_ones, crc_inverted)
    _protect("dif insert", src, dst, form, None, destination, wq, timeout, json, socket)


@dif.command()
def strip(
    src: Source, dst: Target, block_size: Block = 512, ref_tag: Ref = 0, app_tag: App = 0, app_mask: Mask = 0,
    ref_fixed: RefFixed = False, app_increments: AppIncrements = False, no_guard: NoGuard = False, no_ref: NoRef = False,
    all_f: AllF = False, all_f_error: AllFError = False, app_f: AppF = False, app_ref_f: AppRefF = False,
    crc_seed_ones: SeedOnes = False, crc_inverted: Inverted = False, wq: Wq = DEFAULT_WQ, timeout: Timeout = 30.0,
    json: Json = False, socket: Socket = None,
) -> None:  # fmt: skip
    """Check the field behind each block, and copy the blocks without them."""
    from idxd_client import DifFormat, DifSource

    source = DifSource(
        ref_tag, app_tag, app_mask, ref_fixed, app_increments, not no_guard, not no_ref, all_f, all_f_error, app_f, app_ref_f
    )
    form = DifFormat(block_size, crc_seed_ones, crc_inverted)
    _protect("dif strip", src, dst, form, source, None, wq, timeout, json, socket)


@dif.command()
def update(
    src: Source, dst: Target, block_size: Block = 512, ref_tag: Ref = 0, app_tag: App = 0, app_mask: Mask = 0,
    ref_fixed: RefFixed = False, app_increments: AppIncrements = False, no_guard: NoGuard = False, no_ref: NoRef = False,
    all_f: AllF = False, all_f_error: AllFError = False, app_f: AppF = False, app_ref_f: AppRefF = False,
    new_ref_tag: NewRef = 0, new_app_tag: NewApp = 0, new_app_mask: NewMask = 0, new_ref_fixed: NewRefFixed = False,
    new_app_increments: NewAppIncrements = False,
    pass_guard: Annotated[bool, typer.Option("--pass-guard", help="The guard is the source's.")] = False,
    pass_app: Annotated[bool, typer.Option("--pass-app", help="The application tag is the source's.")] = False,
    pass_ref: Annotated[bool, typer.Option("--pass-ref", help="The reference tag is the source's.")] = False,
    crc_seed_ones: SeedOnes = False, crc_inverted: Inverted = False, wq: Wq = DEFAULT_WQ, timeout: Timeout = 30.0,
    json: Json = False, socket: Socket = None,
) -> None:  # fmt: skip
    """Check the field behind each block, and copy the blocks with new ones."""
    from idxd_client import DifDestination, DifFormat, DifSource

    source = DifSource(
        ref_tag, app_tag, app_mask, ref_fixed, app_increments, not no_guard, not no_ref, all_f, all_f_error, app_f, app_ref_f
    )
    destination = DifDestination(
        new_ref_tag, new_app_tag, new_app_mask, new_ref_fixed, new_app_increments, pass_guard, pass_app, pass_ref
    )
    form = DifFormat(block_size, crc_seed_ones, crc_inverted)
    _protect("dif update", src, dst, form, source, destination, wq, timeout, json, socket)


@dix.command()
def generate(
    src: Source, dst: Target, block_size: Block = 512, ref_tag: Ref = 0, app_tag: App = 0, app_mask: Mask = 0,
    ref_fixed: RefFixed = False, app_increments: AppIncrements = False, crc_seed_ones: SeedOnes = False,
    crc_inverted: Inverted = False, wq: Wq = DEFAULT_WQ, timeout: Timeout = 30.0, json: Json = False, socket: Socket = None,
) -> None:  # fmt: skip
    """Write the 8-byte field of each block of SRC to DST."""
    from idxd_client import DifDestination, DifFormat

    destination = DifDestination(ref_tag, app_tag, app_mask, ref_fixed, app_increments)
    form = DifFormat(block_size, crc_seed_ones, crc_inverted)
    _protect("dix generate", src, dst, form, None, destination, wq, timeout, json, socket)


@dix.callback()
def _dix() -> None:
    """Keeps `generate` a command of its own: a group of one would swallow its name."""


# ---- carrying it out ---------------------------------------------------------------------------------------------------
def _protect(
    verb: str, src: str, dst: str | None, form: DifFormat, source: DifSource | None, destination: DifDestination | None,
    wq: str, timeout: float, json: bool, socket: str | None,
) -> None:  # fmt: skip
    """All blocks of a file; tags of a piece go on where those of the piece before ended."""
    import contextlib

    from idxdctl import pieces
    from idxdctl.outputs import check_destination, check_source, write_all, written

    size, unit = check_source(src, verb), form.protected if source else form.block
    if size % unit:
        raise Failed(f"{verb}: {src}: {size} bytes are no whole number of blocks of {unit}", ExitCode.USAGE)
    written_unit = 8 if verb.startswith("dix") else form.protected if destination else form.block
    if dst is not None:
        check_destination(dst, verb, src)
    with contextlib.ExitStack() as stack:
        using = stack.enter_context(pieces.session(socket, wq, timeout))
        files = stack.enter_context(pieces.opened(src))
        target = stack.enter_context(written(dst)) if dst is not None else None
        piece = using.piece_of(unit, verb)

        def build(slot: pieces.Slot) -> Descriptor:
            before = slot.piece.offset // unit
            sides = source.after(before) if source else None, destination.after(before) if destination else None
            return _descriptor(verb, slot, form, *sides)

        def take(slot: pieces.Slot, result: Any) -> None:
            if result.dif_error:
                block = (slot.piece.offset + result.bytes_completed) // unit
                raise Failed(f"{verb}: {src}: block {block} (offset {block * unit}): {result.dif_error} wrong")
            result.raise_for_status(f"{wq}: {verb} at {slot.piece.offset}")
            if target is not None:
                length = slot.piece.length // unit * written_unit
                write_all(target, slot.outputs[0].view[:length], slot.piece.offset // unit * written_unit)

        pieces.stream(
            using, pieces.cut(size, piece), inputs=[piece], outputs=[piece // unit * written_unit] if dst else [],
            read=pieces.reader(*files), build=build, take=take, what=f"{verb} {os.path.basename(src)}", total=size,
        )  # fmt: skip
    if json:
        facts = {"source": src, "blocks": size // unit, "block_size": form.block, "bytes": size, "wq": wq}
        print_json(verb, facts | ({"destination": dst} if dst else {}))
    else:
        print(f"{dst or src}: {size // unit} blocks of {form.block}, {format_size(size)} read")


def _descriptor(
    verb: str, slot: Any, form: DifFormat, source: DifSource | None, destination: DifDestination | None
) -> Descriptor:
    from idxd_client import Descriptor

    src, length = slot.inputs[0], slot.piece.length
    if destination is None:
        assert source is not None
        if verb == "dif check":
            return Descriptor.dif_check(src, length, source=source, form=form)
        return Descriptor.dif_strip(slot.outputs[0], src, length, source=source, form=form)
    if source is not None:
        return Descriptor.dif_update(slot.outputs[0], src, length, source=source, destination=destination, form=form)
    if verb == "dif insert":
        return Descriptor.dif_insert(slot.outputs[0], src, length, destination=destination, form=form)
    return Descriptor.dix_generate(slot.outputs[0], src, length, destination=destination, form=form)


PANEL = "Files through the device"


def register(group: typer.Typer) -> None:
    """Add the commands."""
    group.add_typer(dif, name="dif", rich_help_panel=PANEL)
    group.add_typer(dix, name="dix", rich_help_panel=PANEL)
