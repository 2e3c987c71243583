"""What to do about a refusal: hints by errno and cmd_status, roles, and devices that no command reaches."""

from __future__ import annotations

from typing import Any

from idxdctl.options import ask
from idxdd.control.client import ControlClient
from idxdd.control.errors import ControlError, NotAllowed, RequestError

HINTS: dict[str, str] = {
    "WQ_NO_GRP": "try config-wq NAME --group-id 0",
    "WQ_NO_NAME": "try config-wq NAME --name app1",
    "WQ_NO_THRESH": "try config-wq NAME --threshold, at most its size",
    "WQ_NO_SVM": "try config-wq NAME --mode dedicated",
    "WQ_NO_SWQ_SUPPORT": "make the WQ dedicated",
    "WQ_NONE_CONFIGURED": "put a WQ and an engine into a group, or load-config a file",
    "WQ_NO_DRV_NAME": "try config-wq NAME --driver-name user (type user) or dmaengine (type kernel)",
    "DEV_NOT_ENABLED": "enable-device first",
    "GROUP_CONFIG": "a group needs both a WQ and an engine, or neither",
    "WQ_PRIORITY_ZERO": "try config-wq NAME --priority 10",
    "NOT_CONFIGURED": "config-wq NAME configures it: size, group, type, name",
    "EPERM": "disable it first: disable-wq for a WQ's attributes, disable-device for sizes, groups' and the device's",
    "ENOENT": "`idxdctl list -i` shows what there is",
}
ROLES = {
    "needs the": "root and the daemon's own user have it, and whom the settings name: roles.admin_users, roles.admin_groups",
    "user role only": "kernel work queues are for root, the daemon's own user, and whom the settings name: "
    "roles.kernel_users, roles.kernel_groups",
    "not open to": 'the settings have that list: [wq."DEVICE/WQ"] users, groups',
}
HALTED = {
    "SOFTWARE": "`idxdctl reset {0}`",
    "FLR": "`idxdctl flr {0}`",
    "WARM": "`idxdctl bus-reset {0} --type warm`",
    "COLD": "`idxdctl bus-reset {0} --type cold`",
}
ALL_ONES = 0xFFFFFFFF


def hint_of(error: ControlError) -> str:
    """What a user who may not do that can do; empty for other errors."""
    if not isinstance(error, NotAllowed):
        return ""
    return next((hint for words, hint in ROLES.items() if words in error.text), "")


def out_of_reach(connection: ControlClient, device: str) -> tuple[str, str]:
    """ "removed" or "halted, needs ..." and the verb that helps; empty when it answers, or who asks may not know."""
    from idxdd.spec.codes import DeviceState, ResetType
    from idxdd.spec.registers import GENSTS

    try:
        register: dict[str, Any] = ask(connection, "regs", device=device)["registers"]["GENSTS"]
    except RequestError:
        return "", ""
    raw = int(register["value"], 16)
    if raw == ALL_ONES:
        return "removed", f"`idxdctl insert {device}` brings it back, disabled"
    status = GENSTS(raw)
    if status.state != DeviceState.HALT:
        return "", ""
    needed = ResetType(int(status.reset_type)).name
    return f"halted, needs a {needed.lower()} reset", HALTED[needed].format(device) + ", then load-config -e or enable-device"
