"""What an operator does with a rollout that is under way, and with slots that must stay: each a command of its own."""

from typing import Annotated, Any

import typer

from wherry.controller.cli import show
from wherry.controller.cli.follow import headline
from wherry.controller.cli.options import DEFAULT_URL, Json, Slot, Url, Yes, confirm, device_id

Id = Annotated[int, typer.Argument(help="Its number, as in `wherry rollout list`.", min=1)]
Gate = Annotated[str, typer.Argument(help="Its name, as in `wherry rollout show`.")]
Device = Annotated[str, typer.Argument(help="Its id.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; it is kept in the audit log.")]
MAX_NAMED = 5


def promote(
    rollout: Id,
    reason: Reason = "",
    wave: Annotated[int | None, typer.Option(help="The wave to open; the next one without it.", min=2)] = None,
    yes: Yes = False,
    json: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Open the next wave although evidence is missing. Never past a gate that says breach.

    Example: wherry rollout promote 7 --reason "no traffic at night, looked at by hand"
    """
    from wherry.controller.cli.api import Api

    api = Api(url)
    found = api.get(f"rollouts/{rollout}")
    opened = wave if wave is not None else found["wave"] + 1
    confirm(f"Open wave {opened} of {found['wave_count']} without waiting for evidence?", yes=yes)
    _told(api.post(f"rollouts/{rollout}/promote", {"wave": opened, "reason": reason}), as_json=json)


def hold(rollout: Id, reason: Reason = "", yes: Yes = False, json: Json = False, url: Url = DEFAULT_URL) -> None:
    """End a rollout as it is: who committed it keeps it, the others go on with what they had.

    Example: wherry rollout hold 7 --reason "the line is being rebuilt"
    """
    from wherry.controller.cli.api import Api

    api = Api(url)
    api.get(f"rollouts/{rollout}")
    confirm(f"Hold rollout {rollout} where it is?", yes=yes)
    _told(api.post(f"rollouts/{rollout}/hold", {"reason": reason}), as_json=json)


def retry(rollout: Id, reason: Reason = "", json: Json = False, url: Url = DEFAULT_URL) -> None:
    """Send the version again to the devices that failed with it. One that was held is carried on with.

    A device that holds the file in quarantine is not sent it again: see `wherry devices action … forget-quarantine`.

    Example: wherry rollout retry 7
    """
    from wherry.controller.cli.api import Api

    found = Api(url).post(f"rollouts/{rollout}/retry", {"reason": reason})
    if json:
        show.as_json(found)
        return
    again = found["again"]
    show.say(f"sent again to {len(again)} devices{_named(again)}")
    for device, why in found["left"].items():
        show.say(f"not to {device}: {why}")
    show.say(headline(found["rollout"]))


def override(
    rollout: Id,
    gate: Gate,
    reason: Annotated[str, typer.Option("--reason", help="Why, in ten characters or more.")],
    yes: Yes = False,
    json: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Overrule a gate of one rollout, in an emergency: it counts as ok from now on, and says who overruled it.

    Example: wherry rollout override 7 latency --reason "the new camera is slower, agreed with Ann"
    """
    from wherry.controller.cli.api import Api

    confirm(f"Let rollout {rollout} go on whatever the gate {gate} says?", yes=yes)
    _told(Api(url).put(f"rollouts/{rollout}/overrides/{gate}", {"reason": reason}), as_json=json)


def withdraw(rollout: Id, gate: Gate, json: Json = False, url: Url = DEFAULT_URL) -> None:
    """Let a gate that was overruled judge again.

    Example: wherry rollout withdraw 7 latency
    """
    from wherry.controller.cli.api import Api

    _told(Api(url).delete(f"rollouts/{rollout}/overrides/{gate}"), as_json=json)


def verdicts(
    rollout: Id,
    last: Annotated[int, typer.Option(help="How many, the newest first.", min=1, max=1000)] = 20,
    json: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Show what the gates said whenever that changed, with the numbers that each verdict follows from.

    Example: wherry rollout verdicts 7
    """
    from wherry.controller.cli.api import Api

    found = Api(url).get(f"rollouts/{rollout}/verdicts", limit=last)
    if json:
        show.as_json(found)
        return
    rows = [row for verdict in found for row in _gates(verdict)]
    show.table(("when", "wave", "gate", "verdict", "because"), rows, empty="no gate has been asked yet")


def pin(
    device: Device,
    reason: Annotated[str, typer.Option("--reason", help="Why it must stay as it is.")],
    slot: Slot = "main",
    json: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Let no rollout and no rollback that begins from now on move a slot of a device.

    Example: wherry devices pin pi-1 --reason "the reference of the lab"
    """
    from wherry.controller.cli.api import Api

    found = Api(url).put(f"devices/{device_id(device)}/pins/{slot}", {"reason": reason})
    if json:
        show.as_json(found)
    else:
        show.say(f"slot {slot} of {device} stays as it is, until `wherry devices unpin {device} --slot {slot}`")


def unpin(device: Device, slot: Slot = "main", json: Json = False, url: Url = DEFAULT_URL) -> None:
    """Let a pinned slot be moved again.

    Example: wherry devices unpin pi-1
    """
    from wherry.controller.cli.api import Api

    found = Api(url).delete(f"devices/{device_id(device)}/pins/{slot}")
    if json:
        show.as_json(found)
    else:
        was = "is pinned no more" if found["was_pinned"] else "was not pinned"
        show.say(f"slot {slot} of {device} {was}")


def list_pins(json: Json = False, url: Url = DEFAULT_URL) -> None:
    """List the slots that are pinned, and why."""
    from wherry.controller.cli.api import Api

    found = Api(url).get("pins")
    if json:
        show.as_json(found)
        return
    rows = [
        (entry["device"], entry["slot"], entry["pinned_by"], show.age(entry["pinned_s"]), entry["reason"])
        for entry in found
    ]
    show.table(("device", "slot", "by", "age", "reason"), rows, empty="nothing is pinned")


def _told(rollout: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        show.as_json(rollout)
    else:
        show.say(headline(rollout))


def _named(devices: list[str]) -> str:
    more = f" and {len(devices) - MAX_NAMED} more" if len(devices) > MAX_NAMED else ""
    return f": {', '.join(devices[:MAX_NAMED])}{more}" if devices else ""


def _gates(verdict: dict[str, Any]) -> list[tuple[object, ...]]:
    """What is not ok; where all is, that."""
    told = [gate for gate in verdict["results"] if gate["verdict"] != "ok"]
    when, wave = show.age(verdict["at_s"]), verdict["wave"]
    if not told:
        return [(when, wave, "all", "ok", "")]
    return [(when, wave, gate["gate"], gate["verdict"], gate["reason"]) for gate in told]
