"""A client of `/conversions`: uploads, asks, and waits for what it is told."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec

from tests.support.fake_converter import Script
from tests.support.wait import wait_until
from wherry.controller.adapters.converter_process import MARK
from wherry.protocol.blob import sha256

DATA = b"samples"
LIMIT_S = 60.0


class ConversionClient:
    """Over any client whose base URL is `/api/v1`."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client

    def put(self, data: bytes, file_name: str) -> dict[str, str]:
        """Upload; the input that names it."""
        self.client.put(f"/artifacts/{sha256(data)}", content=data).raise_for_status()
        return {"digest": sha256(data), "file_name": file_name}

    def body(self, script: Script, **more: Any) -> dict[str, Any]:
        source = self.put(script.source, "net.keras")
        return {"model": "digits", "source": source, "calibration": self.put(DATA, "train.npz"), **more}

    def post(self, body: dict[str, Any]) -> httpx.Response:
        return self.client.post("/conversions", content=msgspec.json.encode(body))

    def ask(self, script: Script, **more: Any) -> int:
        """Queue one; its number."""
        answer = self.post(self.body(script, **more))
        assert answer.status_code == 202, answer.text
        return int(answer.json()["id"])

    def get(self, conversion: int) -> dict[str, Any]:
        answer = self.client.get(f"/conversions/{conversion}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def await_end(self, conversion: int, state: str, limit_s: float = LIMIT_S) -> dict[str, Any]:
        wait_until(lambda: not self.get(conversion)["live"], f"conversion {conversion} has ended", limit_s)
        found = self.get(conversion)
        assert found["state"] == state, found
        return found

    def await_text(self, conversion: int, text: str) -> dict[str, Any]:
        wait_until(lambda: self.get(conversion)["text"] == text, f"conversion {conversion} says {text}", LIMIT_S)
        return self.get(conversion)

    def log(self, conversion: int) -> str:
        answer = self.client.get(f"/conversions/{conversion}/log")
        assert answer.status_code == 200
        return answer.text

    def versions(self, model: str = "digits") -> list[int]:
        found = {entry["name"]: entry["versions"] for entry in self.client.get("/models").json()}
        return list(found.get(model, []))

    def actions(self) -> list[str]:
        """What the audit has of conversions and versions, oldest first."""
        rows = self.client.get("/audit").json()
        return [row["action"] for row in reversed(rows) if row["action"].startswith(("conversion", "version"))]


def converters(data_dir: Path) -> list[int]:
    """Every process that works for a conversion of the data directory."""
    return list(_marked(os.fsencode(f"{MARK}={data_dir}/")))


def work_dirs(data_dir: Path) -> list[Path]:
    return list((data_dir / "conversions").glob("work-*"))


def _marked(mark: bytes) -> Iterator[int]:
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            found = mark in (entry / "environ").read_bytes()
        except OSError:
            continue
        if found:
            yield int(entry.name)
