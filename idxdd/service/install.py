"""`idxdd service install --root DIR`: units, socket, user, directory and a commented settings file, for this idxdd's path."""

import os
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from idxdd.control.configfile import write_config

PLACES = {
    "idxdd.service": "usr/lib/systemd/system",
    "idxdd.socket": "usr/lib/systemd/system",
    "idxdd@.service": "usr/lib/systemd/system",
    "idxdd@.socket": "usr/lib/systemd/system",
    "idxdd.sysusers": "usr/lib/sysusers.d",
    "idxdd.tmpfiles": "usr/lib/tmpfiles.d",
    "idxdd.toml": "etc/idxdd",
}
NAMES = {"idxdd.sysusers": "idxdd.conf", "idxdd.tmpfiles": "idxdd.conf"}
PROGRAM = "/usr/bin/idxdd"
KEPT = ("idxdd.toml",)
"""An administrator's: never overwritten, never removed."""


class NotInstalled(Exception):
    """One line that says what is missing."""


def sources() -> Path:
    """Where the unit files are: beside the package in a source tree, else where the wheel put them."""
    for place in (Path(__file__).parents[2] / "systemd", Path(__file__).parents[1] / "native" / "share" / "idxdd" / "systemd"):
        if (place / "idxdd.service").is_file():
            return place
    raise NotInstalled("the unit files did not come with this installation: install idxdd from its source tree")


def program() -> str:
    """This idxdd, as a unit has to name it."""
    own = Path(sys.argv[0])
    return str(own.absolute()) if own.name == "idxdd" else str(Path(sysconfig.get_path("scripts")) / "idxdd")


def targets(root: str) -> Iterator[tuple[str, Path]]:
    """Each source's name and where it goes."""
    for name, place in PLACES.items():
        yield name, Path(root) / place / NAMES.get(name, name)


def install(root: str) -> list[str]:
    """Write them; the paths. OSError, NotInstalled."""
    found = sources()
    written = []
    for name, target in targets(root):
        if name in KEPT and target.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        write_config(str(target), (found / name).read_text().replace(PROGRAM, program()))
        os.chmod(target, 0o644)
        written.append(str(target))
    return written


def remove(root: str) -> list[str]:
    """Take them away again, but for the settings; the paths. OSError."""
    removed = []
    for name, target in targets(root):
        if name not in KEPT and target.exists():
            target.unlink()
            removed.append(str(target))
    return removed


NEXT = """Now, as root:
  systemd-sysusers && systemd-tmpfiles --create && systemctl daemon-reload
  systemctl enable --now idxdd.socket idxdd.service
  usermod -aG idxdd USER        # who may use the device
"""
