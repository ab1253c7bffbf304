"""Reports of conversions that never happened, with figures as real ones have them."""

import math
import random
from typing import Any

from wherry.converters.report import (
    Confusion,
    DataUsed,
    DataWarning,
    FamilyResult,
    FloatReport,
    InputRange,
    Interval,
    Join,
    LayerCost,
    LayerError,
    McNemar,
    Parity,
    RemedyTried,
    Report,
    Scores,
    Sizes,
    Spread,
    VariantReport,
)  # fmt: skip
from wherry.protocol.manifest import HealthLimits, Operator
from wherry.protocol.recipe import REQUANTIZED, Budget, Recipe
from wherry.protocol.runtime import Family, RuntimeFloor

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)> $x^2$ \u202egnp.exe\n&amp;'
VERSIONS: dict[Family, str] = {"litert": "2.3.0", "tflite-runtime": "2.14.0"}
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def wilson(share: float, samples: int = 1000) -> Interval:
    """Near enough for a picture."""
    half = 1.96 * math.sqrt(share * (1 - share) / samples) + 1 / samples
    return Interval(share=share, low=max(share - half, 0), high=min(share + half, 1))


def scores(accuracy: float | None, agreement: float = 0.985, before: float = 0.976) -> Scores:
    labelled = accuracy is not None
    return Scores(
        samples=1000,
        agreement=agreement,
        mean_cosine=0.9987,
        min_cosine=0.9412,
        snr_db=24.7,
        agreement_interval=wilson(agreement),
        float_accuracy=wilson(before) if labelled else None,
        accuracy=wilson(accuracy) if accuracy is not None else None,
        mcnemar=McNemar(lost=9, won=5, p_value=0.424) if labelled else None,
    )


def ran(family: Family, p50_ms: float, delegated: int, found: Scores | None = None, **more: Any) -> FamilyResult:
    values: dict[str, Any] = {
        "family": family, "version": VERSIONS[family], "ok": True, "reason": "", "scores": found,
        "floor": RuntimeFloor(family=family, lowest="1.0.0" if family == "litert" else "2.5.0"),
        "load_ms": 3.1, "p50_ms": p50_ms, "p95_ms": p50_ms * 1.2, "delegated_ops": delegated, "all_ops": 66,
        "spread": Spread(max_abs=3, min_cosine=0.9991, top1_share=0.99),
    }  # fmt: skip
    return FamilyResult(**(values | more))


def layers(many: int, name: str = "block{}/conv") -> tuple[LayerError, ...]:
    chance = random.Random(7)
    found = []
    for index in range(many):
        snr_db = 42 - 18 * index / many + chance.gauss(0, 2.5) - (14 if index % 37 == 11 else 0)
        found.append(
            LayerError(
                op=chance.choice(("CONV_2D", "DEPTHWISE_CONV_2D", "ADD")),
                tensor=f"functional_1/{name.format(index)}2d_{index}/BiasAdd;functional_1/{name.format(index)}2d_{index}/Conv2D",
                layer=name.format(index),
                snr_db=snr_db,
                rmse=10 ** (-snr_db / 20),
                saturated_share=0.013 if index % 5 == 0 else 0.0,
                float_low=-3.21,
                float_high=6.0,
                quantized_low=-3.18,
                quantized_high=5.98,
            )
        )
    return tuple(found)


def used(where: str, low: float, high: float, *, labelled: bool, inputs: tuple[str, ...] = ("image",)) -> DataUsed:
    chance = random.Random(where)
    bins = [int(400 * math.exp(-((index - 20) ** 2) / 300) + 40 * chance.random()) for index in range(50)]
    ranges = tuple(
        InputRange(input=name, low=low, high=high, mean=(low + high) / 2.4, std=(high - low) / 4, histogram=tuple(bins))
        for name in inputs
    )
    return DataUsed(where=where, given=50_000, used=256, labelled=labelled, ranges=ranges)


def confusions(classes: int = 10) -> tuple[Confusion, ...]:
    chance = random.Random(3)
    before = [
        [97 if row == column else chance.choice((0, 0, 0, 1)) for column in range(classes)] for row in range(classes)
    ]
    after = [list(row) for row in before]
    for _ in range(2 * classes):
        row, column = chance.randrange(classes), chance.randrange(classes)
        after[row][row] -= 1
        after[row][column] += 1
    return tuple(
        Confusion(who=who, counts=tuple(map(tuple, counts))) for who, counts in (("float", before), ("int8", after))
    )


OPERATORS = (
    Operator(name="ADD", version=2, count=10), Operator(name="CONV_2D", version=3, count=35),
    Operator(name="DEPTHWISE_CONV_2D", version=3, count=17), Operator(name="FULLY_CONNECTED", version=4, count=1),
)  # fmt: skip


def variant(
    name: str, size_bytes: int, p50s: tuple[float, float], accuracy: float | None = 0.972, **more: Any
) -> VariantReport:
    slow = name in ("int8", "int8-float-io", "int16x8", "mixed")
    found = scores(accuracy)
    values: dict[str, Any] = {
        "name": name, "accepted": True, "digest": "5f" * 32, "artifact_bytes": size_bytes, "golden_bytes": 41_233,
        "macs": 385_871_104, "parameters": 4_652_008, "arena_bytes": 1_204_224, "arena_how": "planned by the runtime",
        "operators": OPERATORS,
        "runtimes": (
            ran("litert", p50s[0], 64, found),
            ran("tflite-runtime", p50s[1], 0 if slow else 60, scores(accuracy and accuracy - 0.003)),
        ),
    }  # fmt: skip
    return VariantReport(**(values | more))


def minimal(**more: Any) -> Report:
    """Nothing but what must be there."""
    values: dict[str, Any] = {
        "name": "digits", "outcome": "accepted", "source": "/models/digits.keras", "framework": "Keras 3.11",
        "source_digest": "ab" * 32, "recipe": Recipe(), "sizes": Sizes(source_bytes=80_000, float_bytes=0),
        "calibration": DataUsed(where="train.npz", given=10, used=10, labelled=False), "evaluation": None,
    }  # fmt: skip
    return Report(**(values | more))


def accepted(**more: Any) -> Report:
    """Labels, and four variants: three accepted, one left out by one runtime, one for its accuracy."""
    narrow = FamilyResult(
        family="tflite-runtime",
        version="2.14.0",
        ok=False,
        reason="FULLY_CONNECTED version 12 is above what it has: 11",
    )
    values: dict[str, Any] = {
        "sizes": Sizes(source_bytes=19_200_000, float_bytes=18_500_000),
        "recipe": Recipe(variants=("int8", "float16", "dynamic", "int16x8"), health=HealthLimits(probation_s=30)),
        "calibration": used("train.npz", -1.0, 1.0, labelled=True),
        "evaluation": used("heldout.npz", -1.0, 0.98, labelled=True),
        "parity": (Parity(output="probabilities", samples=64, snr_db=128.4, top1_share=1.0),),
        "float_model": FloatReport(
            artifact_bytes=18_500_000,
            macs=385_871_104,
            runtimes=(ran("litert", 8.5, 64), ran("tflite-runtime", 21.4, 64))
        ),
        "variants": (
            variant("int8", 5_250_000, (4.2, 43.1), layers=layers(24)),
            variant("float16", 9_310_000, (8.7, 22.0), 0.976),
            variant("dynamic", 4_990_000, (6.1, 0), runtimes=(ran("litert", 6.1, 40, scores(0.974)), narrow)),
            variant(
                "int16x8", 5_410_000, (178.0, 240.5), 0.951, accepted=False,
                reason="accuracy falls from 97.6 % to 95.1 %, a loss of 2.5 points where 1.0 is allowed",
            ),
        ),
        "labels": DIGITS,
        "confusions": confusions(),
        "tools": {"tensorflow": "2.21.0", "ai-edge-litert": "2.3.0", "tflite-runtime": "2.14.0", "wherry": "0.1.0"},
        "steps_s": {"read": 1.2, "float model": 8.4, "int8": 12.6, "verify": 31.0, "report": 1.1},
        "cached": ("float model",),
    }  # fmt: skip
    return minimal(**(values | more))


def refused(**more: Any) -> Report:
    """No labels, bad calibration data, remedies that did not help enough, and what each layer costs."""
    tried = [
        RemedyTried(remedy="none", detail="int8 as it comes", held=False, took_s=14.2, scores=scores(None, 0.412)),
        RemedyTried(remedy="more-calibration", detail="1000", held=False, took_s=31.0, scores=scores(None, 0.436)),
        RemedyTried(remedy="percentile", detail="99.9 %", held=False, took_s=20.5, scores=scores(None, 0.671)),
        RemedyTried(remedy="mse", detail="", held=False, took_s=44.1, scores=scores(None, 0.648)),
        RemedyTried(remedy="equalize", detail="no pair of layers allows it", held=False, took_s=0.3),
        RemedyTried(
            remedy="mixed", detail="half of the weights are float", held=False, took_s=118.0,
            scores=scores(None, 0.958), kept_float=("stem/conv", "head/boxes", "head/scores"),
        ),
    ]  # fmt: skip
    bad = variant(
        "int8", 640_000, (2.2, 9.7), None, accepted=False, digest=None, layers=layers(40),
        runtimes=(ran("litert", 2.2, 60, scores(None, 0.412)), ran("tflite-runtime", 9.7, 0, scores(None, 0.409))),
        reason="agrees with the float model on 41.2 % of 1000 samples where 99.0 % is required",
    )  # fmt: skip
    values: dict[str, Any] = {
        "name": "faces", "outcome": "refused", "framework": "ONNX, opset 17",
        "source": "/models/faces/detector-v3.onnx",
        "reason": "int8 agrees with the float model on 95.8 % of 1000 samples at best, where 99.0 % is required;"
        " nothing that was tried holds the budget",
        "sizes": Sizes(source_bytes=2_400_000, float_bytes=2_310_000),
        "recipe": Recipe(budget=Budget(min_agreement=0.99)),
        "calibration": used("faces.npz", 0.0, 1.0, labelled=False),
        "evaluation": used("heldout/", 0.0, 255.0, labelled=False),
        "warnings": (
            DataWarning(
                kind="scaling", fix="prepare both as in training, or say --preprocess scale=0.00392",
                message="calibration values lie between 0 and 1, evaluation values between 0 and 255",
            ),
            DataWarning(kind="duplicates", message="12 of 256 calibration samples occur more than once"),
        ),
        "parity": (
            Parity(output="boxes", samples=64, snr_db=71.0, top1_share=None),
            Parity(output="scores", samples=64, snr_db=math.inf, top1_share=None),
        ),
        "float_model": FloatReport(
            artifact_bytes=2_310_000, macs=10**8, runtimes=(ran("litert", 3.0, 62), ran("tflite-runtime", 6.2, 62))
        ),
        "variants": (bad,),
        "joins": (
            Join(layer="head/concat", tensor="head/concat:0", ratio=320.0, message="boxes in pixels drown the scores"),
        ),
        "remedies": tuple(tried),
        "layer_costs": tuple(
            LayerCost(
                op="CONV_2D", tensor=f"t{i}", layer=f"backbone/stage{i // 4}/unit{i}/conv2d",
                noise_share=0.42 / (i + 1), extra_bytes=9_000 * (i + 1),
            )
            for i in range(22)
        ),
        "tools": {"onnx2tf": "1.28.8", "tensorflow": "2.21.0"},
        "steps_s": {"read": 3.0, "simplify": 8.1, "float model": 41.0, "int8": 220.0},
    }  # fmt: skip
    return minimal(**(values | more))


def hostile() -> Report:
    """Every text that a stranger may choose is markup."""
    source = accepted()
    bad = tuple(
        LayerError(op=HOSTILE, tensor=HOSTILE * 3, layer=HOSTILE, snr_db=snr_db, rmse=0.1)
        for snr_db in (3.0, math.nan, math.inf)
    )
    first = variant("int8", 5_250_000, (4.2, 43.1), layers=bad, remark=HOSTILE, arena_how=HOSTILE)
    return accepted(
        name=HOSTILE, source=HOSTILE, framework=HOSTILE, reason=HOSTILE, source_digest=HOSTILE,
        variants=(first, *source.variants[1:]),
        warnings=(DataWarning(kind=HOSTILE, message=HOSTILE, fix=HOSTILE),),
        joins=(Join(layer=HOSTILE, tensor=HOSTILE, ratio=99.0, message=HOSTILE),),
        remedies=(
            RemedyTried(
                remedy=HOSTILE, detail=HOSTILE, held=True, took_s=1.0, scores=scores(0.97), kept_float=(HOSTILE,)
            ),
        ),
        layer_costs=(LayerCost(op=HOSTILE, tensor=HOSTILE, layer=HOSTILE, noise_share=1.0, extra_bytes=1),),
        calibration=used(HOSTILE, 0.0, 1.0, labelled=True, inputs=(HOSTILE,)),
        evaluation=used(HOSTILE, 0.0, 1.0, labelled=True, inputs=(HOSTILE,)),
        parity=(Parity(output=HOSTILE, samples=1, snr_db=math.nan, top1_share=1.0),),
        labels=(HOSTILE,) * 10, tools={HOSTILE: HOSTILE}, steps_s={HOSTILE: 1.0}, cached=(HOSTILE,),
    )  # fmt: skip


def hundred_layers() -> Report:
    """Many layers, many classes, three inputs, all seven variants."""
    names = ("int8", "int8-float-io", "float16", "dynamic", "weight-only-int8", "int16x8", "mixed")
    long = "efficientnet_lite0/blocks_{}/inverted_residual/depthwise_conv"
    inputs = ("serving_default_camera_front:0", "serving_default_camera_rear:0", "speed")
    return accepted(
        name="crossing",
        variants=tuple(
            variant(name, 5_000_000, (4.2, 43.1), layers=layers(100, long) if name in REQUANTIZED else ())
            for name in names
        ),
        confusions=confusions(64),
        labels=tuple(f"class number {index}" for index in range(64)),
        calibration=used("a.npz", -1.0, 1.0, labelled=True, inputs=inputs),
        evaluation=used("b.npz", -1.0, 1.0, labelled=True, inputs=inputs),
        layer_costs=tuple(
            LayerCost(op="CONV_2D", tensor=f"t{i}", layer=long.format(i), noise_share=0.3 / (i + 1), extra_bytes=9_000)
            for i in range(100)
        ),
    )


SAMPLES = {"accepted": accepted, "refused": refused, "minimal": minimal, "hostile": hostile, "hundred": hundred_layers}
