"""Runs `.tflite` files in one runtime family: `python -m tests.support.run_tflite FAMILY KERNELS DATA.npz
DIR FILE …`.

DATA holds `evaluation_in_0`, … as `tests.support.networks` writes them. Integer inputs are quantized and outputs
dequantized as the file says; `DIR/STEM.FAMILY.npz` then holds `out_0`, … where KERNELS (`out,plain`) has `out`, and
where it has `plain` `plain_0`, … by the kernels without XNNPACK: [N, *shape without the batch]. A file that is refused
has the message in `error` instead.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wherry.converters.compress.affine import round_half_away

Array = npt.NDArray[Any]


def main(family: str, kernels: list[str], data: Path, directory: Path, *files: Path) -> None:
    with np.load(data) as archive:
        inputs = {name.removeprefix("evaluation_"): archive[name] for name in archive if name.startswith("evaluation_")}
    for file in files:
        try:
            found = {}
            for prefix in kernels:
                found |= _run(family, file, inputs, prefix, xnnpack=prefix == "out")
        except (ValueError, RuntimeError) as error:
            found = {"error": np.array(str(error))}
        np.savez(directory / f"{file.stem}.{family}.npz", **found)


def _run(family: str, file: Path, inputs: dict[str, Array], prefix: str, *, xnnpack: bool) -> dict[str, Array]:
    if family == "litert":
        from ai_edge_litert import interpreter as runtime
    else:
        from tflite_runtime import interpreter as runtime
    kinds = runtime.OpResolverType
    kind = kinds.AUTO if xnnpack else kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = runtime.Interpreter(model_path=str(file), num_threads=1, experimental_op_resolver_type=kind)
    runner = interpreter.get_signature_runner()
    sources, targets = runner.get_input_details(), runner.get_output_details()
    found: dict[str, list[Array]] = {name: [] for name in targets}
    for index in range(len(next(iter(inputs.values())))):
        answer = runner(**{name: _stored(inputs[name][index : index + 1], sources[name]) for name in sources})
        for name, value in answer.items():
            found[name].append(_real(value, targets[name]))
    return {name.replace("out", prefix): np.concatenate(values) for name, values in found.items()}


def _stored(x: Array, detail: dict[str, Any]) -> Array:
    scale, zero_point = detail["quantization"]
    if not scale or detail["dtype"] == x.dtype:
        return x.astype(detail["dtype"])
    limits = np.iinfo(detail["dtype"])
    return np.clip(round_half_away(x / scale) + zero_point, limits.min, limits.max).astype(detail["dtype"])


def _real(x: Array, detail: dict[str, Any]) -> Array:
    scale, zero_point = detail["quantization"]
    return (x.astype(np.float32) - zero_point) * np.float32(scale) if scale else x


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2].split(","), *(Path(argument) for argument in sys.argv[3:]))
