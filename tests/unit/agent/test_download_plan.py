"""The download planner: windows, damaged blocks, stalls, HTTP, giving up."""

from wherry.agent.core import download
from wherry.agent.core.download import Pace, Transfer, Want

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


def test_a_damaged_block_is_asked_again_then_over_http_and_then_counts_as_repaired() -> None:
    transfer, _ = download.plan(_begin(blocks=1), 0, PACE, http=True)
    transfer, receipt = download.received(transfer, 0, 0, PACE, matches=False)
    assert receipt == "damaged"
    transfer, wants = download.plan(transfer, 0, PACE, http=True)
    assert wants == (Want(0, "mqtt"),)
    transfer, _ = download.received(transfer, 0, 0, PACE, matches=False)
    transfer, wants = download.plan(transfer, 0, PACE, http=True)
    assert wants == (Want(0, "http"),)
    transfer, receipt = download.received(transfer, 0, 0, PACE, matches=True)
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
    assert wants == (Want(4, "mqtt"), Want(5, "mqtt"), Want(6, "mqtt"), Want(7, "mqtt"))


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
