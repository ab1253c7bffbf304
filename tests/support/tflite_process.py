"""Runs a `.tflite` file in a process of its own.

`python -m tests.support.tflite_process PACKAGE FILE INPUTS OUTPUTS PLAIN`. INPUTS is an `.npz` of real-valued inputs
[N, ...] by place ("0", "1", …), OUTPUTS the like; PLAIN is 1 for built-in kernels without delegates. Ends with
status 3 and the runtime's words where it refuses the file.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wherry.converters.verify import live

REFUSED = 3


@dataclass(frozen=True)
class Ran:
    """`outputs` [N, ...] real values by place, or `error` and what the process ended with."""

    status: int
    error: str
    outputs: tuple[npt.NDArray[np.float64], ...] = ()
    delegated: tuple[int, int] = (0, 0)
    arena_bytes: int = 0


def run(package: str, file: Path, inputs: list[npt.NDArray[Any]], scratch: Path, *, plain: bool = False) -> Ran:
    """Run all samples; whatever becomes of it is a result."""
    given, answered = scratch / "inputs.npz", scratch / "outputs.npz"
    np.savez(given, **{str(at): x for at, x in enumerate(inputs)})
    answered.unlink(missing_ok=True)
    command = [sys.executable, "-m", "tests.support.tflite_process", package, str(file), str(given), str(answered)]
    done = subprocess.run([*command, str(int(plain))], capture_output=True, text=True, check=False)
    if done.returncode:
        return Ran(done.returncode, " ".join(done.stderr.split())[-400:])
    said = json.loads(done.stdout)
    with np.load(answered) as arrays:
        outputs = tuple(arrays[str(at)] for at in range(len(arrays.files)))
    return Ran(0, "", outputs, (said["taken"], said["all"]), said["arena"])


def main(package: str, file: str, given: str, answered: str, plain: str) -> int:
    runtime = import_module(f"{package}.interpreter")
    kinds = runtime.OpResolverType
    kind = kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES if plain == "1" else kinds.AUTO
    try:
        interpreter = runtime.Interpreter(model_path=file, num_threads=1, experimental_op_resolver_type=kind)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return REFUSED
    outputs: list[list[Any]] = [[] for _ in interpreter.get_output_details()]
    with np.load(given) as arrays:
        samples = [arrays[str(at)] for at in range(len(arrays.files))]
    for sample in zip(*samples, strict=True):
        for x, details in zip(sample, interpreter.get_input_details(), strict=True):
            interpreter.set_tensor(details["index"], _stored(x, details)[None])
        interpreter.invoke()
        for kept, details in zip(outputs, interpreter.get_output_details(), strict=True):
            kept.append(_real(interpreter.get_tensor(details["index"])[0], details))
    np.savez(answered, **{str(at): np.stack(kept) for at, kept in enumerate(outputs)})
    taken, count = live.delegated(interpreter)
    arena = live.arena_measured(interpreter) if plain == "1" else 0
    print(json.dumps({"taken": taken, "all": count, "arena": arena}))  # noqa: T201
    return 0


def _stored(x: Any, details: Any) -> Any:
    scale, zero_point = details["quantization"]
    if not scale:
        return x.astype(details["dtype"])
    info = np.iinfo(details["dtype"])
    return np.clip(np.rint(x / scale) + zero_point, info.min, info.max).astype(details["dtype"])


def _real(stored: Any, details: Any) -> Any:
    scale, zero_point = details["quantization"]
    return (stored.astype(np.float64) - zero_point) * scale if scale else stored.astype(np.float64)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
