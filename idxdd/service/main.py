"""idxdd: `serve` runs the daemon in the foreground, `run` a private one around a command."""

import argparse
import contextlib
import json
import os
import resource
import sys
from collections.abc import Callable
from typing import Any

from idxdd.control.exitcodes import ExitCode
from idxdd.service import sweep_options
from idxdd.service.notify import fail
from idxdd.service.settings import BadSetting, Resolved, Settings, resolve
from idxdd.service.spawn import spawn

NOFILE = 65536


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="idxdd", description="A software Intel DSA: the daemon that is the device.")
    commands = parser.add_subparsers(dest="program", required=True, metavar="serve | run | sweep | config | profile | service")
    serve = commands.add_parser("serve", help="run the daemon in the foreground")
    serve.add_argument("--socket", metavar="PATH", help="control socket (default: IDXDD_SOCKET, else by instance)")
    serve.add_argument("--instance", metavar="NAME", help="name of this instance (default: default)")
    serve.add_argument("--config", metavar="FILE", help="accel-config's JSON (default: one device, four work queues)")
    serve.add_argument("--spin-us", type=int, metavar="US", help="how long the engine looks for work before it sleeps")
    serve.add_argument("--ready-fd", type=int, metavar="N", help="write a byte to this descriptor when ready")
    serve.add_argument("--inject", metavar="FILE", help="fault rules in force from the start (docs/testing.md)")
    _settings_options(serve)
    serve.add_argument("--die-with-parent", action="store_true", help=argparse.SUPPRESS)
    run = commands.add_parser("run", help="run a command with a private instance around it")
    run.add_argument("--instance", metavar="NAME", help="name of the private instance (default: a unique one)")
    run.add_argument("--config", metavar="FILE", help="accel-config's JSON")
    run.add_argument("--spin-us", type=int, metavar="US", help="how long the engine looks for work before it sleeps")
    run.add_argument("--inject", metavar="FILE", help="fault rules in force from the start (docs/testing.md)")
    _device_option(run)
    _driver_options(run)
    run.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND ...")
    sweep_options.add_parser(commands)
    config = commands.add_parser("config", help="show a daemon's settings").add_subparsers(dest="config", required=True)
    show = config.add_parser("show", help="each setting as a daemon started now would have it")
    show.add_argument("--origin", action="store_true", help="say where each value comes from")
    show.add_argument("--json", action="store_true", help="print JSON")
    for option in ("--instance", "--socket", "--config", "--inject", "--spin-us"):
        show.add_argument(option, help=argparse.SUPPRESS)
    _settings_options(show)
    _profile_parser(commands)
    service = commands.add_parser("service", help="install the systemd service").add_subparsers(dest="service", required=True)
    for name, text in {
        "install": "write units, socket, user and settings",
        "remove": "take them away, but the settings",
    }.items():
        verb = service.add_parser(name, help=text)
        verb.add_argument("--root", metavar="DIR", default="/", help="below this directory (default: /)")
    return parser


def _settings_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--settings", metavar="FILE", help="TOML file of settings (default: IDXDD_SETTINGS, else by user)")
    _device_option(parser)
    _driver_options(parser)
    parser.add_argument("--metrics-listen", metavar="PATH|HOST:PORT", help="serve metrics there over HTTP; loopback only")
    parser.add_argument("--log-level", metavar="LEVEL", help="error, warning, notice, info or debug")
    parser.add_argument("--log-format", metavar="FORMAT", help="human, json, journal or auto")


def _driver_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quirk", action="append", metavar="DEF-NN", help="reproduce a known defect of the driver; repeat it")
    parser.add_argument("--later", action="append", metavar="NAME", help="do as later versions of the driver do; repeat it")


def _profile_parser(commands: Any) -> None:
    profile = commands.add_parser("profile", help="capability profiles of devices")
    verbs = profile.add_subparsers(dest="profile", required=True, metavar="list | show | check")
    for verb, text in {
        "list": "profiles of the package",
        "show": "the file of a profile, to copy; its registers with --registers",
        "check": "say everything that is wrong with a profile",
    }.items():
        parser = verbs.add_parser(verb, help=text)
        if verb != "list":
            parser.add_argument("name", metavar="NAME | FILE", help="a name of the list, or the path of a file")
        if verb == "show":
            parser.add_argument("--registers", action="store_true", help="print the capability registers it makes")
        parser.add_argument("--json", action="store_true", help="print JSON")


def _device_option(parser: argparse.ArgumentParser) -> None:
    text = "a device: a profile's name (default: dsa2) or file; repeat it for dsa1, dsa2, ..."
    parser.add_argument("--device", action="append", metavar="PROFILE", help=text)


def main(arguments: list[str] | None = None) -> int:
    """Parse, do, return the exit code of the table in control/exitcodes.py."""
    options = _parser().parse_args(arguments)
    if options.program == "run":
        return _run(options)
    if options.program == "config":
        return _show(options)
    if options.program == "sweep":
        from idxdd.service import sweep_main

        return sweep_main.run(options)
    if options.program == "profile":
        from idxdd.service import profiles

        return profiles.run(options)
    if options.program == "service":
        return _service(options)
    return _serve(options)


def _run(options: argparse.Namespace) -> int:
    from idxdd.service.run import run

    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        fail("run: no command: idxdd run -- COMMAND ...")
        return ExitCode.USAGE
    return run(
        command, instance=options.instance, config=options.config, spin_us=options.spin_us, devices=options.device,
        quirks=options.quirk, later=options.later, inject=options.inject,
    )  # fmt: skip


def _service(options: argparse.Namespace) -> int:
    from idxdd.service import install

    try:
        done = install.install(options.root) if options.service == "install" else install.remove(options.root)
    except install.NotInstalled as error:
        fail(str(error))
        return ExitCode.FAILED
    except OSError as error:
        fail(f"service {options.service}: {error.filename}: {error.strerror}")
        return ExitCode.NO_PERMISSION if isinstance(error, PermissionError) else ExitCode.FAILED
    for path in done:
        print(path)
    if options.service == "install":
        print(install.NEXT, end="", file=sys.stderr)
    return ExitCode.OK


def _resolve(options: argparse.Namespace) -> Resolved:
    given = {
        "daemon.instance": options.instance,
        "daemon.socket": options.socket,
        "daemon.config": options.config,
        "daemon.inject": options.inject,
        "daemon.devices": options.device,
        "daemon.quirks": options.quirk,
        "daemon.later": options.later,
        "daemon.spin_us": None if options.spin_us is None else str(options.spin_us),
        "metrics.listen": options.metrics_listen,
        "log.level": options.log_level,
        "log.format": options.log_format,
    }
    return resolve(given, options.settings)


def _show(options: argparse.Namespace) -> int:
    """Every setting; a set of ids as a list."""
    try:
        resolved = _resolve(options)
    except BadSetting as error:
        fail(str(error))
        return ExitCode.USAGE
    values = {name: sorted(value) if isinstance(value, frozenset) else value for name, value in resolved.values.items()}
    for wq, allowed in sorted(resolved.wqs.items()):
        values[f'wq."{wq}"'] = {"users": sorted(allowed.users), "groups": sorted(allowed.groups)}
    origins = {name: resolved.origins.get(name, f"file {resolved.file}") for name in values}
    if options.json:
        shown = {name: {"value": value, "origin": origins[name]} for name, value in values.items()}
        print(json.dumps({"schema": 1, "command": "config show", "file": resolved.file, "settings": shown}, indent=2))
        return ExitCode.OK
    width = max(map(len, values))
    for name, value in values.items():
        print(f"{name:<{width}} = {json.dumps(value)}" + (f"  # {origins[name]}" if options.origin else ""))
    return ExitCode.OK


def _serve(options: argparse.Namespace) -> int:
    import signal

    # As SIGTERM until the daemon takes both: Python's KeyboardInterrupt is lost where exceptions are ignored, as in a finalizer
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        resolved = _resolve(options)
        chosen = resolved.settings(ready_fd=options.ready_fd, parent_dies=options.die_with_parent)
        if chosen.parent_dies:
            _die_with_parent()
        return _daemon(chosen, lambda: _resolve(options))
    except BadSetting as error:
        fail(str(error))
        return ExitCode.USAGE


def _daemon(chosen: Settings, again: Callable[[], Resolved]) -> int:
    """Start idxdd-irq and import the device side by side, then serve."""
    _raise_descriptor_limit()
    try:
        irq = spawn()
    except OSError as error:
        fail(f"idxdd-irq cannot start: {error.strerror}")
        return ExitCode.IRQ_CANNOT_START
    serving = False
    try:
        from idxdd.service.daemon import Daemon
        from idxdd.service.failure import DaemonFailed
        from idxdd.service.logs import Log, forward

        log = Log()
        log.configure(chosen.log_level, chosen.log_format)
        forward("idxdd.device", log)
        try:
            daemon = Daemon(chosen, log, irq, again)
            serving = True
            daemon.serve()
        except DaemonFailed as failure:
            fail(str(failure))
            return failure.exit_code
        return ExitCode.OK
    finally:
        if not serving:
            irq.abandon()
        if chosen.parent_dies:  # the runner removes its directory; one that was killed cannot
            with contextlib.suppress(OSError):
                os.rmdir(os.path.dirname(chosen.socket))


def _raise_descriptor_limit() -> None:
    """A portal takes several descriptors; the soft limit of 1024 is for select(2), which is not used here."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = NOFILE if hard == resource.RLIM_INFINITY else min(NOFILE, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _die_with_parent() -> None:
    """A private instance ends with its runner, even when that is killed."""
    import signal

    from idxdd.native import set_parent_death_signal

    parent = os.getppid()
    set_parent_death_signal(signal.SIGTERM)
    if os.getppid() != parent or parent == 1:
        raise SystemExit(ExitCode.FAILED)


if __name__ == "__main__":
    sys.exit(main())
