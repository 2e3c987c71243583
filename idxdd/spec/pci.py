"""The PCI configuration space that software meets, declared once (specification, App. C)."""

from idxdd.spec.layout import RO, RW, PciRegister, bit, bits


class PCIID(PciRegister, offset=0x00, width=32):
    """Vendor and device."""

    vendor = bits(15, 0, reset=0x8086)
    device = bits(31, 16, reset=0x0B25)


class PCICMD(PciRegister, offset=0x04, width=16, access=RW):
    """PCI command. I/O space and INTx are hardwired to 0."""

    memory_space = bit(1)
    bus_master = bit(2, "0 also stops MSI-X messages")
    parity = bit(6)
    serr = bit(8)


class PCISTS(PciRegister, offset=0x06, width=16):
    """PCI status."""

    capability_list = bit(4, reset=1)


class PCICLASS(PciRegister, offset=0x08, width=32):
    """Revision and class."""

    revision = bits(7, 0)
    class_code = bits(31, 8, reset=0x088000)


class BAR0(PciRegister, offset=0x10, width=64, access=RW, reset=0xC):
    """Control registers; 64-bit, prefetchable, at least 64 KiB."""

    memory_type = bits(3, 0, access=RO)
    address = bits(63, 4, unit=16)


class BAR2(PciRegister, offset=0x18, width=64, access=RW, reset=0xC):
    """Portals; 64-bit, prefetchable, num_wqs × 16 KiB."""

    memory_type = bits(3, 0, access=RO)
    address = bits(63, 4, unit=16)


class SUBSYSTEM(PciRegister, offset=0x2C, width=32, access=RW):
    """Subsystem ids; RW for firmware."""

    subsystem_vendor = bits(15, 0, reset=0x8086)
    subsystem_device = bits(31, 16)


class CAPPTR(PciRegister, offset=0x34, width=8):
    """First capability."""

    pointer = bits(7, 0, reset=0x40)


class PCIECAP(PciRegister, offset=0x40, width=32):
    """PCI Express capability: version 2, Root Complex Integrated Endpoint."""

    capability_id = bits(7, 0, reset=0x10)
    next_capability = bits(15, 8, reset=0x80)
    pcie_capabilities = bits(31, 16, reset=0x0092)


class DEVCAP(PciRegister, offset=0x44, width=32, reset=0x00008022):
    """PCI Express device capabilities."""

    flr = bit(28, reset=1)


class DEVCTL(PciRegister, offset=0x48, width=16, access=RW, reset=0x2900):
    """PCI Express device control."""

    relaxed_ordering = bit(4, "0 makes every write strictly ordered", reset=1)
    initiate_flr = bit(15, "writing 1 starts a function-level reset")


class DEVCAP2(PciRegister, offset=0x64, width=32):
    """PCI Express device capabilities 2."""

    dmwr_completer = bit(28, reset=1)


class MSIXCAP(PciRegister, offset=0x80, width=96, access=RO):
    """MSI-X capability: 9 entries, table in BAR0 at 0x2000, pending bits at 0x3000."""

    capability_id = bits(7, 0, reset=0x11)
    next_capability = bits(15, 8, reset=0x90)
    table_size = bits(26, 16, "entries - 1", reset=8)
    function_mask = bit(30, access=RW)
    msix_enable = bit(31, access=RW)
    table_bir = bits(34, 32)
    table_offset = bits(63, 35, unit=8, reset=0x2000 // 8)
    pba_bir = bits(66, 64)
    pba_offset = bits(95, 67, unit=8, reset=0x3000 // 8)


class VC0CTL(PciRegister, offset=0x184, width=32, access=RW):
    """Virtual channel 0 control: all eight traffic classes are mapped out of reset."""

    tc_map = bits(7, 0, reset=0xFF)
    vc_id = bits(26, 24)
    vc_enable = bit(31, reset=1)


class VC1CTL(PciRegister, offset=0x190, width=32, access=RW):
    """Virtual channel 1 control: off out of reset."""

    tc_map = bits(7, 0)
    vc_id = bits(26, 24)
    vc_enable = bit(31)


class ATSCAP(PciRegister, offset=0x220, width=64, access=RO):
    """Address translation services."""

    capability_id = bits(15, 0, reset=0x000F)
    version = bits(19, 16, reset=1)
    next_capability = bits(31, 20, reset=0x230)
    page_aligned = bit(37, reset=1)
    global_invalidate = bit(38, reset=1)
    enable = bit(63, access=RW)


class PASIDCAP(PciRegister, offset=0x230, width=64, access=RO):
    """PASID capability."""

    capability_id = bits(15, 0, reset=0x001B)
    version = bits(19, 16, reset=1)
    next_capability = bits(31, 20, reset=0x240)
    privileged_mode = bit(34, reset=1)
    pasid_width = bits(44, 40, reset=20)
    enable = bit(48, access=RW)
    privileged_mode_en = bit(50, access=RW)


class PRSCAP(PciRegister, offset=0x240, width=128, access=RO):
    """Page request services; the allocation is checked at Enable Device."""

    capability_id = bits(15, 0, reset=0x0013)
    version = bits(19, 16, reset=1)
    next_capability = bits(31, 20)
    enable = bit(32, access=RW)
    reset_requests = bit(33, access=RW)
    capacity = bits(95, 64, "outstanding page requests", reset=0x200)
    allocation = bits(127, 96, access=RW)


PCI_CONFIG: tuple[type[PciRegister], ...] = (
    PCIID, PCICMD, PCISTS, PCICLASS, BAR0, BAR2, SUBSYSTEM, CAPPTR, PCIECAP, DEVCAP, DEVCTL, DEVCAP2, MSIXCAP, VC0CTL, VC1CTL,
    ATSCAP, PASIDCAP, PRSCAP,
)  # fmt: skip
"""What software meets of the configuration space."""
