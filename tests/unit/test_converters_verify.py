"""The decisions of verification: comparing, budget, floors, tolerances, golden vectors."""

import numpy as np
import pytest

from wherry.converters.errors import ParityLost
from wherry.converters.report import Scores, Spread
from wherry.converters.verify import budget, compare, floors, golden, parity, tolerance
from wherry.protocol.manifest import Operator, Quantization, TensorSpec, Tolerance
from wherry.protocol.recipe import Budget

RNG = np.random.default_rng(7)
OUTPUTS = RNG.normal(size=(200, 10)).astype(np.float32)
BUDGET = Budget(max_accuracy_loss=0.01, min_agreement=0.99)


STEPS = TensorSpec(name="y", shape=(1, 1), dtype="int8", quantization=Quantization(scale=1.0, zero_point=0))
VALUES = compare.Reading(classes=False)
REALS = TensorSpec(name="y", shape=(1, 1), dtype="float32")


def score(found: np.ndarray, labels: np.ndarray | None) -> Scores:
    stick = budget.yardstick(BUDGET, [(10,)], [OUTPUTS], "auto", labels, 0)
    return budget.score([OUTPUTS], [found], stick)


def operator(name: str, version: int) -> Operator:
    return Operator(name=name, version=version, count=1)


def test_snr_is_the_power_of_the_difference() -> None:
    assert compare.snr_db(OUTPUTS, OUTPUTS * np.float32(1.1)) == pytest.approx(20.0, abs=0.01)
    assert compare.snr_db(OUTPUTS, OUTPUTS) == compare.MAX_SNR_DB


def test_cosines_know_zero_outputs() -> None:
    a = np.array([[1, 0], [0, 0], [0, 0], [1, 0]], np.float32)
    b = np.array([[2, 0], [0, 0], [1, 0], [0, 3]], np.float32)
    assert compare.cosines(a, b).tolist() == [1.0, 1.0, 0.0, 0.0]


def test_agreement_is_top1_for_scores_and_explained_variance_otherwise() -> None:
    swapped = OUTPUTS.copy()
    swapped[:20] = -swapped[:20]
    assert compare.agreement(OUTPUTS, swapped, compare.SCORES) == pytest.approx(0.9)
    one = OUTPUTS[:, :1]
    assert compare.agreement(one, one, VALUES) == 1.0
    assert compare.agreement(one, np.zeros_like(one), VALUES) == pytest.approx(0.0, abs=0.05)
    assert compare.agreement(one, one * np.float32(0.9), VALUES) == pytest.approx(0.99, abs=0.001)


def test_parity_takes_rounding_and_refuses_a_scaled_output() -> None:
    rounded = parity.measure(["y"], [OUTPUTS], [OUTPUTS + np.float32(1e-6)])
    parity.require(rounded)
    assert rounded[0].top1_share == 1.0
    with pytest.raises(ParityLost, match="on 200 real inputs, output 'b'"):
        parity.require(parity.measure(["a", "b"], [OUTPUTS, OUTPUTS], [OUTPUTS, OUTPUTS * np.float32(1.01)]))
    with pytest.raises(ParityLost):
        parity.require(parity.measure(["y"], [OUTPUTS], [np.full_like(OUTPUTS, np.nan)]))


@pytest.mark.slow
def test_accuracy_decides_with_labels_and_agreement_without() -> None:
    labels = OUTPUTS.argmax(axis=1)
    worse = OUTPUTS.copy()
    worse[:3] = -worse[:3]
    assert "a loss of 1.5% where 1.0% is allowed" in budget.breach(score(worse, labels), BUDGET)
    assert "agrees with the float model on 98.5%" in budget.breach(score(worse, None), BUDGET)
    worse[2] = OUTPUTS[2]
    assert not budget.breach(score(worse, labels), BUDGET), "exactly the budget is held"
    foreign = (labels + 1) % 10
    assert "agrees with" in budget.breach(score(-OUTPUTS, foreign), BUDGET), "wrong before and after proves nothing"
    assert "the labels do not fit the model: float is right on 0.0%" in budget.labels_unlike(score(OUTPUTS, foreign))
    assert not budget.labels_unlike(score(OUTPUTS, labels))


def test_scores_compare_the_common_prefix() -> None:
    assert score(OUTPUTS[:50], OUTPUTS.argmax(axis=1)).samples == 50


def test_an_interval_and_the_paired_test_are_those_of_the_textbook() -> None:
    found = budget.interval(81, 263)
    assert (found.low, found.high) == (pytest.approx(0.2553, abs=1e-4), pytest.approx(0.3662, abs=1e-4))
    assert budget.interval(10, 10).high == 1.0
    assert budget.mcnemar(0, 0).p_value == 1.0
    assert budget.mcnemar(1, 9).p_value == pytest.approx(2 * 11 / 2**10)


def test_the_worst_of_several_outputs_decides_and_labels_belong_to_one() -> None:
    labels = OUTPUTS.argmax(axis=1)
    picture = RNG.normal(size=(200, 4, 4)).astype(np.float32)
    stick = budget.yardstick(BUDGET, [(4, 4), (10,)], [picture, OUTPUTS], "auto", labels, 1)
    found = budget.score([picture, OUTPUTS], [picture * np.float32(0.5), OUTPUTS], stick)
    assert found.agreement == pytest.approx(0.75, abs=0.01)
    assert found.agreement_interval is None, "the explained share is not a share of samples"
    assert found.accuracy is not None
    assert found.accuracy.share == 1.0


def test_an_output_without_labels_must_agree_although_another_has_labels() -> None:
    picture = RNG.normal(size=(200, 4, 4)).astype(np.float32)
    spoiled = [picture * np.float32(0.5), OUTPUTS]
    stick = budget.yardstick(BUDGET, [(4, 4), (10,)], [picture, OUTPUTS], "auto", OUTPUTS.argmax(axis=1), 1)
    assert not budget.breach(budget.score([picture, OUTPUTS], spoiled, stick), BUDGET)
    said = budget.breach_elsewhere([picture, OUTPUTS], spoiled, stick)
    assert said.startswith("an output without labels agrees with the float model on 7"), "half of the values: 75 %"
    changed_mind = [picture, -OUTPUTS]
    assert not budget.breach_elsewhere([picture, OUTPUTS], changed_mind, stick), "accuracy decides on the labelled one"
    alone = budget.yardstick(BUDGET, [(10,)], [OUTPUTS], "auto", OUTPUTS.argmax(axis=1), 0)
    assert not budget.breach_elsewhere([OUTPUTS], [-OUTPUTS], alone)


def test_boxes_in_pixels_do_not_hide_scores_that_are_lost() -> None:
    boxes = RNG.uniform(0, 640, (300, 4))
    scores = RNG.uniform(0, 1, (300, 1))
    outputs = np.concatenate([boxes, scores, 1 - scores], axis=1).astype(np.float32)
    assert not compare.reading(outputs).classes, "its largest part is always a pixel"
    lost = outputs.copy()
    lost[:, 4:] = 0
    assert compare.agreement(outputs, lost, compare.reading(outputs)) < 0.1
    assert compare.agreement(outputs, outputs + np.float32(1e-3), compare.reading(outputs)) > 0.99
    detections = np.stack([outputs, outputs[::-1]], axis=1)
    spoiled = detections.copy()
    spoiled[..., 4:] = 0
    assert compare.agreement(detections, spoiled, compare.reading(detections)) < 0.1
    assert compare.reading(OUTPUTS).classes
    rare = np.exp(OUTPUTS * 8)
    assert compare.reading(rare / rare.sum(axis=1, keepdims=True)).classes, "probabilities may be as rare as they like"


def test_one_score_is_read_against_its_threshold() -> None:
    probability, logit = np.array([[0.2], [0.7], [0.5]], np.float32), np.array([[-3.0], [0.3], [2.0]], np.float32)
    labels = np.array([0, 1, 1])
    assert compare.right(probability, labels, compare.binary(probability)).tolist() == [True, True, False]
    assert compare.right(logit, labels, compare.binary(logit)).tolist() == [True, True, True]
    assert compare.confusion(logit, labels, compare.binary(logit)).tolist() == [[1, 0], [0, 2]]
    stick = budget.yardstick(BUDGET, [(1,)], [logit], "auto", labels, 0)
    found = budget.score([logit], [-logit], stick)
    assert found.float_accuracy is not None
    assert found.accuracy is not None
    assert (found.float_accuracy.share, found.accuracy.share) == (1.0, 0.0)


def test_each_of_several_outputs_has_a_tolerance_of_its_own() -> None:
    pixels, scores = Spread(max_abs=9, min_cosine=1, top1_share=1), Spread(max_abs=0, min_cosine=1, top1_share=1)
    found = tolerance.tolerance("litert", [pixels, scores], 8, [STEPS, REALS], [100.0, 1.0])
    assert found.max_abs == 18
    assert found.max_abs_by_output == (18.0, pytest.approx(1e-4))
    apart = tolerance.spread_per_input(
        [[np.array([[0.0], [100.0]]), np.array([[0.0], [0.0]])], [np.array([[0.0], [0.0]]), np.array([[1.0], [0.0]])]]
    )
    assert apart.tolist() == [1.0, 1.0], "each in shares of its own largest spread"


@pytest.mark.parametrize(
    ("operators", "tflite_runtime", "litert"),
    [
        ([operator("CONV_2D", 3), operator("SOFTMAX", 2)], "1.14.0", "1.0.0"),
        ([operator("CONV_2D", 5), operator("RESHAPE", 1)], "2.4.0", "1.0.0"),
        ([operator("FULLY_CONNECTED", 12)], "2.17.0", "1.0.0"),
        ([operator("FULLY_CONNECTED", 14)], "2.21.0", "2.3.0"),
        ([operator("TRANSPOSE", 7)], "2.14.4", "1.0.0"),
        ([operator("CONV_2D", 99), operator("SOFTMAX", 2)], "2.14.0", "2.3.0"),
        ([operator("NEW_ONE", 1)], "2.14.0", "2.3.0"),
    ],
)
def test_the_floor_is_the_newest_operator_or_what_was_measured(
    operators: list[Operator], tflite_runtime: str, litert: str
) -> None:
    assert floors.floor("tflite-runtime", tuple(operators), "2.14.0")[0].lowest == tflite_runtime
    assert floors.floor("litert", tuple(operators), "2.3.0")[0].lowest == litert


def test_a_scale_a_channel_raises_the_floor_though_no_version_tells() -> None:
    dense = (operator("FULLY_CONNECTED", 4),)
    assert floors.floor("tflite-runtime", dense, "2.14.0")[0].lowest == "1.14.0"
    assert floors.floor("tflite-runtime", dense, "2.14.0", per_channel_dense=True)[0].lowest == "2.14.0"
    assert floors.floor("litert", dense, "2.3.0", per_channel_dense=True)[0].lowest == "1.0.0"


def test_the_table_of_operators_never_goes_back() -> None:
    for name, versions in floors.LOWEST_TENSORFLOW.items():
        known = [floors.version_key(version) for version in versions]
        if name != "UNIDIRECTIONAL_SEQUENCE_LSTM":
            assert known == sorted(known), name


def test_a_tolerance_is_the_spread_with_its_margin() -> None:
    found = Spread(max_abs=3, min_cosine=0.99, top1_share=0.9)
    assert tolerance.tolerance("litert", [found], 8, [STEPS], [1.0]) == Tolerance(
        family="litert", max_abs=6, min_cosine=pytest.approx(0.98), min_top1_share=0.75
    )


def test_a_spread_of_nothing_still_leaves_room() -> None:
    none = Spread(max_abs=0, min_cosine=1, top1_share=1)
    steps = tolerance.tolerance("litert", [none], 8, [STEPS], [4.0])
    real = tolerance.tolerance("litert", [none], 8, [REALS], [4.0])
    assert (steps.max_abs, steps.min_cosine, steps.min_top1_share) == (4, 0.999, 0.875)
    assert real.max_abs == pytest.approx(4e-4)


def test_the_spread_is_between_any_two_kernels() -> None:
    a, b, c = np.array([[0], [5]], np.int8), np.array([[-100], [5]], np.int8), np.array([[100], [6]], np.int8)
    assert tolerance.spread_per_input([[a], [b], [c]]).tolist() == [200, 1]
    assert tolerance.spread([a, b, c], STEPS).max_abs == 100


def test_golden_inputs_are_spread_over_the_data_and_neither_calmest_nor_wildest() -> None:
    order = golden.order(1000)
    assert sorted(order.tolist()) == list(range(1000))
    assert np.diff(order[: golden.CANDIDATES]).max() <= 33
    spreads = np.tile([9.0, 1.0, 50.0, 0.0], 8)
    spreads[:4] = [50.0, 30.0, 20.0, 40.0]
    chosen = golden.choose(spreads)
    assert chosen.tolist() == [2, *(4 * part for part in range(1, 8))]


@pytest.mark.parametrize("count", [1, 5, 8, 9, 32, 33])
def test_few_inputs_give_few_golden_vectors(count: int) -> None:
    assert sorted(golden.order(count).tolist()) == list(range(count))
    chosen = golden.choose(np.zeros(min(count, golden.CANDIDATES)))
    assert len(set(chosen.tolist())) == min(count, golden.VECTORS)


def test_a_golden_set_holds_raw_tensors() -> None:
    inputs, outputs = [np.array([[1, -2]], np.int8)], [np.array([[1.5]], np.float32)]
    (vector,) = golden.golden_set(inputs, {"litert": outputs}).vectors
    assert vector.inputs == (b"\x01\xfe",)
    assert vector.outputs == {"litert": (outputs[0].astype("<f4").tobytes(),)}
