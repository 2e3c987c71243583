"""A session's agent: the memory through which the device reaches addresses of the client that no buffer of ours holds.

Order   reserve, the engine maps it, seal, pass on. At the end of the session: portals first, then the agent, then the buffers.
"""

from typing import TYPE_CHECKING

from idxdd.control.wire import close_all
from idxdd.native import LAYOUT, NativeError
from idxdd.service.buffers import PAGE, check_descriptor, refusal
from idxdd.service.tasks import Fail, Refused, Resume, Steps, acknowledged
from idxdd.shm import bells, memfd
from idxdd.shm.errors import SharedMemoryFull

if TYPE_CHECKING:
    from idxdd.service.daemon import Daemon
    from idxdd.service.sessions import Session

AGENT_SIZE = -(-LAYOUT["agent_page"] // PAGE) * PAGE


def _create() -> list[int]:
    """Memory, the agent's bell, the engine's bell."""
    made: list[int] = []
    try:
        made.append(check_descriptor(memfd.create("idxdd-agent", AGENT_SIZE), "agent"))
        made.append(bells.create_doorbell())
        made.append(bells.create_doorbell())
    except (SharedMemoryFull, OSError) as error:
        close_all(made)
        raise Refused("ENOMEM", f"agent: {error}") from None
    except Refused:
        close_all(made)
        raise
    return made


def add(daemon: "Daemon", session: "Session") -> Steps:
    """The agent operation: this client has an agent from now on. Refused: EEXIST, ENOMEM, EMFILE."""
    if session.has_agent:
        raise Refused("EEXIST", "agent: this client has one already")
    fds = _create()
    memory, bell, doorbell = fds

    def wait(resume: Resume, fail: Fail) -> None:
        try:
            daemon.port.agent_add(
                session.memory.space,
                memory_fd=memory,
                bell_fd=bell,
                doorbell_fd=doorbell,
                timeout=daemon.settings.agent_timeout_ms / 1000,
                then=lambda: resume(None),
            )
        except NativeError as error:
            fail(refusal(error, "agent"))

    try:
        yield wait
    except Refused:
        close_all(fds)
        raise
    session.has_agent = True
    return {"size": AGENT_SIZE}, fds


def remove(daemon: "Daemon", session: "Session") -> Steps:
    """The session ends; its portals are gone."""
    if session.has_agent:
        session.has_agent = False
        yield acknowledged(daemon.port.agent_remove, session.memory.space)
