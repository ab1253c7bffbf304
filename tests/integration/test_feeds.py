"""Real feeder processes: files, a film and topics in, answers out, while whoever serves comes and goes."""

import itertools
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import paho.mqtt.client as mqtt
import psutil
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from tests.conftest import Tried
from tests.support.broker import free_port, running
from tests.support.fast_server import engine, listener, serve
from tests.support.live_feeder import LiveFeeder, lines
from tests.support.wait import wait_until
from wherry.agent.config import FeedConfig, ResultsConfig
from wherry.agent.worker.engine import Engine
from wherry.agent.worker.runtimes.interpreter import Tensor
from wherry.protocol.manifest import Preprocessing, Quantization, TensorSpec

pytestmark = pytest.mark.slow

PICTURE = TensorSpec(
    name="x", shape=(1, 2, 2, 1), dtype="int8", quantization=Quantization(scale=1 / 255, zero_point=-128),
    layout="NHWC", preprocessing=Preprocessing(scale=1 / 255, color="gray"),
)  # fmt: skip
MAX_FEEDER_BYTES = {"directory": 50_000_000, "topic": 55_000_000, "camera": 95_000_000}


def write(directory: Path, count: int = 40, name: str = "a.npz") -> Path:
    """Labelled inputs whose top classes go round."""
    directory.mkdir(exist_ok=True)
    tops = np.arange(count) % 4
    np.savez(directory / name, x=np.eye(4, dtype=np.int8)[tops] * 9, y=tops)
    return directory


def files(tmp_path: Path, rate_hz: float = 500.0) -> FeedConfig:
    return FeedConfig(directory=str(write(tmp_path / "feed")), rate_hz=rate_hz)


def positions(results: list[dict[str, Any]]) -> list[int]:
    return [result["source"]["index"] for result in results]


def gaps(indices: list[int], count: int) -> int:
    """Samples that were left out, or came twice, in their cycle."""
    return sum(after != (before + 1) % count for before, after in itertools.pairwise(indices))


def counted(served: Engine) -> tuple[int, int, int]:
    window = served.window(0.0)
    return window.inferences, window.labelled, window.correct


def test_labels_that_are_no_classes_of_the_model_are_told_and_not_counted(tmp_path: Path) -> None:
    served = engine()
    directory = write(tmp_path / "feed")
    np.savez(directory / "a.npz", x=np.eye(4, dtype=np.int8), y=[0, 4, 2, -1])
    with listener(tmp_path) as sock, LiveFeeder(tmp_path, FeedConfig(directory=str(directory), rate_hz=500)) as feeder:
        server = serve(sock, served)
        wait_until(lambda: len(feeder.results) >= 40, "forty answers")
        wait_until(lambda: any("from 0 to 3" in remark for remark in feeder.remarks), "it is told")
        feeder.process.stop()
        feeder.process.close()
        server.drain()
        results = feeder.results
    assert gaps(positions(results), 4) == 0, "they are answered all the same"
    inferences, labelled, correct = counted(served)
    assert abs(inferences - 2 * labelled) <= 2
    assert labelled == correct


def test_files_are_asked_in_their_order_with_their_labels_and_answers_are_written_down(tmp_path: Path) -> None:
    served = engine()
    with listener(tmp_path) as sock, LiveFeeder(tmp_path, files(tmp_path)) as feeder:
        server = serve(sock, served)
        wait_until(lambda: len(feeder.results) >= 100, "a hundred answers")
        feeder.process.stop()
        feeder.process.close()
        server.drain()
        results = feeder.results
    assert gaps(positions(results), 40) == 0
    inferences, labelled, correct = counted(served)
    assert len(results) <= inferences <= len(results) + 1
    assert inferences == labelled == correct
    assert all(result["top"][0]["index"] == result["label"] for result in results)
    assert results[0]["source"] == {"file": "a.npz", "index": 0}
    assert feeder.count("answered") == len(results), "the last ones are told, too"


def test_a_feed_waits_for_somebody_who_serves_and_begins_at_once(tmp_path: Path) -> None:
    with listener(tmp_path) as sock, LiveFeeder(tmp_path, files(tmp_path)) as feeder:
        wait_until(lambda: feeder._said, "it is up")
        assert feeder.results == []
        server = serve(sock, engine())
        wait_until(lambda: feeder.results, "it is answered")
        server.drain()
    assert feeder.results[0]["source"]["index"] == 0, "nothing was lost while it waited"


def test_a_feed_loses_nothing_of_its_place_when_versions_take_over(tmp_path: Path, tried: Tried) -> None:
    switches = 12
    with listener(tmp_path) as sock, LiveFeeder(tmp_path, files(tmp_path)) as feeder:
        server = serve(sock, engine(version=1))
        for version in range(2, switches + 2):
            wait_until(lambda: feeder.results and feeder.results[-1]["version"] == version - 1, "one answers")  # noqa: B023
            new = serve(sock, engine(version=version))
            server.drain()
            server = new
        wait_until(lambda: feeder.results[-1]["version"] == switches + 1, "the last one answers")
        feeder.process.stop()
        feeder.process.close()
        server.drain()
        results = feeder.results
    assert gaps(positions(results), 40) == 0
    assert list({result["version"]: None for result in results}) == [*range(1, switches + 2)]
    tried(f"{switches} takeovers under {len(results)} samples, none lost and none asked twice")


def test_a_rate_is_never_exceeded(tmp_path: Path) -> None:
    with listener(tmp_path) as sock, LiveFeeder(tmp_path, files(tmp_path, rate_hz=50.0)) as feeder:
        server = serve(sock, engine())
        wait_until(lambda: len(feeder.results) >= 60, "sixty answers")
        server.drain()
    results = feeder.results
    assert len(results) <= (results[-1]["time"] - results[0]["time"]) * 50.0 + 2


def test_bad_files_are_passed_over_and_named_and_no_failures(tmp_path: Path) -> None:
    feed, served = files(tmp_path), engine()
    Path(os.fsdecode(os.fsencode(tmp_path / "feed") + b"/caf\xe9.npz")).write_bytes(b"not an archive")
    (tmp_path / "feed" / "0.npz").write_bytes(b"")
    with listener(tmp_path) as sock, LiveFeeder(tmp_path, feed) as feeder:
        server = serve(sock, served)
        wait_until(lambda: feeder.count("passed_over") >= 4, "they are passed over")
        wait_until(lambda: len(feeder.remarks) >= 2, "they are named")
        server.drain()
    assert {remark.split(":")[0] for remark in feeder.remarks} == {"caf\\udce9.npz", "0.npz"}
    assert served.window(0.0).errors == 0
    assert feeder.ended == ["exited with status 0"]


def test_what_the_model_fails_at_is_written_down_and_the_feed_goes_on(tmp_path: Path) -> None:
    def moody(x: Tensor) -> Tensor:
        if int(np.argmax(x)) == 2:
            raise RuntimeError("node 7 failed to invoke")
        return x

    with listener(tmp_path) as sock, LiveFeeder(tmp_path, files(tmp_path)) as feeder:
        server = serve(sock, engine(moody))
        wait_until(lambda: len(feeder.results) >= 40, "a cycle")
        server.drain()
    failed = [result for result in feeder.results if "error" in result]
    assert {result["label"] for result in failed} == {2}
    assert "node 7 failed to invoke" in failed[0]["error"]


def test_a_film_goes_through_the_model_prepared_as_its_manifest_says(tmp_path: Path) -> None:
    writer = cv2.VideoWriter(str(tmp_path / "film.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 64))
    for level in (0, 255):
        writer.write(np.full((64, 64, 3), level, np.uint8))
    writer.release()
    seen: list[float] = []

    def flat(x: Tensor) -> Tensor:
        seen.append(float(x.mean()))
        return x.reshape(1, 4)

    with (
        listener(tmp_path) as sock,
        LiveFeeder(tmp_path, FeedConfig(camera=str(tmp_path / "film.avi"), rate_hz=200)) as feeder,
    ):
        server = serve(sock, engine(flat, inputs=(PICTURE,)))
        wait_until(lambda: len(feeder.results) >= 6, "six pictures")
        rss_bytes = psutil.Process(feeder.process.pid).memory_info().rss
        server.drain()
    assert seen[:6] == pytest.approx([-128, 127] * 3, abs=3)
    assert [result["source"]["frame"] for result in feeder.results[:4]] == [1, 2, 3, 4]
    assert rss_bytes < MAX_FEEDER_BYTES["camera"]


class Shelf:
    """A client of the feed's broker, which sends samples and hears results."""

    def __init__(self, port: int) -> None:
        self.results: list[dict[str, Any]] = []
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.on_connect = lambda client, *_: client.subscribe("results")
        self._client.on_message = lambda _client, _data, message: self.results.append(json.loads(message.payload))
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        wait_until(self._client.is_connected, "the broker answers")

    def send(self, payload: bytes) -> None:
        self._client.publish("samples", payload).wait_for_publish(10)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[int]:
    with running("mosquitto", tmp_path) as port:
        yield port


def test_samples_come_on_a_topic_and_answers_go_to_another(tmp_path: Path, broker: int) -> None:
    feed = FeedConfig(topic="samples", broker=f"127.0.0.1:{broker}", rate_hz=1000)
    shelf = Shelf(broker)
    with listener(tmp_path) as sock, LiveFeeder(tmp_path, feed, ResultsConfig(topic="results")) as feeder:
        server = serve(sock, engine())

        def answered() -> bool:
            shelf.send(bytes([0, 9, 0, 0]))
            return bool(shelf.results)

        wait_until(answered, "the feeder has subscribed, and answers")
        tensor = {"name": "x", "shape": [4], "datatype": "FP32", "data": [0, 0, 0, 3.5]}
        shelf.send(json.dumps({"id": "seven", "inputs": [tensor], "parameters": {"label": 1}}).encode())
        shelf.send(b"nonsense")
        mine = wait_until(lambda: [one for one in shelf.results if one["source"].get("id") == "seven"], "an answer")
        wait_until(lambda: feeder.count("passed_over") == 1, "the nonsense is passed over")
        assert psutil.Process(feeder.process.pid).memory_info().rss < MAX_FEEDER_BYTES["topic"]
        server.drain()
    shelf.close()
    assert shelf.results[0]["top"][0]["label"] == "beech"
    assert (mine[0]["top"][0]["index"], mine[0]["label"]) == (3, 1)
    assert any("8 bytes, the model's int8" in remark for remark in feeder.remarks)


def test_where_the_model_is_slower_than_the_messages_the_newest_are_answered(tmp_path: Path, broker: int) -> None:
    feed = FeedConfig(topic="samples", broker=f"127.0.0.1:{broker}", rate_hz=1000)
    gate, shelf = threading.Event(), Shelf(broker)

    def slow(x: Tensor) -> Tensor:
        gate.wait(20)
        return x

    with listener(tmp_path) as sock, LiveFeeder(tmp_path, feed) as feeder:
        server = serve(sock, engine(slow))

        gate.set()
        wait_until(lambda: (shelf.send(bytes(4)), bool(feeder.results))[1], "the feeder has subscribed")
        gate.clear()
        for number in range(100):
            shelf.send(bytes([number, 0, 0, 0]))
        gate.set()
        wait_until(lambda: feeder.count("dropped") > 50, "it is told how many were dropped")
        wait_until(lambda: feeder.results[-1]["source"]["message"] >= 100, "the last is answered")
        server.drain()
    shelf.close()
    assert any("come faster than they are answered" in remark for remark in feeder.remarks)


def test_a_broker_that_is_away_is_told_and_found_again(tmp_path: Path) -> None:
    port = free_port()
    feed = FeedConfig(topic="samples", broker=f"127.0.0.1:{port}", rate_hz=1000)
    with listener(tmp_path) as sock, LiveFeeder(tmp_path, feed) as feeder:
        server = serve(sock, engine())
        wait_until(lambda: any(f"127.0.0.1:{port}" in remark for remark in feeder.remarks), "it is told")
        for _ in range(2):
            before = len(feeder.results)
            with running("mosquitto", tmp_path, port):
                shelf = Shelf(port)
                wait_until(lambda: (shelf.send(bytes(4)), len(feeder.results) > before)[1], "it answers")  # noqa: B023
                shelf.close()
        server.drain()
    assert feeder.ended == ["exited with status 0"]


def test_a_callback_reads_answers_and_leaves_with_the_feeder(tmp_path: Path) -> None:
    program = "import sys\nfor line in sys.stdin: print(line, end='', file=open(sys.argv[1], 'a'), flush=True)"
    results = ResultsConfig(command=(sys.executable, "-c", program, str(tmp_path / "out")))
    with listener(tmp_path) as sock, LiveFeeder(tmp_path, files(tmp_path, 100), results) as feeder:
        server = serve(sock, engine())
        wait_until(lambda: len(lines(tmp_path / "out")) >= 5, "it reads")
        (callback,) = psutil.Process(feeder.process.pid).children()
        callback.kill()
        wait_until(lambda: any("killed by signal 9" in remark for remark in feeder.remarks), "its end is told")
        wait_until(lambda: [one for one in psutil.Process(feeder.process.pid).children() if one != callback], "another")
        before = len(lines(tmp_path / "out"))
        wait_until(lambda: len(lines(tmp_path / "out")) > before, "that one reads too")
        children = psutil.Process(feeder.process.pid).children()
        server.drain()
    assert not any(child.is_running() for child in children)
    found = lines(tmp_path / "out")
    assert all(one["top"][0]["index"] == one["label"] for one in found)


def test_a_feeder_of_files_is_small_and_the_first_to_go_where_memory_ends(tmp_path: Path, tried: Tried) -> None:
    with listener(tmp_path) as sock, LiveFeeder(tmp_path, files(tmp_path)) as feeder:
        begun_s = time.perf_counter()
        server = serve(sock, engine())
        wait_until(lambda: len(feeder.results) > 200, "it works")
        rss_bytes = psutil.Process(feeder.process.pid).memory_info().rss
        offered = int(Path(f"/proc/{feeder.process.pid}/oom_score_adj").read_text())
        server.drain()
    assert rss_bytes < MAX_FEEDER_BYTES["directory"]
    assert offered > int(Path("/proc/self/oom_score_adj").read_text()), "it goes before the supervisor does"
    tried(f"{rss_bytes / 1e6:.1f} MB resident after 200 samples, {time.perf_counter() - begun_s:.1f} s from its start")
