"""A page that is missing: the device stops in front of it and says where; the program brings the page and does the rest."""

import mmap

import idxd_client
from idxd_client import CompletionStatus, Descriptor

PAGES = 4
SIZE = PAGES * mmap.PAGESIZE

with idxd_client.connect() as conn, conn.open_user("dsa0/wq0.1") as wq, conn.alloc(SIZE) as src:
    memoryview(src)[:] = bytes(range(256)) * (SIZE // 256)
    target = mmap.mmap(-1, SIZE)  # ordinary memory of this process: no page of it is there yet
    target[: 2 * mmap.PAGESIZE] = bytes(2 * mmap.PAGESIZE)  # now two are
    done = 0
    with memoryview(target) as view:
        while done < SIZE:
            with view[done:] as rest:
                result = wq.submit(Descriptor.memmove(rest, src[done:])).result()
            if result.status == CompletionStatus.PAGE_FAULT_NOBOF:
                done += result.bytes_completed
                print(f"stopped after {done} bytes: {'write' if result.write_fault else 'read'} fault")
                target[done] = 0  # touching the page brings it
            else:
                done += len(src[done:])
                result.raise_for_status()
    print(f"all bytes equal: {target[:] == bytes(src[:])}")
    target.close()
