"""Frames of the control socket and of the link: one msgpack map each, checked against an explicit schema.

A request names its version, a number and an operation; its other keys are exactly those of the operation's row in OPS.
Whatever else arrives is a bad frame: it is answered once, with the key and the rule, and the connection is closed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgpack

VERSION = 1
FRAME_BYTES_MAX = 65536
FRAME_FDS_MAX = 16
TEXT_BYTES_MAX = 32768  # a request's own texts are shorter; a configuration's are for the driver to judge
MAP_KEYS_MAX = 4096
ARRAY_ITEMS_MAX = 4096
REQUEST_ID_MAX = 2**63 - 1


class BadFrame(ValueError):
    """The other side broke the protocol; `request_id` is what could be read of its number, 0 if nothing."""

    def __init__(self, text: str, request_id: int = 0) -> None:
        super().__init__(text)
        self.request_id = request_id


# ---- values -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Number:
    """An integer within bounds, both included."""

    minimum: int
    maximum: int

    def problem(self, value: object) -> str | None:
        if not isinstance(value, int) or isinstance(value, bool):
            return "must be an integer"
        if not self.minimum <= value <= self.maximum:
            return f"must be between {self.minimum} and {self.maximum}"
        return None


@dataclass(frozen=True)
class Text:
    """A string of at most so many bytes, not empty, printable."""

    longest_bytes: int

    def problem(self, value: object) -> str | None:
        if not isinstance(value, str):
            return "must be a string"
        if not 0 < len(value.encode()) <= self.longest_bytes or not value.isprintable():
            return f"must be 1 to {self.longest_bytes} printable bytes"
        return None


@dataclass(frozen=True)
class Numbers:
    """A list of 1 to `count_max` integers from 0 to `maximum`."""

    count_max: int
    maximum: int

    def problem(self, value: object) -> str | None:
        if not isinstance(value, list) or not 0 < len(value) <= self.count_max:
            return f"must be a list of 1 to {self.count_max} integers"
        wrong = (Number(0, self.maximum).problem(member) for member in value)
        return next((f"holds a member that {rule}" for rule in wrong if rule), None)


@dataclass(frozen=True)
class Flag:
    """True or false."""

    def problem(self, value: object) -> str | None:
        return None if isinstance(value, bool) else "must be true or false"


@dataclass(frozen=True)
class Document:
    """A configuration: what JSON can say, as deep and as long as a frame passes on."""

    depth_max: int = 16
    bytes_max: int = 60000

    def problem(self, value: object) -> str | None:
        if not isinstance(value, list | dict):
            return "must be a list or a map"
        try:
            if _depth(value, self.depth_max) > self.depth_max:
                return f"must not be nested deeper than {self.depth_max}"
            length = len(msgpack.packb(value, use_bin_type=True))
        except (OverflowError, UnicodeError, TypeError) as error:
            return f"holds a value that cannot be passed on: {error}"
        if length > self.bytes_max:
            return f"is {length} bytes packed, at most {self.bytes_max}"
        return _widest(value)


@dataclass(frozen=True)
class Pairs:
    """A list of [name, value], all strings; a value may be empty."""

    count_max: int
    longest_bytes: int

    def problem(self, value: object) -> str | None:
        if not isinstance(value, list) or not 0 < len(value) <= self.count_max:
            return f"must be a list of 1 to {self.count_max} [name, value]"
        for pair in value:
            if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
                return "must hold [name, value], both strings"
            if any(len(text.encode(errors="replace")) > self.longest_bytes for text in pair):
                return f"must hold strings of at most {self.longest_bytes} bytes"
        return None


def _depth(value: object, limit: int) -> int:
    """How deep lists and maps are nested; stops looking past `limit`."""
    if not isinstance(value, list | dict) or limit < 0:
        return 0
    members = value.values() if isinstance(value, dict) else value
    return 1 + max((_depth(member, limit - 1) for member in members), default=0)


def _widest(value: object) -> str | None:
    """The frame's own limits, met before it is sent: a decoder of the other side would call it a bad frame."""
    if isinstance(value, str):
        too_long = len(value.encode()) > TEXT_BYTES_MAX
        return f"holds a string longer than {TEXT_BYTES_MAX} bytes" if too_long else None
    if isinstance(value, list):
        if len(value) > ARRAY_ITEMS_MAX:
            return f"holds a list of {len(value)}, at most {ARRAY_ITEMS_MAX}"
        return next((wrong for member in value if (wrong := _widest(member))), None)
    if isinstance(value, dict):
        if len(value) > MAP_KEYS_MAX:
            return f"holds a map of {len(value)} keys, at most {MAP_KEYS_MAX}"
        if not all(isinstance(key, str) for key in value):
            return "holds a key that is not a string"
        return next((wrong for pair in value.items() for member in pair if (wrong := _widest(member))), None)
    return None


Kind = Number | Numbers | Text | Flag | Document | Pairs

NAME = Text(64)
OBJECT = Number(1, 2**32 - 1)
COUNT = Number(0, REQUEST_ID_MAX)
SIZE_BYTES = Number(1, 2**47)
ADDRESS = Number(0, 2**56 - 1)  # what a process can have mapped, also with five-level paging


@dataclass(frozen=True)
class Op:
    """The keys of one operation: all of `required`, any of `optional`, exactly one of `one_of` when it is not empty."""

    required: Mapping[str, Kind] = field(default_factory=dict)
    optional: Mapping[str, Kind] = field(default_factory=dict)
    one_of: Mapping[str, Kind] = field(default_factory=dict)

    def problem(self, arguments: Mapping[str, object]) -> str | None:
        """The first rule these arguments break, with the key's name."""
        known = {**self.required, **self.optional, **self.one_of}
        for key, value in arguments.items():
            kind = known.get(key)
            if kind is None:
                return f"unknown key {key!r:.80}"
            wrong = kind.problem(value)
            if wrong:
                return f"key {key!r} {wrong}"
        for key in self.required:
            if key not in arguments:
                return f"key {key!r} is missing"
        if self.one_of and sum(key in arguments for key in self.one_of) != 1:
            return "exactly one of " + ", ".join(repr(key) for key in self.one_of) + " is needed"
        return None


OPS: dict[str, Op] = {
    "hello": Op(),
    "list": Op(),
    "stats": Op(optional={"after": Number(0, 2**20)}),
    "alloc": Op({"size": SIZE_BYTES}),
    "map": Op({"address": ADDRESS}, one_of={"buffer": OBJECT, "channel": OBJECT}),
    "unmap": Op({"address": ADDRESS}),
    "free": Op({"buffer": OBJECT}),
    "agent": Op(),
    "open": Op({"wq": NAME}),
    "cdev_open": Op({"wq": NAME}),
    "perfmon_start": Op(
        {"device": NAME, "category": Number(0, 15), "events": Number(1, 2**28 - 1)},
        optional={name: Number(0, 0xFFFF) for name in ("wq", "traffic_class", "page_size", "xfer_size", "engine")},
    ),
    "perfmon_read": Op({"device": NAME}),
    "perfmon_stop": Op({"device": NAME, "event": Number(0, 31)}),
    "mmap": Op({"portal": OBJECT, "size": SIZE_BYTES}),
    "write": Op({"portal": OBJECT, "data": Text(TEXT_BYTES_MAX)}),
    "poll": Op({"portal": OBJECT}),
    "file": Op({"portal": OBJECT}),
    "close": Op({"portal": OBJECT}),
    "reopen": Op({"portal": OBJECT}),
    "enable_device": Op({"device": NAME}),
    "disable_device": Op({"device": NAME}),
    "enable_wq": Op({"wq": NAME}),
    "disable_wq": Op({"wq": NAME}),
    "open_window": Op(
        {"device": NAME, "submitter": Number(2, 2**20 - 1), "address": ADDRESS, "size": SIZE_BYTES},
        {"read": Flag(), "write": Flag(), "offset": Flag(), "update": Flag()},
    ),
    "close_window": Op({"device": NAME, "handle": Number(0, 2**16 - 1)}),
    "windows": Op(),
    "regs": Op({"device": NAME}),
    "topology": Op(),
    "save_config": Op(),
    "load_config": Op({"config": Document()}, {"force": Flag(), "enable": Flag(), "dry_run": Flag()}),
    "config": Op({"object": NAME, "attributes": Pairs(32, 2048)}),
    "reset_device": Op({"device": NAME}),
    "reload": Op(),
    "halt": Op({"device": NAME, "reset_type": NAME}),
    "bus_reset": Op({"device": NAME, "reset_type": NAME}),
    "remove": Op({"device": NAME}),
    "insert": Op({"device": NAME}),
    "pci": Op({"device": NAME}, {"set": Pairs(16, 64)}),
    "revoke": Op({"device": NAME}, {"handle": Number(0, 2**16 - 1), "wq": NAME}),
    "trace_on": Op({"size": Number(64, 1 << 20)}),
    "trace_off": Op(optional={"discard": Flag()}),
    "trace": Op(optional={"position": Number(0, REQUEST_ID_MAX), "last": Number(1, 1 << 20)}),
    "errors": Op(optional={"last": Number(1, 1024)}),
    "owners": Op(optional={"after": Number(0, 1 << 20)}),
    "locate": Op({"portal": Number(0, 2**16 - 1), "at_ns": Number(0, 2**63 - 1), "addresses": Numbers(16, 2**64 - 1)}),
    "metrics": Op(optional={"after": Number(0, 1 << 24)}),
    "swerr": Op({"device": NAME}),
    "evl": Op({"device": NAME}),
    "kick": Op({"pasid": Number(2, 2**20 - 1)}),
    "inject": Op({"rules": Document()}),
    "inject_list": Op(optional={"after": Number(0, 2**32 - 1)}),
    "inject_remove": Op({"rule": Number(0, 2**32 - 1)}),  # 0: all of them
    "inject_dry_run": Op({"rules": Document()}, {"descriptors": Document(), "matches": COUNT, "hits": COUNT}),
}


# ---- encoding -----------------------------------------------------------------------------------------------------------


def _unique(pairs: list[tuple[Any, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if not isinstance(key, str):
            raise BadFrame("a key is not a string")
        if key in result:
            raise BadFrame(f"key {key!r:.80} appears twice")
        result[key] = value
    return result


def _no_extension(code: int, _data: bytes) -> object:
    raise BadFrame(f"extension type {code} is not used here")


def decode(payload: bytes, *, bytes_max: int = 0) -> dict[str, Any]:
    """One frame's map. BadFrame: not msgpack, too large or too deep, not a map, a key twice, an extension type.

    `bytes_max`: length of a binary value; clients send none, idxdd-irq sends records.
    """
    if len(payload) > FRAME_BYTES_MAX:
        raise BadFrame(f"frame is longer than {FRAME_BYTES_MAX} bytes")
    try:
        value = msgpack.unpackb(
            payload,
            strict_map_key=True,
            object_pairs_hook=_unique,
            ext_hook=_no_extension,
            max_str_len=TEXT_BYTES_MAX,
            max_bin_len=bytes_max,
            max_array_len=ARRAY_ITEMS_MAX,
            max_map_len=MAP_KEYS_MAX,
            max_ext_len=0,
        )
    except BadFrame:
        raise
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise BadFrame(f"frame is not one msgpack map within its limits: {type(error).__name__}") from None
    if not isinstance(value, dict):
        raise BadFrame(f"frame holds a {type(value).__name__}, not a map")
    return value


def encode(frame: Mapping[str, Any]) -> bytes:
    """The bytes of one frame. BadFrame when it would be too long to send."""
    payload: bytes = msgpack.packb(frame, use_bin_type=True)
    if len(payload) > FRAME_BYTES_MAX:
        raise BadFrame(f"frame of {len(payload)} bytes is longer than {FRAME_BYTES_MAX}")
    return payload


# ---- requests and answers -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Request:
    """A request that kept every rule of its schema."""

    id: int
    op: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """`ok` is the answer's map, or None: then `code` and `text` say why not."""

    id: int
    ok: dict[str, Any] | None
    code: str = ""
    text: str = ""


def encode_request(request_id: int, op: str, arguments: Mapping[str, Any]) -> bytes:
    """A request's frame; ValueError names the rule it would break."""
    row = OPS.get(op)
    wrong = f"unknown op {op!r:.80}" if row is None else row.problem(arguments)
    if wrong:
        raise ValueError(f"{op}: {wrong}")
    return encode({"v": VERSION, "id": request_id, "op": op, **arguments})


def parse_request(payload: bytes) -> Request:
    """The request in a frame. BadFrame names the key and the rule."""
    frame = decode(payload)
    request_id = frame.pop("id", None)
    if request_id is None:
        raise BadFrame("key 'id' is missing")
    wrong = Number(1, REQUEST_ID_MAX).problem(request_id)
    if wrong:
        raise BadFrame(f"key 'id' {wrong}")
    version = frame.pop("v", None)
    if version is None:
        raise BadFrame("key 'v' is missing", request_id)
    if version != VERSION or isinstance(version, bool | float):
        raise BadFrame(f"key 'v' must be {VERSION}: this daemon speaks no other version", request_id)
    op = frame.pop("op", None)
    if op is None:
        raise BadFrame("key 'op' is missing", request_id)
    row = OPS.get(op) if isinstance(op, str) else None
    if row is None:
        raise BadFrame(f"key 'op' must name an operation, not {op!r:.80}", request_id)
    wrong = row.problem(frame)
    if wrong:
        raise BadFrame(f"{op}: {wrong}", request_id)
    return Request(request_id, op, frame)


def encode_answer(request_id: int, ok: Mapping[str, Any]) -> bytes:
    """The frame of a good answer."""
    return encode({"id": request_id, "ok": ok})


def encode_error(request_id: int, code: str, text: str) -> bytes:
    """The frame of a refusal: errno's name and one line."""
    return encode({"id": request_id, "error": {"code": code, "text": text[:1024]}})


def parse_answer(payload: bytes) -> Answer:
    """The answer in a frame. BadFrame: it is none."""
    frame = decode(payload, bytes_max=FRAME_BYTES_MAX)  # pages of the trace are binary
    request_id, ok, error = frame.get("id"), frame.get("ok"), frame.get("error")
    if not isinstance(request_id, int) or set(frame) not in ({"id", "ok"}, {"id", "error"}):
        raise BadFrame("frame is not an answer")
    if isinstance(ok, dict):
        return Answer(request_id, ok)
    if isinstance(error, dict) and isinstance(error.get("code"), str) and isinstance(error.get("text"), str):
        return Answer(request_id, None, error["code"], error["text"])
    raise BadFrame("frame is not an answer", request_id)
