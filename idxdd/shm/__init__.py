"""Segments, rings, bells, clock: the only Python that touches shared memory and the OS."""
