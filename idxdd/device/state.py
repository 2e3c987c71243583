"""The two state machines of a device as tables: what GENSTS.state and WQCFG.wq_state may become.

Every change goes through change_device() or change_wq(); a move that is not in the table is a mistake of ours, whatever
the driver asked: its wrong requests are refused before (commands.RULES).
"""

from idxdd.device.registerfile import RegisterFile
from idxdd.spec.codes import DeviceState, ResetType, WqState
from idxdd.spec.registers import GENSTS, WQCFG

DEVICE_MOVES = frozenset(
    {
        (DeviceState.DISABLED, DeviceState.ENABLED),  # Enable Device
        (DeviceState.ENABLED, DeviceState.DRAIN),  # Disable Device, Reset Device: 9.2.9
        (DeviceState.DRAIN, DeviceState.DISABLED),  # when nothing is left
        (DeviceState.ENABLED, DeviceState.HALT),  # 5.7
        (DeviceState.DRAIN, DeviceState.HALT),
        (DeviceState.HALT, DeviceState.DISABLED),  # Reset Device, reset type 0
    }
)

WQ_MOVES = frozenset(
    {
        (WqState.DISABLED, WqState.ENABLED),  # Enable WQ
        (WqState.ENABLED, WqState.DRAIN),  # Disable or Reset, WQ or device
        (WqState.DRAIN, WqState.DISABLED),
        (WqState.ENABLED, WqState.DISABLED),  # Reset Device of a halted device
    }
)


def change_device(registers: RegisterFile, new: DeviceState, reset_type: ResetType = ResetType.SOFTWARE) -> None:
    """The one setter of GENSTS."""
    old = registers.get(GENSTS.state)
    assert (old, new) in DEVICE_MOVES, f"device state {old.name} -> {new.name}"
    registers.write(GENSTS.encode(state=new, reset_type=reset_type if new is DeviceState.HALT else 0))


def change_wq(registers: RegisterFile, wq_id: int, new: WqState) -> None:
    """The one setter of WQCFG.wq_state."""
    old = registers.get(WQCFG.wq_state, wq_id)
    assert (old, new) in WQ_MOVES, f"wq {wq_id}: state {old.name} -> {new.name}"
    registers.set(WQCFG, wq_id, wq_state=new)
