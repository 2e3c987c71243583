"""An administrator's operations: configuration through idxdd-irq, reading the settings again, taking a client off."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from idxdd.native import STOP_ABORT
from idxdd.service import act, events, metrics, trace
from idxdd.service.settings import BadSetting, reloaded
from idxdd.service.tasks import Refused, Steps
from idxdd.shm.closed import Closed

if TYPE_CHECKING:
    from idxdd.service.daemon import Daemon
    from idxdd.service.sessions import Session


def _passed_on(verb: str) -> Callable[..., Steps]:
    """idxdd-irq's answer is the client's."""

    def operation(daemon: "Daemon", _session: "Session", **arguments: Any) -> Steps:
        return (yield daemon.link.verb(verb, **arguments)), []

    return operation


def _changes(verb: str) -> Callable[..., Steps]:
    """The same; who changed what is logged."""

    def operation(daemon: "Daemon", session: "Session", **arguments: Any) -> Steps:
        answer = yield daemon.link.verb(verb, **arguments)
        if answer.get("applied", True):
            target = arguments.get("object") or arguments.get("device") or "a configuration"
            peer = session.peer
            daemon.log.info(
                f"{verb.replace('_', '-')}: {target}, by pid {peer.pid} of uid {peer.uid}", uid=peer.uid, pid=peer.pid
            )
        return answer, []

    return operation


def _kick(daemon: "Daemon", session: "Session", pasid: int) -> Steps:
    """End a client's session: its portals stop at once, everything it held is given back."""
    victim = next((one for one in daemon.sessions if one.pasid == pasid), None)
    if victim is None:
        raise Refused("ESRCH", f"pasid: no client has PASID {pasid}")
    if victim is session:
        raise Refused("EINVAL", "pasid: that is this connection itself")
    found = {"pid": victim.peer.pid, "uid": victim.peer.uid, "portals": len(victim.portals)}
    for portal in victim.portals.values():
        daemon.port.portal_close(portal.engine_number, STOP_ABORT, Closed.REVOKED)  # its reason stays; end() would say BY_OWNER
    victim.end("it was kicked")
    daemon.log.warning(f"client {found['pid']} of uid {found['uid']} was kicked by pid {session.peer.pid}", **found)
    return found, []
    yield


def reload(daemon: "Daemon", who: str) -> dict[str, list[str]]:
    """Read the settings again: what can change does, the rest is refused by name. Refused: EINVAL, nothing changed."""
    if daemon.again is None or daemon.resolved is None:
        raise Refused("EOPNOTSUPP", "reload: this daemon was started without settings")
    try:
        later = daemon.again()
    except BadSetting as error:
        daemon.log.error(f"reload, {who}: nothing changed: {error}")
        raise Refused("EINVAL", f"reload: {error}") from None
    daemon.resolved, changed, refused = reloaded(daemon.resolved, later)
    now = daemon.settings
    daemon.settings = daemon.resolved.settings(ready_fd=now.ready_fd, parent_dies=now.parent_dies)
    daemon.log.configure(daemon.settings.log_level, daemon.settings.log_format)
    for session in daemon.sessions:
        session.obey(daemon.settings)
    daemon.log.info(f"reload, {who}: {', '.join(changed) or 'nothing'} changed")
    for name in refused:
        daemon.log.warning(f"reload, {who}: {name} is not changed: it needs a restart")
    return {"changed": changed, "refused": refused}


def _reload(daemon: "Daemon", session: "Session") -> Steps:
    return reload(daemon, f"pid {session.peer.pid} of uid {session.peer.uid}"), []
    yield


OPERATIONS: dict[str, Callable[..., Steps]] = {
    "topology": _passed_on("topology"),
    "save_config": _passed_on("save_config"),
    "load_config": _changes("load_config"),
    "config": _changes("config"),
    "reset_device": _changes("reset_device"),
    "perfmon_start": _passed_on("perfmon_start"),
    "perfmon_read": _passed_on("perfmon_read"),
    "perfmon_stop": _passed_on("perfmon_stop"),
    "kick": _kick,
    "reload": _reload,
    **act.OPERATIONS,
    **events.OPERATIONS,
    **metrics.OPERATIONS,
    **trace.OPERATIONS,
}
