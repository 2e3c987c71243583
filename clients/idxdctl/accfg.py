"""accel-config's commands with its names and options: list, config-*, enable-*, disable-*, load- and save-config; and reset."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import typer

from idxdctl.options import Force, Json, Socket, ask, ask_once
from idxdctl.output import Failed, accel_config_text, print_accel_config, print_json, say
from idxdctl.refusals import HINTS, hint_of, out_of_reach
from idxdd.control.client import ControlClient, connect
from idxdd.control.errors import NotAllowed, RequestError
from idxdd.control.exitcodes import ExitCode

CONFIG_FILE = "/etc/accel-config/accel-config.conf"
Devices = Annotated[list[str], typer.Argument(metavar="DEVICE...", help="For example dsa0; `all` for each.")]
WqNames = Annotated[list[str], typer.Argument(metavar="DEVICE/WQ...", help="For example dsa0/wq0.1; `all` for each.")]

CMD_STATUS = re.compile(r"(?:cmd_status|failed with) (0x[0-9a-f]+)")


# ---- reading the topology ----------------------------------------------------------------------------------------------
def members(device: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Lists of WQs and engines: (owner, key of the list)."""
    for owner in [*device["groups"], device]:
        for key in ("grouped_workqueues", "grouped_engines", "ungrouped workqueues", "ungrouped_engines"):
            if key in owner:
                yield owner, key


def wqs_of(device: dict[str, Any]) -> list[dict[str, Any]]:
    """All, by number."""
    found = [wq for owner, key in members(device) if "workqueues" in key for wq in owner[key]]
    return sorted(found, key=lambda wq: int(wq["dev"].rpartition(".")[2]))


def find_device(devices: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """Failed when there is none."""
    for device in devices:
        if device["dev"] == name:
            return device
    raise Failed(f"{name}: no such device", hint=f"there is {', '.join(device['dev'] for device in devices) or 'none'}")


def find_wq(devices: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """Failed when there is none."""
    device_name, _, wq_name = name.partition("/")
    for wq in wqs_of(find_device(devices, device_name)):
        if wq["dev"] == wq_name:
            return wq
    raise Failed(f"{name}: no such work queue", hint="`idxdctl list -i` shows what there is")


def active_only(devices: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without -i, accel-config leaves out what is not enabled."""
    kept = [device for device in devices if device["state"] == "enabled"]
    for device in kept:
        device.pop("ungrouped workqueues", None)
        for owner, key in list(members(device)):
            if key == "grouped_workqueues":
                owner[key] = [wq for wq in owner[key] if wq["state"] == "enabled"]
                if not owner[key]:
                    del owner[key]
    return kept


def only(devices: list[dict[str, Any]], device: str | None, group: str | None, wq: str | None, engine: str | None) -> None:
    """Keep what the filters name. A group, WQ or engine is named with its device."""
    wanted = {name.partition("/")[0] for name in (device, group, wq, engine) if name}
    devices[:] = [one for one in devices if not wanted or one["dev"] in wanted]
    for one in devices:
        if group:
            one["groups"] = [other for other in one["groups"] if other["dev"] == group.partition("/")[2]]
        for owner, key in list(members(one)):
            name = wq if "workqueues" in key else engine
            if name:
                owner[key] = [member for member in owner[key] if member["dev"] == name.partition("/")[2]]
                if not owner[key]:
                    del owner[key]


def without(devices: list[dict[str, Any]], *, groups: bool, wqs: bool, engines: bool) -> None:
    """Leave out the kinds that -D, -G, -Q, -E did not ask for."""
    for device in devices:
        for owner, key in list(members(device)):
            if not (wqs if "workqueues" in key else engines):
                del owner[key]
        if not groups and not wqs and not engines:
            del device["groups"]


def _listed(devices: list[dict[str, Any]], *, idle: bool) -> list[dict[str, Any]]:
    for device in devices:
        device.pop("cmd_status", None)  # accel-config's list has it not
    return devices if idle else active_only(devices)


# ---- list --------------------------------------------------------------------------------------------------------------
def list_(
    device: Annotated[str | None, typer.Option("-d", "--device", help="Only this device.")] = None,
    group: Annotated[str | None, typer.Option("-g", "--group", help="Only this group: dsa0/group0.0.")] = None,
    wq: Annotated[str | None, typer.Option("-q", "--workqueue", help="Only this work queue: dsa0/wq0.1.")] = None,
    engine: Annotated[str | None, typer.Option("-e", "--engine", help="Only this engine: dsa0/engine0.0.")] = None,
    devices: Annotated[bool, typer.Option("-D", "--devices", help="Include devices.")] = False,
    groups: Annotated[bool, typer.Option("-G", "--groups", help="Include groups.")] = False,
    wqs: Annotated[bool, typer.Option("-Q", "--workqueues", help="Include work queues.")] = False,
    engines: Annotated[bool, typer.Option("-E", "--engines", help="Include engines.")] = False,
    idle: Annotated[bool, typer.Option("-i", "--idle", help="Also what is not enabled.")] = False,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Devices, groups, work queues and engines; with --json as accel-config prints them."""
    from idxdctl import facts

    with connect(socket) as connection:
        found = ask(connection, "topology")["devices"]
        if not json:
            _tell_out_of_reach(connection, found)
    if not json and not any((device, group, wq, engine, devices, groups, wqs, engines, idle)):
        print(facts.devices(found))
        return
    found = _listed(found, idle=idle)
    only(found, device, group, wq, engine)
    if devices or groups or wqs or engines:
        without(found, groups=groups, wqs=wqs, engines=engines)
    if json:
        print_accel_config(found)
    else:
        print(facts.devices(found))


def _tell_out_of_reach(connection: ControlClient, devices: list[dict[str, Any]]) -> None:
    """For people: the driver calls a device disabled whose registers cannot be reached."""
    for device in devices:
        if device["state"] != "enabled":
            device["reach"], _ = out_of_reach(connection, device["dev"])


# ---- enable, disable, reset --------------------------------------------------------------------------------------------
def explain(connection: ControlClient, name: str, error: RequestError) -> str:
    """The refusal with what the cmd_status that it names means, and what to do."""
    left = CMD_STATUS.search(error.text)
    word, text = status_text(int(left[1], 16)) if left else ("", "")
    known = "" if not left or word in error.text else f"; cmd_status {left[1]} {word}: {text}"
    return "; ".join(part for part in (f"{error}{known}", _hint(connection, name, word, error)) if part)


def _hint(connection: ControlClient, name: str, word: str, error: RequestError) -> str:
    """Of this refusal alone: what cmd_status kept from an earlier one says nothing of it."""
    device = name.partition("/")[0]
    if isinstance(error, NotAllowed):
        return hint_of(error)
    if error.code == "ENXIO":
        state, helps = out_of_reach(connection, device)
        if state:
            return f"{device} is {state}: {helps}"
    if error.code == "ENOENT" and "does not have this WQ" in error.text:
        word = "NOT_CONFIGURED"
    hint = HINTS.get(word) or HINTS.get(error.code, "")
    return hint.replace("NAME", name)


def status_text(status: int) -> tuple[str, str]:
    """Name and meaning of a cmd_status; empty for success."""
    from idxdd.spec.codes import CmdErr, DriverStatus

    if status in DriverStatus._value2member_map_:
        found = DriverStatus(status)
        return found.name, found.text
    if status & 0xFF in CmdErr._value2member_map_ and status & 0xFF:
        return CmdErr(status & 0xFF).name, "the device refused the command"
    return "", ""


def _each(socket: str | None, verb: str, names: list[str], *, wq: bool, force: bool, json: bool) -> None:
    """Do it for every name, say how many; Failed if one was refused."""
    done, failed, ended = [], [], ExitCode.FAILED
    with connect(socket) as connection:
        devices = ask(connection, "topology")["devices"]
        for name in _expanded(devices, names, wq=wq):
            try:
                if verb.startswith("disable") and not force:
                    _check_unused(devices, name)
                ask(connection, f"{verb}_{'wq' if wq else 'device'}", **{"wq" if wq else "device": name})
                done.append(name)
            except RequestError as error:
                failed.append({"name": name, "code": error.code, "text": explain(connection, name, error)})
                ended = error.exit_code
            except Failed as error:
                failed.append({"name": name, "code": "EBUSY", "text": f"{verb}: {error}"})
                ended = error.exit_code
    if json:
        print_json(f"{verb}-{'wq' if wq else 'device'}", {f"{verb}d": done, "failed": failed})
    for failure in failed[:-1] if not json else []:
        say(f"idxdctl: {failure['text']}")
    if not json:
        say(f"{verb}d {len(done)} {'wq' if wq else 'device'}(s) out of {len(done) + len(failed)}")
    if failed:
        raise Failed(failed[-1]["text"], ended)


def _expanded(devices: list[dict[str, Any]], names: list[str], *, wq: bool) -> list[str]:
    """`all`, and a WQ without its device (wq0.1), as accel-config's users write them."""
    if "all" in names:
        return (
            [f"{device['dev']}/{one['dev']}" for device in devices for one in wqs_of(device)]
            if wq
            else [d["dev"] for d in devices]
        )
    if wq:
        return [f"dsa{name[2:].partition('.')[0]}/{name}" if name.startswith("wq") else name for name in names]
    return names


def _check_unused(devices: list[dict[str, Any]], name: str) -> None:
    """accel-config's own rule; the driver itself would go ahead."""
    clients = (find_wq(devices, name) if "/" in name else find_device(devices, name))["clients"]
    if clients:
        raise Failed(
            f"{name}: {clients} client(s) are using it", hint="--force disables it all the same: their portals are closed"
        )


def enable_device(names: Devices, json: Json = False, socket: Socket = None) -> None:
    """Enable devices: their configuration is written and checked."""
    _each(socket, "enable", names, wq=False, force=False, json=json)


def disable_device(names: Devices, force: Force = False, json: Json = False, socket: Socket = None) -> None:
    """Disable devices, and their work queues before."""
    _each(socket, "disable", names, wq=False, force=force, json=json)


def enable_wq(names: WqNames, json: Json = False, socket: Socket = None) -> None:
    """Enable work queues."""
    _each(socket, "enable", names, wq=True, force=False, json=json)


def disable_wq(names: WqNames, force: Force = False, json: Json = False, socket: Socket = None) -> None:
    """Disable work queues; what they had accepted is finished first."""
    _each(socket, "disable", names, wq=True, force=force, json=json)


def reset(
    device: Annotated[str, typer.Argument(metavar="DEVICE")], force: Force = False, json: Json = False, socket: Socket = None
) -> None:
    """Reset a device: disabled, and its configuration forgotten."""
    with connect(socket) as connection:
        if not force:
            _check_unused(ask(connection, "topology")["devices"], device)
        try:
            ask(connection, "reset_device", device=device)
        except RequestError as error:
            raise Failed(explain(connection, device, error), error.exit_code) from None
    if json:
        print_json("reset", {"device": device})
    else:
        say(f"{device} was reset; `idxdctl load-config -c FILE -e` configures it again")


# ---- config-* ----------------------------------------------------------------------------------------------------------
def _write(socket: str | None, command: str, target: str, attributes: dict[str, Any], *, json: bool) -> None:
    pairs = [[name, str(value)] for name, value in attributes.items() if value is not None]
    if not pairs:
        raise Failed(f"{command}: nothing to write", ExitCode.USAGE, hint=f"see idxdctl {command} --help")
    with connect(socket) as connection:
        try:
            ask(connection, "config", object=target, attributes=pairs)
        except RequestError as error:
            hint = HINTS["EPERM"] if error.code == "EPERM" and "enabled" in error.text else hint_of(error)
            raise Failed(str(error), error.exit_code, hint=hint) from None
    if json:
        print_json(command, {"object": target, "written": dict(pairs)})


def config_device(
    device: Annotated[str, typer.Argument(metavar="DEVICE")],
    read_buffer_limit: Annotated[int | None, typer.Option("-l", "--read-buffer-limit", "--token-limit")] = None,
    event_log_size: Annotated[int | None, typer.Option("-e", "--event-log-size")] = None,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Write a device's attributes."""
    attributes = {"read_buffer_limit": read_buffer_limit, "event_log_size": event_log_size}
    _write(socket, "config-device", device, attributes, json=json)


def config_group(
    group: Annotated[str, typer.Argument(metavar="DEVICE/GROUP")],
    read_buffers_reserved: Annotated[int | None, typer.Option("-r", "--read-buffers-reserved")] = None,
    read_buffers_allowed: Annotated[int | None, typer.Option("-t", "--read-buffers-allowed")] = None,
    use_read_buffer_limit: Annotated[int | None, typer.Option("-l", "--use-read-buffer-limit")] = None,
    traffic_class_a: Annotated[int | None, typer.Option("-a", "--traffic-class-a")] = None,
    traffic_class_b: Annotated[int | None, typer.Option("-b", "--traffic-class-b")] = None,
    desc_progress_limit: Annotated[int | None, typer.Option("-d", "--desc-progress-limit")] = None,
    batch_progress_limit: Annotated[int | None, typer.Option("-p", "--batch-progress-limit")] = None,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Write a group's attributes: they reach the hardware when the device is enabled."""
    attributes = {
        "read_buffers_reserved": read_buffers_reserved,
        "read_buffers_allowed": read_buffers_allowed,
        "use_read_buffer_limit": use_read_buffer_limit,
        "traffic_class_a": traffic_class_a,
        "traffic_class_b": traffic_class_b,
        "desc_progress_limit": desc_progress_limit,
        "batch_progress_limit": batch_progress_limit,
    }
    _write(socket, "config-group", group, attributes, json=json)


def config_wq(
    wq: Annotated[str, typer.Argument(metavar="DEVICE/WQ")],
    mode: Annotated[str | None, typer.Option("-m", "--mode", help="dedicated or shared.")] = None,
    size: Annotated[int | None, typer.Option("-s", "--wq-size")] = None,
    group_id: Annotated[int | None, typer.Option("-g", "--group-id", help="-1 takes it out of its group.")] = None,
    priority: Annotated[int | None, typer.Option("-p", "--priority", help="0 to 15; a WQ is enabled with 1 to 15.")] = None,
    prs_disable: Annotated[int | None, typer.Option("-r", "--prs-disable")] = None,
    block_on_fault: Annotated[int | None, typer.Option("-b", "--block-on-fault")] = None,
    threshold: Annotated[int | None, typer.Option("-t", "--threshold", help="Of a shared WQ: 1 to its size.")] = None,
    wq_type: Annotated[str | None, typer.Option("-y", "--type", help="user, kernel or none.")] = None,
    name: Annotated[str | None, typer.Option("-n", "--name")] = None,
    driver_name: Annotated[str | None, typer.Option("-d", "--driver-name", help="user or dmaengine.")] = None,
    max_batch_size: Annotated[int | None, typer.Option("-c", "--max-batch-size")] = None,
    max_transfer_size: Annotated[int | None, typer.Option("-x", "--max-transfer-size")] = None,
    ats_disable: Annotated[int | None, typer.Option("-a", "--ats-disable")] = None,
    op_config: Annotated[str | None, typer.Option("-o", "--op-config", help="Bitmap of allowed operations.")] = None,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Write a work queue's attributes, all of them or none."""
    attributes = {
        "mode": mode,
        "size": size,
        "group_id": group_id,
        "priority": priority,
        "prs_disable": prs_disable,
        "block_on_fault": block_on_fault,
        "threshold": threshold,
        "type": wq_type,
        "name": name,
        "driver_name": driver_name,
        "max_batch_size": max_batch_size,
        "max_transfer_size": max_transfer_size,
        "ats_disable": ats_disable,
        "op_config": op_config,
    }
    _write(socket, "config-wq", wq, attributes, json=json)


def config_engine(
    engine: Annotated[str, typer.Argument(metavar="DEVICE/ENGINE")],
    group_id: Annotated[int | None, typer.Option("-g", "--group-id", help="-1 takes it out of its group.")] = None,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Put an engine into a group: in force when the device is enabled the next time."""
    _write(socket, "config-engine", engine, {"group_id": group_id}, json=json)


# ---- load, save --------------------------------------------------------------------------------------------------------
def load_config(
    config_file: Annotated[
        str, typer.Option("-c", "--config-file", metavar="FILE", help="`-` is standard input.")
    ] = CONFIG_FILE,
    enable: Annotated[bool, typer.Option("-e", "--enable", help="Enable the devices and work queues it names.")] = False,
    forced: Annotated[bool, typer.Option("-f", "--forced", "--force", help="Disable enabled devices before.")] = False,
    dry_run: Annotated[bool, typer.Option("-n", "--dry-run", help="Only check it.")] = False,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Load a configuration file of accel-config: checked whole, then applied, or not at all."""
    from idxdd.control.configfile import BadConfigFile, read_config

    try:
        config, warnings = read_config(config_file)
    except BadConfigFile as error:
        raise Failed(f"load-config: {error}", ExitCode.BAD_CONFIGURATION) from None
    with connect(socket) as connection:
        try:
            answer = ask(connection, "load_config", config=config, enable=enable, force=forced, dry_run=dry_run)
        except RequestError as error:
            name = error.text.removeprefix("load_config: ").partition(":")[0]
            raise Failed(explain(connection, name, error), error.exit_code) from None
    answer["warnings"] = [{"path": "", "rule": warning, "fix": "remove it"} for warning in warnings] + answer["warnings"]
    if json:
        print_json("load-config", {"file": config_file, **answer})
    else:
        _report(config_file, answer)
    count = answer["problem_count"]
    if count:
        problems = f"{count} problem{'s' if count > 1 else ''}"
        raise Failed(f"load-config: {config_file}: {problems}, nothing was applied", ExitCode.BAD_CONFIGURATION)
    if not json:
        what = "checked, nothing was applied" if dry_run else "loaded" if answer["applied"] else "names no device"
        say(f"{config_file}: {what}{''.join(f', enabled {name}' for name in answer.get('enabled', ()))}")


def _report(path: str, answer: dict[str, Any]) -> None:
    for warning in answer["warnings"]:
        at = f" {warning['path']}:" if warning["path"] else ""
        say(f"warning: {path}:{at} {warning['rule']}; {warning['fix']}")
    for problem in answer["problems"]:
        say(f"{path}: {problem['path']}: {problem['rule']} [{problem['code']}]; {problem['fix']}")
    hidden = answer["problem_count"] - len(answer["problems"])
    if hidden:
        say(f"{path}: and {hidden} more")


def save_config(
    saved_file: Annotated[
        str, typer.Option("-s", "--saved-file", metavar="FILE", help="`-` is standard output.")
    ] = CONFIG_FILE,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Save the configuration in accel-config's format."""
    from idxdd.control.configfile import write_config

    config = ask_once(socket, "save_config")["config"]
    if saved_file == "-":
        print_accel_config(config)
        return
    write_config(saved_file, accel_config_text(config))
    if json:
        print_json("save-config", {"file": saved_file, "devices": [device["dev"] for device in config]})


PANEL = "Configuration (accel-config's names)"


def register(app: typer.Typer) -> None:
    """Add these commands."""
    commands: dict[str, Callable[..., None]] = {
        "list": list_,
        "load-config": load_config,
        "save-config": save_config,
        "config-device": config_device,
        "config-group": config_group,
        "config-wq": config_wq,
        "config-engine": config_engine,
        "enable-device": enable_device,
        "disable-device": disable_device,
        "enable-wq": enable_wq,
        "disable-wq": disable_wq,
        "reset": reset,
    }
    for name, command in commands.items():
        app.command(name, rich_help_panel=PANEL)(command)
