"""Many moves at once with asyncio: a completion can be awaited."""

import asyncio

import idxd_client
from idxd_client import Descriptor, Region, WorkQueue

PIECE_BYTES = 64 * 1024


async def checked_copy(wq: WorkQueue, dst: Region, src: Region) -> int:
    """Copy, and prove it by the CRC of both."""
    copied = (await wq.submit(Descriptor.copy_crc(dst, src))).raise_for_status()
    again = (await wq.submit(Descriptor.crc(dst))).raise_for_status()
    assert copied.crc == again.crc
    return copied.crc


async def main() -> None:
    """Eight coroutines share one work queue."""
    with idxd_client.connect() as conn, conn.open_user("dsa0/wq0.1") as wq, conn.alloc(16 * PIECE_BYTES) as memory:
        memoryview(memory)[:] = bytes(range(256)) * (memory.nbytes // 256)
        pieces = [memory.region(i * PIECE_BYTES, PIECE_BYTES) for i in range(16)]
        async with asyncio.timeout(10):
            crcs = await asyncio.gather(*(checked_copy(wq, pieces[8 + i], pieces[i]) for i in range(8)))
        print(", ".join(f"{crc:08x}" for crc in crcs))


asyncio.run(main())
