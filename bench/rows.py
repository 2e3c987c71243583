"""The table: every number that is promised, with its target, and some beside them that explain it."""

from bench.samples import Row

ROWS = (
    Row("move-64k", "move", "memory move 64 KiB, depth 16, from C", "× memcpy", target=0.90),
    Row("move-16k", "move", "memory move 16 KiB, depth 16, from C", "× memcpy", target=0.80),
    Row("move-4k", "move", "memory move 4 KiB, depth 16, from C", "× memcpy", target=0.55),
    Row("move-64k-python", "move", "memory move 64 KiB, depth 16, from Python", "× memcpy"),
    Row("move-16k-python", "move", "memory move 16 KiB, depth 16, from Python", "× memcpy"),
    Row("move-4k-python", "move", "memory move 4 KiB, depth 16, from Python", "× memcpy"),
    Row("move-64k-hot", "move", "memory move 64 KiB, depth 16, from C, in the caches", "× memcpy"),
    Row("move-16k-hot", "move", "memory move 16 KiB, depth 16, from C, in the caches", "× memcpy"),
    Row("move-4k-hot", "move", "memory move 4 KiB, depth 16, from C, in the caches", "× memcpy"),
    Row("small-c", "small", "64 B moves one by one, from a C loop", "M/s", target=3.0),
    Row("small-python", "small", "64 B moves one by one, from Python", "M/s", target=1.0),
    Row("small-python-many", "small", "64 B moves in groups, from Python", "M/s", target=15.0),
    Row("rtt-c", "rtt", "no-op round trip p50, from C", "× ping-pong", better="less", target=2.5),
    Row("rtt-python", "rtt", "no-op round trip p50, from Python", "× ping-pong", better="less", target=5.0),
    Row("channel", "channel", "kernel channel, 4 clients: completed by interrupt", "k/s", target=100.0),
    Row("channel-interrupts", "channel", "kernel channel: interrupts a descriptor", "", better="less"),
    Row("idle", "idle", "64 portals open, idle: CPU of idxdd and idxdd-irq", "%", better="less", target=0.3),
    Row("serve", "start", "idxdd serve to ready", "s", better="less", target=0.5),
    Row("list", "start", "idxdctl list", "s", better="less", target=0.5),
    Row("crowd", "crowd", "64 clients against 4: throughput, 4 KiB moves", "×", target=0.5),
    Row("crowd-slowest", "crowd", "64 clients: the slowest against the mean", "×", target=0.25),
    Row("crowd-32", "crowd", "the same on a WQ of 32 entries, half as many as clients", "×"),
    Row("crowd-32-slowest", "crowd", "the slowest of these", "×"),
)
