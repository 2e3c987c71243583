"""Log lines: three forms, a flood that does not drown the rest, and never a wait."""

import json
import os
import socket
from pathlib import Path

import pytest

from idxdd.service.logs import KIND_S, LINE_BYTES_MAX, LINES_PER_KIND, Log
from idxdd.service.pace import Pace
from idxdd.shm.clock import FakeClock


def lines(read: int) -> list[str]:
    return os.read(read, 1 << 20).decode().splitlines()


@pytest.fixture
def pipe() -> "tuple[int, int]":
    return os.pipe2(os.O_NONBLOCK)


@pytest.fixture(autouse=True)
def closed(pipe: tuple[int, int]) -> object:
    yield
    for fd in pipe:
        os.close(fd)


def test_for_people_and_for_programs(pipe: tuple[int, int]) -> None:
    """The same line; JSON is one object, however long the text."""
    log = Log(pipe[1])
    log.warning("two\nlines", wq="dsa0/wq0.1")
    log.configure("info", "json")
    log.warning("two\nlines", wq="dsa0/wq0.1")
    log.error("x" * 10_000, field="y" * 10_000)
    human, first, long = lines(pipe[0])
    assert human == "idxdd: warning: two lines wq=dsa0/wq0.1"
    found = json.loads(first)
    assert (found["level"], found["message"], found["wq"]) == ("warning", "two\nlines", "dsa0/wq0.1")
    assert found["time"].endswith("+00:00")
    assert len(long) < LINE_BYTES_MAX
    assert json.loads(long)["level"] == "error"


def test_levels(pipe: tuple[int, int]) -> None:
    """What is quieter than asked for is not written."""
    log = Log(pipe[1], quietest="warning")
    log.info("no")
    log.warning("yes")
    assert len(lines(pipe[0])) == 1


def test_a_flood_of_one_kind_is_counted(pipe: tuple[int, int]) -> None:
    """Lines that differ in numbers are one kind; another kind gets through; later the count is said."""
    clock = FakeClock()
    log = Log(pipe[1], clock=clock)
    for number in range(LINES_PER_KIND + 50):
        log.warning(f"client {number} at {number:#x} did it again")
    log.warning("something else")
    said = lines(pipe[0])
    assert len(said) == LINES_PER_KIND + 1
    assert said[-1] == "idxdd: warning: something else"
    clock.advance(KIND_S + 1)
    log.warning("client 7 at 0x7 did it again")
    assert lines(pipe[0]) == ["idxdd: warning: client 7 at 0x7 did it again [50 lines like this were left out]"]


def test_a_reader_that_does_not_read_is_not_waited_for(pipe: tuple[int, int]) -> None:
    """A full pipe loses lines; the next one that fits says how many."""
    log = Log(pipe[1])
    for kind in range(2000):
        log.info(f"{'abcdefghij'[kind % 10]}{'klmnopqrst'[kind // 10 % 10]}{'uvwxyzabcd'[kind // 100 % 10]}" + "-" * 500)
    os.read(pipe[0], 1 << 20)
    log.info("again")
    assert "lines lost before" in lines(pipe[0])[0]


def test_the_journals_own_fields(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pipe: tuple[int, int]) -> None:
    """One datagram a line; no value can begin a field of its own. Without a journal stderr gets it."""
    path = str(tmp_path / "journal")
    monkeypatch.setenv("IDXDD_JOURNAL_SOCKET", path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(path)
        journal.settimeout(5)
        log = Log(pipe[1])
        log.configure("info", "journal")
        log.warning("text\nPRIORITY=0", wq="dsa0/wq0.1", **{"odd key": 1})
        fields = journal.recv(65536).decode().splitlines()
    assert fields == [
        *("MESSAGE=text PRIORITY=0", "PRIORITY=4", "SYSLOG_IDENTIFIER=idxdd", "IDXDD_WQ=dsa0/wq0.1", "IDXDD_ODD_KEY=1"),
    ]
    log.warning("the journal is gone")
    assert "the journal is gone" in lines(pipe[0])[0]
    log.close()


def test_auto_means_the_journal_only_when_stderr_goes_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pipe: tuple[int, int]
) -> None:
    """A child of a service whose stderr is elsewhere writes there."""
    path = str(tmp_path / "journal")
    monkeypatch.setenv("IDXDD_JOURNAL_SOCKET", path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(path)
        journal.settimeout(5)
        monkeypatch.setenv("JOURNAL_STREAM", "1:1")
        log = Log(pipe[1])
        log.info("here")
        assert lines(pipe[0]) == ["<6>idxdd: here"]
        found = os.fstat(pipe[1])
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
        log.configure("info", "auto")
        log.info("there")
        assert b"MESSAGE=there" in journal.recv(65536)
        log.close()


def test_a_client_may_ask_so_often() -> None:
    """A second's worth at once, then as time passes; time that stands gives nothing."""
    clock = FakeClock()
    pace = Pace(10, clock)
    for _ in range(10):
        assert pace.wait_s() == 0
        pace.take()
    assert pace.wait_s() == pytest.approx(0.1)
    clock.advance(0.1)
    assert pace.wait_s() == pytest.approx(0, abs=1e-6)
    clock.advance(100)
    for _ in range(10):
        pace.take()
    assert pace.wait_s() > 0
