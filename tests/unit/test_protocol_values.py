"""Topics, blobs, runtime versions and latency sketches."""

import math
import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.protocol import blob, limits, topics
from wherry.protocol.errors import Malformed, TooLarge, TopicError
from wherry.protocol.latency import HIGHEST_MS, LOWEST_MS, RELATIVE_ACCURACY, LatencySketch, LatencyWindow
from wherry.protocol.manifest import HealthLimits, Quantization, TensorSpec
from wherry.protocol.runtime import Runtime, RuntimeFloor, satisfies, version_key
from wherry.protocol.types import clip_reason

DIGEST = "ab" * 32


@pytest.mark.parametrize(
    ("topic", "parsed"),
    [
        (topics.up("demo", "pi-1", "event"), ("demo", "pi-1", "up", "event")),
        (topics.down("demo", "pi-1", "desired"), ("demo", "pi-1", "down", "desired")),
    ],
)
def test_a_device_topic_is_what_it_was_made_of(topic: str, parsed: tuple[str, ...]) -> None:
    found = topics.parse(topic)
    assert isinstance(found, topics.DeviceTopic)
    assert (found.fleet, found.device, found.direction, found.kind) == parsed


def test_a_block_topic_is_what_it_was_made_of() -> None:
    assert topics.parse(topics.block("demo", DIGEST, 17)) == topics.BlockTopic(fleet="demo", digest=DIGEST, index=17)
    assert topics.parse(topics.hashes("demo", DIGEST)) == topics.BlockTopic(fleet="demo", digest=DIGEST, index=None)


@pytest.mark.parametrize(
    "topic",
    [
        "", "wherry/v1", "wherry/v2/demo/d/a/up/event", "wherry/v1/demo/d/a/up/desired",
        "wherry/v1/demo/d/a/down/event",
        "wherry/v1/demo/d/A/up/event", "wherry/v1/demo/d/a/up/event/x", "wherry/v1/demo/d//up/event",
        f"wherry/v1/demo/b/{DIGEST}/-1", f"wherry/v1/demo/b/{DIGEST}/²", f"wherry/v1/demo/b/{DIGEST[1:]}/0",
        f"wherry/v1/demo/b/{DIGEST}/1234567", "wherry/v1/demo/d/a\n/up/event",
    ],
)  # fmt: skip
def test_what_is_not_in_the_tree_is_refused(topic: str) -> None:
    with pytest.raises(TopicError):
        topics.parse(topic)


@given(st.text())
def test_any_text_is_parsed_or_refused(text: str) -> None:
    with pytest.raises(TopicError):
        topics.parse(text)


def test_no_topic_has_more_slashes_than_allowed() -> None:
    longest = [topics.up("f", "d", "telemetry"), topics.block("f", DIGEST, 0), topics.hashes("f", DIGEST)]
    assert max(topic.count("/") for topic in longest) <= limits.MAX_SLASHES


@pytest.mark.parametrize("size", [1, limits.BLOCK_BYTES, limits.BLOCK_BYTES + 1, 3 * limits.BLOCK_BYTES, 200_001])
def test_blocks_have_the_announced_sizes_and_hashes(size: int) -> None:
    data = random.Random(size).randbytes(size)
    ref, blocks = blob.describe(data), blob.split(data)
    assert [len(block) for block in blocks] == [ref.block_size_bytes(i) for i in range(ref.block_count)]
    if ref.hashes is None:
        assert ref.block_count == 1
        assert blob.sha256(blocks[0]) == ref.digest
    else:
        assert blob.parse_hash_list(ref, blob.hash_list(data)) == tuple(blob.sha256(block) for block in blocks)


def test_a_wrong_hash_list_is_refused() -> None:
    data = bytes(200_000)
    ref, raw = blob.describe(data), blob.hash_list(data)
    for wrong in (b"", raw[:-1], raw + raw[:32], bytes(len(raw))):
        with pytest.raises(Malformed):
            blob.parse_hash_list(ref, wrong)


def test_an_empty_blob_has_no_address_and_a_block_outside_has_no_size() -> None:
    with pytest.raises(ValueError, match="empty"):
        blob.describe(b"")
    with pytest.raises(IndexError):
        blob.describe(b"x").block_size_bytes(1)


class TooLong(bytes):
    def __len__(self) -> int:
        return limits.MAX_BLOB_BYTES + 1


def test_a_blob_beyond_one_hash_list_is_refused() -> None:
    with pytest.raises(TooLarge):
        blob.describe(TooLong())


def test_versions_compare_by_number_and_not_by_text() -> None:
    assert version_key("2.14.0") > version_key("2.9.1")
    assert version_key("2.14") == version_key("2.14.0")
    assert version_key("2.3.0rc1") == version_key("2.3.0")
    with pytest.raises(ValueError, match="not a version"):
        version_key("new")


def test_a_runtime_is_admitted_by_its_own_family_only() -> None:
    floors = (RuntimeFloor(family="litert", lowest="1.0.0"),)
    assert satisfies(Runtime(family="litert", version="2.3.0"), floors)
    assert not satisfies(Runtime(family="litert", version="0.9"), floors)
    assert not satisfies(Runtime(family="tflite-runtime", version="2.14.0"), floors)


latencies = st.lists(st.floats(LOWEST_MS, HIGHEST_MS), min_size=1, max_size=300)


@given(latencies, st.floats(0, 1))
def test_a_quantile_is_as_accurate_as_promised(values_ms: list[float], quantile: float) -> None:
    window = LatencyWindow()
    for value_ms in values_ms:
        window.add(value_ms)
    exact_ms = sorted(values_ms)[math.floor(quantile * (len(values_ms) - 1))]
    found_ms = window.quantile_ms(quantile)
    assert found_ms is not None
    assert abs(found_ms - exact_ms) <= exact_ms * RELATIVE_ACCURACY * 1.000001


@given(st.lists(latencies, min_size=1, max_size=5))
def test_merged_sketches_are_the_sketch_of_everything(groups: list[list[float]]) -> None:
    windows = []
    whole = LatencyWindow()
    for group in groups:
        windows.append(LatencyWindow())
        for value_ms in group:
            windows[-1].add(value_ms)
            whole.add(value_ms)
    merged = LatencyWindow(window.sketch() for window in windows)
    assert merged.sketch() == whole.sketch()
    assert merged.count == sum(map(len, groups))


def test_an_empty_window_has_no_quantile() -> None:
    assert LatencyWindow().quantile_ms(0.5) is None
    assert LatencyWindow().sketch() == LatencySketch()


def test_the_size_of_a_tensor_is_its_shape_times_its_type() -> None:
    spec = TensorSpec(name="x", shape=(1, 28, 28, 3), dtype="int16", quantization=Quantization(scale=0.5, zero_point=0))
    assert spec.size_bytes == 28 * 28 * 3 * 2


def test_a_long_reason_keeps_its_beginning() -> None:
    assert clip_reason("short") == "short"
    assert clip_reason("cause " + "x" * 1000).startswith("cause")
    assert len(clip_reason("x" * 1000)) == 500


def test_limits_under_which_nothing_could_be_committed_are_refused() -> None:
    with pytest.raises(ValueError, match="probation_s 1200 must be less than deadline_s 900"):
        HealthLimits(probation_s=1200.0)
    with pytest.raises(msgspec.ValidationError, match="must be less than deadline_s"):
        msgspec.json.decode(b'{"probation_s":10,"deadline_s":5}', type=HealthLimits)
