"""An address space with holes, as the model sees a client's memory."""

from __future__ import annotations

PAGE_BYTES = 4096
ADDRESSES = 1 << 64


class Memory:
    """Pages that exist, some of them read-only; all others fault."""

    def __init__(self) -> None:
        self._pages: dict[int, bytearray] = {}
        self._read_only: set[int] = set()

    def map(self, address: int, size: int, *, writable: bool = True) -> None:
        """Make the pages of [address, address + size) exist, zeroed where they are new."""
        for page in range(address // PAGE_BYTES, (address + size + PAGE_BYTES - 1) // PAGE_BYTES):
            self._pages.setdefault(page, bytearray(PAGE_BYTES))
            (self._read_only.discard if writable else self._read_only.add)(page)

    def unmap(self, address: int, size: int) -> None:
        """Take the pages of [address, address + size) away."""
        for page in range(address // PAGE_BYTES, (address + size + PAGE_BYTES - 1) // PAGE_BYTES):
            self._pages.pop(page, None)

    def place(self, address: int, content: bytes) -> None:
        """Map what is needed and put `content` there."""
        self.map(address, len(content))
        self.write(address, content)

    def pages(self) -> dict[int, bytes]:
        """A copy of everything: address of each page and its content."""
        return {page * PAGE_BYTES: bytes(content) for page, content in self._pages.items()}

    def allows(self, address: int, write: bool) -> bool:
        """Can this byte be accessed?"""
        page = address // PAGE_BYTES
        return page in self._pages and not (write and page in self._read_only)

    def reach(self, address: int, size: int, write: bool) -> int:
        """How many of `size` bytes from `address` upwards can be accessed before a page is missing."""
        done = 0
        while done < size and self.allows(address + done, write):
            done += PAGE_BYTES - (address + done) % PAGE_BYTES
        return min(done, size)

    def reach_down(self, address: int, size: int, write: bool) -> int:
        """How many of `size` bytes can be accessed, going down from the end of [address, address + size)."""
        done = 0
        while done < size and self.allows(address + size - done - 1, write):
            done += (address + size - done - 1) % PAGE_BYTES + 1
        return min(done, size)

    def read(self, address: int, size: int) -> bytes:
        """`size` bytes; the caller has looked that they are there."""
        found = bytearray()
        while len(found) < size:
            page, start = divmod(address + len(found), PAGE_BYTES)
            found += self._pages[page][start : start + size - len(found)]
        return bytes(found)

    def write(self, address: int, content: bytes) -> None:
        """Store `content`; the caller has looked that it may."""
        done = 0
        while done < len(content):
            page, start = divmod(address + done, PAGE_BYTES)
            part = content[done : done + PAGE_BYTES - start]
            self._pages[page][start : start + len(part)] = part
            done += len(part)
