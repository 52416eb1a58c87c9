from cluster.meter import Meter
from scray.dataset import Progress


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def meter() -> tuple[Meter, Clock, list[tuple[Progress, bool]]]:
    clock, told = Clock(), list[tuple[Progress, bool]]()
    return Meter(lambda progress, advanced: told.append((progress, advanced)), clock), clock, told


def test_a_new_stage_is_told_at_once() -> None:
    one, _, told = meter()
    one.enter("hashing", 100)
    assert [(p.stage, p.total_bytes, p.percent, advanced) for p, advanced in told] == [("hashing", 100, 0.0, False)]


def test_bytes_are_told_once_a_second() -> None:
    one, clock, told = meter()
    one.enter("converting", 1000)
    for _ in range(8):
        clock.now += 0.25
        one.add(25, "0000.bin")
    assert len(told) == 3
    last, advanced = told[-1]
    assert advanced
    assert last.done_bytes == 200
    assert last.current_file == "0000.bin"
    assert abs(last.speed_bytes_per_second - 100) < 1
    assert last.eta_seconds is not None
    assert abs(last.eta_seconds - (1000 - last.done_bytes) / 100) < 1


def test_what_was_counted_too_early_is_told_when_its_time_has_come() -> None:
    one, clock, told = meter()
    one.enter("fetching", 1000)
    clock.now += 0.5
    one.add(100)
    one.keep_told()
    assert len(told) == 1
    clock.now += 0.5
    one.keep_told()
    one.keep_told()
    assert [(made.done_bytes, advanced) for made, advanced in told] == [(0, False), (100, True)]


def test_what_was_finished_before_is_no_progress_and_no_speed() -> None:
    one, clock, told = meter()
    one.enter("converting", 1000)
    one.skip(900)
    clock.now += 5
    one.add(50)
    last, advanced = told[-1]
    assert advanced
    assert last.done_bytes == 950
    assert last.percent == 95
    assert last.speed_bytes_per_second == 10
    assert last.eta_seconds == 5


def test_the_end_of_a_stage_without_bytes_is_unknown() -> None:
    one, _, told = meter()
    one.enter("sealing")
    assert told[-1][0].eta_seconds is None
    assert told[-1][0].percent == 0


def test_what_every_attempt_does_again_is_speed_but_no_progress() -> None:
    one, clock, told = meter()
    one.enter("hashing", 100)
    clock.now += 5
    one.add(50, new=False)
    last, advanced = told[-1]
    assert not advanced
    assert last.done_bytes == 50
    assert last.speed_bytes_per_second == 10
