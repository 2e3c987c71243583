"""Every code of the architecture and of the driver: opcodes, statuses, flags, commands, errors, causes, states.

Names are the manual's, the kernel's or, where neither has one, the meaning; values never change once published.
"""

from enum import IntEnum, IntFlag


class Opcode(IntEnum):
    """Operation codes, descriptor byte 7."""

    NOOP = 0x00
    BATCH = 0x01
    DRAIN = 0x02
    MEMMOVE = 0x03
    MEMFILL = 0x04
    COMPARE = 0x05
    COMPVAL = 0x06
    CR_DELTA = 0x07
    AP_DELTA = 0x08
    DUALCAST = 0x09
    TRANSL_FETCH = 0x0A
    CRCGEN = 0x10
    COPY_CRC = 0x11
    DIF_CHECK = 0x12
    DIF_INS = 0x13
    DIF_STRP = 0x14
    DIF_UPDT = 0x15
    DIX_GEN = 0x17
    TYPE_CONVERT = 0x18
    REDUCE = 0x19
    REDUCE_DUALCAST = 0x1A
    GATHER_REDUCE = 0x1B
    GATHER_COPY = 0x1C
    SCATTER_COPY = 0x1D
    SCATTER_FILL = 0x1E
    CFLUSH = 0x20
    UPDATE_WINDOW = 0x21
    INTER_DOMAIN_COPY = 0x23
    INTER_DOMAIN_FILL = 0x24
    INTER_DOMAIN_COMPARE = 0x25
    INTER_DOMAIN_COMPVAL = 0x26


class Flag(IntFlag):
    """Descriptor flags: bits 15:0 are common, 23:16 belong to the operation (OpFlag)."""

    FENCE = 1 << 0
    BOF = 1 << 1
    CRAV = 1 << 2
    RCR = 1 << 3
    RCI = 1 << 4
    CC3 = 1 << 5
    CR = 1 << 7
    CC1 = 1 << 8
    ADDR1_TCS = 1 << 9
    ADDR2_TCS = 1 << 10
    ADDR3_TCS = 1 << 11
    CR_TCS = 1 << 12
    STORD = 1 << 13
    CC2 = 1 << 14


class OpFlag(IntFlag):
    """Operation-specific flags, bits 23:16. Several operations use one bit, each under its own name."""

    BATCH_ERROR = 1 << 16
    DRAIN_READBACK1_VALID = 1 << 16
    DRAIN_READBACK2_VALID = 1 << 17
    DRAIN_NO_READBACK_TCA = 1 << 18
    DRAIN_NO_READBACK_TCB = 1 << 19
    FILL_PATTERN16 = 1 << 18
    TRANSL_FETCH_STRIDE = 1 << 16
    CRC_SEED_ADDR = 1 << 16
    CRC_BYPASS_INVERSION = 1 << 17
    CRC_BYPASS_REFLECTION = 1 << 18
    CRC_SIZE64 = 1 << 19
    SRC_ALTERNATE_PASID = 1 << 16
    DST_ALTERNATE_PASID = 1 << 17
    REDUCE_DOMAIN_SELECTOR = 1 << 16
    REDUCE_DST2_TCS = 1 << 17
    UPDATE_WINDOW_NO_DRAIN = 1 << 16


class CompletionStatus(IntEnum):
    """Completion record status, bits 5:0, and the codes that only the event log or SWERR carry (0x26, 0x27, 0x51-0x54)."""

    NONE = 0x00
    SUCCESS = 0x01
    SUCCESS_PRED = 0x02
    PAGE_FAULT_NOBOF = 0x03
    PAGE_FAULT_IR = 0x04
    BATCH_FAIL = 0x05
    BATCH_PAGE_FAULT = 0x06
    DR_OFFSET_NOINC = 0x07
    DR_OFFSET_ERANGE = 0x08
    DIF_ERR = 0x09
    BAD_OPCODE = 0x10
    INVALID_FLAGS = 0x11
    NOZERO_RESERVE = 0x12
    XFER_ERANGE = 0x13
    DESC_CNT_ERANGE = 0x14
    DR_ERANGE = 0x15
    OVERLAP_BUFFERS = 0x16
    DCAST_ERR = 0x17
    DESCLIST_ALIGN = 0x18
    INT_HANDLE_INVAL = 0x19
    CRA_XLAT = 0x1A
    CRA_ALIGN = 0x1B
    ADDR_ALIGN = 0x1C
    PRIV_BAD = 0x1D
    TRAFFIC_CLASS_CONF = 0x1E
    PFAULT_RDBA = 0x1F
    HW_ERR1 = 0x20
    HW_ERR_DRB = 0x21
    TRANSLATION_FAIL = 0x22
    DRAIN_EVL = 0x26
    BATCH_EVL_ERR = 0x27
    NO_PASID = 0x28
    IDPT_HANDLE_INVAL = 0x29
    IDPT_PERMISSION = 0x2A
    WINDOW_ERANGE = 0x2B
    WINDOW_UPDATE_REFUSED = 0x2C
    WINDOW_FIELDS = 0x2D
    DOMAIN_GONE = 0x2E
    PCI_CONFIG_CHANGED = 0x51
    CMD_WHILE_ACTIVE = 0x52
    DWQ_FULL = 0x53
    EVL_WRITE_FAILED = 0x54


STATUS_CODE_MASK = 0x3F
"""The code in a record's status byte."""
STATUS_WRITE_FAULT = 0x80
"""Set in the status byte when the faulting access was a write (0x03, 0x04, 0x06, 0x1A, 0x1F)."""
COMP_DESC_ABORT = 0xFF
"""Written by the driver, never by the device, into the record of a descriptor it gave up."""


class Operand(IntEnum):
    """Which operand faulted: fault info bits 3:1 of a record, bits 31:29 of the error information."""

    UNKNOWN = 0
    SOURCE1 = 1
    SOURCE2 = 2
    DESTINATION1 = 3
    DESTINATION2 = 4
    COMPLETION_RECORD = 5
    SGL = 6


class Command(IntEnum):
    """CMD.command: what software may ask of the device."""

    ENABLE_DEVICE = 1
    DISABLE_DEVICE = 2
    DRAIN_ALL = 3
    ABORT_ALL = 4
    RESET_DEVICE = 5
    ENABLE_WQ = 6
    DISABLE_WQ = 7
    DRAIN_WQ = 8
    ABORT_WQ = 9
    RESET_WQ = 10
    DRAIN_PASID = 11
    ABORT_PASID = 12
    REQUEST_INT_HANDLE = 13
    RELEASE_INT_HANDLE = 14
    REQUEST_IDPT_HANDLE = 15
    RELEASE_IDPT_HANDLE = 16
    INVALIDATE_BITMAP_CACHE = 17


class CmdErr(IntEnum):
    """CMDSTS.error: how a command ended."""

    SUCCESS = 0x00
    INVAL_CMD = 0x01
    INVAL_WQIDX = 0x02
    HW_ERR = 0x03
    NONZERO_RESERVED = 0x04
    DEV_HALTED = 0x05
    DEV_ENABLED = 0x10
    DEV_CONFIG = 0x11
    BUS_MASTER_OFF = 0x12
    PRS_ALLOC_ERANGE = 0x13
    WQ_SIZE_SUM_ERANGE = 0x14
    GROUP_CONFIG = 0x15
    GROUP_WQ_CONFIG = 0x16
    GROUP_ENGINE_CONFIG = 0x17
    RDBUF_CONFIG = 0x18
    EVL_CONFIG = 0x19
    ATS_CONFIG = 0x1A
    PASID_PRIV_CONFIG = 0x1B
    DEV_NOT_ENABLED = 0x20
    WQ_ENABLED = 0x21
    WQ_SIZE_ZERO = 0x22
    WQ_PRIORITY_ZERO = 0x23
    WQ_MODE_UNSUPPORTED = 0x24
    WQ_BOF = 0x25
    WQ_PASID_EN = 0x26
    WQ_MAX_BATCH_ERANGE = 0x27
    WQ_MAX_XFER_ERANGE = 0x28
    WQ_PRIV = 0x2A
    WQ_OCCUPANCY_INT = 0x2B
    WQ_ATS_DISABLE = 0x2C
    WQ_OP_CONFIG = 0x2D
    WQ_PRS_DISABLE = 0x2E
    DIS_DEV_NOT_ENABLED = 0x31
    WQ_NOT_ENABLED = 0x32
    INVAL_INT_IDX = 0x41
    NO_HANDLE = 0x42
    INVAL_IDPT_IDX = 0x51
    NO_IDPT_HANDLE = 0x52


class InterruptCause(IntFlag):
    """INTCAUSE: why MSI-X entry 0 fired."""

    ERR = 1 << 0
    CMD = 1 << 1
    OCCUPANCY = 1 << 2
    PERFMON_OVFL = 1 << 3
    HALT = 1 << 4
    EVL = 1 << 5
    INT_HANDLE_REVOKED = 1 << 31


class DeviceState(IntEnum):
    """GENSTS.state: what the device says of itself."""

    DISABLED = 0
    ENABLED = 1
    DRAIN = 2
    HALT = 3


class ResetType(IntEnum):
    """GENSTS.reset_type: the weakest reset that brings a halted device back."""

    SOFTWARE = 0
    FLR = 1
    WARM = 2
    COLD = 3


class WqState(IntEnum):
    """WQCFG.wq_state."""

    DISABLED = 0
    ENABLED = 1
    DRAIN = 2


class WqMode(IntEnum):
    """WQCFG.mode."""

    SHARED = 0
    DEDICATED = 1


class WqType(IntEnum):
    """What a WQ is for, by the driver's configuration."""

    NONE = 0
    KERNEL = 1
    USER = 2


class TxnResult(IntEnum):
    """dmaengine's result of a transaction, as a kernel channel's callback gets it."""

    NOERROR = 0
    READ_FAILED = 1
    WRITE_FAILED = 2
    ABORTED = 3


class DriverStatus(IntEnum):
    """sysfs cmd_status: errors that the driver found itself; bit 31 tells them from CMDSTS codes."""

    DEV_ENABLED = 0x80000010
    DEV_NOT_ENABLED = 0x80000020
    WQ_ENABLED = 0x80000021
    DEV_DMA_ERR = 0x80020000
    WQ_NO_GRP = 0x80030000
    WQ_NO_NAME = 0x80040000
    WQ_NO_SVM = 0x80050000
    WQ_NO_THRESH = 0x80060000
    WQ_PORTAL_ERR = 0x80070000
    WQ_RES_ALLOC_ERR = 0x80080000
    PERCPU_ERR = 0x80090000
    DMA_CHAN_ERR = 0x800A0000
    CDEV_ERR = 0x800B0000
    WQ_NO_SWQ_SUPPORT = 0x800C0000
    WQ_NONE_CONFIGURED = 0x800D0000
    WQ_NO_SIZE = 0x800E0000
    WQ_NO_PRIV = 0x800F0000
    WQ_IRQ_ERR = 0x80100000
    WQ_USER_NO_IOMMU = 0x80110000
    DEV_EVL_ERR = 0x80120000
    WQ_NO_DRV_NAME = 0x80200000

    @property
    def number(self) -> int:
        """The error's own number, without the mark of a software code."""
        return self.value >> 16 & 0x7FFF

    @property
    def text(self) -> str:
        """What went wrong, in one line."""
        return DRIVER_STATUS_TEXTS[self]


DRIVER_STATUS_TEXTS: dict[DriverStatus, str] = {
    DriverStatus.DEV_ENABLED: "device is not in the disabled state",
    DriverStatus.DEV_NOT_ENABLED: "device is not enabled",
    DriverStatus.WQ_ENABLED: "WQ is enabled already",
    DriverStatus.DEV_DMA_ERR: "dmaengine device could not be registered",
    DriverStatus.WQ_NO_GRP: "WQ belongs to no group",
    DriverStatus.WQ_NO_NAME: "WQ has no name",
    DriverStatus.WQ_NO_SVM: "shared WQ needs PASID and ENQCMD",
    DriverStatus.WQ_NO_THRESH: "shared WQ has threshold 0",
    DriverStatus.WQ_PORTAL_ERR: "portal could not be mapped",
    DriverStatus.WQ_RES_ALLOC_ERR: "no memory for the WQ's descriptors",
    DriverStatus.PERCPU_ERR: "WQ's reference counter could not be set up",
    DriverStatus.DMA_CHAN_ERR: "dmaengine channel could not be registered",
    DriverStatus.CDEV_ERR: "character device could not be created",
    DriverStatus.WQ_NO_SWQ_SUPPORT: "a shared WQ is configured, and shared WQs are not supported",
    DriverStatus.WQ_NONE_CONFIGURED: "no WQ belongs to a group",
    DriverStatus.WQ_NO_SIZE: "WQ has size 0",
    DriverStatus.WQ_NO_PRIV: "dedicated kernel WQ with PASID needs privileged mode",
    DriverStatus.WQ_IRQ_ERR: "WQ's interrupt could not be set up",
    DriverStatus.WQ_USER_NO_IOMMU: "user WQ needs shared virtual addressing",
    DriverStatus.DEV_EVL_ERR: "event log could not be set up",
    DriverStatus.WQ_NO_DRV_NAME: "WQ's driver_name does not match the driver",
}
