"""The CRC kernels, each against an independent library and a bit-by-bit model: any size, any alignment, results are seeds."""

from collections.abc import Callable, Iterator
from itertools import pairwise

import crc32c as reference
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from idxdd.native import _native as native

NEEDS = {
    "portable": set(),
    "pclmul": {"sse4_2", "pclmulqdq", "avx"},
    "avx512": {"sse4_2", "pclmulqdq", "avx", "avx512f", "avx512bw", "avx512vl", "avx512dq", "vpclmulqdq"},
}
KERNELS = [kernel for kernel, needs in NEEDS.items() if needs <= set(native.cpu_features().split())]

CRC32C = (32, 0x82F63B78)
CRC64NVME = (64, 0x9A6C9329AC4BC9B5)

BLOCK = bytes((i * 151 + (i >> 8) * 7) & 0xFF for i in range(20_000))
pieces = st.tuples(st.integers(0, 70), st.one_of(st.integers(0, 80), st.integers(0, 1100), st.integers(0, 19_000)))


def bitwise(data: bytes, seed: int, width: int, reflected: int) -> int:
    """The definition, one bit at a time (reflected form, complemented before and after)."""
    ones = (1 << width) - 1
    reg = ~seed & ones
    for byte in data:
        reg ^= byte
        for _ in range(8):
            reg = reg >> 1 ^ (reflected if reg & 1 else 0)
    return ~reg & ones


@pytest.fixture(params=KERNELS)
def kernel(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each kernel that this CPU supports; the one that was in use returns afterwards."""
    before = native.crc_kernel()
    assert native.crc_force(request.param)
    assert native.crc_kernel() == request.param
    yield request.param
    assert native.crc_force(before)


def test_the_best_kernel_is_in_use_and_each_supported_one_can_be_forced() -> None:
    """A kernel that silently is never chosen would be neither fast nor tested."""
    before = native.crc_kernel()
    assert before == KERNELS[-1]
    for name in NEEDS:
        assert native.crc_force(name) == (name in KERNELS)
    assert not native.crc_force("no such kernel")
    assert native.crc_force(before)


def test_catalogue_values(kernel: str) -> None:
    """The published check values of both CRCs; the empty message leaves the seed as it is."""
    assert native.crc32c(b"123456789") == 0xE3069283
    assert native.crc64nvme(b"123456789") == 0xAE8B14860A799888
    assert native.crc32c(b"", 0x1234) == 0x1234
    assert native.crc64nvme(b"", seed=2**64 - 1) == 2**64 - 1


def test_crc32c_of_every_short_size(kernel: str) -> None:
    """Each size up to a few blocks of the widest kernel, so that every tail is met."""
    for size in range(800):
        assert native.crc32c(BLOCK[:size], size) == reference.crc32c(BLOCK[:size], size)


@settings(deadline=None, max_examples=150)
@given(piece=pieces, seed=st.integers(0, 2**32 - 1))
def test_crc32c_is_the_libraries(piece: tuple[int, int], seed: int) -> None:
    """Any alignment, size and seed: every kernel gives what the PyPI package crc32c gives."""
    offset, size = piece
    data = memoryview(BLOCK)[offset : offset + size]
    with_each_kernel(lambda: native.crc32c(data, seed), reference.crc32c(data, seed))


@settings(deadline=None, max_examples=60)
@given(offset=st.integers(0, 70), size=st.integers(0, 700), seed=st.integers(0, 2**64 - 1))
def test_both_are_the_definition(offset: int, size: int, seed: int) -> None:
    """CRC-64/NVME has no package in our set: the definition itself is the judge, of both."""
    data = BLOCK[offset : offset + size]
    with_each_kernel(lambda: native.crc64nvme(data, seed), bitwise(data, seed, *CRC64NVME))
    seed &= 0xFFFFFFFF
    with_each_kernel(lambda: native.crc32c(data, seed), bitwise(data, seed, *CRC32C))


@settings(deadline=None, max_examples=100)
@given(size=st.integers(0, 19_000), cuts=st.lists(st.integers(0, 19_000), max_size=6), seed=st.integers(0, 2**64 - 1))
def test_incremental_is_whole(size: int, cuts: list[int], seed: int) -> None:
    """Slices and continuation descriptors chain results as seeds: any cuts must give the CRC of the whole."""
    whole = memoryview(BLOCK)[:size]
    edges = [0, *sorted(cut for cut in cuts if cut < size), size]

    def in_pieces() -> tuple[int, int]:
        narrow, wide = seed & 0xFFFFFFFF, seed
        for start, end in pairwise(edges):
            narrow = native.crc32c(whole[start:end], narrow)
            wide = native.crc64nvme(whole[start:end], wide)
        return narrow, wide

    expected = (native.crc32c(whole, seed & 0xFFFFFFFF), native.crc64nvme(whole, seed))
    with_each_kernel(in_pieces, expected)


def test_large_buffers_are_done_without_the_gil() -> None:
    """The path that releases the GIL gives the same values."""
    data = BLOCK * 10
    assert native.crc32c(data) == reference.crc32c(data)
    half = len(data) // 2
    assert native.crc64nvme(data) == native.crc64nvme(data[half:], native.crc64nvme(data[:half]))


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_seeds_out_of_range_are_refused(seed: int) -> None:
    """A seed that does not fit must not be cut silently."""
    with pytest.raises(OverflowError):
        native.crc32c(b"x", seed)
    with pytest.raises(OverflowError):
        native.crc64nvme(b"x", seed)
    with pytest.raises(OverflowError, match="32 bits"):
        native.crc32c(b"x", 2**32)


def with_each_kernel(call: Callable[[], object], expected: object) -> None:
    """`call` gives `expected` with every kernel of this CPU."""
    before = native.crc_kernel()
    try:
        for name in KERNELS:
            assert native.crc_force(name)
            assert call() == expected, name
    finally:
        native.crc_force(before)
