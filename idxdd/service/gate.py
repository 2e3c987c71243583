"""Who may do what: roles and the work queues' lists. A refused attempt is logged once, with who and what."""

from collections import OrderedDict
from typing import TYPE_CHECKING

from idxdd.control.protocol import Request
from idxdd.control.roles import NEEDS, ROLE_NAMES, Role
from idxdd.service.tasks import Refused

if TYPE_CHECKING:
    from idxdd.service.daemon import Daemon
    from idxdd.service.sessions import Session

ATTEMPTS_REMEMBERED_MAX = 1024


class Gate:
    """Every request passes here first."""

    def __init__(self, daemon: "Daemon") -> None:
        self._daemon = daemon
        self._told: OrderedDict[tuple[int, str], None] = OrderedDict()

    def check(self, session: "Session", request: Request) -> None:
        """Refused: EPERM, EACCES."""
        peer, op = session.peer, request.op
        needed = NEEDS.get(op, Role.USER)
        if needed not in session.roles:
            self._tell(session, op)
            raise Refused("EPERM", f"op: {op} needs the {ROLE_NAMES[needed]} role, which uid {peer.uid} has not")
        wq = request.arguments.get("wq") if op in ("open", "cdev_open") else None
        if wq is not None and not self._daemon.settings.access.may_open(peer, wq):
            self._tell(session, f"open {wq}")
            raise Refused("EACCES", f"wq: {wq} is not open to uid {peer.uid}: neither the user nor a group is on its list")

    def _tell(self, session: "Session", what: str) -> None:
        """Once for a user and what; of many, the latest are remembered."""
        key = (session.peer.uid, what)
        if key in self._told:
            return
        self._told[key] = None
        if len(self._told) > ATTEMPTS_REMEMBERED_MAX:
            self._told.popitem(last=False)
        self._daemon.log.warning(
            f"refused: uid {session.peer.uid} (pid {session.peer.pid}) may not {what}",
            uid=session.peer.uid,
            pid=session.peer.pid,
        )
