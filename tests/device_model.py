"""A small model of one device of the dsa2 profile without work to do: registers, commands, halts and resets.

Written from registers.md, section by section, and from nothing of idxdd: offsets and codes stand here a second time. It
answers what BAR0 holds after any writes, what CMDSTS says after any command, and which entries were signalled.
"""

from dataclasses import dataclass, field

GENCFG, GENCTRL, GENSTS, INTCAUSE, CMD, CMDSTS, SWERR, EVLCFG, EVLSTATUS = 0x80, 0x88, 0x90, 0x98, 0xA0, 0xA8, 0xC0, 0xE0, 0xF0
MSIXPERM, GRPCFG, WQCFG, MSIX, PBA, CMDPARAM = 0x400, 0x600, 0x800, 0x2000, 0x3000, 0xE000
WQS, GROUPS, ENGINES, ENTRIES = 8, 4, 4, 9
TOTAL_SIZE, READ_BUFFERS, MAX_BATCH_SHIFT = 128, 96, 10
OPCAP = 0x1_00BF_07FF
DISABLED, ENABLED, HALT = 0, 1, 3
SOFTWARE, FLR = 0, 1
CAUSE_ERR, CAUSE_CMD, CAUSE_OCCUPANCY, CAUSE_HALT = 1, 2, 4, 16
ALWAYS, DEVICE, WQ, LIMIT = "always", "device disabled or halted", "WQ disabled or device halted", "occupancy interrupt off"

FIXED = {
    GENCFG: (0x30FF, DEVICE),  # limit 7:0, user interrupts 12, event log 13
    GENCTRL: (0x7, ALWAYS),
    EVLCFG: (0xFFFF_F003, DEVICE),  # PASID enable, priv, base
    EVLCFG + 4: (0xFFFF_FFFF, DEVICE),
    EVLCFG + 8: (0xFFFF_FFFF, DEVICE),  # size 15:0, PASID 35:16
    EVLCFG + 12: (0xF, DEVICE),
    EVLSTATUS: (0xFFFF, ALWAYS),  # head
    CMDPARAM: (0xFFFF_FFFF, ALWAYS),
    CMDPARAM + 4: (0xFFFF_FFFF, ALWAYS),
}
ACKNOWLEDGED = {INTCAUSE: 0x8000_003F, SWERR: 0x3, EVLSTATUS + 4: 1 << 30}
GROUP_DWORDS = [0xFFFF_FFFF] * 10 + [0x0FF0_FFBF, 0x0000_FF33]
WQ_DWORDS = {0: (0xFFFF, DEVICE), 1: (0xFFFF, ALWAYS), 2: (0x3FFF_FFFF, WQ), 3: (0x1FFF, WQ), 4: (0x1_FFFF, WQ)}
OCCUPANCY_LIMIT, OCCUPANCY = 20, 24
ENTRY_DWORDS = [0xFFFF_FFFF] * 3 + [1]


@dataclass
class Pci:
    """The switches of configuration space that this model knows (1.2)."""

    prs: bool = True


@dataclass
class DeviceModel:
    """`bar0`: as the device shows it when it appears."""

    bar0: bytearray
    pci: Pci = field(default_factory=Pci)
    handles: set[int] = field(default_factory=set)
    signalled: list[int] = field(default_factory=list)
    """Entries whose message left the device, in order."""

    def __post_init__(self) -> None:
        self.initial = bytes(self.bar0)
        self.rules: dict[int, list[tuple[int, str, int]]] = {at: [(mask, lock, 0)] for at, (mask, lock) in FIXED.items()}
        for group in range(GROUPS):
            for dword, mask in enumerate(GROUP_DWORDS):
                self.rules[GRPCFG + 64 * group + 4 * dword] = [(mask, DEVICE, 0)]
        for wq in range(WQS):
            base = WQCFG + 64 * wq
            for dword, (mask, lock) in WQ_DWORDS.items():
                self.rules[base + 4 * dword] = [(mask, lock, wq)]
            self.rules[base + OCCUPANCY_LIMIT] = [(0xFFFF, LIMIT, wq), (0x1_0000, ALWAYS, wq)]
            for dword in range(8, 16):
                self.rules[base + 4 * dword] = [(0xFFFF_FFFF, WQ, wq)]
        for entry in range(ENTRIES):
            self.rules[MSIXPERM + 8 * entry] = [(0xFFFF_F00C, ALWAYS, 0)]
            for dword, mask in enumerate(ENTRY_DWORDS):
                self.rules[MSIX + 16 * entry + 4 * dword] = [(mask, ALWAYS, 0)]
        self.acknowledged = ACKNOWLEDGED | {WQCFG + 64 * wq + OCCUPANCY: 0x1_0000 for wq in range(WQS)}

    # ---- words -----------------------------------------------------------------------------------------------------

    def get(self, at: int, high: int = 31, low: int = 0, size: int = 4) -> int:
        """Bits high..low of what lies there."""
        return int.from_bytes(self.bar0[at : at + size], "little") >> low & (1 << high - low + 1) - 1

    def put(self, at: int, value: int, size: int = 4) -> None:
        self.bar0[at : at + size] = value.to_bytes(size, "little")

    def back(self, start: int, end: int) -> None:
        """Initial values of a range."""
        self.bar0[start:end] = self.initial[start:end]

    @property
    def state(self) -> int:
        return self.get(GENSTS, 1, 0)

    def wq(self, wq: int, byte: int, high: int, low: int = 0) -> int:
        """A field of WQCFG, by the byte of its dword."""
        return self.get(WQCFG + 64 * wq + byte, high, low)

    def wq_state(self, wq: int) -> int:
        return self.wq(wq, OCCUPANCY, 31, 30)

    def set_wq_state(self, wq: int, state: int) -> None:
        at = WQCFG + 64 * wq + OCCUPANCY
        self.put(at, self.get(at) & 0x3FFF_FFFF | state << 30)

    # ---- writes (sections 2 and 3) -----------------------------------------------------------------------------------

    def write(self, offset: int, width: int, value: int) -> None:
        """Whatever the bus brings; what may not be written stays. Not for CMD."""
        if width in (1, 2, 4, 8) and offset % width == 0 and 0 <= offset <= 0x10000 - width:
            for byte in range(width):  # a byte at a time: no lane arithmetic to get wrong the same way
                self._write_byte(offset + byte, value >> 8 * byte & 0xFF)
        self._settle()

    def _write_byte(self, at: int, value: int) -> None:
        dword, shift = at & ~3, 8 * (at & 3)
        old = self.bar0[at]
        mask = sum(mask for mask, lock, wq in self.rules.get(dword, ()) if self._open(lock, wq, dword))
        mask = mask >> shift & 0xFF
        clear = self.acknowledged.get(dword, 0) >> shift & 0xFF & value
        self.bar0[at] = (old & ~mask | value & mask) & ~clear

    def _open(self, lock: str, wq: int, dword: int) -> bool:
        if lock == DEVICE:
            return self.state in (DISABLED, HALT)
        if lock == WQ:
            return self.state == HALT or self.wq_state(wq) == DISABLED
        if lock == LIMIT:
            return not self.bar0[dword + 2] & 1  # the enable lies in a later byte: seen as it was before this write
        return True

    # ---- interrupts (2.6, 3.1) ---------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """What happens by itself: occupancy interrupts (nothing is queued here), messages of entries that were opened."""
        for wq in range(WQS):
            armed = self.wq(wq, OCCUPANCY_LIMIT, 16, 16) and self.wq_state(wq) == ENABLED and self.state == ENABLED
            entry = self.wq(wq, 16, 15)
            if armed and not self.wq(wq, OCCUPANCY, 16, 16) and entry in self.handles:
                at = WQCFG + 64 * wq + OCCUPANCY
                self.put(at, self.get(at) | 1 << 16)
                if entry == 0:
                    self.put(INTCAUSE, self.get(INTCAUSE) | CAUSE_OCCUPANCY)
                self._message(entry)
        for entry in range(ENTRIES):
            if self.get(PBA) >> entry & 1 and not self._masked(entry):
                self.put(PBA, self.get(PBA) & ~(1 << entry))
                self.signalled.append(entry)

    def _masked(self, entry: int) -> bool:
        return bool(self.get(MSIX + 16 * entry + 12) & 1)

    def _message(self, entry: int) -> None:
        if self._masked(entry):
            self.put(PBA, self.get(PBA) | 1 << entry)
        else:
            self.signalled.append(entry)

    def _cause(self, cause: int) -> None:
        self.put(INTCAUSE, self.get(INTCAUSE) | cause)
        self._message(0)

    # ---- halts and resets (5, 9, 10) -----------------------------------------------------------------------------------

    def halt(self, reset_type: int) -> None:
        if self.state != ENABLED:
            return
        self.put(GENSTS, HALT | reset_type << 2)
        if self.get(GENCTRL) >> 1 & 1:
            self._cause(CAUSE_HALT)

    def prs_off(self) -> None:
        """A write to PCI configuration: 0x51 and a halt while the device is not Disabled (1.2)."""
        if not self.pci.prs:
            return
        self.pci.prs = False
        if self.state == ENABLED:
            if self.get(SWERR) & 1:
                self.put(SWERR, self.get(SWERR) | 2)
            else:
                overflow = self.get(SWERR) & 2
                self.bar0[SWERR : SWERR + 32] = bytes(32)
                self.put(SWERR, 1 | overflow | 0x51 << 8)
                if self.get(GENCTRL) & 1:
                    self._cause(CAUSE_ERR)
            self.halt(FLR)

    def function_reset(self) -> None:
        """FLR: every register initial."""
        self.bar0[:] = self.initial
        self.handles.clear()
        self.pci = Pci()

    def _reset_device(self) -> None:
        self.put(GENSTS, 0)
        for start, end in (
            (GENCFG, GENSTS),
            (INTCAUSE, CMD),
            (EVLCFG, EVLSTATUS),
            (MSIXPERM, MSIX),
            (PBA, 0x4000),
            (CMDPARAM, 0xF000),
        ):
            self.back(start, end)
        self.put(PBA, 0)

    # ---- commands (2.7, 2.8) -------------------------------------------------------------------------------------------

    def command(self, word: int) -> None:
        """A whole dword written to CMD; nothing is queued, so each has ended before the next."""
        error, result = self._execute(word >> 20 & 0x1F, word)
        self.put(CMDSTS, result << 8 | error)
        if word >> 31:
            self._cause(CAUSE_CMD)
        self._settle()

    def _execute(self, code: int, word: int) -> tuple[int, int]:
        operand = word & 0xFFFFF
        if not 1 <= code <= 14:
            return 0x01, 0
        if self.state == HALT and not (code == 5 and self.get(GENSTS, 3, 2) == SOFTWARE):
            return 0x05, 0
        defined = {6: 0xFF, 13: 0x1FFFF, 14: 0x1FFFF}.get(code, 0xFFFFF if code in (7, 8, 9, 10, 11, 12) else 0)
        if word >> 25 & 0x3F or operand & ~defined:
            return 0x04, 0
        if code == 6 and operand >= WQS:
            return 0x02, 0
        chosen = [16 * (operand >> 16) + bit for bit in range(16) if operand >> bit & 1] if 7 <= code <= 10 else []
        if any(wq >= WQS for wq in chosen):
            return 0x02, 0
        return self._own(code, operand, chosen)

    def _own(self, code: int, operand: int, chosen: list[int]) -> tuple[int, int]:
        """What is left when the checks of all commands have passed."""
        if code == 1:
            return self._enable_device(), 0
        if code == 2:
            if self.state != ENABLED:
                return 0x31, 0
            self._disable_wqs(range(WQS))
            self.put(GENSTS, DISABLED)
        elif code == 5:
            self._reset_device()
        elif code == 6:
            return self._enable_wq(operand), 0
        elif 7 <= code <= 9:
            if any(self.wq_state(wq) != ENABLED for wq in chosen) or self.state != ENABLED:
                return 0x32, 0
            if code == 7:
                self._disable_wqs(chosen)
        elif code == 10:
            for wq in chosen:
                size = self.wq(wq, 0, 15)
                self.back(WQCFG + 64 * wq, WQCFG + 64 * wq + 64)
                self.put(WQCFG + 64 * wq, size)
        elif code in (13, 14):
            return self._handle(code, operand)
        return 0, 0

    def _handle(self, code: int, operand: int) -> tuple[int, int]:
        index = operand & 0xFFFF
        if operand >> 16 or (index >= ENTRIES if code == 13 else index not in self.handles):
            return 0x41, 0
        if code == 13:
            self.handles.add(index)
            return 0, index
        self.handles.remove(index)
        return 0, 0

    def _disable_wqs(self, chosen: object) -> None:
        for wq in chosen:  # type: ignore[attr-defined]
            self.set_wq_state(wq, DISABLED)

    # ---- Enable Device (8.1) -------------------------------------------------------------------------------------------

    def _enable_device(self) -> int:
        if self.state != DISABLED:
            return 0x10
        for code, broken in (
            (0x1B, self.get(EVLCFG) & 3 == 2),
            (0x19, self._log_is_wrong()),
            (0x14, sum(self.wq(wq, 0, 15) for wq in range(WQS)) > TOTAL_SIZE),
            (0x15, any(bool(self._group_wqs(g)) != bool(self._group_engines(g)) for g in range(GROUPS))),
            (0x16, self._wqs_are_wrong()),
            (0x17, self._engines_are_wrong()),
            (0x18, self._read_buffers_are_wrong()),
            (0x11, any(self._flags(g) >> 32 & 0x33 for g in range(GROUPS))),
        ):
            if broken:
                return code
        self.put(GENSTS, ENABLED)
        if self.get(GENCFG) >> 13 & 1:
            self.put(EVLSTATUS, 0, 8)
        return 0

    def _log_is_wrong(self) -> bool:
        size, base = self.get(EVLCFG + 8, 15), self.get(EVLCFG, 63, 12, 8) << 12
        return bool(self.get(GENCFG) >> 13 & 1) and (size < 64 or base + 64 * size > 1 << 64)

    def _group_wqs(self, group: int) -> int:
        return self.get(GRPCFG + 64 * group, 255, 0, 32)

    def _group_engines(self, group: int) -> int:
        return self.get(GRPCFG + 64 * group + 32, 63, 0, 8)

    def _flags(self, group: int) -> int:
        return self.get(GRPCFG + 64 * group + 40, 63, 0, 8)

    def _wqs_are_wrong(self) -> bool:
        seen = 0
        for members in map(self._group_wqs, range(GROUPS)):
            if members & seen or members >> WQS:
                return True
            seen |= members
        return any(bool(self.wq(wq, 0, 15)) != bool(seen >> wq & 1) for wq in range(WQS))

    def _engines_are_wrong(self) -> bool:
        seen = 0
        for members in map(self._group_engines, range(GROUPS)):
            if members & seen or members >> ENGINES:
                return True
            seen |= members
        return False

    def _read_buffers_are_wrong(self) -> bool:
        limit, limited = self.get(GENCFG, 7), [g for g in range(GROUPS) if self._flags(g) >> 7 & 1]
        if limit > READ_BUFFERS or (limited and limit < 4 * sum(self._group_engines(g).bit_count() for g in limited)):
            return True
        used = [g for g in range(GROUPS) if self._group_engines(g)]
        reserved = {g: self._flags(g) >> 8 & 0xFF for g in used}
        left = READ_BUFFERS - sum(reserved.values())
        for g in used:
            allowed = self._flags(g) >> 20 & 0xFF
            if left < 0 or allowed < max(4 * self._group_engines(g).bit_count(), reserved[g]) or allowed > reserved[g] + left:
                return True
        return any(self._flags(g) >> 40 & 0xFF for g in range(GROUPS))  # bandwidth limits need GRPCAP.19

    # ---- Enable WQ (8.2) ---------------------------------------------------------------------------------------------

    def _enable_wq(self, wq: int) -> int:
        word, shifts, occupancy = self.wq(wq, 8, 31), self.wq(wq, 12, 31), self.wq(wq, 16, 31)
        dedicated, bof, prs_disable, pasid_en = word & 1, word >> 1 & 1, word >> 3 & 1, word >> 28 & 1
        interrupt = self.wq(wq, OCCUPANCY_LIMIT, 16, 16)
        for code, broken in (
            (0x20, self.state != ENABLED),
            (0x21, self.wq_state(wq) != DISABLED),
            (0x22, not self.wq(wq, 0, 15)),
            (0x23, not word >> 4 & 0xF),
            (0x25, bof and not self.pci.prs),
            (0x26, not dedicated and not pasid_en),
            (0x27, not 1 <= shifts >> 5 & 0xF <= MAX_BATCH_SHIFT or shifts >> 9 & 0xF),
            (0x2B, occupancy >> 16 & 1 or (interrupt and occupancy & 0xFFFF not in self.handles)),
            (0x2D, self.get(WQCFG + 64 * wq + 32, 255, 0, 32) & ~OPCAP),
            (0x2E, prs_disable and (bof or not self.get(GENCFG) >> 13 & 1)),
        ):
            if broken:
                return code
        self.set_wq_state(wq, ENABLED)
        return 0
