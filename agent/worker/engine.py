"""The warm model as everybody asks it: one inference at a time, each one counted.

Rules upheld here:
- Whoever asks waits for its turn; the interpreter is used by one thread at a time.
- An inference that raises, or whose scores are not numbers, is an error in the window and an error to whoever asked;
  the model goes on answering others.
- An output is as large as its spec says, or the inference has failed: the answer's form depends on it.
- A window is said between two inferences. While one hangs there is none, and the supervisor hears the silence.
"""

import threading
from collections.abc import Sequence
from time import monotonic

from wherry.agent.worker.memory import rss_bytes
from wherry.agent.worker.messages import Identity, Window
from wherry.agent.worker.model import Model
from wherry.agent.worker.runtimes.interpreter import Tensor
from wherry.agent.worker.samples import SampleKeeper
from wherry.agent.worker.window import WindowCounts
from wherry.protocol.manifest import TensorSpec
from wherry.protocol.scores import ScoreReader, has_scores

QUICK_MS = 2.0
"""So short that whoever asks may wait for it where others wait too."""


class InferenceFailed(Exception):
    """The model gave no answer; the text says why. The next one may."""


class Engine:
    """Of one model for the whole life of the worker. `inputs` and `outputs` are the specs in the model's order.

    What is asked is kept in `samples`, where there are any.
    """

    def __init__(self, model: Model, identity: Identity, now_s: float, samples: SampleKeeper | None = None) -> None:
        self.identity = identity
        self.inputs: tuple[TensorSpec, ...] = model.inputs
        self.outputs: tuple[TensorSpec, ...] = model.outputs
        self._model = model
        self._sizes = [spec.size_bytes for spec in model.outputs]
        self._scores = ScoreReader(model.outputs[0]) if has_scores(model.outputs) else None
        self._turn = threading.Lock()
        self._since_s: float | None = None
        self._counts = WindowCounts(now_s)
        self._samples = samples

    def infer(self, inputs: Sequence[Tensor], label: int | None = None) -> list[Tensor]:
        """Every output for one stored tensor an input, of its shape and type. Raises InferenceFailed.

        `label` is the right class, where whoever asks knows it; it is only counted.
        """
        return self.timed(inputs, label)[0]

    def timed(self, inputs: Sequence[Tensor], label: int | None = None) -> tuple[list[Tensor], float]:
        """As `infer`, with the milliseconds that it took, without the wait for the turn."""
        with self._turn:
            self._since_s = start_s = monotonic()
            try:
                outputs, latency_ms = self._model.run(inputs)
                self._check_sizes(outputs)
                reading = self._scores.read(outputs[0]) if self._scores else None
            except Exception as error:
                self._counts.fail(f"{type(error).__name__}: {error}")
                raise InferenceFailed(f"{type(error).__name__}: {error}") from error
            finally:
                self._since_s = None
            self._counts.add(latency_ms, reading, label)
            if self._samples is not None and reading is not None:
                self._samples.answered(inputs, reading.top, start_s)
            return outputs, latency_ms

    def _check_sizes(self, outputs: Sequence[Tensor]) -> None:
        """A model may give as much as it finds. Raises ValueError."""
        if [output.nbytes for output in outputs] != self._sizes:
            wrong = [pair for pair in zip(self.outputs, outputs, strict=True) if pair[0].size_bytes != pair[1].nbytes]
            spec, output = wrong[0]
            raise ValueError(f"{spec.name} has {output.nbytes} bytes, and should have {spec.size_bytes}")

    def running_s(self) -> float:
        """How long the present inference has been running; 0 where there is none. Never waits."""
        since_s = self._since_s
        return 0.0 if since_s is None else monotonic() - since_s

    @property
    def is_quick(self) -> bool:
        """Whether an inference would begin at once and, as the last one did, end within `QUICK_MS`."""
        return self._model.last_ms < QUICK_MS and not self._turn.locked()

    def window(self, now_s: float) -> Window:
        """What was counted since the window before; counting begins anew."""
        with self._turn:
            counts, self._counts = self._counts, WindowCounts(now_s)
            return counts.window(now_s, rss_bytes())
