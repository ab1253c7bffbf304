"""The log buffer's limits and the timers' order."""

from wherry.agent.adapters.logs import MAX_BATCH_BYTES, LogBuffer
from wherry.agent.timers import Timers
from wherry.protocol.codec import LIMIT_BYTES, encode
from wherry.protocol.up import Log


def _log(buffer: LogBuffer, event: str, **fields: str) -> None:
    buffer(None, "info", {"level": "info", "event": event, "at_s": 1.0, **fields})


def test_lines_over_the_rate_are_dropped_and_counted() -> None:
    buffer = LogBuffer(max_lines=3)
    for number in range(5):
        _log(buffer, f"line {number}")
    lines, dropped = buffer.take()
    assert [line.event for line in lines] == ["line 0", "line 1", "line 2"]
    assert dropped == 2
    assert buffer.take() == ((), 0)


def test_a_batch_of_the_worst_lines_fits_its_message() -> None:
    buffer = LogBuffer()
    for _ in range(200):
        _log(buffer, "\x01" * 600, field="é\n" * 300)
    lines, _ = buffer.take()
    data = encode(Log(boot_id="b" * 32, batch=1, lines=lines))
    assert len(data) <= LIMIT_BYTES["log"]
    assert len(buffer) == 200 - len(lines)
    assert LIMIT_BYTES["log"] > MAX_BATCH_BYTES


def test_timers_run_in_order_and_cancelled_ones_do_not() -> None:
    now_s = 0.0
    timers, ran = Timers(lambda: now_s), []
    timers.after(2, lambda: ran.append("second"))
    timers.after(1, lambda: ran.append("first"))
    timers.after(1.5, lambda: ran.append("never")).cancel()
    assert timers.wait_s(60) == 1
    now_s = 3
    timers.run_due()
    assert ran == ["first", "second"]
    assert timers.wait_s(60) == 60


def test_a_timer_that_sets_itself_again_runs_once_a_turn() -> None:
    timers, ran = Timers(lambda: 0.0), []

    def again() -> None:
        ran.append(1)
        timers.after(0, again)

    timers.after(0, again)
    timers.run_due()
    assert ran == [1]
