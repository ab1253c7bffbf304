"""Devices as an operator sees them: what they are, what they run, how it went, what they said."""

from wherry.controller.store.database import Database
from wherry.protocol.down.desired import Assignment
from wherry.protocol.types import Struct
from wherry.protocol.up import Birth, Event
from wherry.protocol.up.log import Level
from wherry.protocol.up.reported import SlotReport
from wherry.protocol.up.telemetry import SystemReading

DEFAULT_PERIOD_S = 3600.0
DEFAULT_LINES = 200


class DeviceView(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """`in_step`: the device has accepted the newest desired document."""

    id: str
    presence: str
    first_seen_s: float
    last_seen_s: float
    birth: Birth | None
    slots: tuple[SlotReport, ...]
    desired: tuple[Assignment, ...]
    in_step: bool


class Reading(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """What one version did in one slot over the period asked for; `accuracy` is correct of labelled."""

    slot: str
    model: str
    version: int
    inferences: int
    errors: int
    labelled: int
    correct: int
    accuracy: float | None
    p50_ms: float | None
    p95_ms: float | None
    last_s: float


class Revert(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """A version that the device refused (`rejected`) or took back (`reverted`) by itself."""

    slot: str
    model: str
    version: int
    result: str
    reason: str
    at_s: float
    received_s: float


class DeviceDetail(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """`events` are the newest, newest first; `readings` by slot and version; `system` the newest."""

    device: DeviceView
    readings: tuple[Reading, ...]
    reverts: tuple[Revert, ...]
    events: tuple[Event, ...]
    system: SystemReading | None


class LogView(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """`id` grows with arrival: ask for what came `after_id`."""

    id: int
    device: str
    received_s: float
    at_s: float
    level: str
    event: str
    fields: dict[str, str]


def list_devices(db: Database) -> list[DeviceView]:
    """By id; removed ones left out."""
    raise NotImplementedError


def get_device(
    db: Database, device: str, *, now_s: float, period_s: float = DEFAULT_PERIOD_S, max_events: int = 100
) -> DeviceDetail:
    """Readings are of the windows received in the last `period_s`. Raises NotFound."""
    raise NotImplementedError


def get_logs(
    db: Database,
    device: str | None = None,
    *,
    after_id: int = 0,
    level: Level = "debug",
    max_lines: int = DEFAULT_LINES,
) -> list[LogView]:
    """The newest lines at `level` or above, oldest first; of one device, or of all. Raises NotFound."""
    raise NotImplementedError


def remove_device(db: Database, device: str, *, now_s: float, actor: str) -> None:
    """Forget a device until it is heard from again. Idempotent. Raises NotFound where it never was."""
    raise NotImplementedError
