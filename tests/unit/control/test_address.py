"""Where daemon and client look for the socket: one rule for both, or they never meet."""

import os
from pathlib import Path

import pytest

from idxdd.control.address import check_length, client_socket_path, daemon_socket_path
from idxdd.control.errors import SocketPathTooLong


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("IDXDD_SOCKET", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)


def test_the_daemon_listens_where_its_user_may(monkeypatch: pytest.MonkeyPatch) -> None:
    """Environment first, then /run for root, the runtime directory, /tmp with the uid."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert daemon_socket_path() == "/tmp/idxdd-1000/default.sock"
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/r")
    assert daemon_socket_path("second") == "/r/idxdd/second.sock"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert daemon_socket_path() == "/run/idxdd/default.sock"
    monkeypatch.setenv("IDXDD_SOCKET", "/x/y.sock")
    assert daemon_socket_path() == client_socket_path() == "/x/y.sock"


def test_a_client_takes_its_users_own_daemon_before_the_systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who started a daemon of their own means that one."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert client_socket_path() == "/run/idxdd/default.sock"
    (tmp_path / "idxdd").mkdir()
    (tmp_path / "idxdd" / "default.sock").touch()
    assert client_socket_path() == str(tmp_path / "idxdd" / "default.sock")


def test_a_path_is_measured_in_bytes() -> None:
    """107 fit into sockaddr_un; a character may be more than one."""
    check_length("/" + "x" * 106)
    for path in ("/" + "x" * 107, "/" + "ä" * 54):
        with pytest.raises(SocketPathTooLong, match="at most 107"):
            check_length(path)
