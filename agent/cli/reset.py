"""`wherry-agent reset`."""

import os
import sys
from pathlib import Path

from wherry.agent.adapters.store import Store
from wherry.agent.cli import show
from wherry.agent.config import Config
from wherry.agent.core.record import DeviceRecord
from wherry.agent.core.reset import forget_all, forget_quarantines, forget_slots
from wherry.agent.errors import SetupError, StateDirUnusable, StoreError


class NotReset(SetupError):
    """Nothing was changed, and why."""


def reset(config: Config, *, slot: str | None, quarantine: bool, everything: bool, yes: bool) -> int:
    """Forget, and say what. Raises SetupError: an agent runs, nobody confirmed, no such slot, the disk refuses."""
    if everything and slot is not None:
        raise NotReset("--all is about every slot; leave --slot out, or --all")
    store = Store(_own(Path(config.state_dir)))
    try:
        names = _chosen(store.record, config, slot)
        changed = _forget(store.record, names, quarantine=quarantine, everything=everything)
        _confirm(_explain(store.record, names, quarantine=quarantine, everything=everything), yes=yes)
        _carry_out(store, changed, everything=everything)
    finally:
        store.close()
    show.say("done; start the agent again")
    return 0


def _own(directory: Path) -> Path:
    """The directory, which must be there and this user's: files that root makes in it the agent could not write."""
    try:
        owner = directory.stat().st_uid
    except OSError as error:
        raise NotReset(f"{directory}: {error.strerror}; there is nothing to forget") from error
    if owner != os.geteuid():
        raise NotReset(f"{directory} is not this user's; do it as its owner: sudo -u '#{owner}' wherry-agent reset …")
    return directory


def _chosen(record: DeviceRecord, config: Config, slot: str | None) -> tuple[str, ...]:
    known = tuple(dict.fromkeys([*config.slots, *record.slots]))
    if slot is not None and slot not in known:
        raise NotReset(f"this device has no slot {slot}; it has {', '.join(known)}")
    return known if slot is None else (slot,)


def _forget(record: DeviceRecord, names: tuple[str, ...], *, quarantine: bool, everything: bool) -> DeviceRecord:
    if everything:
        return forget_all(record)
    return (forget_quarantines if quarantine else forget_slots)(record, names)


def _explain(record: DeviceRecord, names: tuple[str, ...], *, quarantine: bool, everything: bool) -> list[str]:
    found = [(name, record.slot(name)) for name in names]
    if quarantine:
        return [f"slot {name}: forget {len(slot.quarantine)} versions that were found bad" for name, slot in found]
    told = [
        f"slot {name}: forget that it runs {slot.serving or 'nothing'}, and all it was told" for name, slot in found
    ]
    if everything:
        told.append("remove all files of versions, and the events that were not sent yet")
        told.append("forget what time it is at least, which a false clock may have set")
    return [*told, "at its next connection the agent fetches what its controller wants, and serves nothing until then"]


def _confirm(lines: list[str], *, yes: bool) -> None:
    for line in lines:
        show.say(line)
    if yes:
        return
    if not sys.stdin.isatty():
        raise NotReset("nobody is there to confirm; add --yes to do it without asking")
    sys.stdout.write("Do it? [y/N] ")
    sys.stdout.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise NotReset("not confirmed, so nothing was done")


def _carry_out(store: Store, record: DeviceRecord, *, everything: bool) -> None:
    """The record first: files that it does not name are swept with the next document, whatever happens here."""
    try:
        store.save(record)
        if everything:
            store.clear()
    except StoreError as error:
        raise StateDirUnusable(store.directory, str(error)) from error
