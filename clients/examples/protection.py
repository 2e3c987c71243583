"""Protect blocks against silent corruption: DIF Insert on the way out, DIF Check and Strip on the way back."""

import idxd_client
from idxd_client import DescriptorError, DifDestination, DifSource

BLOCKS = 8

with (
    idxd_client.connect() as conn,
    conn.open("dsa0/wq0.1") as wq,
    conn.alloc(BLOCKS * 512) as data,
    conn.alloc(BLOCKS * 520) as disk,
    conn.alloc(BLOCKS * 512) as back,
):
    stored, size = disk[: BLOCKS * 520], BLOCKS * 512
    wq.fill(data, b"protected block!", size)
    wq.dif_insert(stored, data, size, destination=DifDestination(ref=1000, app=7))
    wq.dif_strip(back, stored, source=DifSource(ref=1000, app=7))
    print(f"{BLOCKS} blocks came back equal: {wq.compare(data, back, size).equal}")

    memoryview(disk)[3 * 520 + 17] ^= 1  # one bit, in the fourth block
    try:
        wq.dif_check(stored, source=DifSource(ref=1000, app=7))
    except DescriptorError as error:
        print(f"block {error.result.bytes_completed // 520}: {error.result.dif_error} wrong")
