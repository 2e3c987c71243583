"""Steps that wait: values and refusals arrive where the generator yielded, at once or later, and the end is reported once."""

from typing import Any

from idxdd.service.tasks import Fail, Refused, Resume, Steps, run


class Later:
    """A wait whose answer the test gives."""

    def __init__(self) -> None:
        self.resume: Resume = lambda value: None
        self.fail: Fail = lambda refusal: None

    def __call__(self, resume: Resume, fail: Fail) -> None:
        self.resume, self.fail = resume, fail


def at_once(value: object) -> Any:
    return lambda resume, fail: resume(value)


def test_values_arrive_in_order() -> None:
    """Answers given at once and later read the same inside."""
    later, ended = Later(), []

    def steps() -> Steps:
        first = yield at_once(1)
        second = yield later
        return first, second

    run(steps(), lambda result, refusal: ended.append((result, refusal)))
    assert ended == []
    later.resume(2)
    assert ended == [((1, 2), None)]


def test_a_refusal_can_be_handled_or_ends_the_steps() -> None:
    """An operation that fails half-way must be able to give back what it had."""
    log: list[str] = []

    def steps() -> Steps:
        try:
            yield lambda resume, fail: fail(Refused("EBUSY", "no"))
        except Refused as refusal:
            log.append(refusal.code)
        yield lambda resume, fail: fail(Refused("EIO", "broken"))

    def done(result: object, refusal: Refused | None) -> None:
        assert refusal is not None
        log.append(refusal.code)

    run(steps(), done)
    assert log == ["EBUSY", "EIO"]


def test_many_steps_at_once_do_not_pile_up() -> None:
    """A 4 GiB buffer is a thousand steps; answers at once must not be a thousand frames deep."""

    def steps() -> Steps:
        for _ in range(10_000):
            yield at_once(None)
        return "done"

    ended: list[object] = []
    run(steps(), lambda result, refusal: ended.append(result))
    assert ended == ["done"]
