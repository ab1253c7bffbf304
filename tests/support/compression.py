"""Compresses the networks of `tests.support.networks`: `python -m tests.support.compression DIR [NAME …]`.

Those that DIR lacks are made first, by this same process: importing TensorFlow takes longer than either. Beside each
`NAME.tflite` this writes `NAME-float.tflite`, `NAME-VARIANT.tflite`, and what the remedies gain as `remedies.json`: by
network, by remedy, the signal-to-noise ratio at the outputs in dB.
"""

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

from tests.support import networks
from wherry.converters.compress import (
    bias,
    calibration,
    equalize,
    graph,
    observe,
    ranges,
    sensitivity,
    variants,
)
from wherry.converters.errors import ConversionError

Samples = list[list[npt.NDArray[Any]]]
PLAIN = ("vision", "tokens", "odd", "recurrent")
REMEDIED = ("spiky", "unequal", "offset", "delicate")


def main(directory: Path, *names: str) -> None:
    wanted, remedies = names or (*PLAIN, *REMEDIED), {}
    missing = [name for name in wanted if not (directory / f"{name}.tflite").exists()]
    if missing:
        networks.main(directory, *missing)
    for name in wanted:
        network = Network(directory, name)
        if name in REMEDIED:
            remedies[name] = network.remedies()
        else:
            network.write_variants()
    if not names:
        (directory / "remedies.json").write_text(json.dumps(remedies | {"errors": _errors(directory)}))


def samples(directory: Path, name: str, use: str, count: int = 64) -> Samples:
    """The first samples of `calibration` or `evaluation`, in the order of the file's inputs."""
    model = graph.parse((directory / f"{name}.tflite").read_bytes())
    names = {entry.tensorIndex: entry.name.decode() for entry in model.signatureDefs[0].inputs}
    with np.load(directory / f"{name}.npz") as arrays:
        inputs = [arrays[f"{use}_{names[index]}"] for index in model.subgraphs[0].inputs]
    return [[array[i : i + 1] for array in inputs] for i in range(min(count, len(inputs[0])))]


class Network:
    def __init__(self, directory: Path, name: str) -> None:
        self._directory, self._name = directory, name
        self._float = (directory / f"{name}.tflite").read_bytes()
        self._feed = samples(directory, name, "calibration")
        self._calibrated = calibration.calibrate(self._float, self._feed)

    def write_variants(self) -> None:
        made = {name: make(self._float) for name, make in variants.FROM_FLOAT.items()}
        made |= {name: make(self._calibrated) for name, make in variants.FROM_CALIBRATED.items()}
        made |= {"float": self._float, "mixed": variants.mixed(self._calibrated, self._first_layers(2))}
        for name, content in made.items():
            (self._directory / f"{self._name}-{name}.tflite").write_bytes(content)
        (self._directory / f"{self._name}.calibrated").write_bytes(self._calibrated)

    def remedies(self) -> dict[str, Any]:
        evaluation = samples(self._directory, self._name, "evaluation")
        reference = observe.outputs(self._float, evaluation)

        def snr_db(content: bytes) -> float:
            noise = observe.noise(reference, observe.outputs(content, evaluation)) / len(reference)
            return float(-10 * np.log10(max(noise, 1e-30)))

        def int8_db(calibrated: bytes) -> float:
            return snr_db(variants.quantize(calibrated, io="float"))

        equalized, pairs = equalize.equalize(self._float)
        corrected, layers = bias.correct(self._float, self._feed)
        found: dict[str, Any] = {"int8": int8_db(self._calibrated), "pairs": pairs, "layers": layers}
        for method in ("percentile", "mse"):
            narrowed, found[f"{method} places"] = ranges.narrow(
                self._calibrated, self._float, lambda: self._feed, method
            )
            found[method] = int8_db(narrowed)
            found[f"{method} widened"] = _widened(self._calibrated, narrowed)
        found["equalized float"] = snr_db(equalized)
        found["equalized"] = int8_db(calibration.calibrate(equalized, self._feed))
        found["corrected"] = int8_db(calibration.calibrate(corrected, self._feed))
        return found | self._layers(snr_db)

    def _layers(self, snr_db: Callable[[bytes], float]) -> dict[str, Any]:
        said: list[tuple[int, int]] = []
        costs = sensitivity.ranked(self._float, self._calibrated, self._feed, lambda *now: said.append(now))
        keeps = [frozenset(cost.tensor for cost in costs[:count]) for count in (1, 2, 3)]
        files = [variants.mixed(self._calibrated, keep) for keep in keeps]
        grown = len(files[0]) - len(variants.quantize(self._calibrated, io="float"))
        return {
            "mixed": [snr_db(content) for content in files],
            "grown": grown,
            "costs": [(cost.op, cost.tensor, cost.noise_share, cost.extra_bytes) for cost in costs],
            "said": said,
        }

    def _first_layers(self, count: int) -> frozenset[str]:
        model = graph.parse(self._calibrated)
        subgraph = model.subgraphs[0]
        weighted = [op for name, op in graph.operators(model, subgraph) if name in graph.WEIGHTED]
        return frozenset(graph.tensor_name(subgraph, op.outputs[0]) for op in weighted[:count])


def _widened(before: bytes, after: bytes) -> int:
    """How many tensors have a wider range than before, or one without zero."""
    pairs = zip(graph.parse(before).subgraphs[0].tensors, graph.parse(after).subgraphs[0].tensors, strict=True)
    limits = [
        (a.quantization, b.quantization)
        for a, b in pairs
        if a.quantization is not None and a.quantization.min is not None
    ]
    return sum(bool(b.min[0] < min(a.min[0], 0) or b.max[0] > max(a.max[0], 0)) for a, b in limits)


def _errors(directory: Path) -> dict[str, str]:
    """What is refused, by the class of the error."""
    vision = (directory / "vision.tflite").read_bytes()
    feed: Sequence[Any] = samples(directory, "vision", "calibration", 2)
    wrong = [[array[:, :8] for array in sample] for sample in feed]
    calibrated = calibration.calibrate(vision, feed)
    model = graph.parse(vision)
    subgraph = model.subgraphs[0]
    everything = frozenset(graph.tensor_name(subgraph, op.outputs[0]) for _, op in graph.operators(model, subgraph))
    tried: dict[str, Callable[[], object]] = {
        "no samples": lambda: calibration.calibrate(vision, []),
        "wrong shape": lambda: calibration.calibrate(vision, wrong),
        "nothing left": lambda: variants.quantize(calibrated, everything),
        "not a model": lambda: variants.dynamic(b"PK\3\4 something else altogether"),
    }
    return {name: _error(attempt) for name, attempt in tried.items()}


def _error(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except ConversionError as error:
        return type(error).__name__
    return ""


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
