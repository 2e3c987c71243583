"""`idxdd service install --root DIR`: units, socket, user, directory, a commented settings file, manual pages, completions."""

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
    "idxdctl.1": "usr/share/man/man1",
    "idxdd.8": "usr/share/man/man8",
    "idxdctl.bash": "usr/share/bash-completion/completions",
    "_idxdctl": "usr/share/zsh/site-functions",
    "idxdctl.fish": "usr/share/fish/vendor_completions.d",
}
NAMES = {"idxdd.sysusers": "idxdd.conf", "idxdd.tmpfiles": "idxdd.conf", "idxdctl.bash": "idxdctl"}
FOLDERS = {"man": ("idxdctl.1", "idxdd.8"), "completions": ("idxdctl.bash", "_idxdctl", "idxdctl.fish")}
"""What does not lie in `systemd`."""
PROGRAM = "/usr/bin/idxdd"
KEPT = ("idxdd.toml",)
"""An administrator's: never overwritten, never removed."""


class NotInstalled(Exception):
    """One line that says what is missing."""


def sources() -> dict[str, Path]:
    """Each file by its name: in a source tree, else where the wheel put them. NotInstalled."""
    tree, wheel = Path(__file__).parents[2], Path(__file__).parents[1] / "native" / "share" / "idxdd"
    found = {}
    for name in PLACES:
        folder = next((folder for folder, names in FOLDERS.items() if name in names), "systemd")
        in_tree = tree / ("clients/completions" if folder == "completions" else folder) / name
        place = in_tree if in_tree.is_file() else wheel / folder / name
        if not place.is_file():
            raise NotInstalled(f"{name} did not come with this installation: install idxdd from its source tree")
        found[name] = place
    return found


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
        write_config(str(target), found[name].read_text().replace(PROGRAM, program()))
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
