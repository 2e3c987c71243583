"""The engine's matching is the dry run's: the same rules mean the same descriptors in C and in Python."""

from engine_bench import Bench, Client, bench
from fault_rules import flags
from hypothesis import given, settings
from hypothesis import strategies as st

from idxdd import native
from idxdd.device.faults import Rule, What, When, Where
from idxdd.device.faults.compiled import Progress, compiled
from idxdd.device.faults.counting import strikes
from idxdd.device.faults.matching import Point, mismatch
from idxdd.device.faults.operations import OPERATIONS
from idxdd.device.faults.values import NO_MEMBER, Span
from idxdd.spec.codes import Flag, Opcode, Operand
from idxdd.spec.records import Descriptor

PASID = 2
EDGES = st.sampled_from([0, 1, 31, 520, 1039, 1040, 4063, 4064, 4095, 4096, 4175, 4176, 5135, 8191, 8192, 12287, 12288, 16384])
few_flags = flags.map(lambda wanted: type(wanted)(wanted.are_set & 0x0C, wanted.are_clear & 0x110))
FIELDS = {
    "wq": st.sampled_from([("dsa0/wq0.0",), ("dsa0/wq0.1",), ("dsa0/wq0.0", "dsa0/wq0.2")]),
    "pasid": st.sampled_from([PASID, 7]),
    "op": st.lists(st.sampled_from(sorted(map(int, Opcode))), min_size=1, max_size=20).map(lambda ops: tuple(sorted(set(ops)))),
    "flags": few_flags.filter(lambda wanted: wanted.are_set | wanted.are_clear),
    "addr": st.tuples(EDGES, EDGES).map(lambda ends: Span(min(ends), max(ends))),
    "size": st.tuples(EDGES, EDGES).map(lambda ends: Span(min(ends), max(ends))),
    "member": st.just(NO_MEMBER),
}
names = st.lists(st.sampled_from([*FIELDS, "addr", "addr", "size"]), max_size=2, unique=True)
wheres = names.flatmap(lambda chosen: st.builds(Where, **{name: FIELDS[name] for name in chosen}))
whens = st.builds(When, nth=st.integers(1, 4)) | st.builds(When, every=st.integers(1, 3)) | st.builds(When, chance=st.just(0.5))


def carried_out(engine: Bench, client: Client, desc: bytes) -> None:
    """Dispatched, and whatever it waits for is answered."""
    client.publish(desc)
    for _ in range(8):
        for exit in engine.run(2):
            if exit.kind == native.EXIT_FAULT:
                code = 0x1A if exit.operand == Operand.COMPLETION_RECORD else 0x03
                engine.engine.resume(exit.context, exit.generation, native.RESUME_FAIL, code)
            elif exit.kind == native.EXIT_ERROR:
                engine.engine.resume(exit.context, exit.generation, native.RESUME_FINISH)
        if client.get("done") == client.tail:
            return
    raise AssertionError("a descriptor does not end")


def near(draw: st.DrawFn) -> int:
    return draw(st.sampled_from([0, 4096, 8192, 12288]))


@st.composite
def descriptors(draw: st.DrawFn) -> bytes:
    """Any operation but a Batch, whose members would be met too, with operands that lie side by side; flags as they come."""
    opcodes = [opcode for opcode in sorted(OPERATIONS) if opcode not in (Opcode.BATCH, Opcode.TRANSL_FETCH)]
    third, fourth = near(draw).to_bytes(8, "little"), draw(st.sampled_from([0, 80, 4096, 8192])).to_bytes(8, "little")
    flags = draw(st.sampled_from([0, Flag.CRAV, Flag.CRAV | Flag.RCR, Flag.CRAV | Flag.RCR | Flag.RCI]))
    return Descriptor.encode(
        flags=flags | draw(st.sampled_from([0, 1 << 16, 1 << 17, 1 << 19])),
        opcode=draw(st.sampled_from([*opcodes, 0x33])),
        completion_addr=near(draw) + draw(st.sampled_from([0, 4064])),
        operand1=near(draw),
        operand2=near(draw),
        xfer_size=draw(st.sampled_from([0, 1, 520, 1040, 4096, 8192])),
        op_specific=third + fourth + draw(st.binary(min_size=8, max_size=8)),
    ).pack()


def test_engine_and_dry_run_mean_the_same_descriptors() -> None:
    """Whatever the rule and the 64 bytes: a match there is a match here, and the same ones are hits."""
    with bench() as engine:
        engine.wq(0)
        client = engine.client(0, PASID)

        @given(wheres, whens, st.lists(descriptors(), min_size=1, max_size=6))
        @settings(max_examples=200, deadline=None)
        def check(where: Where, when: When, given_: list[bytes]) -> None:
            rule = Rule(where, when, What("drop"))
            rows = compiled(rule, 1, [0], [where.pasid], 0, Progress())
            engine.settle(engine.engine.set_rules(b"".join(rows)))
            matches = hits = 0
            for desc in given_:
                carried_out(engine, client, desc)
                if mismatch(rule, Point(desc, "dsa0/wq0.0", pasid=PASID)) is None:
                    matches += 1
                    hits += strikes(when, matches, hits)
                assert engine.engine.rule_counters() == [(matches, hits)], (str(rule), desc.hex())

        check()
