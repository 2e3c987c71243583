"""PCI configuration space of a device: what a bus driver sees and switches."""

from __future__ import annotations

from typing import Annotated

import typer

from idxdctl.options import Json, Socket, ask_once
from idxdctl.output import Failed, print_json
from idxdd.control.exitcodes import ExitCode


def pci(
    device: Annotated[str, typer.Argument(metavar="DEVICE", help="For example dsa0.")],
    changes: Annotated[
        list[str] | None, typer.Argument(metavar="[REGISTER.FIELD=VALUE]...", help="As PCICMD.bus_master=0.")
    ] = None,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Registers of a device's PCI configuration space (admin).

    A change of PCICMD.bus_master, ATSCAP.enable, PASIDCAP.enable, PASIDCAP.privileged_mode_en or PRSCAP.enable while the device
    is enabled halts it (SWERR 0x51); DEVCTL.initiate_flr=1 resets it. Switches last until a reset.
    """
    pairs = [change.split("=", 1) for change in changes or ()]
    wrong = next((pair[0] for pair in pairs if len(pair) != 2), None)
    if wrong is not None:
        raise Failed(f"pci: {wrong!r:.40} is no change", ExitCode.USAGE, hint="write it as PCICMD.bus_master=0")
    found = ask_once(socket, "pci", device=device, **({"set": pairs} if pairs else {}))["registers"]
    if json:
        print_json("pci", {"device": device, "registers": found})
        return
    width = max(map(len, found))
    for name, register in found.items():
        fields = ", ".join(f"{field}={value}" for field, value in register["fields"].items())
        print(f"{name:<{width}}  {register['value']:<18}  {fields}")


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command("pci", rich_help_panel="Making the device act")(pci)
