"""The wire contract: golden files, schemas in step, size limits, hostile bytes."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import wherry.protocol
from wherry.protocol import codec, limits
from wherry.protocol.errors import Malformed, MessageError, TooLarge
from wherry.protocol.manifest import decode_manifest, encode_manifest
from wherry.protocol.schema import schemas
from wherry.protocol.topics import DOWN_KINDS, UP_KINDS
from wherry.protocol.types import MAX_ORDINAL

GOLDEN = sorted((Path(__file__).parents[1] / "golden" / "v1").glob("*.json"))
SCHEMAS = Path(wherry.protocol.__file__).parent / "schemas" / "v1"


def kind_of(path: Path) -> str:
    return path.name.split(".")[0]


def decode(kind: str, data: bytes) -> Any:
    if kind == "manifest":
        return decode_manifest(data)
    return (codec.decode_up if kind in UP_KINDS else codec.decode_down)(kind, data)


def encode(kind: str, message: Any) -> bytes:
    return encode_manifest(message) if kind == "manifest" else codec.encode(message)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_a_released_message_decodes_and_says_the_same_again(path: Path) -> None:
    message = decode(kind_of(path), path.read_bytes())
    assert json.loads(encode(kind_of(path), message)) == json.loads(path.read_bytes())


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_a_field_from_the_future_is_ignored(path: Path) -> None:
    document = json.loads(path.read_bytes())
    newer = json.dumps({**document, "from_the_future": {"deep": [1]}}).encode()
    assert decode(kind_of(path), newer) == decode(kind_of(path), path.read_bytes())


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_a_released_message_satisfies_its_schema(path: Path) -> None:
    jsonschema.validate(json.loads(path.read_bytes()), schema_of(kind_of(path)))


def schema_of(kind: str) -> Any:
    folder = {"manifest": ""}.get(kind, "up/" if kind in UP_KINDS else "down/")
    return json.loads(schemas()[f"{folder}{kind}"])


def test_every_kind_of_message_has_a_golden_file() -> None:
    assert {kind_of(path) for path in GOLDEN} == {*UP_KINDS, *DOWN_KINDS, "manifest"}


def test_every_kind_of_message_has_a_limit() -> None:
    assert set(codec.LIMIT_BYTES) == {*UP_KINDS, *DOWN_KINDS}


def test_the_written_schemas_are_those_of_the_structs() -> None:
    written = {str(path.relative_to(SCHEMAS).with_suffix("")): path.read_bytes() for path in SCHEMAS.rglob("*.json")}
    assert written == schemas(), "run `make generated` and look at the difference: it is a change of the contract"


def test_the_schema_refuses_what_the_decoder_refuses() -> None:
    wrong = {"type": "status", "presence": "asleep", "session": 1}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, schema_of("status"))
    with pytest.raises(Malformed):
        codec.decode_up("status", json.dumps(wrong).encode())


@pytest.mark.parametrize("kind", [*UP_KINDS, *DOWN_KINDS])
def test_more_bytes_than_the_limit_are_refused_before_they_are_read(kind: str) -> None:
    with pytest.raises(TooLarge, match=kind):
        decode(kind, b" " * (codec.LIMIT_BYTES[kind] + 1))


def test_a_manifest_over_one_block_is_refused() -> None:
    with pytest.raises(TooLarge):
        decode_manifest(b" " * (limits.MAX_MANIFEST_BYTES + 1))


def test_a_message_on_the_topic_of_another_kind_is_refused() -> None:
    with pytest.raises(Malformed, match="a status on the topic of a birth"):
        codec.decode_up("birth", b'{"type":"status","presence":"online","session":1}')


def test_a_name_may_not_end_in_a_newline() -> None:
    with pytest.raises(Malformed):
        decode("action", b'{"type":"action","id":"a","kind":"restart-slot","not_after_s":1,"slot":"main\\n"}')


@given(kind=st.sampled_from([*UP_KINDS, *DOWN_KINDS, "manifest"]), data=st.binary(max_size=300))
def test_arbitrary_bytes_are_refused_with_a_typed_error(kind: str, data: bytes) -> None:
    with pytest.raises(MessageError):
        decode(kind, data)


@given(path=st.sampled_from(GOLDEN), chance=st.data())
def test_a_damaged_message_is_refused_or_read_and_never_crashes(path: Path, chance: st.DataObject) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(chance.draw(st.integers(1, 4))):
        data[chance.draw(st.integers(0, len(data) - 1))] = chance.draw(st.integers(0, 255))
    try:
        message = decode(kind_of(path), bytes(data))
    except MessageError:
        return
    assert isinstance(message, msgspec.Struct)


def test_deep_nesting_is_refused_and_does_not_exhaust_the_stack() -> None:
    with pytest.raises(MessageError):
        codec.decode_down("desired", b'{"type":"desired","x":' + b"[" * 8000)


def test_what_the_receiver_would_refuse_is_not_sent() -> None:
    line = wherry.protocol.up.LogLine(at_s=0.0, level="info", event="x", fields={"long": "y" * limits.MAX_LOG_BYTES})
    with pytest.raises(TooLarge):
        codec.encode(wherry.protocol.up.Log(boot_id="b", batch=0, lines=(line,)))


@pytest.mark.parametrize("field", ["epoch", "generation"])
@pytest.mark.parametrize("number", [MAX_ORDINAL + 1, 2**63, 2**64, 10**400])
def test_a_document_numbered_past_what_can_be_overtaken_is_refused(field: str, number: int) -> None:
    numbers = {"epoch": 1, "generation": 1} | {field: number}
    text = '{{"type":"desired","epoch":{epoch},"generation":{generation}}}'.format(**numbers)
    with pytest.raises(Malformed):
        codec.decode_down("desired", text.encode())
