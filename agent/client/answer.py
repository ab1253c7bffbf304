"""What a model answered: the stored outputs, the real values that they stand for, and the classes on top."""

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from wherry.agent.client.frames import Hello
from wherry.agent.worker.runtimes.interpreter import Tensor
from wherry.protocol.preparation import to_real


class Prediction:
    """One class: its index, its label (its number, where the version has no labels), and its real score."""

    __slots__ = ("index", "label", "score")

    def __init__(self, index: int, label: str, score: float) -> None:
        self.index, self.label, self.score = index, label, score

    def __repr__(self) -> str:
        return f"{self.label} ({self.score:.3g})"


class Answer:
    """`stored` has every output as the model stores it, in its order. `latency_ms` is of the inference alone."""

    __slots__ = ("__dict__", "_hello", "latency_ms", "stored")

    def __init__(self, hello: Hello, stored: Sequence[Tensor], latency_ms: float) -> None:
        self._hello = hello
        self.stored = tuple(stored)
        self.latency_ms = latency_ms

    @property
    def model(self) -> str:
        return self._hello.identity.model

    @property
    def version(self) -> int:
        return self._hello.identity.version

    @cached_property
    def outputs(self) -> Mapping[str, npt.NDArray[np.float32]]:
        """Real values by the output's name."""
        pairs = zip(self._hello.outputs, self.stored, strict=True)
        return {spec.name: to_real(stored, spec) for spec, stored in pairs}

    def top(self, count: int = 1, output: str | None = None) -> list[Prediction]:
        """The `count` classes with the highest scores of an output, of the first one unless it is named."""
        scores = next(iter(self.outputs.values())) if output is None else self.outputs[output]
        row = scores.reshape(-1)
        labels = self._hello.identity.labels
        best = np.argsort(-row, kind="stable")[:count].tolist()
        return [Prediction(at, labels[at] if at < len(labels) else str(at), float(row[at])) for at in best]
