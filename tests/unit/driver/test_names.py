"""A reader who knows irq.c finds each of its functions here by name, and docs/architecture.md says where."""

from importlib import import_module
from pathlib import Path

import pytest

IRQ_C = {
    "idxd_device_reinit": "reinit.device_reinit",
    "idxd_int_handle_revoke_drain": "resubmit.int_handle_revoke_drain",
    "idxd_abort_invalid_int_handle_descs": "revoke.abort_invalid_int_handle_descs",
    "idxd_int_handle_revoke": "revoke.int_handle_revoke",
    "idxd_evl_fault_work": "evl.evl_fault_work",
    "process_evl_entry": "evl.process_evl_entry",
    "process_evl_entries": "evl.process_evl_entries",
    "idxd_misc_thread": "irq.misc_thread",
    "idxd_int_handle_resubmit_work": "resubmit.int_handle_resubmit_work",
    "idxd_queue_int_handle_resubmit": "driver.Driver.queue_int_handle_resubmit",
    "irq_process_pending_llist": "wq_thread.irq_process_pending_llist",
    "irq_process_work_list": "wq_thread.irq_process_work_list",
    "idxd_wq_thread": "wq_thread.wq_thread",
}
"""Every function of irq.c."""
TEXT = (Path(__file__).parents[3] / "docs" / "architecture.md").read_text()


@pytest.mark.parametrize("name", IRQ_C)
def test_every_function_of_irq_c_is_here_and_in_the_table(name: str) -> None:
    """A function that is renamed takes its row with it."""
    module, _, rest = IRQ_C[name].partition(".")
    found = import_module(f"idxdd.driver.{module}")
    for part in rest.split("."):
        found = getattr(found, part)
    assert callable(found)
    assert f"`{name}`" in TEXT
    assert f"driver/{module}.py" in TEXT
