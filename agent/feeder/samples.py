"""What a source gives: a sample, something that is none, or nothing for now."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from wherry.agent.worker.runtimes.interpreter import Tensor
from wherry.protocol.manifest import TensorSpec


class Sample(NamedTuple):
    """One array for each input of the model, as it was found, and the class that it is, where that is known.

    Whoever asks brings the arrays into the form that is stored: only then is it certain which version will answer.
    `origin` says where it is from, in JSON: a file and its index, the number of a frame or of a message.
    """

    inputs: list[Tensor]
    label: int | None
    origin: dict[str, str | int]


class Bad(NamedTuple):
    """A file, picture or message that cannot be used; the next one may be."""

    reason: str


class Idle(NamedTuple):
    """There is no sample now, and `reason` for it where somebody should know; let `pause_s` pass before the next."""

    reason: str
    pause_s: float = 0.0


Item = Sample | Bad | Idle


class Source(Protocol):
    """Keeps its place whatever happens around it: versions come and go, and the next sample is the next one."""

    def take(self, specs: Sequence[TensorSpec]) -> Item:
        """The next sample for a model of these inputs. Waits about a second at most, except for a slow disk."""

    def take_dropped(self) -> int:
        """How many samples nobody had time for, since this was asked last."""

    def close(self) -> None: ...


class SourceStuck(Exception):
    """Nothing will come of this source any more in this process."""
