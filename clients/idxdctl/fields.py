"""Descriptors as people write them: `op=memmove src=0x1000 dst=0x2000 size=4K flags=bof`, or 64 bytes in hexadecimal."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from idxdctl.output import Failed
from idxdctl.sizes import parse_size
from idxdd.control.exitcodes import ExitCode
from idxdd.spec.codes import Flag, Opcode, OpFlag
from idxdd.spec.limits import DESCRIPTOR_BYTES
from idxdd.spec.records import VIEWS, Descriptor

OPERATION_ALIASES = {
    "memory_move": "MEMMOVE", "move": "MEMMOVE", "copy": "MEMMOVE", "fill": "MEMFILL", "compare_pattern": "COMPVAL",
    "create_delta": "CR_DELTA", "apply_delta": "AP_DELTA", "translation_fetch": "TRANSL_FETCH", "crc": "CRCGEN",
    "dif_insert": "DIF_INS", "dif_strip": "DIF_STRP", "dif_update": "DIF_UPDT", "dix_generate": "DIX_GEN",
    "cache_flush": "CFLUSH", "no_op": "NOOP",
}  # fmt: skip
FIELD_ALIASES: dict[str, tuple[str, ...]] = {
    "src": ("src_addr", "src1_addr", "addr"),
    "src1": ("src1_addr", "src_addr"),
    "src2": ("src2_addr",),
    "dst": ("dst_addr", "dst1_addr"),
    "dst1": ("dst1_addr", "dst_addr"),
    "dst2": ("dst2_addr",),
    "size": ("region_size", "xfer_size"),
    "count": ("desc_count",),
    "list": ("desc_list_addr",),
    "pattern": ("pattern", "pattern_lower"),
    "delta": ("delta_addr",),
    "delta_size": ("delta_rec_size", "max_delta_size"),
    "seed": ("crc_seed",),
    "stride": ("region_stride",),
    "expect": ("expected_result", "expected_result_mask"),
    "record": ("completion_addr",),
    "handle": ("int_handle",),
}
"""What a field may be called besides its own name: the first one that the operation has."""
ADDRESSES = frozenset({"completion_addr", "operand1", "operand2"})
_OPERATION_FLAGS: dict[Opcode, tuple[str, ...]] = {
    Opcode.BATCH: ("BATCH_",),
    Opcode.DRAIN: ("DRAIN_",),
    Opcode.MEMFILL: ("FILL_",),
    Opcode.TRANSL_FETCH: ("TRANSL_",),
    Opcode.CRCGEN: ("CRC_",),
    Opcode.COPY_CRC: ("CRC_",),
    Opcode.UPDATE_WINDOW: ("UPDATE_",),
    Opcode.REDUCE: ("REDUCE_DOMAIN",),
    Opcode.REDUCE_DUALCAST: ("REDUCE_",),
}
_SIDES = ("SRC_ALTERNATE", "DST_ALTERNATE")
_BIT = re.compile(r"bit(\d{1,2})")
Resolve = Callable[[str], int | None]


def is_address(name: str) -> bool:
    """Does this field hold an address?"""
    return name in ADDRESSES or "_addr" in name or name == "addr"


def from_hex(text: str, size: int, what: str) -> bytes:
    """`size` bytes, written with or without blanks, colons, commas and 0x."""
    digits = re.sub(r"0[xX]|[\s,:_]", "", text)
    try:
        raw = bytes.fromhex(digits)
    except ValueError:
        raise Failed(f"{what}: {text!r:.60} is not hexadecimal", ExitCode.USAGE) from None
    if len(raw) != size:
        raise Failed(f"{what}: has {size} bytes, not {len(raw)}", ExitCode.USAGE)
    return raw


def parse_opcode(text: str) -> int:
    """By name or number; Failed names the closest one."""
    name = text.strip().lower().replace("-", "_")
    name = OPERATION_ALIASES.get(name, name.upper())
    if name in Opcode.__members__:
        return Opcode[name]
    try:
        number = int(text, 0)
    except ValueError:
        from difflib import get_close_matches

        known = [*OPERATION_ALIASES, *(opcode.name.lower() for opcode in Opcode)]
        close = get_close_matches(text.lower(), known, 1)
        hint = f"did you mean {close[0]}?" if close else "for example memmove, fill, crc, dif_insert"
        raise Failed(f"no operation {text!r:.40}", ExitCode.USAGE, hint=hint) from None
    if not 0 <= number <= 0xFF:
        raise Failed(f"operation {text:.40}: an opcode has 8 bits", ExitCode.USAGE)
    return number


def op_flags_of(opcode: int) -> dict[str, int]:
    """The operation's own flags (bits 23:16), by name."""
    prefixes = _OPERATION_FLAGS.get(Opcode(opcode), ()) if opcode in Opcode._value2member_map_ else ()
    if opcode in (0x18, 0x1C, 0x1D, 0x1E, 0x23, 0x24, 0x25, 0x26):
        prefixes = _SIDES + (("FILL_",) if opcode == Opcode.INTER_DOMAIN_FILL else ())
    return {name: int(flag) for name, flag in OpFlag.__members__.items() if name.startswith(prefixes or ("?",))}


def parse_flags(text: str | int | Iterable[str], opcode: int) -> int:
    """Names separated by | + or blanks, bit6, or a number; Failed lists what there is."""
    if isinstance(text, str):
        words = re.split(r"[|+\s]+", text.strip())
    elif isinstance(text, int):
        words = [str(text)]
    elif isinstance(text, list | tuple):
        words = [str(word) for word in text]
    else:
        raise Failed(f"flags: {text!r:.40} is neither a number nor names", ExitCode.USAGE)
    flags = 0
    own = op_flags_of(opcode)
    for word in filter(None, words):
        name = word.upper()
        bit = _BIT.fullmatch(word.lower())
        if name in Flag.__members__:
            flags |= Flag[name]
        elif name in own or any(known.endswith(f"_{name}") for known in own):
            flags |= own[name] if name in own else next(value for known, value in own.items() if known.endswith(f"_{name}"))
        elif bit and int(bit[1]) < 24:
            flags |= 1 << int(bit[1])
        else:
            try:
                flags |= int(word, 0)
            except ValueError:
                known_flags = ", ".join([*Flag.__members__, *own])
                raise Failed(f"no flag {word!r:.40}", ExitCode.USAGE, hint=f"there is {known_flags}".lower()) from None
    if not 0 <= flags < 1 << 24:
        raise Failed(f"flags {flags:#x}: there are 24", ExitCode.USAGE)
    return flags


def flag_names(flags: int, opcode: int) -> list[str]:
    """Every set flag by name; bits that have none as bit6."""
    own = {value: name for name, value in op_flags_of(opcode).items()}
    names = []
    for number in range(24):
        bit = 1 << number
        if flags & bit:
            common = Flag(bit).name if bit in Flag._value2member_map_ else None
            names.append(common or own.get(bit) or f"bit{number}")
    return names


def build(given: dict[str, Any], *, resolve: Resolve = lambda text: None, what: str = "descriptor") -> Descriptor:
    """A descriptor from fields by name; `resolve` turns words into addresses. Failed names field and rule."""
    fields = {name.strip().lower().replace("-", "_"): value for name, value in given.items()}
    op = fields.pop("op", fields.pop("opcode", None))
    if op is None:
        raise Failed(f"{what}: no operation", ExitCode.USAGE, hint="write op=memmove, for example")
    try:
        opcode = parse_opcode(str(op))
        kind: type[Descriptor] = VIEWS.get(Opcode(opcode), Descriptor) if opcode in Opcode._value2member_map_ else Descriptor
        values: dict[str, Any] = {"opcode": opcode, "flags": parse_flags(fields.pop("flags", 0), opcode)}
        for name, value in fields.items():
            field = _field_of(kind, name)
            values[field] = _number(kind, field, value, resolve)
        return kind.encode(**values)
    except Failed as error:
        raise Failed(f"{what}: {error}", error.exit_code) from None
    except ValueError as error:
        raise Failed(f"{what}: {error}", ExitCode.USAGE) from None


def _field_of(kind: type[Descriptor], name: str) -> str:
    if name in kind.fields:
        return name
    for real in FIELD_ALIASES.get(name, ()):
        if real in kind.fields:
            return real
    known = [field for field in kind.fields if field not in ("opcode", "flags")]
    raise Failed(f"no field {name!r:.40}", ExitCode.USAGE, hint=f"this operation has {', '.join(known)}")


def _number(kind: type[Descriptor], name: str, value: Any, resolve: Resolve) -> int | bytes:
    field = kind.fields[name]
    if field.kind is bytes:
        return from_hex(str(value), field.width // 8, name)
    if isinstance(value, bool | int):
        return int(value)
    text = str(value).strip()
    found = resolve(text) if is_address(name) else None
    if found is not None:
        return found
    if text.startswith("-"):
        raise Failed(f"{name}: {text!r:.40} is negative", ExitCode.USAGE)
    try:
        return int(text, 0)
    except ValueError:
        pass
    if not is_address(name):
        try:
            return parse_size(text)
        except ValueError:
            pass
    raise Failed(f"{name}: {text!r:.40} is not a number", ExitCode.USAGE)


def split_words(words: Iterable[str], what: str = "descriptor") -> dict[str, str]:
    """`name=value` each; Failed on anything else, and on a name given twice."""
    fields: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise Failed(f"{what}: {word!r:.40} is not NAME=VALUE", ExitCode.USAGE)
        if name in fields:
            raise Failed(f"{what}: {name} is given twice", ExitCode.USAGE)
        fields[name] = value
    return fields


def as_descriptor(raw: bytes) -> Descriptor:
    """64 bytes under the names of their operation."""
    from idxdd.spec.records import view

    assert len(raw) == DESCRIPTOR_BYTES
    return view(raw)


def shown(name: str, value: object) -> str:
    """A field's value as people read it: addresses in hexadecimal, sizes in decimal."""
    if isinstance(value, bytes):
        return value.hex() if any(value) else "0"
    if isinstance(value, bool):
        return str(int(value))
    assert isinstance(value, int)
    if "size" in name or "count" in name or name == "pasid":
        return str(int(value))
    return f"{int(value):#x}" if value else "0"
