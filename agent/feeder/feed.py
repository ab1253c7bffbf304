"""The feed: a sample, an answer, a result, at its pace, for ever.

Rules upheld here:
- First there is somebody who answers, then a sample is taken: what is asked is as new as it can be.
- A sample that was taken is asked until it is answered; over a switch or a crash nothing of the source's place is lost.
- Whatever is wrong with a sample, a version or a sink is said, and the next sample is taken.
"""

import time
from collections.abc import Sequence

from wherry.agent.client import Answer, Client, Lost, ModelFailed, NotServed, Refused
from wherry.agent.feeder.pacing import Pacer
from wherry.agent.feeder.report import Report
from wherry.agent.feeder.results import Sink, line, line_of_failure
from wherry.agent.feeder.samples import Bad, Idle, Sample, Source
from wherry.agent.worker.fit import Unfit, right_class


class Feed:
    def __init__(self, client: Client, source: Source, sinks: Sequence[Sink], report: Report, rate_hz: float) -> None:
        self._client, self._source, self._sinks, self._report = client, source, sinks, report
        self._pacer = Pacer(rate_hz, time.monotonic())

    def run(self) -> None:
        """Raises SourceStuck."""
        while True:
            self.step()

    def step(self) -> None:
        """One sample at most."""
        try:
            hello = self._client.served()
        except NotServed:
            return  # nothing is assigned, or a worker does not come up: the supervisor knows
        time.sleep(max(self._pacer.due_s - time.monotonic(), 0.0))
        with self._report.doing("taking a sample"):
            item = self._source.take(hello.inputs)
        self._tell_dropped()
        match item:
            case Sample():
                self._pacer.advance(time.monotonic())
                self._ask(item)
            case Bad():
                self._report.passed_over(item.reason)
            case Idle():
                self._report.remark(item.reason)
                if item.pause_s:
                    self._pacer.rest(time.monotonic(), item.pause_s)

    def _ask(self, sample: Sample) -> None:
        answer = self._answer(sample)
        if isinstance(answer, Answer):
            self._report.answered()
            self._pass_on(line(sample, answer, time.time()))
        elif answer is not None:
            self._report.failed()
            self._pass_on(line_of_failure(sample, answer, time.time()))

    def _answer(self, sample: Sample) -> Answer | str | None:
        """The answer, or why the model gave none; None where the sample is to be passed over."""
        inputs = sample.inputs if len(sample.inputs) > 1 else sample.inputs[0]
        while True:
            try:
                return self._client.infer(inputs, label=self._class(sample))
            except NotServed:
                continue
            except ModelFailed as error:
                return str(error)
            except Lost as error:
                self._report.remark(f"{_named(sample)}: {error}")
                return str(error)
            except Refused as error:
                self._report.passed_over(f"{_named(sample)}: {error}")
                return None

    def _class(self, sample: Sample) -> int | None:
        """The sample's label, where it is a class of the model that answers now. Raises NotServed."""
        if sample.label is None:
            return None
        try:
            return right_class(sample.label, self._client.served().outputs)
        except Unfit as error:
            self._report.remark(f"{error}: samples with another are asked without it")
            return None

    def _pass_on(self, result: bytes) -> None:
        with self._report.doing("passing a result on"):
            for sink in self._sinks:
                taken = sink.put(result)
                dropped = sink.take_dropped() + (not taken)
                self._report.dropped(dropped, sink.trouble or "results are dropped: the callback does not keep up")
                self._report.remark(sink.trouble)

    def _tell_dropped(self) -> None:
        self._report.dropped(
            self._source.take_dropped(), "samples come faster than they are answered: the oldest are dropped"
        )


def _named(sample: Sample) -> str:
    return " ".join(f"{key} {value}" for key, value in sample.origin.items())
