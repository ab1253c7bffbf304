"""What Wherry costs: downloads over MQTT, memory of the supervisor, recovery of a killed worker.

`make bench`, or `python benchmarks/voyage.py [--json] [--quick]`, or `python -m benchmarks.voyage`.
docs/reference/benchmarks.md says what each figure means.
"""

import re
import subprocess
import sys
import tempfile
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

if __package__ in (None, ""):  # started as a file, so that Python looks beside it instead of at the top
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks import form, serving, spread
from benchmarks.form import Result, progress
from benchmarks.shore import Shore
from tests.support import broker
from wherry.controller.adapters import broker_process, mosquitto

PROG = "benchmarks/voyage.py"
DISTRIBUTIONS = ("wherry", "ai-edge-litert", "tflite-runtime", "paho-mqtt")


@dataclass(frozen=True)
class Scale:
    """How many of each."""

    spread_devices: int
    repetitions: int
    serving_devices: int
    kills: int


FULL = Scale(spread_devices=20, repetitions=9, serving_devices=5, kills=20)
QUICK = Scale(spread_devices=2, repetitions=1, serving_devices=1, kills=2)


def measure(scale: Scale) -> Result:
    """Raises Failed where a figure would stand for nothing."""
    kind = broker_process.choose_kind()
    if kind == "amqtt":
        progress("mosquitto is not installed: the embedded broker serves, and its figures are not mosquitto's")
    with tempfile.TemporaryDirectory(prefix="wherry-bench-") as name, broker.running(kind, Path(name)) as port:
        directory, protocol = Path(name), "3.1.1" if kind == "amqtt" else "5"
        with closing(Shore(port)) as shore:
            result = form.joined(
                [
                    spread.measure(
                        directory, port, shore, protocol, devices=scale.spread_devices, repetitions=scale.repetitions
                    ),
                    serving.measure(directory, port, shore, devices=scale.serving_devices, kills=scale.kills),
                ]
            )
    return replace(result, versions=form.versions(*DISTRIBUTIONS) | broker_version(kind))


def broker_version(kind: broker_process.ChildKind) -> dict[str, str]:
    program = mosquitto.find()
    if kind == "amqtt" or program is None:
        return form.versions("amqtt")
    said = subprocess.run([program, "-h"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"version (\S+)", said)
    return {"mosquitto": found[1] if found else "unknown"}


if __name__ == "__main__":
    sys.exit(form.main(PROG, __doc__.splitlines()[0], lambda quick: measure(QUICK if quick else FULL)))
