"""What idxdctl computes by itself: sizes, parts of a file, percentiles, tables, and files that must survive a failure."""

from pathlib import Path

import pytest

from idxdctl import copying, output
from idxdctl.copying import CopyFailed, plan
from idxdctl.measure import summary
from idxdctl.sizes import format_size, parse_size, percentile
from idxdd.control.exitcodes import ExitCode


@pytest.mark.parametrize(
    ("text", "size"),
    [("1", 1), ("64K", 65536), ("1M", 1 << 20), ("2g", 2 << 30), ("1GiB", 1 << 30), ("3 MB", 3 << 20), ("1T", 1 << 40)],
)
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    """Powers of 1024, any case."""
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "K", "1.5M", "-1", "0", "0K", "1X", "64 K K", "1e6"])
def test_other_sizes_are_refused_with_the_rule(text: str) -> None:
    """A chunk of 0 bytes would never end."""
    with pytest.raises(ValueError, match="size"):
        parse_size(text)


def test_sizes_are_written_with_a_unit() -> None:
    """Three digits are enough to read."""
    assert [format_size(n) for n in (0, 999, 1024, 1536, 256 << 20, 5 << 30)] == [
        "0 B", "999 B", "1 KiB", "1.5 KiB", "256 MiB", "5 GiB",
    ]  # fmt: skip


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 12_345_678])
@pytest.mark.parametrize("procs", [1, 2, 3, 7, 64])
def test_parts_cover_the_file_exactly_once(size: int, procs: int) -> None:
    """A byte in no part is lost, one in two is copied twice; parts begin at multiples of the chunk."""
    parts = plan(size, 4096, procs)
    at = 0
    for offset, length in parts:
        assert offset == at
        assert offset % 4096 == 0
        assert length > 0
        at += length
    assert at == size
    assert len(parts) <= procs


def test_percentiles_are_of_the_values_themselves() -> None:
    """Nearest rank; an empty list and one value have them, too."""
    values = list(range(1, 1001))
    assert (percentile(values, 0.5), percentile(values, 0.99), percentile(values, 1.0)) == (501, 991, 1000)
    assert (percentile([], 0.5), percentile([7], 0.99)) == (0, 7)
    found = summary([3000, 1000, 2000])
    assert (found["min_us"], found["p50_us"], found["max_us"], found["mean_us"]) == (1.0, 2.0, 3.0, 2.0)


def test_tables_line_up() -> None:
    """Words left, numbers right, no trailing blanks."""
    assert output.table(("wq", "n"), [("a", 1), ("long", 22)]) == "wq     n\na      1\nlong  22"


def test_paths_that_cannot_be_copied_are_refused_first(tmp_path: Path) -> None:
    """Copying a file onto itself would empty it; a directory or device is no target."""
    source = tmp_path / "source"
    source.write_text("x")
    (tmp_path / "link").symlink_to(source)
    copying.check_paths(str(source), str(tmp_path / "new"))
    for src, dst, words in [
        (tmp_path / "none", tmp_path / "new", "no such"),
        (source, tmp_path, "not a regular"),
        (source, "/dev/null", "not a regular"),
        (source, tmp_path / "link", "same file"),
    ]:
        with pytest.raises(CopyFailed, match=words) as failed:
            copying.check_paths(str(src), str(dst))
        assert failed.value.exit_code is ExitCode.USAGE


def test_verification_finds_one_wrong_byte(tmp_path: Path) -> None:
    """By zlib, which knows nothing of the device."""
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(bytes(3_000_000))
    two.write_bytes(bytes(2_999_999) + b"\x01")
    with pytest.raises(CopyFailed, match="verification failed"):
        copying.verify(str(one), str(two))
    two.write_bytes(bytes(2_999_999))
    with pytest.raises(CopyFailed, match="verification failed"):
        copying.verify(str(one), str(two))
    assert copying.verify(str(one), str(one)) == copying.crc32_of(str(one))
