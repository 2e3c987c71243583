"""Published test vectors (tests/golden/vectors.json) as cases anything that executes descriptors can be held to.

A Case names its buffers, builds its descriptor once they have addresses, and checks record and buffers afterwards. A
SingleFault breaks one rule and lists the statuses that may say so. Formats are explained in the file itself.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from idxdd.spec import records
from idxdd.spec.codes import Flag, Opcode, OpFlag
from idxdd.testing.reference.dif import BLOCK_BYTES, BLOCK_SIZE, FIELD, SHAPES

Addresses = Mapping[str, int]
UNCHECKED = {"bytes_completed_dml"}
"""What another implementation gives, where it need not be the same."""


@dataclass(frozen=True)
class Buffer:
    """Memory a case needs: what it holds first, and where in its page it starts."""

    content: bytes
    page_offset: int = 0


@dataclass(frozen=True)
class Case:
    """One operation vector."""

    vector: dict[str, Any]
    buffers: dict[str, Buffer]
    written: dict[str, int]
    """Buffers the operation may write, and how many bytes."""
    completed: Callable[[Addresses, int], records.Descriptor]

    @property
    def id(self) -> str:
        """As published."""
        return str(self.vector["id"])

    def descriptor(self, addresses: Addresses, completion_addr: int) -> bytes:
        """64 bytes for these addresses of the buffers."""
        return self.completed(addresses, completion_addr).pack()

    def check(self, record: bytes, contents: Mapping[str, bytes]) -> None:
        """AssertionError unless record and buffers are as published. `contents`: of the written buffers."""
        for name, expected in self.vector["expect"].items():
            if name not in UNCHECKED:
                check: Callable[..., None] = CHECKS.get(name, _check_content)
                check(self, name, expected, record, contents)


def content(spec: dict[str, Any]) -> bytes:
    """A vector's DATA."""
    if "hex" in spec:
        found = bytes.fromhex(spec["hex"])
    elif "byte" in spec:
        found = bytes([spec["byte"]]) * spec["len"]
    elif "ramp" in spec:
        start, step = spec["ramp"]
        found = bytes((start + step * index) & 255 for index in range(spec["len"]))
    elif "rep" in spec:
        found = (bytes.fromhex(spec["rep"]) * (spec["len"] + 1))[: spec["len"]]
    elif "interleave" in spec:
        data, block = content(spec["interleave"]), spec["block"]
        found = b"".join(data[block * n : block * n + block] + bytes.fromhex(field) for n, field in enumerate(spec["difs"]))
    elif "deltas" in spec:
        found = b"".join(group.to_bytes(2, "little") + bytes.fromhex(replacement) for group, replacement in spec["deltas"])
    else:
        blocks = (hashlib.sha256(f"{spec['sha']}:{index}".encode()).digest() for index in range(spec["len"] // 32 + 1))
        found = b"".join(blocks)[: spec["len"]]
    patched = bytearray(found)
    for offset, replacement in spec.get("patch", []):
        piece = bytes.fromhex(replacement)
        patched[offset : offset + len(piece)] = piece
    return bytes(patched)


def number(value: int | str) -> int:
    """JSON integers are plain, strings are hexadecimal."""
    return int(value, 16) if isinstance(value, str) else value


def load(path: Path) -> dict[str, Any]:
    """The whole file."""
    found: dict[str, Any] = json.loads(path.read_text())
    return found


# ---- operation vectors: buffers and descriptors ----------------------------------------------------------------------------
def cases(document: dict[str, Any]) -> Iterator[Case]:
    """Every vector that has a descriptor."""
    for group in document["groups"].values():
        yield from (case(vector) for vector in group if "opcode" in vector)


def case(vector: dict[str, Any]) -> Case:
    """One vector."""
    opcode, wanted, expect = Opcode(vector["opcode"]), vector["desc"], vector["expect"]
    size = wanted["xfer_size"]
    buffers = {name: Buffer(content(data)) for name, data in vector.get("bufs", {}).items()}
    written: dict[str, int] = {}

    def destination(name: str, size: int, page_offset: int = 0) -> None:
        buffers[name], written[name] = Buffer(b"\xaa" * size, page_offset), size

    fields: dict[str, int] = {"flags": number(wanted["flags"]), "xfer_size": size}
    for name in ("pattern_lower", "pattern_upper", "pattern", "expected_result", "expected_result_mask", "crc_seed",
                 "max_delta_size", "delta_rec_size"):  # fmt: skip
        if name in wanted:
            fields[name] = number(wanted[name])
    places: dict[str, tuple[str, int]] = {"src_addr": ("src", 0), "dst_addr": ("dst", 0)}
    match opcode:
        case Opcode.MEMMOVE:
            buffers["arena"] = Buffer(content(vector["arena"]))
            written["arena"] = len(buffers["arena"].content)
            places = {"src_addr": ("arena", vector["src_off"]), "dst_addr": ("arena", vector["dst_off"])}
        case Opcode.MEMFILL:
            places = {"dst_addr": ("dst", 0)}
            destination("dst", size, vector.get("dst_offset", 0))
        case Opcode.COMPARE:
            places = {"src1_addr": ("src1", 0), "src2_addr": ("src2", 0)}
        case Opcode.COMPVAL | Opcode.DIF_CHECK:
            places = {"src_addr": ("src", 0)}
        case Opcode.CR_DELTA:
            places = {"src1_addr": ("src1", 0), "src2_addr": ("src2", 0), "delta_addr": ("delta", 0)}
            destination("delta", wanted["max_delta_size"])
        case Opcode.AP_DELTA:
            places = {"delta_addr": ("delta", 0), "dst_addr": ("dst", 0)}
            buffers["dst"] = buffers.pop("dst_init")
            written["dst"] = size
        case Opcode.DUALCAST:
            places = {"src_addr": ("src", 0), "dst1_addr": ("dst1", 0), "dst2_addr": ("dst2", 0)}
            for name in ("dst1", "dst2"):
                destination(name, size, vector["dst_page_offset"])
        case Opcode.CRCGEN | Opcode.COPY_CRC:
            if opcode is Opcode.COPY_CRC:
                destination("dst", size)
            else:
                del places["dst_addr"]
            if "seed_mem" in buffers:
                places["seed_addr"] = ("seed_mem", 0)
        case _:
            destination("dst", _dif_destination_size(opcode, wanted))

    def completed(addresses: Addresses, completion_addr: int) -> records.Descriptor:
        placed = {field: addresses[name] + offset for field, (name, offset) in places.items()}
        desc = records.VIEWS[opcode].encode(opcode=opcode, completion_addr=completion_addr, **fields, **placed)
        if "op_specific_hex" not in wanted:
            return desc
        return records.Descriptor.unpack(desc.pack()).replace(op_specific=bytes.fromhex(wanted["op_specific_hex"]))

    assert expect, f"{vector['id']} expects nothing"
    return Case(vector, buffers, written, completed)


def _dif_destination_size(opcode: Opcode, wanted: dict[str, Any]) -> int:
    shape, block = SHAPES[opcode], BLOCK_BYTES[wanted["dif_flags"] & BLOCK_SIZE]
    count = wanted["xfer_size"] // (block + FIELD.size * shape.checks)
    return int(count * (block * shape.data + FIELD.size * shape.fields))


# ---- operation vectors: expectations ---------------------------------------------------------------------------------------
def _check_record(field: str, view: type[records.CompletionRecord]) -> Callable[..., None]:
    def check(case: Case, name: str, expected: int | str, record: bytes, contents: Mapping[str, bytes]) -> None:
        found = getattr(view.unpack(record), field)
        assert found == number(expected), f"{case.id}: {name} is {found:#x}, not {number(expected):#x}"

    return check


def _check_crc(case: Case, name: str, expected: str, record: bytes, contents: Mapping[str, bytes]) -> None:
    width = 64 if number(case.vector["desc"]["flags"]) & OpFlag.CRC_SIZE64 else 32
    found = records.CrcRecord.unpack(record).crc_value & (1 << width) - 1
    assert found == number(expected), f"{case.id}: CRC is {found:#x}, not {expected}"


def _check_at_most(case: Case, name: str, expected: int, record: bytes, contents: Mapping[str, bytes]) -> None:
    found = records.CompletionRecord.unpack(record).bytes_completed
    assert found <= expected, f"{case.id}: {found} bytes completed, at most {expected} are equal"


def _check_content(case: Case, name: str, expected: dict[str, Any], record: bytes, contents: Mapping[str, bytes]) -> None:
    """A buffer, or what of it is defined, against its digest."""
    found = contents[name.removesuffix("_prefix")][: expected["len"]]
    assert len(found) == expected["len"], f"{case.id}: {name} has {len(found)} bytes"
    assert hashlib.sha256(found).hexdigest() == expected["sha256"], f"{case.id}: {name} differs: {found[:32].hex()}..."


def _check_fields(case: Case, name: str, expected: list[str], record: bytes, contents: Mapping[str, bytes]) -> None:
    """Protection fields of the destination, one a block that was done."""
    shape = SHAPES[Opcode(case.vector["opcode"])]
    skipped = BLOCK_BYTES[case.vector["desc"]["dif_flags"] & BLOCK_SIZE] * shape.data
    for index, field in enumerate(expected):
        at = (skipped + FIELD.size) * index + skipped
        found = contents["dst"][at : at + FIELD.size].hex()
        assert found == field, f"{case.id}: field of block {index} is {found}, not {field}"


CHECKS: dict[str, Callable[..., None]] = {
    "status": _check_record("status", records.CompletionRecord),
    "result": _check_record("result", records.CompletionRecord),
    "dif_status": _check_record("result", records.CompletionRecord),
    "bytes_completed": _check_record("bytes_completed", records.CompletionRecord),
    "bytes_completed_max": _check_at_most,
    "crc_value": _check_crc,
    "delta_rec_size": _check_record("delta_rec_size", records.DeltaRecord),
    "src_ref_tag": _check_record("src_ref_tag", records.DifRecord),
    "src_app_tag": _check_record("src_app_tag", records.DifRecord),
    "src_app_mask": _check_record("src_app_tag_mask", records.DifRecord),
    "dst_ref_tag": _check_record("dst_ref_tag", records.DifRecord),
    "dst_app_tag": _check_record("dst_app_tag", records.DifRecord),
    "dst_app_mask": _check_record("dst_app_tag_mask", records.DifRecord),
    "difs": _check_fields,
}
"""By name of the expectation; any other is a buffer's digest."""


# ---- single-fault descriptors ------------------------------------------------------------------------------------------------
REGIONS = ("S", "D", "D2", "E", "L", "C")
"""Mapped, page-aligned, at least 4 MiB apart; C holds the record."""
PLACES = {
    "src": (16, 8), "dst": (24, 8), "src2": (24, 8), "dst2": (40, 8), "pattern_lower": (16, 8), "pattern_upper": (40, 8),
    "xfer_size": (32, 4), "int_handle": (36, 2), "crc_seed": (40, 8), "seed_addr": (48, 8), "desc_list": (16, 8),
    "desc_count": (32, 4), "max_delta_size": (48, 4), "delta_rec_size": (40, 4), "dif_flags": (42, 1), "region_size": (32, 4),
    "region_stride": (48, 4), "delta": (40, 8),
}  # fmt: skip
"""Byte offset and width of each field; the delta record of Apply Delta is at 16."""


@dataclass(frozen=True)
class SingleFault:
    """A descriptor that breaks one rule, or none."""

    id: str
    why: str
    fields: dict[str, Any]
    accept: tuple[int, ...]
    """Statuses that may answer it; empty: it is valid."""

    @property
    def in_batch(self) -> bool:
        """It is the member of an otherwise valid batch."""
        return bool(self.fields.get("in_batch"))

    def descriptor(self, regions: Addresses) -> bytes:
        """64 bytes for these regions."""
        desc, fields = bytearray(64), dict(self.fields)
        opcode = fields.pop("opcode")
        fields.pop("in_batch", None)
        raw = fields.pop("raw", {})
        flags = number(fields.pop("flags", int(Flag.CRAV | Flag.RCR)))
        desc[4:7], desc[7], desc[8:16] = flags.to_bytes(3, "little"), opcode, regions["C"].to_bytes(8, "little")
        for name, value in fields.items():
            offset, width = (16, 8) if (name, opcode) == ("delta", Opcode.AP_DELTA) else PLACES[name]
            desc[offset : offset + width] = _placed(value, regions).to_bytes(width, "little")
        for at, replacement in raw.items():
            piece = bytes.fromhex(replacement)
            desc[int(at) : int(at) + len(piece)] = piece
        return bytes(desc)


def _placed(value: int | str, regions: Addresses) -> int:
    if isinstance(value, str) and "+" in value:
        region, offset = value.split("+")
        return regions[region] + int(offset)
    return number(value)


def single_faults(document: dict[str, Any]) -> Iterator[SingleFault]:
    """All of them."""
    for found in document["descriptor_errors"]["cases"]:
        yield SingleFault(found["id"], found["why"], found["desc"], tuple(found["accept"]))
