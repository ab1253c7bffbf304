"""The download planner: windows, damaged blocks, stalls, HTTP, giving up."""

import itertools

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from wherry.agent.core import download
from wherry.agent.core.download import MAX_PATIENCE, Pace, Transfer, Transport, Want

PACE = Pace(window_blocks=4, stall_s=5, give_up_s=100)


def _begin(blocks: int = 10, have: int = 0) -> Transfer:
    return download.begin(blocks, have, 0.0)


def _indices(wants: tuple[Want, ...]) -> list[int]:
    return [want.index for want in wants]


def test_the_window_is_filled_and_refilled_when_half_of_it_is_empty() -> None:
    transfer, wants = download.plan(_begin(), 0, PACE, http=False)
    assert _indices(wants) == [0, 1, 2, 3]
    transfer, _ = download.received(transfer, 1, 1, PACE, matches=True)
    assert download.plan(transfer, 1, PACE, http=False)[1] == ()
    transfer, _ = download.received(transfer, 0, 1, PACE, matches=True)
    assert _indices(download.plan(transfer, 1, PACE, http=False)[1]) == [4, 5]


def test_blocks_that_are_here_are_not_asked_for() -> None:
    _, wants = download.plan(_begin(have=0b1010101), 0, PACE, http=False)
    assert _indices(wants) == [1, 3, 5, 7]


def test_a_block_is_counted_once() -> None:
    transfer, receipt = download.received(_begin(), 3, 1, PACE, matches=True)
    assert receipt == "verified"
    assert download.received(transfer, 3, 2, PACE, matches=True)[1] == "duplicate"
    assert download.received(transfer, 3, 2, PACE, matches=False)[1] == "duplicate"


def test_damage_counts_once_for_each_time_that_the_block_was_asked_for() -> None:
    transfer, _ = download.plan(_begin(), 0, PACE, http=True)
    transfer, receipt = download.received(transfer, 0, 0, PACE, matches=False)
    assert receipt == "damaged"
    for transport in ("mqtt", "http"):
        again, receipt = download.received(transfer, 0, 0, PACE, matches=False, transport=transport)
        assert (again, receipt) == (transfer, "unasked")


def test_a_damaged_block_is_asked_again_then_over_http_and_then_counts_as_repaired() -> None:
    transfer, _ = download.plan(_begin(blocks=1), 0, PACE, http=True)
    transfer, receipt = download.received(transfer, 0, 0, PACE, matches=False)
    assert receipt == "damaged"
    transfer, wants = download.plan(transfer, 0, PACE, http=True)
    assert wants == (Want(0, "mqtt"),)
    transfer, _ = download.received(transfer, 0, 0, PACE, matches=False)
    transfer, wants = download.plan(transfer, 0, PACE, http=True)
    assert wants == (Want(0, "http"),)
    transfer, receipt = download.received(transfer, 0, 0, PACE, matches=True, transport="http")
    assert receipt == "repaired"
    assert transfer.complete


def test_without_http_a_damaged_block_is_asked_for_less_and_less_often_and_then_given_up() -> None:
    transfer, now_s, asked_at = _begin(blocks=1), 0.0, []
    while download.hopeless(transfer, now_s, PACE) is None:
        transfer, wants = download.plan(transfer, now_s, PACE, http=False)
        if wants:
            asked_at.append(now_s)
            transfer, _ = download.received(transfer, 0, now_s, PACE, matches=False)
        now_s += 0.5
    assert asked_at == [0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0]
    assert download.hopeless(transfer, now_s, PACE) == "block 0 arrived damaged 8 times"


def test_silence_turns_to_http_for_the_rest_and_back_when_http_fails() -> None:
    transfer, _ = download.plan(_begin(), 0, PACE, http=True)
    assert download.plan(transfer, 5, PACE, http=True)[1] == ()
    transfer, wants = download.plan(transfer, 5.1, PACE, http=True)
    assert {want.transport for want in wants} == {"http"}
    for index in range(4):
        transfer = download.request_failed(transfer, index, 5.2, PACE)
    transfer, wants = download.plan(transfer, 5.2, PACE, http=True)
    assert wants == (Want(0, "mqtt"), Want(1, "mqtt"), Want(2, "mqtt"), Want(3, "mqtt"))


def test_requests_that_fail_together_are_one_failure_and_http_is_left_alone_longer_after_each() -> None:
    transfer, now_s, waits_s = _begin(), 0.0, []
    for _ in range(8):
        transfer, _ = download.plan(msgspec.structs.replace(transfer, turn="http", asked={}), now_s, PACE, http=True)
        for index in range(4):
            transfer = download.request_failed(transfer, index, now_s, PACE)
        waits_s.append(transfer.http_not_before_s - now_s)
        now_s = transfer.http_not_before_s
    assert waits_s == [1, 2, 4, 8, 16, 30, 30, 30]


def test_http_that_is_silent_gives_way_to_mqtt_too() -> None:
    transfer, wants = download.plan(download.begin(4, 0, 0, "http"), 0, PACE, http=True)
    assert {want.transport for want in wants} == {"http"}
    transfer, wants = download.plan(transfer, 5.1, PACE, http=True)
    assert {want.transport for want in wants} == {"mqtt"}


def test_a_broker_that_keeps_hanging_up_before_a_block_is_not_waited_for() -> None:
    transfer, wants = download.plan(_begin(), 0, PACE, http=True)
    for now_s in (1, 2):
        assert {want.transport for want in wants} == {"mqtt"}
        transfer, wants = download.plan(download.reconnected(transfer, now_s), now_s, PACE, http=True)
    assert {want.transport for want in wants} == {"http"}


def test_mqtt_that_was_silent_is_asked_no_longer_than_http_is_left_alone() -> None:
    transfer, _ = download.plan(download.begin(4, 0, 0, "http"), 0, PACE, http=True)
    transfer = download.request_failed(transfer, 0, 1, PACE)
    transfer, wants = download.plan(transfer, 1, PACE, http=True)
    assert wants == (), "three of four are on their way over HTTP"
    for index in (1, 2, 3):
        transfer = download.request_failed(transfer, index, 1, PACE)
    transfer, wants = download.plan(transfer, 1, PACE, http=True)
    assert {want.transport for want in wants} == {"mqtt"}
    heard, _ = download.received(transfer, 0, 1.5, PACE, matches=True)
    assert download.plan(heard, 2, PACE, http=True)[1] == (), "it is heard again, and may take its time"
    transfer, wants = download.plan(transfer, 2, PACE, http=True)
    assert {want.transport for want in wants} == {"http"}


def test_a_new_session_leaves_requests_over_http_alone() -> None:
    transfer, _ = download.plan(download.begin(4, 0, 0, "http"), 0, PACE, http=True)
    assert download.plan(download.reconnected(transfer, 1), 1, PACE, http=True)[1] == ()


def test_each_silence_may_last_longer_until_blocks_come_quickly_again() -> None:
    transfer, now_s, asked_at = _begin(), 0.0, []
    while now_s < 400:
        transfer, wants = download.plan(transfer, now_s, PACE, http=False)
        asked_at += [now_s] if wants else []
        now_s += 0.5
    assert [b - a for a, b in itertools.pairwise(asked_at)][:6] == [5.5, 10.5, 20.5, 40.5, 80.5, 80.5]
    for index in range(MAX_PATIENCE):
        assert transfer.patience == MAX_PATIENCE - index
        transfer, _ = download.received(transfer, index, now_s, PACE, matches=True)
        transfer, _ = download.plan(transfer, now_s, PACE, http=False)
    assert transfer.patience == 0


@given(st.lists(st.tuples(st.floats(0.1, 40), st.sampled_from(["mqtt", "http", "both", "none"])), max_size=20))
def test_whichever_transport_works_when_no_verified_block_is_asked_for_again(phases: list[tuple[float, str]]) -> None:
    transfer, now_s, got = _begin(40), 0.0, set[int]()
    for lasts_s, works in [*phases, (400.0, "mqtt" if len(phases) % 2 else "http")]:
        until_s = now_s + lasts_s
        while now_s < until_s and not transfer.complete:
            transfer, wants = download.plan(transfer, now_s, PACE, http=True)
            assert not got & {want.index for want in wants}
            assert len(transfer.asked) <= PACE.window_blocks
            for want in wants:
                transfer = _answer(transfer, want, now_s, works)
            got = {index for index in range(40) if transfer.has(index)}
            assert download.hopeless(transfer, now_s, msgspec.structs.replace(PACE, give_up_s=1800)) is None
            now_s += 0.5
    assert transfer.complete


def _answer(transfer: Transfer, want: Want, now_s: float, works: str) -> Transfer:
    """What works gives the block, HTTP that does not fails, and MQTT that does not says nothing."""
    transport: Transport = want.transport
    if works in (transport, "both"):
        return download.received(transfer, want.index, now_s, PACE, matches=True, transport=transport)[0]
    if transport == "http":
        return download.request_failed(transfer, want.index, now_s, PACE)
    return transfer


def test_silence_without_http_asks_again() -> None:
    transfer, first = download.plan(_begin(), 0, PACE, http=False)
    assert download.plan(transfer, 5.1, PACE, http=False)[1] == first


def test_nothing_for_long_is_given_up_but_time_offline_does_not_count() -> None:
    transfer, _ = download.received(_begin(), 0, 10, PACE, matches=True)
    assert download.hopeless(transfer, 110, PACE) is None
    assert download.hopeless(transfer, 111, PACE) == "no block arrived for 100 s, 1 of 10 are here"
    again = download.reconnected(transfer, 200)
    assert download.hopeless(again, 299, PACE) is None
    assert again.asked == {}
