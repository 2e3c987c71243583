"""Small pieces of library buffers for what the library itself shows to the device: records and descriptor lists.

Pieces come in powers of two. A piece whose descriptor may still run goes to limbo, not back to its list: the device could
write its record after somebody else got it. Limbo is looked through when a list runs empty.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from idxd_client.buffers import Buffer
from idxdd import native

if TYPE_CHECKING:
    from idxd_client.connection import Connection

CHUNK_BYTES = 64 * 1024
PIECE_BYTES_MIN = 32
_ZEROS = bytes(PIECE_BYTES_MIN)


class Piece:
    """So many bytes of device-visible memory."""

    __slots__ = ("address", "nbytes", "offset", "view", "words")

    def __init__(self, view: memoryview, words: native.Words, address: int, offset: int) -> None:
        self.view = view
        self.words = words
        self.address = address
        self.offset = offset
        self.nbytes = view.nbytes

    def status(self) -> int:
        """The status byte of the record in this piece: acquire, partner of the device's release."""
        return self.words.load32(self.offset) & 0xFF


class Arena:
    """Pieces of one connection's buffers. Threads may share it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._free: dict[int, list[Piece]] = {}
        self._limbo: list[tuple[Piece, Callable[[], bool]]] = []
        self._chunks: list[tuple[Buffer, memoryview, native.Words]] = []

    def take(self, nbytes: int = PIECE_BYTES_MIN) -> Piece:
        """A piece of at least `nbytes`, its first record zeroed: the device writes over it, software zeroes it first."""
        size = max(PIECE_BYTES_MIN, 1 << (nbytes - 1).bit_length())
        try:
            piece = self._free[size].pop()
        except (KeyError, IndexError):
            piece = self._grow(size)
        piece.view[:PIECE_BYTES_MIN] = _ZEROS
        return piece

    def prepare(self) -> None:
        """Have records at hand, so that a first submission asks the daemon for nothing."""
        self.give(self.take())

    def give(self, piece: Piece) -> None:
        """Nothing will write it any more."""
        self._free.setdefault(piece.nbytes, []).append(piece)

    def give_when(self, piece: Piece, finished: Callable[[], bool]) -> None:
        """The device may still write it; `finished` tells when not. Safe to call from a finalizer: takes no lock."""
        self._limbo.append((piece, finished))

    def _grow(self, size: int) -> Piece:
        with self._lock:
            free = self._free.setdefault(size, [])
            self._sweep()
            try:
                return free.pop()
            except IndexError:
                pass
            buffer = self._connection.alloc(max(CHUNK_BYTES, size), owned=False)
            view, words = memoryview(buffer), native.Words(buffer)
            self._chunks.append((buffer, view, words))
            starts = range(0, buffer.nbytes - size + 1, size)
            pieces = [Piece(view[at : at + size], words, buffer.address + at, at) for at in starts]
            mine = pieces.pop()  # before the others are seen by threads that take without the lock
            free.extend(pieces)
            return mine

    def _sweep(self) -> None:
        limbo, self._limbo = self._limbo, []
        for piece, finished in limbo:
            if finished():
                self.give(piece)
            else:
                self._limbo.append((piece, finished))

    def statistics(self) -> dict[str, int]:
        """Chunks held, pieces free and pieces in limbo."""
        return {"chunks": len(self._chunks), "free": sum(map(len, self._free.values())), "limbo": len(self._limbo)}

    def close(self) -> None:
        """Let go of every chunk; the connection frees the buffers."""
        with self._lock:
            self._free.clear()
            self._limbo.clear()
            chunks, self._chunks = self._chunks, []
        for buffer, _view, words in chunks:
            words.release()
            buffer.close()
