"""Memory of this process as a client's: pages that are library buffers, heap, read-only, not there or never touched."""

import ctypes
import mmap
import os
from collections.abc import Sequence
from enum import Enum

from idxdd import native

PAGE = 4096
_MAP_FIXED_NOREPLACE = 0x100000
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


class Kind(Enum):
    """What a page is."""

    BUFFER = "a library buffer: the engine has it mapped"
    HEAP = "anonymous, written to"
    READ_ONLY = "anonymous, written to, then protected"
    UNTOUCHED = "anonymous, never touched: not present"
    ABSENT = "no mapping"


def protect(address: int, size: int, protection: int) -> None:
    """mprotect."""
    assert _libc.mprotect(address, size, protection) == 0


def unmap(address: int, size: int) -> None:
    """munmap."""
    assert _libc.munmap(address, size) == 0


class Pages:
    """Consecutive pages from `base` on, of these kinds, with this content."""

    def __init__(self, base: int, kinds: Sequence[Kind], content: bytes) -> None:
        self.base, self.kinds = base, list(kinds)
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | (_MAP_FIXED_NOREPLACE if base else 0)
        self.base = _libc.mmap(base, self.size, mmap.PROT_READ | mmap.PROT_WRITE, flags, -1, 0)
        assert not base or self.base == base, f"{base:#x} is in use"
        self._fds: dict[int, int] = {}
        for page, kind in enumerate(self.kinds):
            self._place(page, kind, content[page * PAGE : (page + 1) * PAGE])

    @property
    def size(self) -> int:
        return len(self.kinds) * PAGE

    def address(self, page: int) -> int:
        return self.base + page * PAGE

    def _place(self, page: int, kind: Kind, content: bytes) -> None:
        address = self.address(page)
        if kind is Kind.BUFFER:
            fd = self._fds[page] = os.memfd_create("agent-test", os.MFD_CLOEXEC)
            os.ftruncate(fd, PAGE)
            native.map_fixed_shared(fd, address, PAGE)
        if kind in (Kind.BUFFER, Kind.HEAP, Kind.READ_ONLY):
            native.view(address, PAGE, True)[: len(content)] = content
        if kind is Kind.READ_ONLY:
            protect(address, PAGE, mmap.PROT_READ)
        if kind is Kind.ABSENT:
            unmap(address, PAGE)

    def show(self, space: native.Space) -> None:
        """Map the library buffers into the device's view."""
        for page, fd in self._fds.items():
            space.add(self.address(page), fd, PAGE)

    def read(self, page: int) -> bytes:
        """Its content; zeros where nobody can have written."""
        if self.kinds[page] is Kind.ABSENT:
            return bytes(PAGE)
        return bytes(native.view(self.address(page), PAGE, False))

    def close(self) -> None:
        for fd in self._fds.values():
            os.close(fd)
        for page, kind in enumerate(self.kinds):
            if kind is not Kind.ABSENT:
                unmap(self.address(page), PAGE)


class AgentMemory:
    """What the daemon makes for an agent: its page and its bells."""

    def __init__(self) -> None:
        size = -(-native.LAYOUT["agent_page"] // PAGE) * PAGE
        self.memory = os.memfd_create("agent-page", os.MFD_CLOEXEC)
        os.ftruncate(self.memory, size)
        self.bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.doorbell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.published = os.memfd_create("agent-published", os.MFD_CLOEXEC)
        os.ftruncate(self.published, -(-native.LAYOUT["published_device"] // PAGE) * PAGE)
        self.window = mmap.mmap(self.memory, size)
        self.words = native.Words(self.window)

    def agent(self, *, thread: bool = False) -> native.Agent:
        """The client's end."""
        return native.Agent(
            memory_fd=self.memory, bell_fd=self.bell, doorbell_fd=self.doorbell, published_fd=self.published, thread=thread
        )

    def slot(self, number: int, word: str) -> int:
        """Where a word of a slot lies."""
        layout = native.LAYOUT
        return layout["agent_page.slot"] + number * layout["agent_page.slot[]"] + layout[f"agent_slot.{word}"]

    def close(self) -> None:
        self.words.release()
        self.window.close()
        for fd in (self.memory, self.bell, self.doorbell, self.published):
            os.close(fd)
