"""idxdctl asks why: the trace and its forms, the story of a descriptor, the last errors, the event log, SWERR, metrics."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ctl import Ctl
from ctl import ctl as ctl  # fixtures
from ctl import fresh as fresh
from ctl import live as live
from daemons import RunningDaemon
from raw_client import BATCH, CRAV, MEMMOVE, NOOP, RCR, RawClient, RawPortal, descriptor
from waiting import wait_until

from idxdd.control.exitcodes import ExitCode

pytestmark = pytest.mark.xdist_group("idxdctl-why")
WQ = "dsa0/wq0.1"


class Work:
    """One client whose descriptors are written byte by byte; records at the start of its buffer."""

    def __init__(self, client: RawClient) -> None:
        self.client = client
        self.portal: RawPortal = client.open(WQ)
        self.buffer = client.alloc(65536)
        self._next = 0

    def do(self, opcode: int, *, size: int = 0, to: int | None = None, record: int | None = None, **fields: int) -> int:
        """Submit one, wait for its end; its record's address."""
        at = self.buffer.address + 32 * self._next if record is None else record
        self._next += 1
        operands = {"source": self.buffer.address + 8192, "destination": self.buffer.address + 32768 if to is None else to}
        given = operands if opcode == MEMMOVE else {}
        self.portal.publish(descriptor(opcode, flags=CRAV | RCR, record=at, size=size, **{**given, **fields}))
        wait_until(lambda: self.portal.load("done") >= self.portal.number, 10, "the descriptor is over")
        return at


@pytest.fixture
def work(live: RunningDaemon) -> Iterator[Work]:
    with RawClient(live.socket) as client:
        yield Work(client)


@pytest.fixture
def traced(ctl: Ctl) -> Iterator[None]:
    assert ctl("trace", "on", "--size", 256).code == 0
    yield
    assert ctl("trace", "off", "--discard").code == 0


def told(ctl: Ctl, *command: object) -> dict[str, Any]:
    done = ctl(*command, "--json")
    assert done.code == 0, done.err
    found: dict[str, Any] = json.loads(done.out)
    assert found["schema"] == 1
    return found


# ---- trace ---------------------------------------------------------------------------------------------------------------
def test_every_descriptor_is_traced(ctl: Ctl, traced: None, work: Work) -> None:
    """Who, what, where, when, how it ended; chosen by each of these."""
    for size in (100, 200, 0):
        work.do(MEMMOVE, size=size)
    work.do(NOOP)
    found = told(ctl, "trace", "show")["records"]
    assert [(one["op"], one["size"], one["status_name"]) for one in found] == [
        ("memmove", 100, "SUCCESS"),
        ("memmove", 200, "SUCCESS"),
        ("memmove", 0, "XFER_ERANGE"),
        ("noop", 0, "SUCCESS"),
    ]
    first = found[0]
    assert (first["wq"], first["client"]["pid"], first["why"]) == (
        WQ,
        work.client.control.hello and first["client"]["pid"],
        "carried out",
    )
    times = first["times_ns"]
    assert times["accepted"] <= times["dispatched"] <= times["written"]
    assert found[2]["check"] == 9
    for options, ids in (
        (["--status", "error"], [2]),
        (["--status", "0x13"], [2]),
        (["--status", "xfer_erange"], [2]),
        (["--status", "ok", "--op", "memmove"], [0, 1]),
        (["--wq", "dsa0/wq0.0"], []),
        (["--client", str(first["client"]["pid"])], [0, 1, 2, 3]),
        (["--client", f"pasid:{first['client']['pasid']}", "-n", "1"], [3]),
    ):
        shown = told(ctl, "trace", "show", *options)["records"]
        assert [one["id"] for one in shown] == [found[index]["id"] for index in ids], options
    text = ctl("trace", "show").out
    assert "XFER_ERANGE (size)" in text
    assert len(text.splitlines()) == 5


def test_a_full_trace_says_what_it_lost(ctl: Ctl, work: Work) -> None:
    """The newest are kept; each answer counts what is gone, and a second `on` is refused."""
    assert ctl("trace", "on", "--size", 64).code == 0
    for _ in range(100):
        work.do(NOOP)
    found = told(ctl, "trace", "show", "-n", "0")
    assert (found["on"], found["kept"], found["dropped"], len(found["records"])) == (True, 64, 36, 64)
    assert "36 older records were overwritten" in ctl("trace", "show").err
    assert "it is on already" in ctl("trace", "on").err
    off = told(ctl, "trace", "off")
    assert (off["on"], off["kept"]) == (False, 64)
    assert len(told(ctl, "trace", "show", "-n", "0")["records"]) == 64, "still there"
    assert told(ctl, "trace", "off", "--discard")["kept"] == 0
    assert "the trace is off" in ctl("trace", "show").err


def test_it_is_exported_for_a_viewer(ctl: Ctl, traced: None, work: Work, tmp_path: Path) -> None:
    """Chrome's trace events as their description has them: names, complete events with durations, nested in their thread."""
    for _ in range(20):
        work.do(MEMMOVE, size=4096)
    work.do(MEMMOVE, size=4096, to=work.buffer.address + 65536 - 100)
    assert ctl("trace", "export", tmp_path / "run.json").code == 0
    document = json.loads((tmp_path / "run.json").read_text())
    events = document["traceEvents"]
    assert document["displayTimeUnit"] == "ns"
    names = {(event["pid"], event["tid"], event["name"]) for event in events if event["ph"] == "M"}
    threads = {(pid, tid) for pid, tid, name in names if name == "thread_name"}
    processes = {pid for pid, _, name in names if name == "process_name"}
    assert {event["ph"] for event in events} <= {"M", "X", "i"}
    complete = [event for event in events if event["ph"] == "X"]
    assert len([event for event in complete if event["cat"] == "descriptor"]) == 21
    for event in complete:
        assert event["ts"] >= 0
        assert event["dur"] >= 0
        assert (event["pid"], event["tid"]) in threads
        assert event["pid"] in processes
    assert_nested(complete)
    fault = next(event for event in events if event["ph"] == "i")
    assert (fault["name"], fault["s"]) == ("fault", "t")
    assert ctl("trace", "export", "-", "--format", "text").out.count("memmove") == 21
    lines = ctl("trace", "export", "-", "--format", "jsonl").out.splitlines()
    assert [json.loads(line)["op"] for line in lines] == ["memmove"] * 21
    assert ctl("trace", "export", tmp_path / "run.bin").code == ExitCode.USAGE
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.json"]


def assert_nested(events: list[dict[str, Any]]) -> None:
    """Within a thread two events overlap only if one holds the other: else a viewer draws nonsense."""
    by_thread: dict[tuple[int, int], list[tuple[float, float]]] = {}
    for event in events:
        by_thread.setdefault((event["pid"], event["tid"]), []).append((event["ts"], event["ts"] + event["dur"]))
    for spans in by_thread.values():
        open_ends: list[float] = []
        for begin, end in sorted(spans, key=lambda span: (span[0], -span[1])):
            while open_ends and open_ends[-1] <= begin + 1e-3:
                open_ends.pop()
            assert not open_ends or end <= open_ends[-1] + 1e-3
            open_ends.append(end)


def test_it_can_be_followed(live: RunningDaemon, traced: None, work: Work) -> None:
    """Lines come while descriptors end; with --json one object a line."""
    command = [sys.executable, "-m", "idxdctl.main", "trace", "show", "-f", "--json", "--socket", live.socket]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as follower:
        try:
            assert follower.stdout
            work.do(MEMMOVE, size=77)
            assert json.loads(follower.stdout.readline())["size"] == 77
            work.do(MEMMOVE, size=78)
            assert json.loads(follower.stdout.readline())["size"] == 78
        finally:
            follower.terminate()


# ---- why -----------------------------------------------------------------------------------------------------------------
def test_the_last_error_tells_its_story_without_a_trace(ctl: Ctl, work: Work) -> None:
    """The check that failed, what is wrong here, who was told, the fix."""
    before = told(ctl, "errors")["count"]
    at = work.do(MEMMOVE, size=0)
    found = told(ctl, "why", "last-error")
    assert (found["error"], found["traced"], found["id"]) == (before + 1, False, 0)
    assert (found["decided"]["check"], found["decided"]["here"]) == (9, "transfer size 0 is not 1 to 2147483648")
    assert found["told"] == {"record": True, "record_address": at}
    text = ctl("why", f"e{before + 1}").out
    assert "check 9 failed" in text
    assert re.search(r"fix +split the transfer", text)
    assert "XFER_ERANGE (size)" in ctl("errors", "-n", "1").out


def test_a_fault_is_placed(ctl: Ctl, work: Work) -> None:
    """Which operand, which access, beside which buffer; also when its client has gone."""
    end = work.buffer.address + 65536
    work.do(MEMMOVE, size=4096, to=end - 100)
    found = told(ctl, "why", "last-error")
    assert (found["status_name"], found["bytes_completed"]) == ("PAGE_FAULT_NOBOF (write)", 100)
    assert found["fault"] == {"address": end, "operand": "destination1", "access": "write"}
    below = found["place"]["below"]
    assert (below["start"] + below["size"], found["place"]["mapping"]) == (end, None)
    assert f"0 bytes behind buffer {below['buffer']}" in found["place"]["text"]
    work.client.close()
    again = wait_until(lambda: (told(ctl, "why", f"e{found['error']}")["place"] or {}).get("gone"), 10, "its portal is closed")
    assert again is True


def test_a_record_that_is_nowhere_is_in_the_log(ctl: Ctl, live: RunningDaemon, work: Work) -> None:
    """The operation succeeded, its record did not arrive: the story says so, and `evl` and `swerr --history` agree."""
    work.do(NOOP, record=0x100000)
    found = told(ctl, "why", "last-error")
    assert (found["status_name"], found["reported"], found["why"]) == ("SUCCESS", 0x1A, "record logged")
    assert found["told"]["reported_in"] == "event log"
    wait_until(lambda: not told(ctl, "evl")["entries"][-1]["waits"], 10, "the driver has taken it")
    log = told(ctl, "evl")
    entry = log["entries"][-1]
    assert (log["active"], log["head"], log["log_size"]) == (True, log["tail"], 64)
    assert (entry["name"], entry["address"], entry["record"]["status"], entry["operation"]) == ("CRA_XLAT", 0x100000, 1, "noop")
    (device,) = told(ctl, "swerr", "--history")["devices"]
    assert (device["history"][-1]["where"], device["history"][-1]["error"]) == ("event log", 0x1A)
    assert "record to deliver: 0x01 SUCCESS" in ctl("evl").out
    assert "CRA_XLAT" in ctl("swerr", "dsa0", "--history").out


def test_a_batch_leads_to_its_members(ctl: Ctl, traced: None, work: Work) -> None:
    """BATCH_FAIL says nothing; the member that failed does, and names its batch."""
    base = work.buffer.address
    members = descriptor(NOOP, flags=CRAV | RCR, record=base + 4096) + descriptor(
        MEMMOVE, flags=CRAV | RCR, record=base + 4128, source=base + 8192, destination=base + 32768
    )
    work.buffer.view[16384 : 16384 + len(members)] = members
    work.do(BATCH, source=base + 16384, size=2)
    batch = next(one for one in told(ctl, "trace", "show")["records"] if one["op"] == "batch")
    found = told(ctl, "why", batch["id"])
    bad = [one for one in found["batch_records"] if one["status"] != 1]
    assert [(one["member"], one["status_name"]) for one in bad] == [(1, "XFER_ERANGE")]
    assert f"member 1: descriptor {bad[0]['id']}" in ctl("why", batch["id"]).out
    text = ctl("why", bad[0]["id"]).out
    assert f"member 1 of batch {batch['id']}" in text
    assert "the batch itself" in text


def test_a_rule_is_named(ctl: Ctl, work: Work) -> None:
    """Who injected a fault must not look for it in his program."""
    rule = told(ctl, "inject", "add", "op=memmove size=123 do status XFER_ERANGE")["rules"][0]
    try:
        work.do(MEMMOVE, size=123)
        found = told(ctl, "why", "last-error")
        assert (found["why"], found["injected"]["id"]) == ("rule", rule["id"])
        assert found["injected"]["rule"] == rule["rule"]
    finally:
        assert ctl("inject", "remove", rule["id"]).code == 0


@pytest.mark.parametrize(
    ("what", "code", "says"),
    [
        ("e99999", ExitCode.FAILED, "is not kept"),
        ("12345678", ExitCode.FAILED, "trace on"),
        ("nonsense", ExitCode.USAGE, "last-error"),
        ("0x13", ExitCode.USAGE, "last-error"),
    ],
)
def test_what_is_not_there_is_one_line(ctl: Ctl, what: str, code: ExitCode, says: str) -> None:
    """With what there is instead."""
    done = ctl("why", what)
    assert (done.code, len(done.err.splitlines())) == (code, 1)
    assert says in done.err


@pytest.mark.parametrize("command", ["errors", "evl", "trace show", "swerr --history", "metrics"])
def test_reads_have_json_and_no_colour(ctl: Ctl, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Schema and command for programs; for people plain text, with NO_COLOR as without."""
    assert told(ctl, *command.split())["command"] == " ".join(command.split("--")[0].split())
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in ctl(*command.split()).out


# ---- metrics -------------------------------------------------------------------------------------------------------------
def test_metrics_count_operations_statuses_and_users(ctl: Ctl, work: Work) -> None:
    """What was done since the text before, by each of them; portals that are closed stay in their user's sums."""
    before = samples(ctl)
    work.do(MEMMOVE, size=1000)
    work.do(MEMMOVE, size=0)
    uid = next(key for key in samples(ctl) if key.startswith("idxdd_user_descriptors_total"))
    expected = {
        f'idxdd_wq_operations_total{{wq="{WQ}",operation="memmove"}}': 2,
        f'idxdd_wq_status_total{{wq="{WQ}",status="0x13 XFER_ERANGE"}}': 1,
        f'idxdd_wq_status_total{{wq="{WQ}",status="0x01 SUCCESS"}}': 1,
        uid: 2,
        uid.replace("descriptors", "bytes"): 1000,
        uid.replace("descriptors", "errors"): 1,
    }

    def grown() -> bool:
        now = samples(ctl)
        return all(now[key] - before.get(key, 0) == value for key, value in expected.items())

    wait_until(grown, 10, "the counters have grown")
    work.client.close()
    wait_until(lambda: samples(ctl)["idxdd_sessions"] == 1, 10, "the client is gone")
    assert grown()


def samples(ctl: Ctl) -> dict[str, float]:
    lines = [line for line in ctl("metrics").out.splitlines() if not line.startswith("#")]
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}
