"""A window whose entry cannot be cleared at once: nobody forgets it, and its PASIDs are not free before."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from idxdd.control.roles import Role
from idxdd.service import windows
from idxdd.service.tasks import Fail, Refused, Resume, Steps, Wait, run
from idxdd.service.windows import Window, Windows
from idxdd.spec.registers import IDPT

HANDLE = 3


class Daemon:
    """One device with one window; idxdd-irq answers when the test says so."""

    def __init__(self) -> None:
        self.owner, self.submitter, self.admin = (self._session(pasid) for pasid in (2, 3, 4))
        self.admin.roles = Role.USER | Role.ADMIN
        entry = IDPT.encode(usable=True, access_pasid=2, submitter_pasid=3, window_en=True)
        self.table = {HANDLE: entry}
        registers = SimpleNamespace(read=lambda _register, handle: self.table.get(handle, IDPT.encode()))
        device = cast(Any, SimpleNamespace(name="dsa0", index=0, registers=registers, domains=SimpleNamespace(count=64)))
        self.devices = {"dsa0": device}
        self.windows = Windows()
        self.window = Window(device, HANDLE, cast(Any, self.owner), cast(Any, self.submitter), entry, settled=True)
        self.windows.add(self.window)
        self.asked: list[tuple[Resume, Fail]] = []
        self.link = SimpleNamespace(verb=self._verb)
        self.port = SimpleNamespace(unbind_pasid=lambda _pasid: None)
        self.log = SimpleNamespace(warning=lambda _text: None)

    @staticmethod
    def _session(pasid: int) -> Any:
        return SimpleNamespace(pasid=pasid, roles=Role.USER, ended=False)

    def _verb(self, name: str, **arguments: Any) -> Wait:
        assert (name, arguments) == ("clear_window", {"device": 0, "entry": HANDLE})
        return lambda resume, fail: self.asked.append((resume, fail))

    def cleared(self) -> None:
        """idxdd-irq has done what was asked first."""
        self.table.pop(HANDLE, None)
        self.asked.pop(0)[0]({})

    def refuse(self) -> None:
        self.asked.pop(0)[1](Refused("EIO", "dsa0: did not answer"))

    def start(self, operation: Callable[..., Steps], session: Any, **arguments: Any) -> list[str]:
        """Filled when it ends: "done", or the refusal's code."""
        ended: list[str] = []
        run(
            operation(cast(Any, self), session, **arguments),
            lambda _, refusal: ended.append(refusal.code if refusal else "done"),
        )
        return ended


@pytest.fixture
def daemon() -> Daemon:
    return Daemon()


def test_a_window_whose_closing_was_refused_can_be_closed_again(daemon: Daemon) -> None:
    """It is as open as before: its owner must be able to try once more."""
    first = daemon.start(windows.close_window, daemon.owner, device="dsa0", handle=HANDLE)
    assert daemon.start(windows.close_window, daemon.admin, device="dsa0", handle=HANDLE) == ["ENOENT"]
    daemon.refuse()
    assert first == ["EIO"]
    assert list(daemon.windows) == [daemon.window]
    again = daemon.start(windows.close_window, daemon.owner, device="dsa0", handle=HANDLE)
    daemon.cleared()
    assert again == ["done"]
    assert list(daemon.windows) == []


@pytest.mark.parametrize("who", ["owner", "submitter"])
def test_a_session_that_ends_waits_for_a_window_that_is_being_closed(daemon: Daemon, who: str) -> None:
    """Else its PASID could be another client's while the entry still names it."""
    closing = daemon.start(windows.close_window, daemon.admin, device="dsa0", handle=HANDLE)
    left = daemon.start(windows.leave, getattr(daemon, who))
    assert (left, len(daemon.asked)) == ([], 1)
    daemon.cleared()
    assert (closing, left, daemon.asked) == (["done"], ["done"], [])


def test_a_session_that_ends_closes_what_another_could_not(daemon: Daemon) -> None:
    """The entry is still there: one of those who wait asks again, the others wait for that."""
    closing = daemon.start(windows.close_window, daemon.admin, device="dsa0", handle=HANDLE)
    ends = [daemon.start(windows.leave, session) for session in (daemon.owner, daemon.submitter)]
    daemon.refuse()
    assert (closing, ends, len(daemon.asked)) == (["EIO"], [[], []], 1)
    daemon.cleared()
    assert (ends, daemon.asked) == ([["done"], ["done"]], [])
    assert list(daemon.windows) == []
