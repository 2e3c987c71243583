"""The C data plane and its binding. Everything it offers is listed in _native.pyi."""

from idxdd.native._native import *  # noqa: F403
