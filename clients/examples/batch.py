"""Many descriptors as one: members of a batch run in any order but for fences; each has its own result."""

import idxd_client
from idxd_client import Descriptor, Flag

PIECE = 4096

with idxd_client.connect() as conn, conn.open("dsa0/wq0.1") as wq, conn.alloc(8 * PIECE) as memory:
    pieces = [memory.region(i * PIECE, PIECE) for i in range(8)]
    members = [Descriptor.fill(piece, i) for i, piece in enumerate(pieces)]
    members.append(Descriptor.crc(memory, flags=Flag.FENCE))  # sees what all before it have written
    result = wq.batch(members)
    print(f"{result.bytes_completed} members done, crc {result.members[-1].crc:#010x}")

    wrong = wq.submit(Descriptor.batch([Descriptor.fill(pieces[0], 1, 0), Descriptor.noop(flags=Flag.FENCE)])).result()
    print(wrong.describe())
