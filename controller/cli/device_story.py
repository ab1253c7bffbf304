"""A device's story for a person: one line a happening, oldest first, then a table of how each version behaved."""

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from wherry.controller.cli import show

COLOURS = {
    "committed": "green", "online": "green", "worker-recovered": "green", "block-repaired": "green",
    "rejected": "red", "reverted": "red", "worker-crashed": "red", "safe-mode": "red", "silent": "red", "lost": "red",
    "error": "red", "restored": "yellow", "device-decommissioned": "yellow", "device-removed": "yellow",
    "incompatible": "yellow", "offline": "yellow", "sent": "bold",
}  # fmt: skip

COLUMNS = ("version", "answers", "errors", "crashes", "p50/p95 ms", "right", "sure", "memory")
"""As many as 80 columns hold; the slot stands before the version where it is not the usual one."""


def tell(story: dict[str, Any], *, each_step: bool) -> None:
    """Print it; the steps of one update are one line unless `each_step`."""
    for line in _head(story):
        show.say(line)
    if story["cut"]:
        show.say("older events are left out")
    show.say("")
    happenings = story["happenings"] if each_step else list(_folded(story["happenings"]))
    _print_lines(happenings)
    rows = [_reading(reading) for reading in story["readings"]]
    show.table(COLUMNS, rows, empty="no version has answered anything yet")


def _head(story: dict[str, Any]) -> Iterator[str]:
    device = story["device"]
    state = "decommissioned" if device["decommissioned_s"] is not None else device["presence"]
    state = "removed" if story["removed_s"] is not None else state
    yield f"{device['id']}: {state}, last seen {show.age(device['last_seen_s'])} ago"
    for slot in device["slots"]:
        yield f"slot {slot['slot']}: {show.ref(slot.get('serving'))}, {slot['phase']}"
        found = slot.get("agreement")
        if found is not None and found["artifact"] == (slot.get("serving") or {}).get("artifact"):
            yield f"  gave the class of the version before to {found['agreed']} of {found['compared']} inputs"
        for entry in slot.get("quarantine", ()):
            yield f"  in quarantine: {entry['artifact'][:12]}, {entry['reason']}"
    for pin in story["pins"]:
        yield f"slot {pin['slot']} is pinned by {pin['pinned_by']}: {pin['reason']}"


def _print_lines(happenings: list[dict[str, Any]]) -> None:
    """Under each day its moments; what does not fit goes on under its text."""
    from rich.table import Table
    from rich.text import Text

    for day, of_day in groupby(happenings, key=lambda entry: show.moment(entry["at_s"])[:10]):
        lines = Table.grid(padding=(0, 2))
        lines.add_column(no_wrap=True)
        lines.add_column(overflow="fold")
        for entry in of_day:
            words = Text(show.plain(_line(entry)), style=COLOURS.get(entry["kind"], ""))
            lines.add_row(Text("  " + show.moment(entry["at_s"])[11:], style="dim"), words)
        console = show.console()
        console.print(Text(day, style="bold"))
        console.print(lines)


def _line(entry: dict[str, Any]) -> str:
    """`digits:2 was sent by rollout 3, wave 1 of 2, started by ann`."""
    who = entry["actor"]
    by = "" if who is None else f", started by {who}" if entry["rollout"] is not None else f" by {who}"
    why = f": {entry['reason']}" if entry["reason"] else ""
    clock = f" (on its clock {show.moment(entry['device_s'])})" if entry["device_s"] is not None else ""
    return f"{entry['text']}{by}{why}{clock}"


def _folded(happenings: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Steps of one update that follow each other as one happening, at the moment of the first."""
    for key, entries in groupby(happenings, key=_update):
        steps = list(entries)
        if key is None or len(steps) == 1:
            yield from steps
        else:
            yield steps[0] | {"text": _chain(steps), "reason": steps[-1]["reason"]}


def _update(entry: dict[str, Any]) -> tuple[str | None, str | None] | None:
    return (entry["slot"], entry["version"]) if entry["kind"] == "transition" else None


def _chain(steps: list[dict[str, Any]]) -> str:
    """`digits:2: running → preflight → download`."""
    name, _, first = steps[0]["text"].partition(": ")
    phases = first.split(" → ")
    for step in steps[1:]:
        phases.append(step["text"].rpartition(" → ")[2])
    return f"{name}: {' → '.join(phases)}"


def _reading(reading: dict[str, Any]) -> tuple[object, ...]:
    memory, slot = reading["memory_bytes"], reading["slot"]
    return (
        reading["version"] if slot == "main" else f"{slot} {reading['version']}",
        reading["inferences"],
        reading["errors"],
        reading["crashes"],
        f"{show.number(reading['p50_ms'], 1)}/{show.number(reading['p95_ms'], 1)}",
        show.percent(reading["accuracy"]),
        show.percent(reading["confidence"]),
        show.size(memory) if memory is not None else "–",
    )
