"""A kernel channel: descriptors complete by interrupt, each runs a callback in this process, once."""

import idxd_client
from idxd_client import Completion, Descriptor

with idxd_client.connect() as conn, conn.open_kernel("dsa0/wq0.2") as channel, conn.alloc(1 << 20) as memory:
    done: list[int] = []

    def completed(completion: Completion) -> None:
        """Runs in poll(), in the dispatcher thread or, with asyncio, in the loop."""
        done.append(completion.result().raise_for_status().bytes_completed)

    pieces = [memory[i * 4096 : (i + 1) * 4096] for i in range(100)]
    completions = [channel.submit(Descriptor.fill(piece, 0x5A5A5A5A5A5A5A5A), callback=completed) for piece in pieces]
    idxd_client.wait_all(completions, timeout=10)
    print(f"{len(done)} callbacks, all bytes filled: {bytes(memory[: 100 * 4096]) == bytes([0x5A]) * 100 * 4096}")
