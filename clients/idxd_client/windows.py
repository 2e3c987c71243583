"""Inter-domain operations: windows on one's own memory, and descriptors that reach through somebody else's.

The owner opens a window for the PASID of another client (`wq.pasid` there) and tells that client the handle and, without
`offset`, the address; how they talk is theirs. Closing it, or the end of either client, cuts off whoever reaches in.
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

from idxd_client.buffers import Buffer, Operand, Region, resolve
from idxd_client.descriptors import Descriptor
from idxd_client.errors import OperandError, Refused
from idxdd.spec.codes import Opcode, OpFlag

if TYPE_CHECKING:
    from idxd_client.connection import Connection

SOURCE, DESTINATION = int(OpFlag.SRC_ALTERNATE_PASID), int(OpFlag.DST_ALTERNATE_PASID)
SOURCE_HANDLE_SHIFT, DESTINATION_HANDLE_SHIFT = 32, 48
"""Bytes 60 and 62 of the descriptor, within its last eight."""


class Window:
    """A part of this client's memory that one other client's descriptors may reach."""

    def __init__(self, connection: Connection, device: str, handle: int, address: int, size: int) -> None:
        self._connection = connection
        self.device = device
        self.handle = handle
        self.address = address
        self.size = size
        self.closed = False

    def close(self) -> None:
        """Nobody reaches in any more when this returns. Idempotent."""
        if not self.closed:
            self.closed = True
            try:
                self._connection.request("close_window", device=self.device, handle=self.handle)
            except Refused as refused:
                if refused.code != "ENOENT":  # it has ended with its submitter, or with a reset
                    raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Window({self.device}, handle {self.handle}, {self.size} bytes at {self.address:#x})"


def open_window(
    connection: Connection,
    memory: Buffer | Region,
    submitter: int,
    *,
    device: str = "dsa0",
    read: bool = False,
    write: bool = False,
    offset: bool = False,
    update: bool = False,
) -> Window:
    """Let `submitter` (a PASID) read or write `memory`, a buffer of the library or a part of one.

    `offset`: its descriptors count addresses from the window's start and never see where it lies. `update`: this client may
    change the window by Update Window. Refused: no such client, no inter-domain operations, too many windows.
    """
    if not isinstance(memory, Buffer | Region):
        raise OperandError("open_window: only memory from Connection.alloc() can be reached from another client")
    address, size = memory.address, memory.nbytes
    answer = connection.request(
        "open_window", device=device, submitter=submitter, address=address, size=size, read=read, write=write, offset=offset,
        update=update,
    )  # fmt: skip
    return Window(connection, device, int(answer["handle"]), address, size)


def inter_domain_copy(
    dst: Operand,
    src: Operand,
    size: int,
    *,
    dst_handle: int | None = None,
    src_handle: int | None = None,
    flags: int = 0,
) -> Descriptor:
    """Copy with one or both ends in another domain: an operand with a handle is an address (or offset) there, as an integer."""
    return _descriptor(Opcode.INTER_DOMAIN_COPY, src, dst, size, src_handle, dst_handle, flags)


def inter_domain_compare(
    src1: Operand,
    src2: Operand,
    size: int,
    *,
    src1_handle: int | None = None,
    src2_handle: int | None = None,
    flags: int = 0,
) -> Descriptor:
    """Compare with one or both sources in another domain."""
    return _descriptor(Opcode.INTER_DOMAIN_COMPARE, src1, src2, size, src1_handle, src2_handle, flags)


def inter_domain_fill(dst: int, pattern: int, size: int, *, dst_handle: int, flags: int = 0) -> Descriptor:
    """Repeat 8 bytes (little-endian) over memory of another domain."""
    return Descriptor(
        Opcode.INTER_DOMAIN_FILL, operand1=pattern, operand2=dst, size=size, flags=flags | DESTINATION,
        specific=(0, 0, dst_handle << DESTINATION_HANDLE_SHIFT),
    )  # fmt: skip


def inter_domain_compare_pattern(src: int, pattern: int, size: int, *, src_handle: int, flags: int = 0) -> Descriptor:
    """Compare memory of another domain with 8 bytes over and over."""
    return Descriptor(
        Opcode.INTER_DOMAIN_COMPVAL, operand1=src, operand2=pattern, size=size, flags=flags | SOURCE,
        specific=(0, 0, src_handle << SOURCE_HANDLE_SHIFT),
    )  # fmt: skip


def update_window(
    window: Window, memory: Buffer | Region, *, read: bool = False, write: bool = False, offset: bool = False, flags: int = 0
) -> Descriptor:
    """The window lies over `memory` from now on; done when nobody uses the old one any more."""
    return Descriptor(
        Opcode.UPDATE_WINDOW, operand1=memory.address, operand2=memory.nbytes, flags=flags,
        specific=(0, 0, (read | write << 1 | 1 << 2 | offset << 3) << 40 | window.handle << DESTINATION_HANDLE_SHIFT),
    )  # fmt: skip


def _descriptor(
    opcode: Opcode, first: Operand, second: Operand, size: int, first_handle: int | None, second_handle: int | None, flags: int
) -> Descriptor:
    if first_handle is None and second_handle is None:
        raise OperandError(f"{opcode.name.lower()}: neither operand has a handle; the plain operation does that")
    operands = []
    for operand, handle in ((first, first_handle), (second, second_handle)):
        if handle is not None and not isinstance(operand, int):
            raise OperandError(f"{opcode.name.lower()}: an operand with a handle is an address in the other domain")
        operands.append(resolve(operand, opcode.name.lower())[0])
    flags |= (SOURCE if first_handle is not None else 0) | (DESTINATION if second_handle is not None else 0)
    handles = (first_handle or 0) << SOURCE_HANDLE_SHIFT | (second_handle or 0) << DESTINATION_HANDLE_SHIFT
    own = tuple(one for one, handle in ((first, first_handle), (second, second_handle)) if handle is None)
    return Descriptor(
        opcode, operand1=operands[0], operand2=operands[1], size=size, flags=flags, specific=(0, 0, handles), operands=own
    )  # fmt: skip
