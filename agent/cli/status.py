"""`wherry-agent status`."""

from pathlib import Path

import msgspec

from wherry import __version__
from wherry.agent.adapters import control
from wherry.agent.adapters.control import NoAnswer, Request
from wherry.agent.adapters.store.record import RecordFile
from wherry.agent.cli import show
from wherry.agent.config import Config
from wherry.agent.core.record import DeviceRecord
from wherry.agent.core.status import SlotStatus, Status, slot_status
from wherry.agent.errors import SetupError, StoreError


class StateDirUnreadable(SetupError):
    """Not by this user, or by nobody."""


def status(config: Config, *, as_json: bool) -> int:
    """Print it; exit status 0 where an agent runs and answers, else 1. Raises NewerFormat."""
    try:
        found, remark = from_agent(config), ""
    except NoAnswer as error:
        found, remark = from_disk(config), str(error)
    if as_json:
        show.as_json(found)
    else:
        _print(found, remark)
    return 0 if found.running else 1


def from_agent(config: Config) -> Status:
    """What the running agent says. Raises NoAnswer."""
    answer = control.ask(Path(config.data_plane.directory), Request("status"))
    try:
        return msgspec.json.decode(answer, type=Status)
    except msgspec.DecodeError as error:
        raise NoAnswer("another version of the agent answers", present=True) from error


def from_disk(config: Config) -> Status:
    """What the record says; read without the lock, so an agent that runs is not disturbed. Raises SetupError."""
    file, events = RecordFile(Path(config.state_dir)), Path(config.state_dir) / "events"
    try:
        record = file.load() or DeviceRecord()
        waiting = [path for path in events.iterdir() if path.name.isdigit()] if events.is_dir() else []
    except (StoreError, OSError) as error:
        raise StateDirUnreadable(f"{config.state_dir}: {error}; ask as root or as the agent's user") from error
    return Status(
        device=config.device, fleet=config.fleet, agent_version=__version__, running=False,
        broker=f"{config.broker.host}:{config.broker.port}", state_dir=config.state_dir, boots=record.boots,
        order=(record.epoch, record.generation),
        slots=tuple(slot_status(name, record.slot(name)) for name in config.slots),
        events_waiting=len(waiting), damaged_copies=file.damaged,
    )  # fmt: skip


def _print(found: Status, remark: str) -> None:
    show.pairs([
        ("device", f"{found.device} of fleet {found.fleet}"),
        ("agent", _agent(found, remark)),
        ("broker", f"{found.broker}{_connected(found)}"),
        ("accepted", f"document {found.order[1]} of epoch {found.order[0]}" if any(found.order) else "nothing yet"),
        ("state", f"{found.state_dir}, start {found.boots}, {found.events_waiting} events wait to be sent"),
        ("damaged", ", ".join(found.damaged_copies)),
    ])  # fmt: skip
    for slot in found.slots:
        show.say()
        show.say(f"slot {slot.slot}: {slot.phase}" + (f", serves {slot.serving}" if slot.serving else ""))
        show.pairs(_slot(slot), indent="  ")


def _agent(found: Status, remark: str) -> str:
    if found.running:
        return f"{found.agent_version}, runs since {show.moment(found.started_s)}"
    return f"not running ({remark}); what follows is what it left on disk"


def _connected(found: Status) -> str:
    return "" if found.connected is None else ", connected" if found.connected else ", NOT connected"


def _slot(slot: SlotStatus) -> list[tuple[str, str]]:
    outcome = f"{slot.attempted} {slot.result}" + (f": {slot.reason}" if slot.reason else "") if slot.result else ""
    entries = [("trying", slot.candidate), *_worker(slot), ("last attempt", outcome)]
    entries += [("quarantine", f"{entry.artifact[:12]} {entry.reason}") for entry in slot.quarantine]
    return entries + [("socket", path) for path in slot.sockets]


def _worker(slot: SlotStatus) -> list[tuple[str, str]]:
    worker = slot.worker
    if worker is None:
        return []
    process = "none" if worker.pid is None else f"process {worker.pid}, {show.mib(worker.rss_bytes)}"
    p95 = "" if worker.p95_ms is None else f", p95 {worker.p95_ms:.3g} ms"
    return [
        ("since", show.moment(worker.since_s)),
        ("worker", process),
        ("inferences", f"{worker.inferences}, {worker.errors} errors{p95}"),
    ]
