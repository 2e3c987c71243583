"""Copy a few bytes through the device. Run it: idxdd run -- python clients/examples/hello.py"""

import idxd_client

with idxd_client.connect() as conn, conn.open("dsa0/wq0.1") as wq, conn.alloc(4096) as src, conn.alloc(4096) as dst:
    memoryview(src)[:5] = b"hello"
    wq.memmove(dst, src)
    print(bytes(dst[:5]).decode(), hex(wq.crc(dst[:5])))
