"""pytest plugin: a private idxdd for a test, fault rules by mark, and on failure what the daemon knows.

Found by pytest where idxdd is installed. Until a test asks for `dsa` or `dsa_module` it costs nothing but this file's import;
what those need is imported then.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from idxdd.testing.instance import Dsa

MARKS = (
    "dsa_fault(*rules, required=True): fault rules in force during the test; it fails unless each was hit",
    "dsa_config(config): accel-config's JSON for the daemon: a path beside the test's file, or the list itself",
    "dsa_profile(*profiles): a device of each profile, as dsa1, dsa2 or the path of a file",
)
USED = pytest.StashKey["Dsa"]()
PASSED = pytest.StashKey[bool]()


def pytest_configure(config: pytest.Config) -> None:
    """Register the marks."""
    for mark in MARKS:
        config.addinivalue_line("markers", mark)


@pytest.fixture
def dsa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Dsa]:
    """A private daemon for this test, ready; IDXDD_SOCKET names it, for this process and its children."""
    with _running(request.node) as running:
        monkeypatch.setenv("IDXDD_SOCKET", running.socket)
        with _ruled(request.node, running):
            yield running


@pytest.fixture(scope="module")
def _dsa_of_module(request: pytest.FixtureRequest) -> Iterator[Dsa]:
    with _running(request.node) as running:
        yield running


@pytest.fixture
def dsa_module(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, _dsa_of_module: Dsa) -> Iterator[Dsa]:
    """As `dsa`, one daemon for all tests of a module: rules are each test's own, configuration and profiles the module's."""
    for name in ("dsa_config", "dsa_profile"):
        if any(mark.name == name for mark in request.node.own_markers):
            pytest.fail(f"{name}: dsa_module is the module's: mark the module (pytestmark = ...), or use dsa", pytrace=False)
    monkeypatch.setenv("IDXDD_SOCKET", _dsa_of_module.socket)
    with _ruled(request.node, _dsa_of_module):
        yield _dsa_of_module


@contextlib.contextmanager
def _running(node: pytest.Item | pytest.Module) -> Iterator[Dsa]:
    """A daemon as the marks say; that it ends well is part of the test."""
    from idxdd.testing.instance import Dsa, NotStarted

    try:
        running = Dsa(profiles=_profiles(node), config=_config(node))
    except NotStarted as error:
        pytest.fail(str(error), pytrace=False)
    try:
        yield running
    finally:
        log = running.log
        code = running.stop()
    if code:
        pytest.fail(f"idxdd ended with exit code {code}\n{log}", pytrace=False)


def _profiles(node: pytest.Item | pytest.Module) -> list[str]:
    mark = node.get_closest_marker("dsa_profile")
    return [] if mark is None else [str(profile) for profile in mark.args]


def _config(node: pytest.Item | pytest.Module) -> Any:
    mark = node.get_closest_marker("dsa_config")
    if mark is None:
        return None
    (config,) = mark.args
    return node.path.parent / config if isinstance(config, str | os.PathLike) else config


@contextlib.contextmanager
def _ruled(item: pytest.Item, running: Dsa) -> Iterator[None]:
    """The test's rules in force, taken away after it. One that was never hit has shown nothing: the test fails."""
    from idxdd.control.errors import ControlError
    from idxdd.testing.instance import missed

    item.stash[USED] = running
    marks = list(item.iter_markers("dsa_fault"))[::-1]
    required: list[int] = []
    for mark in marks:
        try:
            numbers = running.inject(*mark.args)
        except ControlError as error:
            pytest.fail(f"dsa_fault: {error}", pytrace=False)
        required += numbers if mark.kwargs.get("required", True) else []
    try:
        yield
    finally:
        rules: list[dict[str, Any]] = []
        with contextlib.suppress(ControlError, OSError):  # the test may have ended the daemon
            rules = running.rules()
            running.remove()
    unused = missed(rule for rule in rules if rule["id"] in required)
    passed = item.stash.get(PASSED, False)
    if passed and unused:
        pytest.fail("never hit: " + "; ".join(unused), pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """A failed test's report gets the daemon's rules, counters, errors, trace and log."""
    report: pytest.TestReport = yield  # type: ignore[assignment]
    if report.when == "call":
        item.stash[PASSED] = report.passed
    running = item.stash.get(USED, None)
    if report.failed and running is not None:
        report.sections.extend(running.dump())
    return report  # type: ignore[return-value]
