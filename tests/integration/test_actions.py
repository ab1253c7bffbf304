"""Logs collected from a real board by a real controller, ordered on the command line, over both transports."""

import gzip
import json
from pathlib import Path

import pytest

from tests.support.flotilla import sailing
from tests.support.wherry_command import wherry

pytestmark = pytest.mark.slow

NOWHERE = "controller.invalid"
"""A name by which no device finds the controller: its files do not come over HTTP, nor do collected logs go there."""


@pytest.mark.parametrize(
    ("advertise_host", "way"),
    [(None, "bytes over HTTP"), (NOWHERE, "bytes as blocks over MQTT; http://controller.inv")],
)
def test_logs_are_collected_over_http_and_where_that_fails_over_mqtt(
    tmp_path: Path, advertise_host: str | None, way: str
) -> None:
    with sailing(tmp_path, "mosquitto", advertise_host=advertise_host) as fleet:
        fleet.launch("boat-1")
        url = "http://127.0.0.1:" + fleet.controller.started.url.rsplit(":", 1)[1]
        file = tmp_path / "logs.jsonl.gz"
        said = wherry("devices", "action", "boat-1", "collect-logs", "--wait", "-o", file, "--json", url=url)
        assert (said.status, said.json["state"], said.json["upload"]["complete"]) == (0, "done", True)
        assert way in said.json["reason"]
        entries = [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()]
        told = {entry["kind"]: entry["value"] for entry in entries}
        assert (told["status"]["device"], told["status"]["connected"]) == ("boat-1", True)
        assert told["board"]["runtimes"]
        assert any(entry["value"]["event"] == "connected" for entry in entries if entry["kind"] == "log")
        refused = wherry("devices", "action", "boat-1", "self-test", "--wait", url=url)
        assert (refused.status, refused.out.splitlines()[-1]) == (1, "self-test is refused: slot main serves nothing")
        listed = wherry("devices", "actions", "boat-1", "--json", url=url).json
        assert [entry["state"] for entry in listed] == ["refused", "done"]
