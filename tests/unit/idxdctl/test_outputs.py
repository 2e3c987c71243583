"""Files that idxdctl writes: whole or not at all, whatever the file system can do."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from idxdctl import outputs
from idxdctl.output import Failed


@pytest.fixture(params=["unnamed", "hidden"], autouse=True)
def file_system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With O_TMPFILE, and as on a file system that has no such files."""
    if request.param == "hidden":
        real = os.open

        def refuse(path: str, flags: int, *rest: int, **more: int) -> int:
            if flags & os.O_TMPFILE == os.O_TMPFILE:
                raise OSError(95, "Operation not supported")
            return real(path, flags, *rest, **more)

        monkeypatch.setattr(os, "open", refuse)


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    """A reader of the destination sees the old file or the new one, never half of one."""
    target = tmp_path / "target"
    target.write_text("old")
    target.chmod(0o640)
    with outputs.written(str(target)) as fd:
        os.write(fd, b"new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert os.listdir(tmp_path) == ["target"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    """A full disk or a Ctrl-C half-way must not cost the file that was there."""
    target = tmp_path / "target"
    target.write_text("old")

    def fail() -> None:
        with outputs.written(str(target)) as fd:
            os.write(fd, b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["target"]


def test_a_link_stays_one(tmp_path: Path) -> None:
    """What is written is the file it points at."""
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    with outputs.written(str(tmp_path / "link")) as fd:
        os.write(fd, b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


def test_what_a_killed_command_left_is_removed(tmp_path: Path) -> None:
    """A killed copy used to leave its hidden partial file for good; one that still runs keeps its own."""
    target = tmp_path / "tar[g]et"
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    dead, alive = (tmp_path / f".tar[g]et.idxdctl-{pid}" for pid in (ended.pid, os.getppid()))
    other = tmp_path / f".another.idxdctl-{ended.pid}"
    for path in (dead, alive, other):
        path.write_text("half")
    with outputs.written(str(target)) as fd:
        os.write(fd, b"whole")
    assert not dead.exists()
    assert alive.exists()
    assert other.exists(), "another file's"


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    """Not the hidden name, which the user never wrote."""
    with pytest.raises(OSError, match="No such file") as caught, outputs.written(str(tmp_path / "none" / "x")):
        pass
    assert caught.value.filename == str(tmp_path / "none" / "x")


def test_places_that_cannot_be_written_are_refused_first(tmp_path: Path) -> None:
    """A device or a directory is no destination; a file onto itself would be empty."""
    source = tmp_path / "source"
    source.write_text("x")
    outputs.check_destination(str(tmp_path / "new"), "fill", str(source))
    with pytest.raises(Failed, match="not a regular file"):
        outputs.check_destination(str(tmp_path), "fill")
    with pytest.raises(Failed, match="same file"):
        outputs.check_destination(str(source), "fill", str(source))
    with pytest.raises(Failed, match="not a regular file"):
        outputs.check_source("/dev/null", "fill")
    with pytest.raises(Failed, match="No such file"):
        outputs.check_source(str(tmp_path / "none"), "fill")


def test_a_full_disk_names_the_file_that_was_asked_for(tmp_path: Path) -> None:
    """The file that is written has no name, or a hidden one: neither tells a user what to make room for."""
    target = str(tmp_path / "target")
    with pytest.raises(OSError, match="No space left") as full, outputs.written(target):
        raise OSError(28, "No space left on device")
    assert full.value.filename == target
    assert os.listdir(tmp_path) == []


def test_a_time_out_in_between_stays_one(tmp_path: Path) -> None:
    """WaitTimeout is an OSError to Python, and not of the file."""
    with pytest.raises(TimeoutError) as late, outputs.written(str(tmp_path / "target")):
        raise TimeoutError("dsa0/wq0.1: no answer")
    assert late.value.filename is None


@pytest.mark.parametrize(("size", "words"), [(1 << 63, "more than a file can have"), (1 << 62, "do not fit")])
def test_a_size_that_cannot_be_is_refused_at_once(tmp_path: Path, size: int, words: str) -> None:
    """Else the disk is full before anybody says so."""
    with pytest.raises(Failed, match=f"fill: .*target: .*{words}"):
        outputs.check_room(str(tmp_path / "target"), size, "fill")
