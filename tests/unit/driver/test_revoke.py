"""Revocations that come while one is being handled."""

from driver_bench import configured

from idxdd.spec.codes import Command, InterruptCause

KERNEL = 2


def test_a_revoke_during_a_revoke_survives_the_driver() -> None:
    """The first work cleared the mark of both: killed then, the driver's successor kept an invalid handle, and what was
    submitted with it ended 0x19 without an interrupt, for ever."""
    with configured() as bench:
        mock = bench.device
        mock.handles.update({entry: 40 + entry for entry in range(1, 9)})
        mock.hold_commands = True
        mock.raise_cause(InterruptCause.INT_HANDLE_REVOKED)
        bench.run()
        first = bench.wq(KERNEL).int_handle
        mock.finish_command()  # the first WQ has its new handle, the second one is asked for
        bench.run()
        assert bench.wq(KERNEL).int_handle not in (None, first)
        mock.handles.update({entry: 80 + entry for entry in range(1, 9)})
        mock.raise_cause(InterruptCause.INT_HANDLE_REVOKED)
        bench.run()
        mock.finish_command()  # the first work ends, the second one begins
        bench.run()
        assert mock.commands[-1][0] is Command.REQUEST_INT_HANDLE
        bench.kill()
        mock.hold_commands = False
        mock.finish_command()
        bench.survive(bench.start)
        handle = bench.wq(KERNEL).int_handle
        assert handle is not None
        assert handle > 80, "the handle that is valid now"
