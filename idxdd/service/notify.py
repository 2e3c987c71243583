"""Telling whoever started us: ready, by systemd's socket or a descriptor; or why not, in one line."""

import contextlib
import os
import socket
import sys


def sd_notify(state: str) -> None:
    """One datagram to systemd, if it asked for that; never a wait, never an error."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
        sock.sendto(state.encode(), address)


def ready_fd(fd: int | None) -> None:
    """Write one byte and close: a parent that reads an end of file instead knows that we failed."""
    if fd is None:
        return
    with contextlib.suppress(OSError):
        os.write(fd, b"\n")
        os.close(fd)


def fail(text: str) -> None:
    """The one line a program ends with."""
    print(f"idxdd: {text}", file=sys.stderr, flush=True)
