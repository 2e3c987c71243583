"""Refusals for want of a role: an exit code of their own, and a hint that helps."""

import sys

import pytest

from idxdctl import main, parts, refusals
from idxdd.control import client
from idxdd.control.errors import NotAllowed, RequestError
from idxdd.control.exitcodes import ExitCode


@pytest.mark.parametrize(
    ("code", "text", "hint"),
    [
        ("EPERM", "op: load_config needs the admin role, which uid 65534 has not", "roles.admin_users"),
        ("EPERM", "wq: dsa0/wq0.2 is a kernel work queue; uid 65534 has the user role only", "roles.kernel_users"),
        ("EACCES", "wq: dsa0/wq0.1 is not open to uid 7: neither the user nor a group is on its list", '[wq."'),
    ],
)
def test_who_lacks_a_role_is_told_about_roles(
    code: str, text: str, hint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A script tells by the exit code that trying again as somebody else helps; the hint is not to disable the device."""
    refusal = client._refusal("load_config", code, text)

    def refuse(_command: str) -> None:
        raise refusal

    monkeypatch.setattr(parts, "program", refuse)
    monkeypatch.setattr(sys, "argv", ["idxdctl", "load-config"])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == ExitCode.NO_PERMISSION
    said = capsys.readouterr().err
    assert hint in said
    assert "disable it first" not in said


def test_what_the_state_of_a_device_forbids_is_no_want_of_a_role() -> None:
    """The driver's EPERM is the same errno; a role would not help."""
    refusal = client._refusal("config", "EPERM", "dsa0/wq0.0: size: cannot be written while the device is enabled")
    assert isinstance(refusal, RequestError)
    assert not isinstance(refusal, NotAllowed)
    assert refusals.hint_of(refusal) == ""
