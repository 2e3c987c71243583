"""Why a daemon cannot run: every way the world can refuse a start, with its exit code."""

import contextlib
from collections.abc import Iterator

from idxdd.control.errors import ControlError
from idxdd.control.exitcodes import ExitCode
from idxdd.device.profilefile import BadProfile
from idxdd.service.listen import SocketTaken
from idxdd.shm.errors import IdxdError, InstanceTaken, SharedMemoryFull


class DaemonFailed(Exception):
    """The daemon cannot run; one line and an exit code."""

    def __init__(self, text: str, exit_code: ExitCode) -> None:
        super().__init__(text)
        self.exit_code = exit_code


@contextlib.contextmanager
def as_failure() -> Iterator[None]:
    """What is raised inside leaves as DaemonFailed."""
    try:
        yield
    except InstanceTaken as error:
        raise DaemonFailed(str(error), ExitCode.INSTANCE_TAKEN) from None
    except SharedMemoryFull as error:
        raise DaemonFailed(str(error), ExitCode.SHM_FULL) from None
    except SocketTaken as error:
        raise DaemonFailed(str(error), ExitCode.SOCKET_TAKEN) from None
    except BadProfile as error:
        raise DaemonFailed(str(error), ExitCode.BAD_CONFIGURATION) from None
    except ControlError as error:
        raise DaemonFailed(str(error), error.exit_code) from None
    except IdxdError as error:
        raise DaemonFailed(str(error), ExitCode.NO_PERMISSION) from None
    except PermissionError as error:
        raise DaemonFailed(f"no permission: {error}", ExitCode.NO_PERMISSION) from None
