"""The listening socket: a stale one is replaced, a living one never, and every refusal says what is in the way."""

import os
import socket
import stat
from pathlib import Path

import pytest

from idxdd.control.errors import PermissionDenied, SocketPathTooLong
from idxdd.service.listen import SocketTaken, listen


def test_the_socket_is_private_and_goes_with_the_daemon(tmp_path: Path) -> None:
    """Mode 0600 in a directory made 0700: nobody else of this machine gets in."""
    path = tmp_path / "d" / "s"
    listener = listen(str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    listener.close()
    listener.close()
    assert not path.exists()


def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    """A killed daemon must not keep the next one from starting."""
    path = str(tmp_path / "s")
    dead = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    dead.bind(path)
    dead.close()
    listen(path).close()


@pytest.mark.parametrize("kind", [socket.SOCK_SEQPACKET, socket.SOCK_STREAM])
def test_a_living_socket_is_left_alone(tmp_path: Path, kind: socket.SocketKind) -> None:
    """Also one of another program, which speaks another socket type."""
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX, kind) as other:
        other.bind(path)
        other.listen(0)
        with pytest.raises(SocketTaken, match="another daemon listens at"):
            listen(path)
    assert os.path.exists(path)


def test_a_full_backlog_is_a_living_socket(tmp_path: Path) -> None:
    """A stopped daemon does not accept, but it has the path."""
    path = str(tmp_path / "s")
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as other,
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as one,
    ):
        other.bind(path)
        other.listen(0)
        one.connect(path)
        with pytest.raises(SocketTaken):
            listen(path)


def test_a_file_is_left_alone(tmp_path: Path) -> None:
    """A path mistyped as somebody's file must not remove it."""
    path = tmp_path / "file"
    path.write_text("precious")
    with pytest.raises(SocketTaken, match="is not a socket"):
        listen(str(path))
    assert path.read_text() == "precious"


def test_a_long_path_is_named_with_its_limit(tmp_path: Path) -> None:
    """Not "AF_UNIX path too long" without a word about which."""
    with pytest.raises(SocketPathTooLong, match="at most 107"):
        listen(str(tmp_path / ("x" * 120)))


def test_closing_leaves_the_successor_alone(tmp_path: Path) -> None:
    """Whoever replaced our socket keeps theirs when we end."""
    path = str(tmp_path / "s")
    first = listen(path)
    os.unlink(path)
    second = listen(path)
    first.close()
    assert os.path.exists(path)
    second.close()


def test_a_foreign_directory_is_refused(tmp_path: Path) -> None:
    """A predictable directory in /tmp may have been made by somebody else."""
    if os.geteuid() != 0:
        pytest.skip("needs root to make a foreign directory")
    directory = tmp_path / "foreign"
    directory.mkdir()
    os.chown(directory, 12345, 12345)
    with pytest.raises(PermissionDenied, match="belongs to uid 12345"):
        listen(str(directory / "s"))


def test_systemd_hands_over_a_socket(tmp_path: Path) -> None:
    """Socket activation: LISTEN_PID, LISTEN_FDS, descriptor 3; tried in a process of its own, whose descriptor 3 is free."""
    import subprocess
    import sys

    path = tmp_path / "s"
    code = (
        "import os, socket, sys\n"
        "s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.bind(sys.argv[1]); s.listen(1)\n"
        "os.dup2(s.fileno(), 3); os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1')\n"
        "from idxdd.service.listen import listen\n"
        "got = listen('/nowhere/else'); got.close()\n"
        "print(got.path, os.path.exists(sys.argv[1]), 'LISTEN_FDS' in os.environ)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.split() == [str(path), "True", "False"]
