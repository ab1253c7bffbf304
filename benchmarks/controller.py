"""What the controller costs: a tick, a revert, a rollout to a thousand devices, taking in telemetry, its database.

`make bench`, or `python benchmarks/controller.py [--json] [--quick]`, or `python -m benchmarks.controller`.
docs/reference/benchmarks.md says what each figure means.
"""

import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

if __package__ in (None, ""):  # started as a file, so that Python looks beside it instead of at the top
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks import controller_fleet, controller_rows, controller_tick, form
from benchmarks.form import Failed, Result
from benchmarks.voyage import broker_version
from wherry.controller.adapters import mosquitto

PROG = "benchmarks/controller.py"
DISTRIBUTIONS = ("wherry", "sqlalchemy", "msgspec", "paho-mqtt", "aiomqtt", "fastapi")


@dataclass(frozen=True)
class Scale:
    """How many of each."""

    tick_sizes: tuple[int, ...]
    tick_repetitions: int
    reverts: int
    devices: int
    rollouts: int
    windows: int
    hours: int
    hour_devices: int


FULL = Scale(
    tick_sizes=(100, 1_000, 10_000, 100_000), tick_repetitions=5, reverts=10, devices=1_000, rollouts=3, windows=5,
    hours=6, hour_devices=10,
)  # fmt: skip
QUICK = Scale(
    tick_sizes=(100, 1_000), tick_repetitions=1, reverts=2, devices=50, rollouts=1, windows=2, hours=1, hour_devices=2
)


def measure(scale: Scale) -> Result:
    """Raises Failed where a figure would stand for nothing."""
    if mosquitto.find() is None:
        raise Failed("mosquitto is not installed; the embedded broker is for small fleets")
    with tempfile.TemporaryDirectory(prefix="wherry-bench-") as name:
        directory = Path(name)
        result = form.joined(
            [
                controller_fleet.measure(
                    directory,
                    reverts=scale.reverts,
                    devices=scale.devices,
                    rollouts=scale.rollouts,
                    windows=scale.windows,
                ),
                controller_rows.measure(directory, devices=scale.hour_devices, hours=scale.hours),
                controller_tick.measure(directory, sizes=scale.tick_sizes, repetitions=scale.tick_repetitions),
            ]
        )
    return replace(result, versions=form.versions(*DISTRIBUTIONS) | broker_version("mosquitto"))


if __name__ == "__main__":
    sys.exit(form.main(PROG, __doc__.splitlines()[0], lambda quick: measure(QUICK if quick else FULL)))
