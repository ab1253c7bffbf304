"""What the controller does for a whole fleet, over a real broker: take a bad version back, roll out, take telemetry in.

What is compared, and why it is fair:
- Revert: from just before a canary's report of its failure is handed to the broker until the document that takes
  the version back arrives at a subscriber. Beside it, one message from the same client to itself through the same
  broker.
- Rollout: one wave over all devices, from just before the request until the database says that the last one has
  committed. The bare run sends the same documents to the same devices over the same broker, in the fleet `bare`, which
  the controller does not hear; they answer with the same messages, and it ends when a bare paho subscriber has had the
  last of them.
- Ingest: the same devices say the same windows once to the controller, until all are rows of its database, and once to
  a bare paho subscriber that counts them. At QoS 1, so that none is dropped on the way to who is slower; devices use
  QoS 0.
- The devices are played by two processes, each over one connection: a thousand agents on two cores would be measured
  instead of the controller. Everything shares the same cores.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.controller_canary import CANARY, Canary
from benchmarks.controller_devices import BARE, REAL, SAID_OF_ONE, Order
from benchmarks.controller_sea import Sea, sea
from benchmarks.form import Failed, Result, Row, joined, progress
from tests.support.cargo_hold import Version, desire, make_version
from wherry.controller.core.plan import Target, WaveStep
from wherry.protocol import topics
from wherry.protocol.codec import encode

ALL_AT_ONCE = (WaveStep(amount=100, percent=True),)
ECHO = "bench/echo"
COMMITTED = "SELECT count(*) FROM events WHERE kind = 'committed'"


def measure(directory: Path, *, reverts: int, devices: int, rollouts: int, windows: int) -> Result:
    with sea(directory) as at:
        progress(f"{reverts} bad versions, each taken back from its canary")
        revert = _reverts(at, reverts)
        progress(f"{rollouts} rollouts to {devices} devices")
        with at.devices(devices):
            rollout = _rollouts(at, devices, rollouts)
            progress(f"{windows} windows of each device")
            ingest = _ingest(at, devices, windows)
    return joined([revert, rollout, ingest])


# Taking back


def _reverts(at: Sea, count: int) -> Result:
    canary = Canary(at.listener)
    at.listener.subscribe(ECHO)
    at.await_rows("SELECT count(*) FROM devices WHERE reported IS NOT NULL", 1, "the canary is known")
    _begin(at, make_version(1), Target(devices=(CANARY,)))
    good = canary.await_version(1)
    canary.commit(good)
    at.await_rows(_ended("completed"), 1, "the first version is committed")
    times, echoes = [], []
    for number in range(2, 2 + count):
        _begin(at, make_version(number), Target(devices=(CANARY,)))
        bad = canary.await_version(number)
        started_s = time.perf_counter()
        canary.fail(bad)
        times.append(canary.await_back(bad) - started_s)
        canary.settle()
        at.await_rows(_ended("reverted"), number - 1, f"version {number} is taken back")
        echoes.append(_echo(at))
    row = Row(
        figure="first failure of a canary until the revert is published, median",
        value=statistics.median(times),
        unit="s",
        n=str(count),
        bare="a message to oneself through the broker",
        bare_value=statistics.median(echoes),
    )
    return Result(
        headline={"revert_s": row.value}, n={"reverts": count}, rows=(row,), detail={"revert_max_s": max(times)}
    )


def _echo(at: Sea) -> float:
    before = at.listener.counts["echo"]
    started_s = time.perf_counter()
    at.listener.client.publish(ECHO, b"", qos=1)
    return at.listener.wait_for(lambda: at.listener.counts["echo"] > before, "an echo") - started_s


def _begin(at: Sea, version: Version, target: Target) -> int:
    name = at.flotilla.upload(version)
    return at.flotilla.begin(name, waves=ALL_AT_ONCE, target=target, min_inferences=0)


def _ended(state: str) -> str:
    return f"SELECT count(*) FROM rollouts WHERE state = '{state}'"  # noqa: S608 - a word of our own


# Rolling out


def _rollouts(at: Sea, devices: int, count: int) -> Result:
    everybody = Target(query=f"device!={CANARY}")
    bare_s = _median(lambda number: _fan_out(at, devices, number), count)
    real_s = _median(lambda number: _roll_out(at, everybody, devices, 100 + number), count)
    row = Row(figure=f"rollout to {devices:,} devices in one wave, median", value=real_s, unit="s", n=str(count),
              bare="paho sends and receives the same messages", bare_value=bare_s)  # fmt: skip
    name = "rollout_1000_ratio_to_bare"
    return Result(headline={name: row.ratio}, n={"rollout_devices": devices, "rollouts": count}, rows=(row,))


def _median(work: Callable[[int], float], count: int) -> float:
    return statistics.median(work(number) for number in range(1, 1 + count))


def _roll_out(at: Sea, target: Target, devices: int, number: int) -> float:
    name, before = at.flotilla.upload(make_version(number)), at.value(COMMITTED)
    started_s = time.perf_counter()
    rollout = at.flotilla.begin(name, waves=ALL_AT_ONCE, target=target, min_inferences=0)
    committed = f"SELECT count(*) FROM rollout_devices WHERE rollout = {rollout} AND standing = 'committed'"  # noqa: S608
    took_s = at.await_rows(committed, devices, "every device has committed") - started_s
    at.await_rows(f"SELECT count(*) FROM rollouts WHERE id = {rollout} AND state = 'completed'", 1, "it is completed")  # noqa: S608
    at.await_rows(COMMITTED, before + devices, "every event is kept")
    return took_s


def _fan_out(at: Sea, devices: int, number: int) -> float:
    """The same documents and answers without a controller."""
    version, listener = make_version(1000 + number), at.listener
    listener.subscribe(topics.all_up(BARE))
    before = listener.counts["reported"] + listener.counts["event"]
    payload = encode(desire(number, version))
    started_s = time.perf_counter()
    for device in range(devices):
        listener.client.publish(topics.down(BARE, f"device-{device:05}", "desired"), payload, qos=1, retain=True)
    enough = before + SAID_OF_ONE * devices
    ended_s = listener.wait_for(
        lambda: listener.counts["reported"] + listener.counts["event"] >= enough, "every answer arrives"
    )
    listener.unsubscribe(topics.all_up(BARE))
    return ended_s - started_s


# Taking in


def _ingest(at: Sea, devices: int, windows: int) -> Result:
    ref, count = make_version(1).assignment.ref, devices * windows
    at.listener.subscribe(topics.all_up(BARE))
    before = at.listener.counts["telemetry"]
    started_s = at.order(Order(fleet=BARE, ref=ref, windows=windows))
    bare_s = at.listener.wait_for(lambda: at.listener.counts["telemetry"] >= before + count, "every window") - started_s
    at.listener.unsubscribe(topics.all_up(BARE))
    started_s = at.order(Order(fleet=REAL, ref=ref, windows=windows))
    real_s = at.await_rows("SELECT count(*) FROM telemetry", count, "every window is a row") - started_s
    if at.flotilla.get("/status")["broker"]["refused"]:
        raise Failed("the controller refused messages, so something else was measured")
    row = Row(figure="telemetry into the database, messages/s", value=count / real_s, unit="/s", n=str(count),
              bare="a paho subscriber that counts", bare_value=count / bare_s)  # fmt: skip
    return Result(headline={"ingest_ratio_to_bare": row.ratio}, n={"ingest_messages": count}, rows=(row,))
