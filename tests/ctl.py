"""idxdctl in this process against one daemon for a whole file: ten times as fast as processes; each test begins afresh."""

import os
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest
from daemons import RunningDaemon

from idxdctl.main import main


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


Ctl = Callable[..., Done]


@pytest.fixture(scope="module")
def live(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    """A daemon with the default configuration, for this file on this worker."""
    worker, name = os.environ.get("PYTEST_XDIST_WORKER", "main"), request.node.path.stem[-12:]
    running = RunningDaemon(f"t-{worker}-{os.getpid() % 10000}-{name}"[:32], tmp_path_factory.mktemp("live")).start()
    yield running
    assert running.stop() == 0, running.said
    assert "Traceback" not in running.said


@pytest.fixture
def fresh(live: RunningDaemon) -> Iterator[RunningDaemon]:
    """The daemon as it started: what a test configured is undone."""
    with live.connect() as client:
        config = client.request("save_config")[0]["config"]
    yield live
    with live.connect() as client:
        answer, _ = client.request("load_config", config=config, force=True, enable=True)
    assert answer["applied"], answer


@pytest.fixture
def ctl(fresh: RunningDaemon, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ctl:
    """Runs a command line; never a traceback."""

    def run(*arguments: object) -> Done:
        monkeypatch.setenv("IDXDD_SOCKET", fresh.socket)
        monkeypatch.setattr(sys, "argv", ["idxdctl", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return Done(int(ended.value.code or 0), said.out, said.err)

    return run
