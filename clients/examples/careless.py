"""Handles one failure and not the other: idxdd sweep --fault read -- python clients/examples/careless.py finds out which."""

import os

import idxd_client

with idxd_client.connect() as conn, conn.open("dsa0/wq0.1") as wq, conn.alloc(8192) as src, conn.alloc(8192) as dst:
    memoryview(src)[:] = bytes(range(256)) * 32
    try:
        wq.memmove(dst, src)
    except idxd_client.DescriptorError:
        memoryview(dst)[:] = bytes(src)  # the processor does it
    try:
        wq.crc(dst)
    except idxd_client.DescriptorError:
        os.abort()  # "cannot happen"
