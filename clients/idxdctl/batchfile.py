"""batch FILE: descriptors written down as text or JSON, carried out as one Batch, with a result for each.

Text, a line each, `#` begins a comment:
    buffer NAME SIZE [from=FILE] [to=FILE] [fill=HEX]
    OPERATION field=value ...       addresses are numbers, NAME, NAME+OFFSET
JSON says the same: {"buffers": [{"name", "size", "from", "to", "fill"}], "descriptors": [{"op", "src", ..., "flags"}]}.
"""

from __future__ import annotations

import contextlib
import json as json_module
import os
import re
import shlex
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from idxdctl.options import DEFAULT_WQ, Json, Socket, Timeout, Wq
from idxdctl.output import Failed, print_json, table
from idxdctl.sizes import parse_size
from idxdd.control.exitcodes import ExitCode

if TYPE_CHECKING:
    from idxd_client import Buffer, Descriptor, Result
    from idxdctl import pieces

DESCRIPTORS_MAX = 1 << 16
FILE_BYTES_MAX = 16 << 20
_PLACE = re.compile(r"([A-Za-z_]\w*)(?:\+(\w+))?")
_BUFFER_KEYS = frozenset({"name", "size", "from", "to", "fill"})


@dataclass
class BufferSpec:
    """A buffer that a batch file asks for."""

    name: str
    size: int
    source: str | None = None
    target: str | None = None
    pattern: bytes = b"\0"


@dataclass
class BatchFile:
    """What a batch file says: buffers, and the fields of each descriptor with the place they were written."""

    buffers: dict[str, BufferSpec] = field(default_factory=dict)
    descriptors: list[tuple[str, dict[str, Any]]] = field(default_factory=list)


def batch(
    file: Annotated[str, typer.Argument(metavar="FILE", help="`-` is standard input.")],
    separately: Annotated[bool, typer.Option("--separately", help="One descriptor after the other, not as a batch.")] = False,
    dry_run: Annotated[bool, typer.Option("-n", "--dry-run", help="Only read the file and print the descriptors.")] = False,
    wq: Wq = DEFAULT_WQ,
    timeout: Timeout = 30.0,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Carry out the descriptors of a file; exit code 1 when one fails. Files are written when all succeeded.

    A line is `buffer NAME SIZE [from=FILE] [to=FILE] [fill=HEX]`, or an operation with its fields, for example
    `memmove src=a dst=b+64 size=4K flags=fence`. JSON is accepted, too.
    """
    wanted = parse(_read(file), file)
    if not wanted.descriptors:
        raise Failed(f"batch: {file}: no descriptors", ExitCode.USAGE)
    if dry_run:
        # the addresses are those of no memory: a place in the batch's buffers, one after the other
        places = dict(zip(wanted.buffers, range(1 << 32, 1 << 62, 1 << 32), strict=False))
        members = _build(wanted, places)
        found = [{"op": _name(member), "hex": member.pack().hex()} for member in members]
        rows = [(number, one["op"], one["hex"]) for number, one in enumerate(found)]
        _print(json, {"file": file, "descriptors": found}, rows, "descriptor")
        return
    from idxdctl import pieces

    with pieces.session(socket, wq, timeout) as using, contextlib.ExitStack() as stack:
        buffers = {name: stack.enter_context(using.connection.alloc(spec.size)) for name, spec in wanted.buffers.items()}
        for name, spec in wanted.buffers.items():
            _load(spec, buffers[name])
        members = _build(wanted, {name: buffer.address for name, buffer in buffers.items()})
        status, results = _carry_out(using, members, separately=separately)
        good = all(result is not None and result.ok for result in results)
        if good:
            for name, spec in wanted.buffers.items():
                _save(spec, buffers[name])
    told, facts = _described(members, results)
    _print(json, {"file": file, "wq": wq, "status": status, "succeeded": good, "descriptors": facts}, told)
    if not good:
        raise typer.Exit(ExitCode.FAILED)


# ---- the file ----------------------------------------------------------------------------------------------------------
def _read(path: str) -> str:
    try:
        with contextlib.ExitStack() as stack:
            stream = sys.stdin.buffer if path == "-" else stack.enter_context(open(path, "rb"))
            raw = stream.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise Failed(f"batch: {path}: {error.strerror}", ExitCode.USAGE) from None
    if len(raw) > FILE_BYTES_MAX:
        raise Failed(f"batch: {path}: larger than {FILE_BYTES_MAX} bytes", ExitCode.USAGE)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise Failed(f"batch: {path}: not text", ExitCode.USAGE) from None


def parse(text: str, path: str) -> BatchFile:
    """Failed names line or entry, and the rule."""
    found = BatchFile()
    if text.lstrip().startswith(("{", "[")):
        _parse_json(text, path, found)
    else:
        for number, line in enumerate(text.splitlines(), 1):
            _parse_line(line, f"batch: {path}:{number}", found)
    if len(found.descriptors) > DESCRIPTORS_MAX:
        raise Failed(f"batch: {path}: more than {DESCRIPTORS_MAX} descriptors", ExitCode.USAGE)
    return found


def _parse_line(line: str, where: str, found: BatchFile) -> None:
    from idxdctl.fields import split_words

    try:
        words = shlex.split(line, comments=True)
    except ValueError as error:
        raise Failed(f"{where}: {error}", ExitCode.USAGE) from None
    if not words:
        return
    first, *rest = words
    if first == "buffer":
        if len(rest) < 2:
            raise Failed(f"{where}: write buffer NAME SIZE", ExitCode.USAGE)
        _add_buffer({"name": rest[0], "size": rest[1], **split_words(rest[2:], where)}, where, found)
    elif "=" in first:
        found.descriptors.append((where, dict(split_words(words, where))))
    else:
        found.descriptors.append((where, {"op": first, **split_words(rest, where)}))


def _parse_json(text: str, path: str, found: BatchFile) -> None:
    try:
        given = json_module.loads(text)
    except (ValueError, RecursionError) as error:
        raise Failed(f"batch: {path}: not JSON: {error}", ExitCode.USAGE) from None
    given = {"descriptors": given} if isinstance(given, list) else given
    if unknown := set(given) - {"buffers", "descriptors"}:
        raise Failed(f"batch: {path}: unknown key {min(unknown)!r:.40}", ExitCode.USAGE)
    for key in ("buffers", "descriptors"):
        entries = given.get(key, [])
        if not isinstance(entries, list):
            raise Failed(f"batch: {path}: {key}: is not a list", ExitCode.USAGE)
        for number, entry in enumerate(entries):
            where = f"batch: {path}: {key}[{number}]"
            if not isinstance(entry, dict):
                raise Failed(f"{where}: is not an object", ExitCode.USAGE)
            if key == "buffers":
                _add_buffer(entry, where, found)
            else:
                found.descriptors.append((where, entry))


def _add_buffer(given: dict[str, Any], where: str, found: BatchFile) -> None:
    from idxdctl.data import parse_pattern

    if unknown := set(given) - _BUFFER_KEYS:
        raise Failed(
            f"{where}: no key {min(unknown)!r:.40}", ExitCode.USAGE, hint=f"there is {', '.join(sorted(_BUFFER_KEYS))}"
        )
    for key in ("from", "to", "fill"):
        if not isinstance(given.get(key, ""), str):
            raise Failed(f"{where}: {key} is not a string", ExitCode.USAGE)
    name = given.get("name")
    if not isinstance(name, str) or not name.isidentifier():
        raise Failed(f"{where}: {name!r:.40} is no name of a buffer", ExitCode.USAGE)
    if name in found.buffers:
        raise Failed(f"{where}: buffer {name} is there already", ExitCode.USAGE)
    try:
        size = parse_size(given["size"])
    except (KeyError, ValueError, TypeError, AttributeError):
        raise Failed(f"{where}: buffer {name}: size {given.get('size')!r:.40} is not a size", ExitCode.USAGE) from None
    if size <= 0:
        raise Failed(f"{where}: buffer {name}: a size must be positive", ExitCode.USAGE)
    pattern = parse_pattern(str(given["fill"]), 16, where) if "fill" in given else b"\0"
    found.buffers[name] = BufferSpec(name, size, given.get("from"), given.get("to"), pattern)


# ---- carrying it out ---------------------------------------------------------------------------------------------------
def _load(spec: BufferSpec, buffer: Buffer) -> None:
    view = buffer.region(0, spec.size).view
    if spec.pattern.strip(b"\0"):
        view[:] = (spec.pattern * (spec.size // len(spec.pattern) + 1))[: spec.size]
    if spec.source:
        with open(spec.source, "rb", buffering=0) as file:
            if os.fstat(file.fileno()).st_size > spec.size:
                raise Failed(f"batch: {spec.source}: does not fit buffer {spec.name} of {spec.size} bytes", ExitCode.USAGE)
            got = 0
            while got < spec.size and (count := file.readinto(view[got:])):
                got += count


def _save(spec: BufferSpec, buffer: Buffer) -> None:
    from idxdctl.outputs import check_destination, write_all, written

    if spec.target:
        check_destination(spec.target, "batch")
        with written(spec.target) as fd:
            write_all(fd, buffer.region(0, spec.size).view, 0)


def _build(wanted: BatchFile, places: dict[str, int]) -> list[Descriptor]:
    from idxd_client import Descriptor
    from idxdctl import fields

    def resolve(text: str) -> int | None:
        match = _PLACE.fullmatch(text)
        if match is None:
            return None
        if match[1] not in places:
            raise Failed(f"no buffer {match[1]!r:.40}", ExitCode.USAGE, hint=f"there is {', '.join(places) or 'none'}")
        return places[match[1]] + _offset(match[2] or "0")

    members = []
    for where, given in wanted.descriptors:
        built = fields.build(given, resolve=resolve, what=where)
        if built.completion_addr or built.int_handle:
            raise Failed(f"{where}: record and handle are set by who submits it", ExitCode.USAGE)
        members.append(Descriptor.unpack(built.pack()))
    return members


def _offset(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        return parse_size(text)


def _carry_out(using: pieces.Session, members: list[Descriptor], *, separately: bool) -> tuple[str, list[Result | None]]:
    """What the batch ended with, and each member's result; None: it was not carried out."""
    from idxd_client import Descriptor

    if separately:
        results: list[Result | None] = [using.run(member) for member in members]
        return "carried out one by one", results
    most = using.queue.max_batch_size
    if not 2 <= len(members) <= most:
        raise Failed(f"batch: {len(members)} descriptors, {using.queue.name} takes 2 to {most} in a batch",
                     hint="--separately submits them one by one")  # fmt: skip
    ended = using.run(Descriptor.batch(members))
    if not ended.members:
        return ended.describe(), [None] * len(members)
    return ended.describe(), [result if result.record[0] else None for result in ended.members]


def _name(member: Descriptor) -> str:
    from idxd_client.results import name_of

    return name_of(member.opcode)


def _described(members: list[Descriptor], results: list[Result | None]) -> tuple[list[tuple[Any, ...]], list[dict[str, Any]]]:
    rows: list[tuple[Any, ...]] = []
    facts: list[dict[str, Any]] = []
    for number, (member, result) in enumerate(zip(members, results, strict=True)):
        told = result.describe() if result is not None else "not carried out"
        rows.append((number, _name(member), told))
        fact: dict[str, Any] = {"op": _name(member), "outcome": told, "succeeded": result is not None and result.ok}
        if result is not None:
            fact |= {"status": f"{int(result.status):#04x}", "result": result.result, "record": result.record.hex()}
            fact |= {"bytes_completed": result.bytes_completed} | ({"crc": f"{result.crc:#x}"} if result.crc else {})
        facts.append(fact)
    return rows, facts


def _print(json: bool, facts: dict[str, Any], rows: list[tuple[Any, ...]], last: str = "outcome") -> None:
    if json:
        print_json("batch", facts)
        return
    print(table(("#", "operation", last), rows, left=3))
    if "status" in facts:
        print(facts["status"])


PANEL = "Files through the device"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("batch", rich_help_panel=PANEL)(batch)
