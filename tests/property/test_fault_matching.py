"""The engine's matching is the dry run's: the same rules mean the same descriptors in C and in Python."""

from engine_bench import Bench, Client, bench
from fault_rules import descriptors, flags, maybe, spans
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from idxdd import native
from idxdd.device.faults import Rule, What, When, Where
from idxdd.device.faults.compiled import Progress, compiled
from idxdd.device.faults.counting import strikes
from idxdd.device.faults.matching import Point, mismatch
from idxdd.device.faults.values import NO_MEMBER
from idxdd.spec.codes import Opcode, Operand
from idxdd.spec.records import Descriptor

PASID = 2
few_flags = flags.map(lambda wanted: type(wanted)(wanted.are_set & 0x11C, wanted.are_clear & 0x11C & ~wanted.are_set))
wheres = st.builds(
    Where,
    wq=st.sampled_from([None, None, ("dsa0/wq0.0",), ("dsa0/wq0.1",), ("dsa0/wq0.0", "dsa0/wq0.2")]),
    pasid=st.sampled_from([None, None, PASID, 7]),
    op=maybe(
        st.lists(st.sampled_from(sorted(Opcode)), min_size=1, max_size=12).map(lambda ops: tuple(sorted(set(map(int, ops)))))
    ),
    flags=maybe(few_flags.filter(lambda wanted: wanted.are_set | wanted.are_clear)),
    addr=maybe(spans(1 << 25)),
    size=maybe(spans(8192)),
    member=st.sampled_from([None, None, NO_MEMBER]),
)
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


def plain(desc: bytes) -> bytes:
    """Neither a Batch, whose members would be met too, nor a Drain's readbacks, nor sizes that take long."""
    given_ = Descriptor.unpack(desc)
    assume(given_.opcode not in (Opcode.BATCH, Opcode.TRANSL_FETCH))
    return given_.replace(xfer_size=given_.xfer_size % 16384).pack()


def test_engine_and_dry_run_mean_the_same_descriptors() -> None:
    """Whatever the rule and the 64 bytes: a match there is a match here, and the same ones are hits."""
    with bench() as engine:
        engine.wq(0)
        client = engine.client(0, PASID)

        @given(wheres, whens, st.lists(descriptors().map(plain), min_size=1, max_size=6))
        @settings(max_examples=120, deadline=None)
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
