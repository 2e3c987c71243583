"""Configuration files: what accel-config reads is read, and what nobody could mean is refused by name."""

import os
from pathlib import Path

import pytest

from idxdd.control.configfile import BadConfigFile, parse_config_text, read_config, write_config


def test_comments_and_trailing_commas_are_read_with_a_warning() -> None:
    """accel-config's own net_profile.conf has such a comma; strings that look like a comment stay."""
    text = '[\n  {"dev": "dsa0", // the first\n   "name": "a // b, ]", /* two\nlines */ "groups": [{},\n],},\n]'
    config, warnings = parse_config_text(text)
    assert config == [{"dev": "dsa0", "name": "a // b, ]", "groups": [{}]}]
    assert [warning.split(":")[0] for warning in warnings] == ["line 2", "line 3", "line 4", "line 5", "line 5"]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "not JSON"),
        ("dsa0", "not JSON"),
        ('[{"dev": "dsa0"', "not JSON"),
        ('[{"a": 1,, }]', "not JSON"),
        ('[{"size": NaN}]', "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('[{"size": 1, "mode": "shared", "size": 2}]', "'size' is there twice"),
        ('"dsa0"', "must be a list"),
        ('[{"size": 1' + "0" * 40 + "}]", "cannot be passed on"),
        ('[{"name": "\\ud800"}]', "cannot be passed on"),
        ('[{"name": "' + "x" * 40_000 + '"}]', "longer than"),
    ],
)
def test_nonsense_is_named(text: str, rule: str) -> None:
    """One line, whatever it is."""
    with pytest.raises(BadConfigFile, match=rule) as caught:
        parse_config_text(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["absent", "directory", "binary", "endless"])
def test_files_that_are_none(tmp_path: Path, kind: str) -> None:
    """The file is named, and nothing is read for ever."""
    path = tmp_path / "c"
    if kind == "directory":
        path.mkdir()
    elif kind == "binary":
        path.write_bytes(b"\xff\xfe[")
    target = "/dev/zero" if kind == "endless" else str(path)
    with pytest.raises(BadConfigFile, match=target):
        read_config(target)


def test_a_file_is_replaced_at_once(tmp_path: Path) -> None:
    """What was there stays when the new one cannot be written."""
    path = tmp_path / "c"
    write_config(str(path), "one")
    write_config(str(path), "two")
    assert (path.read_text(), [entry.name for entry in tmp_path.iterdir()]) == ("two", ["c"])
    with pytest.raises(OSError, match="directory"):
        write_config(str(tmp_path / "no" / "c"), "x")


def test_what_is_no_file_is_written_to_and_stays(tmp_path: Path) -> None:
    """`save-config -s /dev/null` of root once left a file there instead of the device."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    try:
        write_config(str(pipe), "one")
        assert os.read(reader, 16) == b"one"
    finally:
        os.close(reader)
    assert pipe.is_fifo()
    with pytest.raises(IsADirectoryError) as caught:
        write_config(str(tmp_path), "one")
    assert caught.value.filename == str(tmp_path)
