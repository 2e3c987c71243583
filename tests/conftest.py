"""For every test: a name of its own, nothing left behind, time budgets by folder."""

import hashlib
import os
import signal
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from waiting import wait_until as _wait_until

from idxdd.shm import names

TESTS = Path(__file__).parent
LEAK_CHECKED = ("processes", "stress")
BUDGET_S = {
    ("unit", "property", "sim"): 150,
    ("protocol",): 60,
    ("processes",): 150,
    ("conformance",): 120,
    ("stress",): 60,
}
LEAVE_WITHIN_S = 5.0

wait_until = _wait_until


@pytest.fixture(name="wait_until")
def wait_until_fixture() -> Callable[..., object]:
    """wait_until(condition, timeout=10.0): the first true value."""
    return _wait_until


@pytest.fixture
def instance(request: pytest.FixtureRequest) -> str:
    """The name of an instance that no other test, worker or run of the suite uses."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    test = hashlib.blake2s(request.node.nodeid.encode(), digest_size=4).hexdigest()
    return f"t-{worker}-{os.getpid()}-{test}"


@pytest.fixture
def instance_lock(instance: str) -> Iterator[names.InstanceLock]:
    """Its lock, held: for tests that create names without a daemon, which any daemon's start would else sweep away."""
    with names.InstanceLock(instance) as lock:
        yield lock
        lock.sweep()


@pytest.fixture(autouse=True)
def nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that starts processes leaves none, and no segment, semaphore or lock; torn down after all other fixtures."""
    if "instance" not in request.fixturenames and _folder(request.node.path) not in LEAK_CHECKED:
        yield
        return
    name: str = request.getfixturevalue("instance")
    before = {child.pid for child in _children()}
    yield
    try:
        _wait_until(lambda: not _left(name, before), LEAVE_WITHIN_S, "nothing is left")
    except AssertionError:
        left = _left(name, before)
        _remove(name, before)
        pytest.fail("left behind: " + ", ".join(left), pytrace=False)


def _folder(path: Path) -> str:
    """The folder under tests/ a test lies in."""
    try:
        return path.relative_to(TESTS).parts[0]
    except ValueError:
        return ""


def _children() -> list[psutil.Process]:
    """Child processes, but for the ones that multiprocessing keeps for a whole session."""
    kept = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")
    found = []
    for child in psutil.Process().children(recursive=True):
        try:
            if not any(word in " ".join(child.cmdline()) for word in kept):
                found.append(child)
        except psutil.Error:
            continue
    return found


def _processes(instance: str, before: set[int]) -> list[psutil.Process]:
    """Our new children, and whoever has the instance in its arguments or environment (a daemon of a dead parent)."""
    found = {child.pid: child for child in _children() if child.pid not in before}
    for process in psutil.process_iter():
        if process.pid != os.getpid() and _mentions(process.pid, instance.encode()):
            found[process.pid] = process
    return list(found.values())


def _mentions(pid: int, word: bytes) -> bool:
    try:
        return any(word in Path(f"/proc/{pid}/{file}").read_bytes() for file in ("cmdline", "environ"))
    except OSError:
        return False


def _left(instance: str, before: set[int]) -> list[str]:
    left = names.names_left(instance)
    for process in _processes(instance, before):
        try:
            left.append(f"process {process.pid} ({process.status()}): {' '.join(process.cmdline())[:120]}")
        except psutil.Error:
            continue
    return left


def _remove(instance: str, before: set[int]) -> None:
    """So that one leak does not fail every test after it."""
    for process in _processes(instance, before):
        try:
            process.send_signal(signal.SIGKILL)
            process.wait(1)
        except (psutil.Error, ChildProcessError):
            continue
    names.sweep_instance(os.geteuid(), instance)


# ---- time budget -----------------------------------------------------------------------------------------------------

_spent_s: defaultdict[str, float] = defaultdict(float)
_count: defaultdict[str, int] = defaultdict(int)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Under xdist the controller gets every worker's reports here."""
    parts = report.nodeid.split("::")[0].split("/")
    folder = parts[1] if len(parts) > 2 and parts[0] == TESTS.name else "other"
    _spent_s[folder] += report.duration
    _count[folder] += report.when == "call"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Seconds of test time by folder, against what each may take."""
    if not _count:
        return
    terminalreporter.section("time budget")
    terminalreporter.write_line(f"{'folders':<24}{'tests':>7}{'spent s':>10}{'budget s':>10}")
    budgeted = {folder for folders in BUDGET_S for folder in folders}
    rows: list[tuple[tuple[str, ...], int | None]] = [*BUDGET_S.items(), (tuple(sorted(set(_spent_s) - budgeted)), None)]
    for folders, budget_s in rows:
        spent_s = sum(_spent_s[folder] for folder in folders)
        count = sum(_count[folder] for folder in folders)
        if not count:
            continue
        over = budget_s is not None and spent_s > budget_s
        line = f"{', '.join(folders):<24}{count:>7}{spent_s:>10.1f}{budget_s or '-':>10}"
        terminalreporter.write_line(line + ("  over" if over else ""), red=over)
