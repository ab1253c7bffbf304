"""One worker's life: orders in, answers out, serving in between. One thread does it all."""

import contextlib
from time import monotonic

from wherry.agent.worker.channel import WorkerChannel
from wherry.agent.worker.errors import ChannelClosed, OrderRefused
from wherry.agent.worker.messages import (
    Load,
    Loaded,
    Order,
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
from wherry.agent.worker.selftest import self_test
from wherry.agent.worker.serving import Serving
from wherry.protocol.types import clip_reason


class Session:
    """Carries out orders until `Stop`, the end of the channel, or an order that cannot be carried out."""

    def __init__(self, channel: WorkerChannel, load: LoadInterpreter) -> None:
        self._channel, self._load = channel, load
        self._model: Model | None = None
        self._serving: Serving | None = None

    def run(self) -> int:
        """The exit status: 0 when told to stop or left alone, 1 after `Refused`."""
        try:
            while True:
                order = self._channel.poll(self._serving.wait_s(monotonic()) if self._serving else None)
                if isinstance(order, Stop):
                    self._stop()
                    return 0
                if order is not None:
                    self._obey(order)
                elif self._serving:
                    self._serving.step(monotonic())
        except OrderRefused as refusal:
            with contextlib.suppress(ChannelClosed):
                self._channel.say(Refused(reason=clip_reason(str(refusal))))
            return 1
        except ChannelClosed:
            return 0

    def _obey(self, order: Order) -> None:
        match order:
            case Load():
                self._obey_load(order)
            case SelfTest():
                self._channel.say(self_test(order, self._loaded()))
            case Serve():
                self._serving = Serving(order, self._loaded(), self._channel, monotonic())
                self._channel.say(ServingNow())

    def _obey_load(self, order: Load) -> None:
        if self._model:
            raise OrderRefused("a worker loads one model in its life")
        self._model = load_model(order, self._load)
        self._channel.say(Loaded(runtime_version=self._model.version))

    def _stop(self) -> None:
        if self._serving:
            self._channel.say(self._serving.last_window(monotonic()))
        self._channel.say(Stopped())

    def _loaded(self) -> Model:
        if self._model is None:
            raise OrderRefused("no model is loaded yet")
        return self._model
