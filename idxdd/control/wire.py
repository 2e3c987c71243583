"""SEQPACKET frames with file descriptors: one datagram each way, nothing half-read, no descriptor ever left behind.

A receiver says how many descriptors it takes. The daemon takes none from clients: with no room for control data the
kernel drops what was sent before it becomes a descriptor here.
"""

import array
import os
import socket
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from idxdd.control.protocol import FRAME_BYTES_MAX, FRAME_FDS_MAX, BadFrame

_FD_BYTES = array.array("i").itemsize
_CREDENTIALS = struct.Struct("iII")
"""pid, uid, gid"""


@dataclass
class Frame:
    """One datagram; whoever holds it owns `fds`."""

    payload: bytes
    fds: list[int] = field(default_factory=list)
    pid: int = 0
    """Of the process that sent it, if it was asked for."""

    def close(self) -> None:
        """Close every descriptor that nobody took."""
        close_all(self.fds)
        self.fds.clear()


def close_all(fds: Iterable[int]) -> None:
    """Close each."""
    for fd in fds:
        os.close(fd)


def send(sock: socket.socket, payload: bytes, fds: Sequence[int] = ()) -> bool:
    """Send one frame; False: a non-blocking socket has no room. BrokenPipeError and ConnectionResetError: the peer left."""
    if len(fds) > FRAME_FDS_MAX:
        raise BadFrame(f"{len(fds)} descriptors in one frame, at most {FRAME_FDS_MAX}")
    control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    try:
        sock.sendmsg([payload], control, socket.MSG_NOSIGNAL)
    except BlockingIOError:
        return False
    return True


def tell_senders(sock: socket.socket) -> None:
    """From here on the kernel says of each frame which process sent it: receive(..., sender=True)."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)


def receive(sock: socket.socket, fds_max: int = FRAME_FDS_MAX, *, sender: bool = False) -> Frame | None:
    """One frame; None: the peer closed (an empty datagram counts as that).

    BlockingIOError and TimeoutError as the socket has it. BadFrame: too long, or more descriptors than fds_max;
    what arrived of them is closed.
    """
    space = socket.CMSG_SPACE(fds_max * _FD_BYTES) if fds_max else 0
    space += socket.CMSG_SPACE(_CREDENTIALS.size) if sender else 0
    payload, control, flags, _ = sock.recvmsg(FRAME_BYTES_MAX + 1, space, socket.MSG_CMSG_CLOEXEC)
    frame = Frame(payload, _descriptors(control), _sender(control) if sender else 0)
    wrong = None
    if flags & socket.MSG_CTRUNC or len(frame.fds) > fds_max:
        wrong = f"more than {fds_max} descriptors in a frame"
    elif flags & socket.MSG_TRUNC or len(payload) > FRAME_BYTES_MAX:
        wrong = f"frame is longer than {FRAME_BYTES_MAX} bytes"
    if wrong:
        frame.close()
        raise BadFrame(wrong)
    if not payload:
        frame.close()
        return None
    return frame


def _sender(control: list[tuple[int, int, bytes]]) -> int:
    for level, kind, data in control:
        if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS and len(data) >= _CREDENTIALS.size:
            return int(_CREDENTIALS.unpack_from(data)[0])
    return 0


def _descriptors(control: list[tuple[int, int, bytes]]) -> list[int]:
    fds = array.array("i")
    for level, kind, data in control:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % _FD_BYTES])
    return list(fds)
