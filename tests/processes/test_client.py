"""The client library against a real daemon: bytes move, forks are refused, deaths are noticed, reattach goes on."""

import asyncio
import contextlib
import gc
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import crc32c
import daemons
import numpy as np
import pytest
from ctl import live as live  # the fixture
from daemons import RunningDaemon
from waiting import Lateness, wait_until

import idxd_client
from idxd_client import (
    ClosedReason,
    Completion,
    CompletionStatus,
    Connection,
    DaemonAbsent,
    Descriptor,
    DescriptorError,
    DeviceGone,
    ForkedHandle,
    HandleClosed,
    KernelChannel,
    OperandError,
    PortalClosed,
    Refused,
    WaitTimeout,
    WorkQueue,
    wait_all,
    wait_any,
)

USER_WQS = ["dsa0/wq0.0", "dsa0/wq0.1"]
KERNEL_WQS = ["dsa0/wq0.2", "dsa0/wq0.3"]
ALL_WQS = [*USER_WQS, *KERNEL_WQS]
NOTICED_S = 1.0
"""A dead daemon is noticed within this, and what the machine needs to run who notices."""


mortal = daemons.daemon
"""For tests that kill it; the others share one."""


@pytest.fixture
def daemon(live: RunningDaemon) -> RunningDaemon:
    return live


@pytest.fixture
def mortal_conn(mortal: RunningDaemon) -> Iterator[Connection]:
    with idxd_client.connect(mortal.socket) as connection:
        yield connection


@pytest.fixture
def conn(daemon: RunningDaemon) -> Iterator[Connection]:
    with idxd_client.connect(daemon.socket) as connection:
        yield connection


def stop(pid: int) -> None:
    """SIGSTOP, and every thread has stopped: the signal takes its time to reach one that runs on another core."""
    os.kill(pid, signal.SIGSTOP)
    tasks = Path(f"/proc/{pid}/task")
    wait_until(lambda: all((task / "stat").read_text().rpartition(")")[2].split()[0] == "T" for task in tasks.iterdir()))


def submit_until_refused(queue: WorkQueue | KernelChannel) -> None:
    """A few may still find room."""
    while True:
        queue.submit(Descriptor.noop(), timeout=5)


def in_child(check: Callable[[], object]) -> str:
    """What `check` raises in a forked child: its type and text, or "nothing"; the child ends at once."""
    readable, writable = os.pipe()
    pid = os.fork()
    if pid == 0:
        said = "nothing"
        try:
            check()
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writable, said.encode()[:4000])
        os._exit(0)
    os.close(writable)
    with os.fdopen(readable, "rb") as pipe:
        said = pipe.read().decode()
    assert os.waitpid(pid, 0)[1] == 0, "the child crashed"
    return said


# ---- operations -----------------------------------------------------------------------------------------------------------


def test_every_operation_on_every_kind_of_wq(conn: Connection) -> None:
    """Plain calls give the right bytes and numbers on dedicated, shared, user and kernel WQs alike."""
    for wq in ALL_WQS:
        check_every_operation(conn, wq)


def check_every_operation(conn: Connection, wq: str) -> None:
    with conn.open(wq) as queue, conn.alloc(1 << 17) as memory:
        data = np.frombuffer(memory, np.uint8)
        data[:65536] = np.random.default_rng(7).integers(0, 256, 65536, np.uint8)
        src, dst = memory[:65536], memory[65536:]
        queue.noop()
        assert queue.memmove(dst, src).status is CompletionStatus.SUCCESS
        assert (data[:65536] == data[65536:]).all()
        assert queue.compare(src, dst).equal
        data[65536 + 1000] ^= 1
        different = queue.compare(src, dst)
        assert (different.equal, different.bytes_completed) == (False, 1000)
        assert queue.crc(src) == crc32c.crc32c(bytes(src))
        assert queue.crc(src[100:], seed=queue.crc(src[:100])) == crc32c.crc32c(bytes(src)), "a CRC is a seed for the rest"
        assert queue.copy_crc(dst, src) == crc32c.crc32c(bytes(src))
        assert bytes(dst) == bytes(src)
        queue.fill(dst[:1001], b"0123456789abcdef")
        assert bytes(dst[:1001]) == (b"0123456789abcdef" * 63)[:1001]
        overlapping = bytes(src[:5000])
        queue.memmove(memory[100:5100], memory[:5000])
        assert bytes(memory[100:5100]) == overlapping, "overlapping ranges move as memmove does"
        group = [Descriptor.fill(dst[i * 8 :][:8], i) for i in range(600)]
        assert all(result.ok for result in wait_all(queue.submit_many(group), 20)), "more than any queue or channel holds"
        assert (np.frombuffer(dst.view, np.uint64)[:600] == np.arange(600)).all()
        queue.drain()
        if queue.max_batch_size > 1:
            batch = queue.batch([Descriptor.fill(dst[:64], 0), Descriptor.memmove(dst[64:128], src[:64])])
            assert [member.status for member in batch.members] == [CompletionStatus.SUCCESS] * 2
            assert bytes(dst[:128]) == bytes(64) + bytes(src[:64])


def test_a_descriptor_the_device_refuses_is_a_named_error(conn: Connection) -> None:
    """Status by name and the record's facts, not a number to look up; the WQ goes on."""
    for wq in ALL_WQS:
        check_refused_descriptors(conn, wq)


def check_refused_descriptors(conn: Connection, wq: str) -> None:
    with conn.open(wq) as queue, conn.alloc(4096) as memory:
        with pytest.raises(DescriptorError, match=r"memmove: status 0x13 XFER_ERANGE"):
            queue.memmove(memory, memory, 0)
        with pytest.raises(DescriptorError, match=r"PAGE_FAULT_NOBOF, reading 0x1000") as fault:
            queue.memmove(memory, 0x1000, 64)
        assert fault.value.result.fault_address & ~0xFFF == 0x1000
        failed = queue.submit(Descriptor.batch([Descriptor.noop(), Descriptor.memmove(0x1000, memory, 64)])).result(10)
        assert failed.status is CompletionStatus.BATCH_FAIL
        assert failed.members[1].status is CompletionStatus.PAGE_FAULT_NOBOF
        assert failed.members[1].write_fault
        queue.noop()


@pytest.mark.parametrize("wq", USER_WQS)
def test_prebuilt_descriptors_move_everything_once(conn: Connection, wq: str) -> None:
    """The fast path is as right as the slow one, also when the WQ is full most of the time."""
    with conn.open_user(wq) as queue, conn.alloc(1 << 17) as memory, conn.array(1024) as moves:
        src, dst = np.frombuffer(memory, np.uint32)[: 1 << 14], np.frombuffer(memory, np.uint32)[1 << 14 :]
        src[:] = np.arange(1 << 14)
        for i in range(1024):
            moves[i] = Descriptor.memmove(memory[65536 + i * 64 :][:64], memory[i * 64 :][:64])
        queue.wait_number(queue.submit_array(moves))
        moves.raise_for_status()
        assert (src == dst).all()
        moves.clear()
        dst[:] = 0
        for slot in moves.slots:
            number = queue.submit_slot(slot)
        queue.wait_number(number)
        moves.raise_for_status()
        assert (src == dst).all()
        descriptors, records = moves.numpy()
        assert (records["status"] == 1).all()
        descriptors["size"][5] = 0
        moves.clear()
        queue.wait_number(queue.submit_array(moves))
        with pytest.raises(DescriptorError, match="descriptor 5 of 1024: status 0x13"):
            moves.raise_for_status()


def test_an_array_that_reports_errors_only(conn: Connection) -> None:
    """Without RCR a success writes nothing and a failure still does."""
    with conn.open_user("dsa0/wq0.1") as queue, conn.alloc(4096) as memory, conn.array(3, report="errors") as array:
        array[0] = Descriptor.memmove(memory[:64], memory[64:128])
        array[1] = Descriptor.memmove(0x1000, memory[64:128], 64)
        array[2] = Descriptor.memmove(memory[:64], memory[64:128])
        queue.wait_number(queue.submit_array(array))
        assert list(array.statuses()) == [0, 0x83, 0]
        with pytest.raises(DescriptorError, match="descriptor 1 of 3"):
            array.raise_for_status()


# ---- waiting ----------------------------------------------------------------------------------------------------------------


def test_wait_any_over_several_queues(conn: Connection) -> None:
    """One wait for completions of user and kernel WQs together."""
    queues = [conn.open(wq) for wq in ALL_WQS]
    try:
        completions = [queue.submit(Descriptor.noop()) for queue in queues for _ in range(4)]
        left = list(completions)
        while left:
            done = wait_any(left, 10)
            left = [completion for completion in left if completion not in done]
        assert all(completion.result(0).ok for completion in completions)
    finally:
        for queue in queues:
            queue.close()


@pytest.mark.parametrize("wq", ["dsa0/wq0.1", "dsa0/wq0.2"])
def test_asyncio_awaits_hundreds(conn: Connection, wq: str) -> None:
    """Coroutines sleep on the bell; none is forgotten, whether the daemon or idxdd-irq rings."""

    async def main() -> list[bool]:
        async def one(at: int) -> bool:
            return (await queue.submit(Descriptor.fill(memory[at : at + 8], at))).ok

        async with asyncio.timeout(20):
            return await asyncio.gather(*(one(i * 8) for i in range(300)))

    with conn.open(wq) as queue, conn.alloc(4096) as memory:
        assert all(asyncio.run(main()))
        assert (np.frombuffer(memory, np.uint64)[:300] == np.arange(300) * 8).all()


def test_futures_from_many_threads_share_one_handle(conn: Connection) -> None:
    """Threads of one process may share a queue: every future gets its own result."""
    with conn.open("dsa0/wq0.1") as queue, conn.alloc(1 << 16) as memory:

        def work(number: int) -> None:
            mine = memory[number * 4096 :][:4096]
            for turn in range(50):
                queue.submit_future(Descriptor.fill(mine, number << 32 | turn)).result(20).raise_for_status()
                view = np.frombuffer(mine.view, np.uint64)
                if not (view == (number << 32 | turn)).all():
                    wrong.append(number)

        wrong: list[int] = []
        threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []


def test_a_wait_times_out_while_the_device_stands_still(daemon: RunningDaemon, conn: Connection) -> None:
    """Finite, and the result still comes when the device goes on."""
    with conn.open("dsa0/wq0.1") as queue:
        stop(daemon.pid)
        try:
            completion = queue.submit(Descriptor.noop())
            with pytest.raises(WaitTimeout):
                completion.wait(0.2)
        finally:
            os.kill(daemon.pid, signal.SIGCONT)
        assert completion.result(10).ok


# ---- kernel channels --------------------------------------------------------------------------------------------------------


def test_callbacks_run_exactly_once_across_the_death_of_idxdd_irq(mortal: RunningDaemon, mortal_conn: Connection) -> None:
    """kill -9 of idxdd-irq under load, twice: every accepted descriptor is completed once, here."""
    calls: Counter[int] = Counter()
    with mortal_conn.open_kernel("dsa0/wq0.2") as channel, mortal_conn.alloc(1 << 20) as memory:
        channel.start_dispatcher()
        submitted = []
        killed = 0
        for i in range(3000):
            if i in (800, 1900):
                pid = mortal.irq_pid()
                os.kill(pid, signal.SIGKILL)
                killed += 1
            place = memory[(i % 256) * 4096 :][:4096]
            submitted.append(channel.submit(Descriptor.fill(place, i), callback=lambda c: calls.update([c.number]), timeout=20))
        results = wait_all(submitted, 30)
        wait_until(lambda: len(calls) == len(submitted))
    assert all(result.ok for result in results)
    assert calls == Counter(completion.number for completion in submitted)
    assert len({completion.number for completion in submitted}) == 3000
    assert mortal.irq_pid() > 0
    assert killed == 2


# ---- fork -------------------------------------------------------------------------------------------------------------------


def test_a_forked_child_is_refused_by_name_and_its_views_are_private(conn: Connection) -> None:
    """The child must neither publish on the parent's portal nor crash on a NumPy view, and the parent goes on undisturbed."""
    with conn.open("dsa0/wq0.1") as queue, conn.open("dsa0/wq0.2") as channel, conn.alloc(8192) as memory:
        view = np.frombuffer(memory, np.uint8)
        view[:] = 42

        def child() -> None:
            view[0] = 99
            if (view[1:] != 42).any() or view[0] != 99:
                raise RuntimeError("the view is not a private copy")
            for use in (queue.noop, channel.noop, conn.list, lambda: conn.open("dsa0/wq0.1"), lambda: conn.alloc(4096)):
                with pytest.raises(ForkedHandle):
                    use()
            queue.close()
            channel.close()
            memory.close()
            conn.close()
            raise ForkedHandle("as expected")

        assert in_child(child) == "ForkedHandle: as expected"
        assert view[0] == 42, "what the child wrote stayed in the child"
        queue.memmove(memory[4096:], memory[:4096])
        channel.noop()


def open_files() -> dict[str, str]:
    """What each descriptor of this process is."""
    found = {}
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            found[fd] = os.readlink(f"/proc/self/fd/{fd}")
    return found


def test_a_forked_child_holds_nothing_of_the_session(daemon: RunningDaemon) -> None:
    """Its copies of sockets, memory files and bells are closed: else the daemon could not see the parent go."""
    before = open_files()  # other tests of this process may have left an eventfd to the collector

    def leftovers() -> None:
        held = {fd: name for fd, name in open_files().items() if fd not in before}
        raise RuntimeError(str(sorted(name for name in held.values() if name in ours)))

    with (
        idxd_client.connect(daemon.socket) as conn,
        conn.open("dsa0/wq0.1") as queue,
        conn.open("dsa0/wq0.2") as channel,
        conn.alloc(4096),
    ):
        queue.noop()
        channel.noop()
        ours = {name for fd, name in open_files().items() if fd not in before}
        assert any(name.startswith("socket:") for name in ours)
        assert any("eventfd" in name for name in ours)
        assert any("idxdd" in name for name in ours)
        assert in_child(leftovers) == "RuntimeError: []"


def test_a_forked_child_opens_its_own(daemon: RunningDaemon, conn: Connection) -> None:
    """multiprocessing with fork: connect again in the child and work beside the parent."""
    with conn.open("dsa0/wq0.1") as queue:

        def child() -> None:
            with idxd_client.connect(daemon.socket) as own, own.open("dsa0/wq0.1") as wq, own.alloc(4096) as memory:
                wq.fill(memory, 0x0101010101010101)
                raise RuntimeError(str(sum(memory[:])) if isinstance(memory[:], bytes) else str(sum(bytes(memory[:]))))

        assert in_child(child) == "RuntimeError: 4096"
        queue.noop()


# ---- the daemon goes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wq", ["dsa0/wq0.0", "dsa0/wq0.2"])
def test_a_dead_daemon_ends_every_wait(mortal: RunningDaemon, mortal_conn: Connection, wq: str) -> None:
    """Within a second, by name: waits of threads, of asyncio, submissions and requests."""
    noticed: dict[str, float] = {}
    with mortal_conn.open(wq) as queue:
        queue.noop()
        stop(mortal.pid)
        completions = [queue.submit(Descriptor.noop()) for _ in range(2)]

        def wait_in_thread() -> None:
            with pytest.raises(DeviceGone):
                completions[0].result(20)
            noticed["thread"] = time.monotonic()

        async def wait_in_loop() -> None:
            with pytest.raises(DeviceGone):
                await completions[1]
            noticed["loop"] = time.monotonic()

        threads = [threading.Thread(target=wait_in_thread), threading.Thread(target=lambda: asyncio.run(wait_in_loop()))]
        for thread in threads:
            thread.start()
        with Lateness() as late:
            time_of_death = time.monotonic()
            mortal.kill()
            for thread in threads:
                thread.join(15)
        assert set(noticed) == {"thread", "loop"}
        assert max(noticed.values()) - time_of_death < late.limit(NOTICED_S)
        with pytest.raises(DeviceGone):
            submit_until_refused(queue)
        with pytest.raises(DeviceGone):
            mortal_conn.list()
    mortal.start()  # which removes what the killed one left


def out_of_time(*_: object) -> None:
    raise WaitTimeout("reattach: half of it is copied, the time is over")


def test_reattach_keeps_views_contents_and_handles(
    mortal: RunningDaemon, mortal_conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program survives a daemon restart without being restarted: same objects, same addresses, new device."""
    with (
        mortal_conn.open("dsa0/wq0.0") as queue,
        mortal_conn.open("dsa0/wq0.2") as channel,
        mortal_conn.alloc(1 << 16) as memory,
    ):
        view = np.frombuffer(memory, np.uint8)
        queue.fill(memory[:32768], 0x1111111111111111)
        address, before = memory.address, mortal_conn.generation
        mortal.kill()
        with pytest.raises(DeviceGone):
            queue.noop()
        with pytest.raises(DaemonAbsent):
            mortal_conn.reattach(timeout=0.2)
        mortal.start()
        with monkeypatch.context() as patch:
            patch.setattr(idxd_client.Buffer, "refill", out_of_time)
            with pytest.raises(WaitTimeout, match="reattach"):
                mortal_conn.reattach()
        mortal_conn.reattach()
        assert mortal_conn.generation > before
        assert memory.address == address
        assert (view[:32768] == 0x11).all(), "contents came along"
        queue.memmove(memory[32768:], memory[:32768])
        assert (view == 0x11).all(), "the old view sees what the new device writes"
        channel.fill(memory[:8], 0)
        assert (view[:8] == 0).all()
        assert queue.batch([Descriptor.noop(), Descriptor.noop()]).ok, "the library's own memory came along"


def test_no_daemon_is_a_named_error(tmp_path: Path) -> None:
    """The first thing every newcomer meets."""
    with pytest.raises(DaemonAbsent, match="idxdd serve"):
        idxd_client.connect(str(tmp_path / "nobody"))


def test_a_disabled_wq_closes_its_portals_until_they_are_reopened(conn: Connection) -> None:
    """An administrator's disable is a named error with its reason; after enable the same handle goes on at its request."""
    for wq in ("dsa0/wq0.1", "dsa0/wq0.2"):
        with conn.open(wq) as queue:
            queue.noop()
            conn.request("disable_wq", wq=wq)
            with pytest.raises(PortalClosed, match="the portal is closed") as closed:
                queue.noop(timeout=5)
            assert closed.value.reason is ClosedReason.WQ_DISABLED, "the driver drains, then resets: that is no abort"
            conn.request("enable_wq", wq=wq)
            with pytest.raises(PortalClosed):
                queue.noop(timeout=5)
            queue.reopen()
            queue.noop()
            wait_all([queue.submit(Descriptor.noop()) for _ in range(40)])


# ---- giving back ----------------------------------------------------------------------------------------------------------


def test_everything_is_given_back(daemon: RunningDaemon, conn: Connection) -> None:
    """close() frees portals, channels and memory at the daemon; a dedicated WQ is free for the next one."""

    def held() -> tuple[int, int]:
        mine = [client for client in conn.stats()["clients"] if client["pid"] == os.getpid()]
        return sum(len(client["portals"]) for client in mine), sum(client["buffer_bytes"] for client in mine)

    start = held()
    for _ in range(3):
        with conn.open("dsa0/wq0.0") as queue, conn.open("dsa0/wq0.2") as channel, conn.alloc(1 << 20) as memory:
            assert held()[1] >= start[1] + (1 << 20)
            queue.fill(memory, 0)
            channel.fill(memory, 0)
    portals, buffer_bytes = held()
    assert portals == start[0]
    assert buffer_bytes <= start[1] + (64 << 10), "only the library's own record pool stays"


def test_a_buffer_larger_than_an_address_space_is_a_named_error(daemon: RunningDaemon) -> None:
    """It was a bare OSError that did not say what was being done."""
    with idxd_client.connect(daemon.socket) as connection, pytest.raises(OperandError, match="alloc"):
        connection.alloc(1 << 48)


def test_a_dedicated_wq_is_busy_for_a_second_client(daemon: RunningDaemon, conn: Connection) -> None:
    """Refused by name, as open() of the character device would be; free again after close."""
    with conn.open("dsa0/wq0.0"), idxd_client.connect(daemon.socket) as other:
        with pytest.raises(Refused, match="EBUSY") as refused:
            other.open("dsa0/wq0.0")
        assert refused.value.code == "EBUSY"
    with conn.open("dsa0/wq0.0") as queue:
        queue.noop()
    with pytest.raises(Refused) as unknown:
        conn.open("dsa9/wq9.9")
    assert unknown.value.code == "ENOENT"


def test_closed_handles_say_so(conn: Connection) -> None:
    """Use after close is a named error, never a crash."""
    queue, channel, memory = conn.open("dsa0/wq0.1"), conn.open("dsa0/wq0.2"), conn.alloc(4096)
    view = memoryview(memory)
    completion: Completion = queue.submit(Descriptor.fill(memory, 5))
    completion.wait(10)
    queue.close()
    channel.close()
    memory.close()
    assert view[0] == 5
    for use in (queue.noop, channel.noop):
        with pytest.raises(HandleClosed):
            use()
    conn.close()
    conn.close()
    with pytest.raises(HandleClosed):
        conn.list()


def test_a_dropped_connection_warns_and_ends_its_session(daemon: RunningDaemon, conn: Connection) -> None:
    """Forgotten handles are found in tests, not in production; the daemon gets everything back all the same."""
    forgotten = idxd_client.connect(daemon.socket)
    sessions = conn.stats()["sessions"]
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        del forgotten
        gc.collect()
    assert any("<Connection" in str(warning.message) and "was not closed" in str(warning.message) for warning in warned)
    wait_until(lambda: conn.stats()["sessions"] == sessions - 1)


# ---- the demonstration ----------------------------------------------------------------------------------------------------


def test_the_demonstration_loses_nothing(instance: str) -> None:
    """A smaller file than `make demo`, the same kills and checks; afterwards nothing is left of it."""
    command = [
        sys.executable,
        "-m",
        "idxdd",
        "run",
        "--instance",
        instance,
        "--",
        sys.executable,
        str(Path(__file__).parents[2] / "clients" / "examples" / "demo.py"),
        "64",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "bytes are equal" in done.stdout
    assert "killed client" in done.stdout
    assert "killed idxdd-irq" in done.stdout
    assert "none twice" in done.stdout
