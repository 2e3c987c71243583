"""Keep a replica up to date by sending what changed: Create Delta on one side, Apply Delta on the other."""

import idxd_client

SIZE = 64 * 1024

with (
    idxd_client.connect() as conn,
    conn.open("dsa0/wq0.1") as wq,
    conn.alloc(SIZE) as old,
    conn.alloc(SIZE) as new,
    conn.alloc(SIZE) as replica,
    conn.alloc(SIZE) as delta,
):
    wq.fill(old, 0x1111111111111111)
    wq.memmove(new, old)
    wq.memmove(replica, old)
    for place in (0, 100, 5000, SIZE - 1):
        memoryview(new)[place] = 0xFF

    found = wq.create_delta(delta, old, new)
    wq.apply_delta(replica, delta, found.delta_record_size)
    print(f"{found.delta_record_size} bytes sent instead of {SIZE}, replica equal: {wq.compare(replica, new).equal}")
