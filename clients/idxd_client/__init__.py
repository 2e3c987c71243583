"""The Python client library of idxdd: open a work queue, allocate buffers, submit descriptors, wait for completions.

import idxd_client

with idxd_client.connect() as conn, conn.open("dsa0/wq0.1") as wq, conn.alloc(1 << 20) as src, conn.alloc(1 << 20) as dst:
    memoryview(src)[:5] = b"hello"
    wq.memmove(dst, src)
"""

from idxd_client.arrays import DescriptorArray
from idxd_client.buffers import Buffer, Operand, Region
from idxd_client.channel import KernelChannel
from idxd_client.completions import Completion
from idxd_client.connection import Connection, connect
from idxd_client.descriptors import Descriptor
from idxd_client.dif import DifDestination, DifFormat, DifSource
from idxd_client.errors import (
    ClosedReason,
    DaemonAbsent,
    DescriptorAborted,
    DescriptorError,
    DeviceGone,
    ForkedHandle,
    HandleClosed,
    IdxdError,
    OperandError,
    PermissionDenied,
    PortalClosed,
    ProtocolError,
    Refused,
    SocketPathTooLong,
    WaitTimeout,
    WorkQueueFull,
)
from idxd_client.results import Result
from idxd_client.waiting import wait_all, wait_any, wait_some
from idxd_client.workqueue import WorkQueue
from idxdd.spec.codes import CompletionStatus, Flag, Opcode, OpFlag, TxnResult

__all__ = [
    "Buffer",
    "ClosedReason",
    "Completion",
    "CompletionStatus",
    "Connection",
    "DaemonAbsent",
    "Descriptor",
    "DescriptorAborted",
    "DescriptorArray",
    "DescriptorError",
    "DeviceGone",
    "DifDestination",
    "DifFormat",
    "DifSource",
    "Flag",
    "ForkedHandle",
    "HandleClosed",
    "IdxdError",
    "KernelChannel",
    "OpFlag",
    "Opcode",
    "Operand",
    "OperandError",
    "PermissionDenied",
    "PortalClosed",
    "ProtocolError",
    "Refused",
    "Region",
    "Result",
    "SocketPathTooLong",
    "TxnResult",
    "WaitTimeout",
    "WorkQueue",
    "WorkQueueFull",
    "connect",
    "wait_all",
    "wait_any",
    "wait_some",
]
