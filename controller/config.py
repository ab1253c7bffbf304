"""What the running controller is told at its start.

Rules upheld here:
- Loopback only, unless the operator says `insecure_bind`: the broker asks nobody who calls, and nothing is encrypted.
- Port 0 means any free one; the one taken is written to `controller.json` in the data directory.
"""

import ipaddress
import socket
from pathlib import Path
from typing import Literal

from wherry.protocol import limits
from wherry.protocol.types import Struct

BrokerKind = Literal["auto", "mosquitto", "amqtt", "external"]

RUN_FILE = "controller.json"
"""In the data directory while a controller runs on it: where it answers."""


class ControllerConfig(Struct, frozen=True, kw_only=True):
    """`host` is for the HTTP API and for a broker of our own; `mqtt_host` only for an external one."""

    data_dir: Path
    database: str | None = None
    """A `postgresql://` URL; None for a file in the data directory."""
    shared_dir: Path | None = None
    """Where artifacts are, for several controllers on one database; None for the data directory."""
    fleet: str = "home"
    host: str = "127.0.0.1"
    insecure_bind: bool = False
    advertise_host: str | None = None
    """How devices name this machine; None where `host` itself will do."""
    http_port: int = 8470
    broker: BrokerKind = "auto"
    mqtt_host: str = "127.0.0.1"
    mqtt_port: int = 1883
    tick_s: float = 0.5
    """Gates are in seconds; a tick costs a few milliseconds."""
    republish_after_s: float = 30.0
    """A device that has not accepted its document by then has perhaps missed it: it is published again."""
    max_artifact_bytes: int = limits.MAX_BLOB_BYTES
    conversion_workers: int = 1
    """Conversions at a time. One takes gigabytes and every core; with 0 they wait."""
    trust_conversion_code: bool = False
    """Whether jobs may run code of their clients: modules that they name, and pickles."""

    @property
    def loopback(self) -> bool:
        return is_loopback(self.host)

    @property
    def url_host(self) -> str:
        """The host for URLs that others are given."""
        wildcard = self.host in ("0.0.0.0", "::")  # noqa: S104 - compared, not bound
        name = self.advertise_host or (socket.getfqdn() if wildcard else self.host)
        return f"[{name}]" if ":" in name else name

    @property
    def database_place(self) -> Path | str:
        return self.database if self.database is not None else self.data_dir / "controller.db"

    @property
    def _common_dir(self) -> Path:
        return self.shared_dir or self.data_dir

    @property
    def artifacts_dir(self) -> Path:
        return self._common_dir / "artifacts"

    @property
    def markers_dir(self) -> Path:
        """One file for each blob whose blocks lie on the broker."""
        return self._common_dir / "published"

    @property
    def conversions_dir(self) -> Path:
        """Logs of conversions, and what the running ones work on."""
        return self._common_dir / "conversions"

    @property
    def broker_dir(self) -> Path:
        return self.data_dir / "broker"


class RunFile(Struct, frozen=True, kw_only=True):
    """Where a running controller answers. `mqtt_host` and `mqtt_port` are for devices on this machine."""

    url: str
    mqtt_host: str
    mqtt_port: int
    broker: str
    fleet: str
    pid: int


def is_loopback(host: str) -> bool:
    """Whether `host` is `localhost` or an address that no other machine can reach."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
