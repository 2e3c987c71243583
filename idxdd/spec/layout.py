"""The declaration language: registers, table entries and records as classes, their fields as typed attributes.

A field says where it is by the manual's bit numbers (`at` = byte offset they count from), so that one mechanism serves a
32-bit register and a 64-byte record. Bits without a field are reserved. Whatever cannot be right (a field outside its
register, two fields on one bit, a reset value too large) fails when the class is made, that is at import.
Instances are immutable values: `GENSTS(raw).state`, `GENSTS.encode(state=...)`, `value.replace(state=...)`.
"""

from __future__ import annotations

from enum import Enum, Flag, IntEnum
from typing import Any, ClassVar, Generic, Self, TypeVar, cast, overload

T = TypeVar("T")
E = TypeVar("E", bound=int)


class LayoutError(TypeError):
    """A declaration contradicts itself; the message names class, field and rule."""


class Access(Enum):
    """What a bus write does to a field; the value is the sentence docs/registers.md prints."""

    RO = "RO"
    RW = "RW"
    WO = "WO"
    W1C = "RW1C"
    RWV = "RW, hardware may change it"
    RW_DEVICE_DISABLED = "RW while the device is Disabled"
    RW_WQ_DISABLED = "RW while the WQ is Disabled"
    RW_INT_DISABLED = "RO while occupancy_int_en = 1, but may change in the write that sets it"
    RW_COUNTER_DISABLED = "RW while the counter is disabled"
    RW_UNUSABLE = "RO while usable = 1"
    RW_UNUSABLE_LOCKED = "RO while usable or allow_update = 1"


RO, RW, WO, W1C, RWV = Access.RO, Access.RW, Access.WO, Access.W1C, Access.RWV
RW_DEVICE_DISABLED, RW_WQ_DISABLED = Access.RW_DEVICE_DISABLED, Access.RW_WQ_DISABLED
RW_INT_DISABLED, RW_COUNTER_DISABLED = Access.RW_INT_DISABLED, Access.RW_COUNTER_DISABLED
RW_UNUSABLE, RW_UNUSABLE_LOCKED = Access.RW_UNUSABLE, Access.RW_UNUSABLE_LOCKED


class Field(Generic[T]):
    """Bits `high`..`low` of a layout. On the class: this description; on an instance: the decoded value."""

    name: str = ""
    owner: type[Layout]

    def __init__(
        self,
        high: int,
        low: int,
        kind: type,
        doc: str,
        access: Access | None,
        reset: int | Field[Any],
        fixed: bool | None,
        unit: int,
    ) -> None:
        self.high, self.low, self.kind, self.doc, self.unit = high, low, kind, doc, unit
        self.declared_access, self.reset, self.declared_fixed = access, reset, fixed
        self.width = high - low + 1
        self.value_max = (1 << max(self.width, 0)) - 1
        self.codes: dict[int, Any] = dict(kind._value2member_map_) if issubclass(kind, IntEnum) else {}

    def __set_name__(self, owner: type[Layout], name: str) -> None:
        self.name, self.owner = name, owner

    @overload
    def __get__(self, instance: None, owner: type) -> Field[T]: ...
    @overload
    def __get__(self, instance: Layout, owner: type) -> T: ...
    def __get__(self, instance: Layout | None, owner: type) -> Field[T] | T:
        return self if instance is None else self.decode(instance.raw)

    @property
    def mask(self) -> int:
        """The field's bits, in place."""
        return self.value_max << self.low

    @property
    def byte(self) -> int:
        """Byte offset of the field's lowest bit."""
        return self.low // 8

    @property
    def access(self) -> Access:
        """The field's own access mode, else its register's."""
        return self.declared_access or cast(Access, getattr(self.owner, "access", RW))

    @property
    def fixed(self) -> bool:
        """Read-only when GENCAP.config_en = 0, whatever `access` says."""
        return bool(getattr(self.owner, "fixed", False) if self.declared_fixed is None else self.declared_fixed)

    def decode(self, raw: int) -> T:
        """The value in `raw`; a code that its enumeration does not define stays a plain int."""
        value = raw >> self.low & self.value_max
        if self.codes:
            return cast(T, self.codes.get(value, value))
        if self.kind is bytes:
            return cast(T, value.to_bytes(self.width // 8, "little"))
        return cast(T, self.kind(value * self.unit))

    def encode(self, value: object) -> int:
        """`value` in place; ValueError names the field and what it can hold."""
        if isinstance(value, (bytes, bytearray, memoryview)) and self.kind is bytes:
            if len(value) != self.width // 8:
                raise ValueError(f"{self.path}: {len(value)} bytes given, holds exactly {self.width // 8}")
            return int.from_bytes(value, "little") << self.low
        if not isinstance(value, int) or self.kind is bytes:
            raise ValueError(f"{self.path}: {value!r} is not of type {self.kind.__name__}")
        count, rest = divmod(int(value), self.unit)
        if rest or not 0 <= count <= self.value_max:
            raise ValueError(
                f"{self.path}: {int(value):#x} is not 0..{self.value_max * self.unit:#x} in steps of {self.unit:#x}"
            )
        return count << self.low

    @property
    def path(self) -> str:
        """As the manual writes it: GENSTS.state."""
        return f"{self.owner.__name__}.{self.name}"

    def __repr__(self) -> str:
        return f"<Field {self.path} {self.high}:{self.low}>"


@overload
def bits(high: int, low: int, doc: str = "", /, *, at: int = 0, access: Access | None = None, reset: int | Field[Any] = 0,
         fixed: bool | None = None, unit: int = 1) -> Field[int]: ...  # fmt: skip
@overload
def bits(high: int, low: int, kind: type[E], doc: str = "", /, *, at: int = 0, access: Access | None = None,
         reset: int | Field[Any] = 0, fixed: bool | None = None, unit: int = 1) -> Field[E]: ...  # fmt: skip
def bits(
    high: int, low: int, kind: type | str = "", doc: str = "", /, *, at: int = 0, access: Access | None = None,
    reset: int | Field[Any] = 0, fixed: bool | None = None, unit: int = 1,
) -> Field[Any]:  # fmt: skip
    """Bits high..low, counted from byte `at`. `unit`: the value counts in this many (an address field: its alignment)."""
    kind, doc = (int, kind) if isinstance(kind, str) else (kind, doc)
    return Field(high + 8 * at, low + 8 * at, kind, doc, access, reset, fixed, unit)


def bit(
    number: int, doc: str = "", /, *, at: int = 0, access: Access | None = None, reset: int = 0, fixed: bool | None = None
) -> Field[bool]:
    """One bit, counted from byte `at`."""
    return Field(number + 8 * at, number + 8 * at, bool, doc, access, reset, fixed, 1)


def u8(at: int, doc: str = "", /) -> Field[int]:
    """An unsigned byte at byte `at`."""
    return bits(7, 0, doc, at=at)


def u16(at: int, doc: str = "", /) -> Field[int]:
    """A little-endian 16-bit number at byte `at`."""
    return bits(15, 0, doc, at=at)


def u32(at: int, doc: str = "", /) -> Field[int]:
    """A little-endian 32-bit number at byte `at`."""
    return bits(31, 0, doc, at=at)


def u64(at: int, doc: str = "", /) -> Field[int]:
    """A little-endian 64-bit number at byte `at`."""
    return bits(63, 0, doc, at=at)


def data(at: int, size: int, doc: str = "", /) -> Field[bytes]:
    """`size` bytes at byte `at`."""
    return Field(8 * (at + size) - 1, 8 * at, bytes, doc, None, 0, None, 1)


def _check_field(cls: type[Layout], field: Field[Any]) -> None:
    if field.width < 1 or field.low < 0 or field.high >= cls.width_bits:
        raise LayoutError(f"{field.path}: bits {field.high}:{field.low} are not inside 0..{cls.width_bits - 1}")
    if field.kind is bytes and (field.low % 8 or field.width % 8):
        raise LayoutError(f"{field.path}: bytes must begin and end on a byte")
    if isinstance(field.reset, int) and not 0 <= field.reset <= field.value_max:
        raise LayoutError(f"{field.path}: reset value {field.reset:#x} does not fit {field.width} bits")
    if issubclass(field.kind, (IntEnum, Flag)) and max(cast(Any, field.kind)) > field.value_max:
        raise LayoutError(f"{field.path}: {field.kind.__name__} does not fit {field.width} bits")


def _from(field: Field[Any], capabilities: tuple[Register, ...]) -> int:
    for capability in capabilities:
        if type(capability) is field.owner:
            return int(field.decode(capability.raw))
    raise LookupError(f"{field.path} is needed, and no {field.owner.__name__} was given")


def _show(value: object) -> str:
    if isinstance(value, Enum):
        return value.name or f"{value.value:#x}"
    if isinstance(value, bytes):
        return value.hex()
    return f"{value:#x}" if isinstance(value, int) and not isinstance(value, bool) and value > 9 else str(int(cast(int, value)))


def reserved(at: int, size: int) -> Field[bytes]:
    """Bytes of a record that belong to nobody; name it with a leading underscore."""
    return data(at, size, "reserved")


class Layout:
    """A value of `width_bits` bits with named fields."""

    __slots__ = ("raw",)
    raw: int
    width_bits: ClassVar[int] = 0
    fields: ClassVar[dict[str, Field[Any]]] = {}

    def __init_subclass__(cls, *, width_bits: int = 0) -> None:
        super().__init_subclass__()
        cls.width_bits = width_bits or cls.width_bits
        own = [value for value in vars(cls).values() if isinstance(value, Field)]
        if own and not cls.width_bits:
            raise LayoutError(f"{cls.__name__}: fields without a width")
        cls._check_fields(own)
        named = [field for field in own if not field.name.startswith("_")]
        kept = [old for old in cls.fields.values() if not any(old.mask & new.mask for new in named)]
        cls.fields = {field.name: field for field in sorted([*kept, *named], key=lambda field: field.low)}

    @classmethod
    def _check_fields(cls, own: list[Field[Any]]) -> None:
        taken = {name for base in cls.__mro__[1:] for name in [*vars(base), *vars(base).get("__annotations__", ())]}
        for number, field in enumerate(own):
            _check_field(cls, field)
            if field.name in taken and field.name not in cls.fields:
                raise LayoutError(f"{field.path}: the name is taken by the declaration language")
            for other in own[:number]:
                if other.mask & field.mask:
                    raise LayoutError(f"{field.path}: overlaps {other.name} (bits {other.high}:{other.low})")
            for old in cls.fields.values():
                if old.mask & field.mask and field.mask & ~old.mask:
                    raise LayoutError(f"{field.path}: lies across the end of {old.name} of the record it is a view of")

    def __init__(self, raw: int = 0) -> None:
        if not 0 <= raw < 1 << self.width_bits:
            raise ValueError(f"{type(self).__name__}: {raw:#x} does not fit {self.width_bits} bits")
        object.__setattr__(self, "raw", raw)

    @classmethod
    def encode(cls, **values: object) -> Self:
        """A value with these fields set, the rest 0; ValueError names a field that does not exist or cannot hold it."""
        return cls(0).replace(**values)

    def replace(self, **values: object) -> Self:
        """A copy with these fields changed."""
        raw = self.raw
        for name, value in values.items():
            field = self.fields.get(name)
            if field is None:
                raise ValueError(f"{type(self).__name__}: no field {name!r}, it has {', '.join(self.fields)}")
            raw = raw & ~field.mask | field.encode(value)
        return type(self)(raw)

    @classmethod
    def defined_mask(cls) -> int:
        """All bits that belong to a field; the others are reserved."""
        return sum(field.mask for field in cls.fields.values())

    def values(self) -> dict[str, object]:
        """Every field by name."""
        return {name: field.decode(self.raw) for name, field in self.fields.items()}

    def to_bytes(self) -> bytes:
        """Little-endian, as it lies in memory."""
        return self.raw.to_bytes(self.width_bits // 8, "little")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is a value; use replace({name}=...)")

    def __index__(self) -> int:
        return self.raw

    def __eq__(self, other: object) -> bool:
        return self.raw == other.raw if isinstance(other, Layout) and type(other) is type(self) else NotImplemented

    def __hash__(self) -> int:
        return hash((type(self), self.raw))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={_show(value)}' for name, value in self.values().items())})"


class Register(Layout):
    """One register of BAR0: where it is, what writes do to it, what it holds after a reset."""

    __slots__ = ()
    offset: ClassVar[int]
    width_bytes: ClassVar[int]
    access: ClassVar[Access] = RO
    reset: ClassVar[int] = 0
    fixed: ClassVar[bool] = False
    kept: ClassVar[bool] = False

    def __init_subclass__(
        cls, *, offset: int = -1, width: int = 32, access: Access = RO, reset: int = 0, fixed: bool = False, kept: bool = False
    ) -> None:
        """`fixed`: read-only when GENCAP.config_en = 0. `kept`: Reset Device leaves it as it is."""
        cls.width_bytes, cls.access, cls.fixed, cls.kept = width // 8, access, fixed, kept
        super().__init_subclass__(width_bits=width)
        if offset < 0:
            return  # not a register itself, but a kind of register
        if width % 8 or offset % min(cls.width_bytes, 8):
            raise LayoutError(f"{cls.__name__}: offset {offset:#x} is not aligned to its width of {width} bits")
        if not 0 <= reset < 1 << width:
            raise LayoutError(f"{cls.__name__}: reset value {reset:#x} does not fit {width} bits")
        cls.offset = offset
        cls.reset = reset | sum(field.reset << field.low for field in cls.fields.values() if isinstance(field.reset, int))

    @classmethod
    def initial(cls, *capabilities: Register) -> Self:
        """Its value after a reset, taking what depends on the device from `capabilities`."""
        given = {
            field.name: _from(field.reset, capabilities) for field in cls.fields.values() if isinstance(field.reset, Field)
        }
        return cls(cls.reset).replace(**given)

    @classmethod
    def access_mask(cls, access: Access) -> int:
        """All bits of the fields with this access mode."""
        return sum(field.mask for field in cls.fields.values() if field.access is access)


class Table(Register):
    """One entry of an array in BAR0: entry i lies at base + start + i × stride. A `stride` field n means 2^(n + 5) bytes."""

    __slots__ = ()
    base: ClassVar[Field[int] | None] = None
    stride: ClassVar[int | Field[int]]
    count: ClassVar[int | Field[int]]

    def __init_subclass__(
        cls, *, stride: int | Field[int], count: int | Field[int], base: Field[int] | None = None, start: int = 0,
        width: int = 32, access: Access = RO, reset: int = 0, fixed: bool = False, kept: bool = False,
    ) -> None:  # fmt: skip
        """`base`: the OFFSETS field that places it; without one, `start` is its place in the default profile."""
        if isinstance(stride, int) and stride * 8 < width:
            raise LayoutError(f"{cls.__name__}: an entry of {width} bits does not fit its stride of {stride} bytes")
        super().__init_subclass__(offset=start, width=width, access=access, reset=reset, fixed=fixed, kept=kept)
        cls.base, cls.stride, cls.count = base, stride, count

    @classmethod
    def stride_bytes(cls, *capabilities: Register) -> int:
        """Distance between two entries."""
        return cls.stride if isinstance(cls.stride, int) else 1 << (_from(cls.stride, capabilities) + 5)

    @classmethod
    def entry_count(cls, *capabilities: Register) -> int:
        """How many entries this device has."""
        return cls.count if isinstance(cls.count, int) else _from(cls.count, capabilities)

    @classmethod
    def entry_offset(cls, index: int, *capabilities: Register) -> int:
        """Byte offset in BAR0 of entry `index`; `capabilities`: OFFSETS and the register that holds the stride."""
        base = 0 if cls.base is None else _from(cls.base, capabilities)
        return base + cls.offset + index * cls.stride_bytes(*capabilities)


class PciRegister(Register):
    """A register of PCI configuration space; `offset` counts from its start."""

    __slots__ = ()


class Record(Layout):
    """A structure in memory, each byte declared.

    A subclass of a record is a view: its fields may lie inside a field of the base, never across two.
    """

    __slots__ = ()
    size_bytes: ClassVar[int] = 0

    def __init_subclass__(cls, *, size: int = 0) -> None:
        super().__init_subclass__(width_bits=8 * size)
        cls.size_bytes = cls.width_bits // 8
        declared = [field for field in vars(cls).values() if isinstance(field, Field)]
        covered = {byte for field in declared for byte in range(field.low // 8, field.high // 8 + 1)}
        if size and (missing := sorted(set(range(size)) - covered)):
            raise LayoutError(f"{cls.__name__}: byte {missing[0]} of {size} belongs to no field and is not reserved()")

    def pack(self) -> bytes:
        """The record's bytes."""
        return self.to_bytes()

    @classmethod
    def unpack(cls, buffer: bytes | bytearray | memoryview, offset: int = 0) -> Self:
        """The record at byte `offset` of `buffer`; ValueError if it does not hold all of it."""
        taken = bytes(buffer[offset : offset + cls.size_bytes])
        if len(taken) != cls.size_bytes:
            raise ValueError(f"{cls.__name__}: {len(taken)} bytes given, needs {cls.size_bytes}")
        return cls(int.from_bytes(taken, "little"))
