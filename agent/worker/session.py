"""One worker's life: orders in, answers out, serving in between. One thread does it all but answering apps."""

import contextlib
import os
import socket
from collections.abc import Iterator, Sequence
from time import monotonic

from wherry.agent.worker import listeners, runtimes
from wherry.agent.worker.agreement import describe
from wherry.agent.worker.channel import Received, WorkerChannel
from wherry.agent.worker.errors import ChannelClosed, OrderRefused
from wherry.agent.worker.messages import (
    Identity,
    Load,
    Loaded,
    Refused,
    SelfTest,
    Serve,
    Stop,
    Stopped,
)
from wherry.agent.worker.messages import (
    Serving as ServingNow,
)
from wherry.agent.worker.model import LoadInterpreter, Model, load_model
from wherry.agent.worker.samples import SampleKeeper
from wherry.agent.worker.sandbox import Confinement
from wherry.agent.worker.selftest import self_test
from wherry.agent.worker.serving import Serving
from wherry.protocol.types import clip_reason


class Session:
    """Carries out orders until `Stop`, the end of the channel, or an order that cannot be carried out."""

    def __init__(self, channel: WorkerChannel, load: LoadInterpreter) -> None:
        self._channel, self._load = channel, load
        self._model: Model | None = None
        self._serving: Serving | None = None
        self._confinement = Confinement(None)
        self._identity = Identity()

    def run(self) -> int:
        """The exit status: 0 when told to stop or left alone, 1 after `Refused`."""
        try:
            while True:
                received = self._channel.poll(self._serving.wait_s(monotonic()) if self._serving else None)
                if received is not None and isinstance(received.order, Stop):
                    self._stop(received.order)
                    return 0
                if received is not None:
                    self._obey(received)
                elif self._serving:
                    self._serving.step(monotonic())
        except OrderRefused as refusal:
            with contextlib.suppress(ChannelClosed):
                self._channel.say(Refused(reason=clip_reason(str(refusal))))
            return 1
        except ChannelClosed:
            return 0

    def _obey(self, received: Received) -> None:
        order, files = received
        match order:
            case Load():
                with exactly(1, files) as (file,):
                    self._obey_load(order, file)
            case SelfTest():
                with exactly(2 if order.samples else 1, files) as (golden, *samples):
                    labels = self._identity.labels
                    self._channel.say(self_test(order, self._loaded(), golden, labels, *samples))
            case Serve():
                lent = len(files) - order.samples
                self._obey_serve(order, sockets_of(files[:lent]), files[lent:])

    def _obey_load(self, order: Load, file: int) -> None:
        if self._model:
            raise OrderRefused("a worker loads one model in its life")
        self._confinement = Confinement(order.sandbox)
        self._confinement.enter(file, [runtimes.MODULES[order.family], *listeners.MODULES.values()])
        self._identity = order.identity
        self._model = load_model(order, file, self._load)
        self._confinement.lock_down()
        self._channel.say(Loaded(runtime_version=self._model.version))

    def _obey_serve(self, order: Serve, sockets: Sequence[socket.socket], samples: Sequence[int]) -> None:
        if self._serving:
            raise OrderRefused("a worker begins to serve once in its life")
        if len(sockets) != len(order.listeners):
            raise OrderRefused(f"{len(sockets)} sockets for {len(order.listeners)} listeners")
        self._confinement.serve()
        model = self._loaded()
        kept = keeper(model, self._identity, samples)
        self._serving = Serving(order, model, self._channel, monotonic(), self._identity, sockets, kept)
        self._channel.say(ServingNow())

    def _stop(self, order: Stop) -> None:
        if self._serving:
            self._serving.drain(order.drain_s)
            self._channel.say(self._serving.last_window(monotonic()))
        self._channel.say(Stopped())

    def _loaded(self) -> Model:
        if self._model is None:
            raise OrderRefused("no model is loaded yet")
        return self._model


def keeper(model: Model, identity: Identity, files: Sequence[int]) -> SampleKeeper | None:
    """What keeps the inputs in the file that came for it; None where none did, or an input has no room in it."""
    described = describe(model.inputs, model.outputs, identity.labels)
    try:
        return SampleKeeper(files[0], described) if files and described is not None else None
    except (ValueError, OSError):
        return None
    finally:
        for file in files:
            os.close(file)


@contextlib.contextmanager
def exactly(count: int, files: Sequence[int]) -> Iterator[Sequence[int]]:
    """The open files that came with an order, closed afterwards. Raises OrderRefused where they are not `count`."""
    try:
        if len(files) != count:
            raise OrderRefused(f"{len(files)} open files instead of {count}")
        yield files
    finally:
        for file in files:
            os.close(file)


def sockets_of(files: Sequence[int]) -> list[socket.socket]:
    """The open files as sockets. Raises OrderRefused where one is none."""
    try:
        return [socket.socket(fileno=file) for file in files]
    except OSError as error:
        raise OrderRefused(f"what came to be listened on is not a socket: {error}") from error
