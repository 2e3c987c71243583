"""A resubmission whose channel goes away while it waits."""

from driver_bench import configured

from idxdd.spec.codes import Flag, Opcode
from idxdd.spec.records import Descriptor
from idxdd.testing.mock_device import MockChannel

SHARED = 2


def test_a_channel_detached_while_its_resubmission_waits_for_room() -> None:
    """The wait looked at a portal that was unmapped: idxdd-irq ended with a traceback, and every client waited for the next."""
    with configured() as bench:
        channel = MockChannel()
        bench.attach(channel, SHARED)
        channel.set_own(limit=0)  # no room, and the device does not answer the question for it
        channel.set_desc(0, Descriptor.encode(opcode=Opcode.NOOP, flags=Flag.RCI, int_handle=3).pack())
        channel.push(0)
        channel.set_status(0, 0x19)
        bench.driver.interrupt(0, SHARED + 1)
        for _ in range(20):
            bench.turn()
        (what,) = bench.driver.works.statistics().values()
        assert "room" in what
        number = bench.send("detach", channel=channel.number)
        bench.run()
        assert "ok" in bench.answers[number]
        assert bench.driver.works.idle
