"""The C client library: against the real daemon, and against one that answers nonsense."""

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import msgpack
import pytest
from daemons import RunningDaemon
from daemons import daemon as daemon  # the fixture

ROOT = Path(__file__).parents[2]
NATIVE = ROOT / "idxdd" / "native"
CLIENT_SOURCES = ["client", "client_desc", "control", "mp", "portal", "channel", "wait", "owner", "serve"]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]


def compiler() -> str:
    found = shutil.which(os.environ.get("CC", "cc")) or shutil.which("gcc")
    assert found, "no C compiler"
    return found


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> str:
    """tests/client_session.c with the client library's sources, under the sanitizers."""
    out = tmp_path_factory.mktemp("client") / "client_session"
    sources = [NATIVE / "tests" / "client_session.c", *(NATIVE / "src" / f"{name}.c" for name in CLIENT_SOURCES)]
    flags = ["-std=gnu11", "-D_GNU_SOURCE", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-fno-strict-aliasing", *SANITIZERS]
    includes = [f"-I{NATIVE / 'include'}", f"-I{NATIVE / 'src'}"]
    subprocess.run([compiler(), *flags, *includes, *map(str, sources), "-o", str(out), "-pthread"], check=True, timeout=100)
    return str(out)


def run(program: str, *arguments: str, at: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "IDXDD_SOCKET": at}
    return subprocess.run([program, *arguments], env=environ, capture_output=True, text=True, timeout=60, check=False)


def test_every_call_of_the_library(daemon: RunningDaemon, session: str) -> None:
    """Operations on user WQs, interrupts on kernel WQs, refusals, a forked child: and no leak, no byte out of bounds."""
    done = run(session, "all", at=daemon.socket)
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stderr


def test_a_dead_daemon_is_noticed(daemon: RunningDaemon, session: str) -> None:
    """A waiter, a submitter and a request each get -ECONNRESET instead of hanging."""
    environ = {**os.environ, "IDXDD_SOCKET": daemon.socket}
    with subprocess.Popen([session, "gone"], env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == "ready\n"
        daemon.kill()
        out, err = client.communicate(timeout=30)
    assert (client.returncode, out) == (0, "ok\n"), err
    daemon.start()  # removes what its predecessor left


# ---- a daemon that answers nonsense ------------------------------------------------------------------------------------------


class FakeServer:
    """Answers every frame with what `answer` makes of it."""

    def __init__(self, path: str, answer: Callable[[dict[str, object]], bytes], fds: int = 0) -> None:
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listening.bind(path)
        self._listening.listen()
        self._answer, self._fds = answer, fds
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        peer, _ = self._listening.accept()
        with peer, open(os.devnull, "rb") as null:
            while payload := peer.recv(65536):
                answer = self._answer(msgpack.unpackb(payload))
                if not answer:
                    return
                socket.send_fds(peer, [answer], [null.fileno()] * self._fds)

    def close(self) -> None:
        self._thread.join(10)
        self._listening.close()


def ok(request: dict[str, object], **answer: object) -> bytes:
    packed: bytes = msgpack.packb({"id": request["id"], "ok": answer})
    return packed


NONSENSE: dict[str, tuple[Callable[[dict[str, object]], bytes], int, str]] = {
    "closes": (lambda _: b"", 0, "104 hello: the daemon went away"),
    "not msgpack": (lambda _: b"\xc1\xff", 0, "71 hello: the daemon's answer is not one"),
    "cut short": (lambda request: ok(request, version=1)[:-1], 0, "71 hello: the daemon's answer is not one"),
    "a wild length": (lambda _: b"\xdf\xff\xff\xff\xff\xa2id", 0, "71 hello: the daemon's answer is not one"),
    "deep": (lambda _: b"\x82\xa2ok" + b"\x91" * 5000 + b"\x90", 0, "71 hello: the daemon's answer is not one"),
    "another id": (lambda request: ok({"id": 77}, version=1), 2, "71 hello: the daemon's answer is not one"),
    "no descriptors": (lambda request: ok(request, version=1), 0, "71 hello: the daemon's answer lacks something"),
    "too many": (lambda request: ok(request, version=1), 40, "71 hello: the daemon's answer is too long"),
    "no version": (lambda request: ok(request), 2, "71 hello: the daemon's answer lacks something"),
    "version": (lambda request: ok(request, version=9), 2, "71 hello: the daemon speaks version 9, this library 1"),
    "refusal": (
        lambda request: msgpack.packb({"id": request["id"], "error": {"code": "EBUSY", "text": "wq: in use"}}),
        0,
        "16 hello: wq: in use",
    ),
    "unknown code": (
        lambda request: msgpack.packb({"id": request["id"], "error": {"code": "EWHAT", "text": "?"}}),
        0,
        "5 hello: ?",
    ),
}


@pytest.mark.parametrize("case", NONSENSE)
def test_nonsense_is_one_clear_error(tmp_path: Path, session: str, case: str) -> None:
    """Whatever comes back: a named error, no crash, no leak (the sanitizers watch)."""
    answer, fds, line = NONSENSE[case]
    path = str(tmp_path / "s")
    server = FakeServer(path, answer, fds)
    try:
        done = run(session, "connect", at=path)
    finally:
        server.close()
    assert done.returncode == 2, done.stderr
    assert done.stderr == line + "\n"


def test_no_daemon(tmp_path: Path, session: str) -> None:
    """Absent, refusing, or a path that no socket can have: one line that says what to do."""
    done = run(session, "connect", at=str(tmp_path / "absent"))
    assert (done.returncode, done.stderr.split()[0]) == (2, "2")
    assert "idxdd serve" in done.stderr
    assert run(session, "connect", at="/" + "x" * 200).stderr.startswith("36 connect: socket path is 201 bytes long")
