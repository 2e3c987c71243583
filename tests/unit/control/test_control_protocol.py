"""Frames of the control protocol: the schema lets in what its table says; a refusal names the key and the rule."""

import contextlib

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from idxdd.control import protocol
from idxdd.control.protocol import BadFrame, decode, encode_request, parse_answer, parse_request


def frame(**keys: object) -> bytes:
    return bytes(msgpack.packb(keys))


GOOD: dict[str, dict[str, object]] = {
    "hello": {},
    "list": {},
    "stats": {"after": 7},
    "agent": {},
    "alloc": {"size": 4096},
    "map": {"buffer": 1, "address": 0x7F0000000000},
    "unmap": {"address": 0x7F0000000000},
    "free": {"buffer": 1},
    "open": {"wq": "dsa0/wq0.1"},
    "cdev_open": {"wq": "dsa0/wq0.1"},
    "mmap": {"portal": 1, "size": 4096},
    "write": {"portal": 1, "data": "00"},
    "poll": {"portal": 1},
    "file": {"portal": 1},
    "perfmon_start": {"device": "dsa0", "category": 0, "events": 1},
    "perfmon_read": {"device": "dsa0"},
    "perfmon_stop": {"device": "dsa0", "event": 0},
    "close": {"portal": 1},
    "reopen": {"portal": 1},
    "enable_device": {"device": "dsa0"},
    "disable_device": {"device": "dsa0"},
    "enable_wq": {"wq": "dsa0/wq0.1"},
    "disable_wq": {"wq": "dsa0/wq0.1"},
    "regs": {"device": "dsa0"},
    "topology": {},
    "save_config": {},
    "load_config": {"config": [{"dev": "dsa0"}]},
    "config": {"object": "dsa0/wq0.1", "attributes": [["size", "16"], ["name", ""]]},
    "reset_device": {"device": "dsa0"},
    "reload": {},
    "kick": {"pasid": 2},
    "halt": {"device": "dsa0", "reset_type": "software"},
    "bus_reset": {"device": "dsa0", "reset_type": "warm"},
    "remove": {"device": "dsa0"},
    "insert": {"device": "dsa0"},
    "pci": {"device": "dsa0", "set": [["prs", "0"]]},
    "revoke": {"device": "dsa0", "handle": 1},
    "trace_on": {"size": 256},
    "trace_off": {"discard": True},
    "trace": {"position": 0, "last": 16},
    "errors": {"last": 8},
    "locate": {"portal": 1, "at_ns": 1, "addresses": [4096]},
    "metrics": {"after": 1},
    "evl": {"device": "dsa0"},
    "close_window": {"device": "dsa0", "handle": 1},
    "windows": {},
    "open_window": {"device": "dsa0", "submitter": 2, "address": 4096, "size": 4096, "read": True, "update": False},
    "owners": {"after": 1},
    "swerr": {"device": "dsa0"},
    "inject": {"rules": ["do drop", {"do": {"action": "drop"}}]},
    "inject_list": {},
    "inject_remove": {"rule": 1},
    "inject_dry_run": {"rules": ["do drop"]},
}


def test_every_operation_has_an_example_here() -> None:
    """A new operation must come with its example, so that the tests below cover it."""
    assert set(GOOD) == set(protocol.OPS)


@pytest.mark.parametrize("op", GOOD)
def test_a_request_survives_the_wire(op: str) -> None:
    """What a client encodes is what the daemon reads."""
    request = parse_request(encode_request(9, op, GOOD[op]))
    assert (request.id, request.op, request.arguments) == (9, op, GOOD[op])


@pytest.mark.parametrize("op", GOOD)
def test_an_unknown_key_is_named(op: str) -> None:
    """A misspelt key must not be ignored silently: the program would believe it had an effect."""
    with pytest.raises(BadFrame, match="unknown key 'colour'"):
        parse_request(frame(v=1, id=1, op=op, **GOOD[op], colour=1))


@pytest.mark.parametrize("op", [op for op in GOOD if protocol.OPS[op].required or protocol.OPS[op].one_of])
def test_each_missing_key_is_named(op: str) -> None:
    """Leaving any one key out that must be there is refused with that key's name."""
    for key in GOOD[op].keys() - protocol.OPS[op].optional.keys():
        rest = {other: value for other, value in GOOD[op].items() if other != key}
        with pytest.raises(BadFrame, match=key):
            parse_request(frame(v=1, id=1, op=op, **rest))


@pytest.mark.parametrize("value", [None, True, 1.5, [], {}, -1, 2**64 - 1])
@pytest.mark.parametrize("op", [op for op in GOOD if GOOD[op]])
def test_each_wrong_value_is_named(op: str, value: object) -> None:
    """No operation takes any of these for its first key, but for flags, and what its readers judge: configurations, rules."""
    key = next(iter(GOOD[op]))
    if op in ("load_config", "inject", "inject_dry_run") and isinstance(value, list | dict):
        pytest.skip("a configuration, or fault rules")
    if op == "trace_off" and value is True:
        pytest.skip("its only key is a flag")
    with pytest.raises(BadFrame, match=key):
        parse_request(frame(v=1, id=1, op=op, **{**GOOD[op], key: value}))


@pytest.mark.parametrize(
    ("payload", "rule"),
    [
        (b"", "not one msgpack map"),
        (b"\xc1", "not one msgpack map"),
        (frame(v=1, op="list"), "'id' is missing"),
        (frame(id=1, op="list"), "'v' is missing"),
        (frame(v=1, id=1), "'op' is missing"),
        (frame(v=2, id=1, op="list"), "'v' must be 1"),
        (frame(v=True, id=1, op="list"), "'v' must be 1"),
        (frame(v=1.0, id=1, op="list"), "'v' must be 1"),
        (frame(v=1, id=0, op="list"), "'id' must be between"),
        (frame(v=1, id="1", op="list"), "'id' must be an integer"),
        (frame(v=1, id=2**64 - 1, op="list"), "'id' must be between"),
        (frame(v=1, id=1, op="fly"), "'op' must name an operation"),
        (frame(v=1, id=1, op=["list"]), "'op' must name an operation"),
        (frame(v=1, id=1, op="map", address=0), "exactly one of 'buffer', 'channel'"),
        (frame(v=1, id=1, op="map", address=0, buffer=1, channel=1), "exactly one of 'buffer', 'channel'"),
        (frame(v=1, id=1, op="open", wq="x" * 65), "1 to 64 printable bytes"),
        (frame(v=1, id=1, op="open", wq=""), "1 to 64 printable bytes"),
        (frame(v=1, id=1, op="open", wq="a\nb"), "1 to 64 printable bytes"),
        (bytes(msgpack.packb([1, 2])), "not a map"),
        (frame(v=1, id=1, op="list") * 2, "not one msgpack map"),
        (b"\x82\xa1v\x01\xa1v\x01", "'v' appears twice"),
        (b"\x81\x01\x01", "not one msgpack map"),
        (b"\x81\xc4\x01a\x01", "not"),
        (b"\x81\xa1v\xd6\xff\x00\x00\x00\x00", "not one msgpack map"),
        (b"\x81\xa1v\xc7\x00\x05", "extension type 5"),
        (b"\x91" * 60000, "not one msgpack map"),
        (b"\x81\xa1v" * 20000, "not one msgpack map"),
        (b"\xdd\xff\xff\xff\xff", "not one msgpack map"),
        (b"\xdf\xff\xff\xff\xff", "not one msgpack map"),
        (b"\xdb\xff\xff\xff\xff", "not one msgpack map"),
        (b"\xc6\x00\x00\x00\x01a", "not one msgpack map"),
        (b"\x80" + b"\x00" * 65536, "longer than 65536"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # the bytes would be the test's name, and its environment
)
def test_a_bad_frame_is_refused_with_its_rule(payload: bytes, rule: str) -> None:
    """Truncated, nested, huge, doubled, or simply something else: one named error, never another exception."""
    with pytest.raises(BadFrame, match=rule):
        parse_request(payload)


def test_a_refusal_keeps_the_request_number() -> None:
    """So that the client can tell which of its requests was wrong."""
    with pytest.raises(BadFrame) as refused:
        parse_request(frame(v=1, id=77, op="list", x=1))
    assert refused.value.request_id == 77


@given(st.binary(max_size=300))
def test_random_bytes_never_raise_anything_else(payload: bytes) -> None:
    """The daemon's loop catches BadFrame and nothing else here."""
    for parse in (parse_request, parse_answer, decode):
        with contextlib.suppress(BadFrame):
            parse(payload)


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(
    st.dictionaries(
        st.sampled_from(["v", "id", "op", "wq", "size", "address", "buffer"]) | st.text(max_size=8), PLAIN, max_size=6
    )
)
def test_well_formed_maps_are_requests_or_refused(keys: dict[str, object]) -> None:
    """Valid msgpack with arbitrary keys and values: a request that keeps its schema, or a named refusal."""
    try:
        request = parse_request(bytes(msgpack.packb(keys)))
    except BadFrame:
        return
    assert protocol.OPS[request.op].problem(request.arguments) is None


def test_a_client_is_told_before_it_sends_nonsense() -> None:
    """The client side checks against the same table."""
    with pytest.raises(ValueError, match="'size' must be between"):
        encode_request(1, "alloc", {"size": 0})
    with pytest.raises(ValueError, match="unknown op"):
        encode_request(1, "fly", {})


def _nested(depth: int) -> list[object]:
    value: list[object] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("config", "rule"),
    [
        (_nested(16), "deeper than 16"),
        (_nested(5000), "deeper than 16"),
        ([{"dev": "x" * 40000}], "longer than 32768"),
        ([{"name": "x" * 900}] * 100, "at most 60000"),
        ([0] * 5000, "at most 4096"),
        ([{"size": 10**30}], "cannot be passed on"),
        ([{"name": "\ud800"}], "cannot be passed on"),
        ([{1: 2}], "not a string"),
    ],
)
def test_a_configuration_is_as_large_as_a_frame(config: object, rule: str) -> None:
    """Said by name before it is sent: idxdd-irq would take it for a bad frame, and end."""
    wrong = protocol.Document().problem(config)
    assert wrong is not None
    assert rule in wrong


def test_answers_are_told_apart() -> None:
    """Exactly one of ok and error, both maps."""
    assert parse_answer(protocol.encode_answer(3, {"a": 1})).ok == {"a": 1}
    refused = parse_answer(protocol.encode_error(3, "EBUSY", "taken"))
    assert (refused.ok, refused.code, refused.text) == (None, "EBUSY", "taken")
    for wrong in ({"id": 1}, {"id": 1, "ok": {}, "error": {}}, {"id": 1, "ok": 1}, {"id": 1, "error": {"code": 1, "text": ""}}):
        with pytest.raises(BadFrame):
            parse_answer(protocol.encode(wrong))
