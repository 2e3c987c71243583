"""A private idxdd for tests: started, spoken to, asked what it knows when a test has failed, and gone without a trace."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from idxdd.control.client import ControlClient, connect
from idxdd.control.errors import ControlError
from idxdd.control.tracerecord import RECORD_BYTES, TraceFlag, TraceRecord, Why, unpack
from idxdd.control.wire import close_all
from idxdd.device.faults import Rule
from idxdd.device.faults.values import code_name
from idxdd.service.private import READY_UNATTENDED_S, PrivateDaemon
from idxdd.shm.names import sweep_instance
from idxdd.spec.codes import STATUS_CODE_MASK, CompletionStatus, Opcode

if TYPE_CHECKING:
    from idxd_client import Connection

CONTROL_S = 5.0
LOG_LINES_SHOWN = 60
TRACE_RECORDS = 4096
TRACE_SHOWN = 40
ERRORS_SHOWN = 20
NOT_COUNTED = frozenset({"wq", "name", "group", "size", "threshold", "priority"})
KILLED = 128 + 9
_numbers = itertools.count(1)


class NotStarted(RuntimeError):
    """The daemon did not get ready; the text is what it said."""


class Dsa:
    """A running instance of one's own. `socket` is its control socket; `environ` makes a child use it."""

    def __init__(self, *, profiles: Sequence[str] = (), config: object = None, options: Sequence[str] = ()) -> None:
        """Ready when made. `config`: accel-config's JSON, as a path or the list itself; `options`: more of `idxdd serve`'s.
        NotStarted."""
        self.instance = f"pytest-{os.getpid()}-{next(_numbers)}"
        self._directory = Path(tempfile.mkdtemp(prefix="idxdd-test-"))  # short: a socket's path has 107 bytes at most
        self.socket = str(self._directory / "s")
        self._log = os.memfd_create(
            "idxdd-log"
        )  # not a file there: a daemon whose pytest was killed removes an empty directory
        self._said = ""
        self._killed = False
        chosen = ["--spin-us", "0", *options]  # tests share cores
        chosen += [word for profile in profiles for word in ("--device", profile)]
        if config is not None:
            chosen += ["--config", str(self._config(config))]
        self._daemon = PrivateDaemon(self.instance, self.socket, chosen, log=self._log)
        if self._daemon.wait_ready(READY_UNATTENDED_S) is not None:
            said = self.log
            self.stop()
            raise NotStarted(f"idxdd did not start: {said.strip() or 'it is not ready in time'}")
        with contextlib.suppress(ControlError, ValueError):  # without a trace a failure tells less, that is all
            self.ask("trace_on", size=TRACE_RECORDS)

    def _config(self, config: object) -> Path:
        if isinstance(config, str | os.PathLike):
            return Path(config)
        path = self._directory / "config.json"
        path.write_text(json.dumps(config))
        return path

    # ---- speaking to it ------------------------------------------------------------------------------------------------

    @property
    def environ(self) -> dict[str, str]:
        """The environment of a child that shall use this instance."""
        return {**os.environ, "IDXDD_SOCKET": self.socket}

    @property
    def pid(self) -> int:
        return self._daemon.pid

    @property
    def log(self) -> str:
        """What the daemon has said so far."""
        if self._log < 0:
            return self._said
        return os.pread(self._log, os.fstat(self._log).st_size, 0).decode(errors="replace")

    def connect(self) -> Connection:
        """A connection of the client library; the caller closes it."""
        import idxd_client

        return idxd_client.connect(self.socket)

    def control(self) -> ControlClient:
        """A connection to the control socket; the caller closes it."""
        return connect(self.socket, CONTROL_S)

    def ask(self, op: str, **arguments: Any) -> dict[str, Any]:
        """One request to the control socket. ControlError: it was refused."""
        with self.control() as control:
            answer, fds = control.request(op, **arguments)
            close_all(fds)
            return answer

    def idxdctl(self, *words: str, check: bool = True) -> str:
        """What `idxdctl` prints. CalledProcessError."""
        return self.run(sys.executable, "-P", "-m", "idxdctl.main", *words, check=check, capture_output=True, text=True).stdout  # type: ignore[no-any-return]

    def run(self, *command: str, **keywords: Any) -> subprocess.CompletedProcess[Any]:
        """subprocess.run() in this instance's environment."""
        return subprocess.run(command, **{"env": self.environ, **keywords})

    def stats(self) -> dict[str, Any]:
        """The daemon's counters."""
        return self.ask("stats")

    # ---- faults --------------------------------------------------------------------------------------------------------

    def inject(self, *rules: Rule | str | dict[str, Any]) -> list[int]:
        """Put rules in force, in any of their forms; their numbers. ControlError names what cannot be."""
        given = [rule.document() if isinstance(rule, Rule) else rule for rule in rules]
        return list(self.ask("inject", rules=given)["ids"])

    def rules(self) -> list[dict[str, Any]]:
        """Rules in force: id, rule, matches, hits, hits_left, left_out (clients it names and is not in force for)."""
        found: list[dict[str, Any]] = []
        more = True
        while more:
            page = self.ask("inject_list", after=found[-1]["id"] if found else 0)
            found += page["rules"]
            more = page["more"]
        return found

    def hits(self, number: int | None = None) -> int:
        """Of one rule, or of all."""
        return sum(rule["hits"] for rule in self.rules() if number in (None, rule["id"]))

    def remove(self, *numbers: int) -> None:
        """Take rules out of force, all if none is named."""
        for number in numbers or (0,):
            self.ask("inject_remove", rule=number)

    # ---- the end -------------------------------------------------------------------------------------------------------

    def kill(self) -> None:
        """SIGKILL: for tests of what clients do then."""
        self._killed = True
        os.kill(self._daemon.pid, 9)

    def stop(self) -> int:
        """End it and remove what it had; its exit code. Idempotent."""
        code = self._daemon.end()
        if self._log >= 0:
            self._said = self.log
            os.close(self._log)
            self._log = -1
        if code:
            sweep_instance(os.geteuid(), self.instance)
        shutil.rmtree(self._directory, ignore_errors=True)
        return 0 if self._killed and code == KILLED else code

    def dump(self) -> list[tuple[str, str]]:
        """What helps to understand a failure: rules, counters, errors, trace, log."""
        found: list[tuple[str, str]] = []
        if self._daemon.ended():
            found.append(("idxdd", "the daemon has ended"))
        else:
            for title, read in (
                ("rules", self._rules),
                ("counters", self._counters),
                ("last errors", self._errors),
                ("trace", self._trace),
            ):
                with contextlib.suppress(ControlError, OSError, KeyError, ValueError):
                    text = read()
                    if text:
                        found.append((f"idxdd: {title}", text))
        lines = self.log.splitlines()
        if lines:
            found.append(("idxdd: log", "\n".join(lines[-LOG_LINES_SHOWN:])))
        return found

    def _rules(self) -> str:
        return "\n".join(f"{one['rule']}  ({one['hits']} hits of {one['matches']} matches)" for one in self.rules())

    def _counters(self) -> str:
        counted = self.stats()
        rows = [*counted["devices"], *counted["wqs"]]
        return "\n".join(_nonzero(row) for row in rows)

    def _errors(self) -> str:
        """Descriptors that did not end well, as `idxdctl errors`, and what SWERR holds."""
        answer = self.ask("errors", last=ERRORS_SHOWN)
        ended = [_line(record) for record in unpack(answer["records"])]
        return "\n".join(ended + self._swerr())

    def _swerr(self) -> list[str]:
        devices = self.ask("list")["devices"]
        told = {
            device["name"]: " ".join(device["errors"]) for device in devices if any(int(word, 16) for word in device["errors"])
        }
        return [f"{name}: SWERR {words}" for name, words in told.items()]

    def trace(self, last: int = TRACE_RECORDS) -> list[TraceRecord]:
        """The last descriptors that have ended, oldest first."""
        records: list[TraceRecord] = []
        with self.control() as control:
            page = control.request("trace", last=last)[0]
            while page["records"]:
                records += unpack(page["records"])
                page = control.request("trace", position=page["position"] + len(page["records"]) // RECORD_BYTES)[0]
        return records

    def _trace(self) -> str:
        return "\n".join(map(_line, self.trace(TRACE_SHOWN)))


def _nonzero(row: dict[str, Any]) -> str:
    name = row.get("wq") or row.get("name")
    counts = (f"{key} {value}" for key, value in row.items() if isinstance(value, int) and value and key not in NOT_COUNTED)
    return f"{name}: " + ", ".join(counts)


def _line(record: TraceRecord) -> str:
    member = f" member {record.member}" if record.flags & TraceFlag.MEMBER else ""
    status = code_name(record.status & STATUS_CODE_MASK, CompletionStatus) if record.status else "no record"
    rule = f", rule {record.rule}" if record.rule else ""
    size = int.from_bytes(record.desc[32:36], "little")
    name = code_name(record.desc[7], Opcode)
    why = Why(record.why).name.lower() if record.why in Why._value2member_map_ else record.why
    return f"{record.id}{member} wq {record.wq} {name} size {size}: {status} ({why}{rule}), {record.bytes_completed} completed"


def missed(rules: Iterable[dict[str, Any]]) -> list[str]:
    """Rules that nothing has hit."""
    return [rule["rule"] for rule in rules if not rule["hits"]]
