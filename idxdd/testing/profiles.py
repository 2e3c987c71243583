"""The package's profiles, for tests that change one and for the reference model."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from idxdd.device.profile import Profile
from idxdd.device.profilefile import load, names

PROFILES: Final[Mapping[str, Profile]] = MappingProxyType({name: load(name) for name in names()})
DSA1: Final = PROFILES["dsa1"]
DSA2: Final = PROFILES["dsa2"]
