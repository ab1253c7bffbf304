"""The source that is a topic: what a message may be, and which messages win."""

import json
import random
import re
from typing import Any

import numpy as np
import pytest

from tests.conftest import Tried
from tests.support.fake_interpreter import INPUT
from wherry.agent.feeder import inbound
from wherry.agent.feeder.inbound import KEPT, Inbound
from wherry.agent.feeder.samples import Bad, Idle, Item, Sample
from wherry.protocol.manifest import TensorSpec

ASIDE = TensorSpec(name="aside:0", shape=(1, 2), dtype="float32")


def given(*payloads: bytes) -> Inbound:
    source = Inbound()
    for payload in payloads:
        source.heard(payload)
    return source


def request(*inputs: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({"inputs": inputs, **more}).encode()


def tensor(name: str = "x", shape: Any = (1, 4), datatype: str = "FP32", data: Any = (1, 2, 3, 4)) -> dict[str, Any]:
    return {"name": name, "shape": shape, "datatype": datatype, "data": data}


def only(payload: bytes, *specs: TensorSpec) -> Item:
    return given(payload).take(specs or (INPUT,))


def test_raw_bytes_are_the_stored_tensor() -> None:
    item = only(bytes([1, 2, 253, 255]))
    assert isinstance(item, Sample)
    assert item.inputs[0].tolist() == [[1, 2, -3, -1]]
    assert (item.label, item.origin) == (None, {"message": 1})


def test_raw_bytes_that_begin_like_json_are_still_a_tensor() -> None:
    item = only(b'{"a:')
    assert isinstance(item, Sample)
    assert item.inputs[0].tolist() == [[*b'{"a:']]


def test_a_request_in_json_has_its_label_and_its_id() -> None:
    item = only(request(tensor(data=[[1, 2, 3, 4.5]]), id="press 7", parameters={"label": 2}))
    assert isinstance(item, Sample)
    assert item.inputs[0].dtype == np.float32
    assert item.inputs[0].tolist() == [[1, 2, 3, 4.5]]
    assert (item.label, item.origin) == (2, {"message": 1, "id": "press 7"})


def test_several_inputs_are_found_by_their_names_in_the_models_order() -> None:
    body = request(tensor("aside", (2,), data=[5, 6]), tensor(datatype="INT8"))
    item = only(body, INPUT, ASIDE)
    assert isinstance(item, Sample)
    assert [array.tolist() for array in item.inputs] == [[[1, 2, 3, 4]], [5, 6]]


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (b"", r"0 bytes, the model's int8 \[1, 4\] has 4"),
        (b"12345", "5 bytes"),
        (b'{"inputs": 3}', "not an inference request"),
        (request(), "0 inputs are given, the model takes 1"),
        (request(tensor(), tensor("y")), "2 inputs are given"),
        (request(tensor(shape=(2, 4), data=[1] * 8)), r"x is \[2, 4\], the model takes \[1, 4\]"),
        (request(tensor(datatype="BYTES", data=["a"] * 4)), "'BYTES'"),
        (request(tensor(data=[1, 2, 3])), "numbers"),
        (request(tensor(data=[1, 2, 3, "four"])), "numbers"),
        (request(tensor(datatype="INT8", data=[1, 2, 3, 300])), "outside"),
    ],
)
def test_what_is_no_sample_is_passed_over_with_what_is_wrong(payload: bytes, said: str) -> None:
    item = only(payload)
    assert isinstance(item, Bad)
    assert re.search(said, item.reason), item.reason


def test_whatever_a_message_holds_is_a_sample_or_passed_over(tried: Tried) -> None:
    chance, honest, bad = random.Random(7), request(tensor(), id="a", parameters={"label": 1}), 0
    for _ in range(3000):
        data = bytearray(honest if chance.random() < 0.8 else chance.randbytes(chance.randrange(12)))
        for _ in range(chance.randrange(4)):
            at = chance.randrange(len(data) + 1)
            data[at : at + chance.randrange(4)] = chance.randbytes(chance.randrange(3))
        item = only(bytes(data))
        assert isinstance(item, Sample | Bad)
        bad += isinstance(item, Bad)
    assert bad > 1000
    tried(f"3000 messages, {bad} of them no samples")


def test_where_messages_come_too_fast_the_newest_win_and_the_others_are_counted() -> None:
    source = given(*(bytes([number] * 4) for number in range(20)))
    items = [source.take([INPUT]) for _ in range(KEPT)]
    firsts = [int(item.inputs[0][0, 0]) for item in items if isinstance(item, Sample)]
    assert firsts == [*range(20 - KEPT, 20)]
    assert items[-1].origin == {"message": 20}  # type: ignore[union-attr]
    assert (source.take_dropped(), source.take_dropped()) == (20 - KEPT, 0)


def test_what_waits_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbound, "KEPT_BYTES", 100)
    source = given(b"a" * 60, b"b" * 60, b"c" * 101, b"dddd")
    assert source.take_dropped() == 3
    assert isinstance(source.take([INPUT]), Sample)


def test_silence_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbound, "WAIT_S", 0.01)
    assert Inbound().take([INPUT]) == Idle("")
