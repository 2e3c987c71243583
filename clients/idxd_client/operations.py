"""Every operation as a plain call: submit, wait, raise unless it succeeded. What a queue of any kind offers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence

from idxd_client.buffers import Operand
from idxd_client.completions import WAIT_TIMEOUT_S
from idxd_client.descriptors import Descriptor
from idxd_client.dif import DifDestination, DifFormat, DifSource
from idxd_client.results import Result


class Operations:
    """Calls of a WorkQueue and of a KernelChannel. Arguments are those of Descriptor's builders; `timeout` is in seconds."""

    @abstractmethod
    def run(self, descriptor: Descriptor, *, timeout: float = WAIT_TIMEOUT_S) -> Result:
        """Submit, wait, and raise unless it succeeded."""

    def noop(self, *, timeout: float = WAIT_TIMEOUT_S) -> Result:
        """One round trip."""
        return self.run(Descriptor.noop(), timeout=timeout)

    def drain(self, *readbacks: Operand, timeout: float = WAIT_TIMEOUT_S) -> Result:
        """Until everything submitted to this WQ before has completed."""
        return self.run(Descriptor.drain(*readbacks), timeout=timeout)

    def memmove(self, dst: Operand, src: Operand, size: int | None = None, *, timeout: float = WAIT_TIMEOUT_S) -> Result:
        """Copy bytes; the ranges may overlap."""
        return self.run(Descriptor.memmove(dst, src, size), timeout=timeout)

    def fill(self, dst: Operand, pattern: int | bytes, size: int | None = None, *, timeout: float = WAIT_TIMEOUT_S) -> Result:
        """Repeat a pattern of 8 or 16 bytes."""
        return self.run(Descriptor.fill(dst, pattern, size), timeout=timeout)

    def compare(self, first: Operand, second: Operand, size: int | None = None, *, timeout: float = WAIT_TIMEOUT_S) -> Result:
        """`result.equal`, and `bytes_completed` = offset of the first difference."""
        return self.run(Descriptor.compare(first, second, size), timeout=timeout)

    def compare_pattern(
        self, src: Operand, pattern: int | bytes, size: int | None = None, *, timeout: float = WAIT_TIMEOUT_S
    ) -> Result:
        """Is the source this pattern of 8 bytes, repeated? `result.equal`."""
        return self.run(Descriptor.compare_pattern(src, pattern, size), timeout=timeout)

    def create_delta(
        self,
        delta: Operand,
        first: Operand,
        second: Operand,
        size: int | None = None,
        *,
        max_size: int | None = None,
        expect: Iterable[int] | None = None,
        timeout: float = WAIT_TIMEOUT_S,
    ) -> Result:
        """What turns `first` into `second`: `result.result` 0 equal, 1 different, 2 no room; `result.delta_record_size`."""
        return self.run(Descriptor.create_delta(delta, first, second, size, max_size=max_size, expect=expect), timeout=timeout)

    def apply_delta(
        self, dst: Operand, delta: Operand, delta_size: int, size: int | None = None, *, timeout: float = WAIT_TIMEOUT_S
    ) -> Result:
        """Change the destination as a delta record says."""
        return self.run(Descriptor.apply_delta(dst, delta, delta_size, size), timeout=timeout)

    def dualcast(
        self, dst1: Operand, dst2: Operand, src: Operand, size: int | None = None, *, timeout: float = WAIT_TIMEOUT_S
    ) -> Result:
        """Copy to two destinations, whose addresses have the same low 12 bits."""
        return self.run(Descriptor.dualcast(dst1, dst2, src, size), timeout=timeout)

    def translation_fetch(
        self, region: Operand, size: int | None = None, *, stride: int | None = None, timeout: float = WAIT_TIMEOUT_S
    ) -> Result:
        """Have the addresses of a region translated."""
        return self.run(Descriptor.translation_fetch(region, size, stride=stride), timeout=timeout)

    def cache_flush(self, dst: Operand, size: int | None = None, *, timeout: float = WAIT_TIMEOUT_S) -> Result:
        """Evict what caches hold of a region."""
        return self.run(Descriptor.cache_flush(dst, size), timeout=timeout)

    def crc(
        self,
        src: Operand,
        size: int | None = None,
        *,
        seed: int = 0,
        seed_from: Operand | None = None,
        crc64: bool = False,
        bypass_inversion: bool = False,
        bypass_reflection: bool = False,
        timeout: float = WAIT_TIMEOUT_S,
    ) -> int:
        """CRC-32C, or CRC-64/NVME."""
        descriptor = Descriptor.crc(
            src,
            size,
            seed=seed,
            seed_from=seed_from,
            crc64=crc64,
            bypass_inversion=bypass_inversion,
            bypass_reflection=bypass_reflection,
        )
        return self.run(descriptor, timeout=timeout).crc

    def copy_crc(
        self,
        dst: Operand,
        src: Operand,
        size: int | None = None,
        *,
        seed: int = 0,
        seed_from: Operand | None = None,
        crc64: bool = False,
        bypass_inversion: bool = False,
        bypass_reflection: bool = False,
        timeout: float = WAIT_TIMEOUT_S,
    ) -> int:
        """Copy, and the CRC of it."""
        descriptor = Descriptor.copy_crc(
            dst,
            src,
            size,
            seed=seed,
            seed_from=seed_from,
            crc64=crc64,
            bypass_inversion=bypass_inversion,
            bypass_reflection=bypass_reflection,
        )
        return self.run(descriptor, timeout=timeout).crc

    def dif_check(
        self,
        src: Operand,
        size: int | None = None,
        *,
        source: DifSource = DifSource(),  # noqa: B008  # frozen
        form: DifFormat = DifFormat(),  # noqa: B008
        timeout: float = WAIT_TIMEOUT_S,
    ) -> Result:
        """Check protection fields; DescriptorError with status DIF_ERR when one is wrong."""
        return self.run(Descriptor.dif_check(src, size, source=source, form=form), timeout=timeout)

    def dif_insert(
        self,
        dst: Operand,
        src: Operand,
        size: int | None = None,
        *,
        destination: DifDestination = DifDestination(),  # noqa: B008
        form: DifFormat = DifFormat(),  # noqa: B008
        timeout: float = WAIT_TIMEOUT_S,
    ) -> Result:
        """Copy blocks and put a field behind each."""
        return self.run(Descriptor.dif_insert(dst, src, size, destination=destination, form=form), timeout=timeout)

    def dif_strip(
        self,
        dst: Operand,
        src: Operand,
        size: int | None = None,
        *,
        source: DifSource = DifSource(),  # noqa: B008
        form: DifFormat = DifFormat(),  # noqa: B008
        timeout: float = WAIT_TIMEOUT_S,
    ) -> Result:
        """Check and copy blocks without their fields."""
        return self.run(Descriptor.dif_strip(dst, src, size, source=source, form=form), timeout=timeout)

    def dif_update(
        self,
        dst: Operand,
        src: Operand,
        size: int | None = None,
        *,
        source: DifSource = DifSource(),  # noqa: B008
        destination: DifDestination = DifDestination(),  # noqa: B008
        form: DifFormat = DifFormat(),  # noqa: B008
        timeout: float = WAIT_TIMEOUT_S,
    ) -> Result:
        """Check and copy blocks with new fields."""
        descriptor = Descriptor.dif_update(dst, src, size, source=source, destination=destination, form=form)
        return self.run(descriptor, timeout=timeout)

    def dix_generate(
        self,
        dst: Operand,
        src: Operand,
        size: int | None = None,
        *,
        destination: DifDestination = DifDestination(),  # noqa: B008
        form: DifFormat = DifFormat(),  # noqa: B008
        timeout: float = WAIT_TIMEOUT_S,
    ) -> Result:
        """Only the fields of the source's blocks."""
        return self.run(Descriptor.dix_generate(dst, src, size, destination=destination, form=form), timeout=timeout)

    def batch(self, members: Sequence[Descriptor], *, timeout: float = WAIT_TIMEOUT_S) -> Result:
        """Several descriptors as one; `result.members`."""
        return self.run(Descriptor.batch(members), timeout=timeout)
