"""`wherry devices`: who is there, what they run, how it goes."""

from typing import Annotated, Any, Literal

import typer

from wherry.controller.cli import show
from wherry.controller.cli.options import DEFAULT_URL, Json, Url, Yes, confirm, device_id

app = typer.Typer(help="The devices of the fleet.")

Presence = Literal["online", "offline", "lost", "decommissioned"]

_NONE = "no devices yet: start an agent with `wherry-agent run`"


@app.callback(invoke_without_command=True)
def devices(context: typer.Context, json: Json = False, url: Url = DEFAULT_URL) -> None:
    """The devices of the fleet; lists them without a command."""
    if context.invoked_subcommand is None:
        list_devices(json=json, url=url)


@app.command("list")
def list_devices(
    where: Annotated[str, typer.Option(help="Which: all, ids, labels, a group or a query.")] = "all",
    presence: Annotated[
        Presence | None, typer.Option(help="Only those; decommissioned ones are not listed otherwise.")
    ] = None,
    serving: Annotated[
        str | None, typer.Option(help="Only those that serve digits, digits:3 or digits@stable.")
    ] = None,
    json: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """List the devices with what each slot runs.

    Example: wherry devices list --where 'site=berlin and ram_mb>=2000 and runtime.litert>=2.1'

    Example: wherry devices list --presence lost --serving digits:3
    """
    from wherry.controller.cli.api import Api

    narrowed = {key: value for key, value in (("presence", presence), ("serving", serving)) if value is not None}
    found = Api(url).get("devices", where=where, **narrowed)
    if json:
        show.as_json(found)
        return
    rows = [row for device in found for row in _rows(device)]
    columns = ("device", "presence", "runtime", "slot", "serving", "phase", "in step", "seen")
    show.table(columns, rows, empty=_nobody(where, narrowed))


@app.command("show")
def show_device(
    device: Annotated[str, typer.Argument(help="Its id.")], json: Json = False, url: Url = DEFAULT_URL
) -> None:
    """Show one device: what it can do, its figures of the last hour, its reverts.

    Example: wherry devices show pi-1
    """
    from wherry.controller.cli.api import Api

    found = Api(url).get(f"devices/{device_id(device)}")
    if json:
        show.as_json(found)
        return
    _show(found)


@app.command("story")
def tell_story(
    device: Annotated[str, typer.Argument(help="Its id; also of a removed one.")],
    transitions: Annotated[
        bool, typer.Option("--transitions", help="Each step of an update in a line of its own.")
    ] = False,
    json: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Tell all that was done to a device and that it did, oldest first, and how each version behaved there.

    Example: wherry devices story pi-1
    """
    from wherry.controller.cli.api import Api
    from wherry.controller.cli.device_story import tell

    found = Api(url).get(f"devices/{device_id(device)}/story")
    if json:
        show.as_json(found)
    else:
        tell(found, each_step=transitions)


@app.command("decommission")
def decommission(
    device: Annotated[str, typer.Argument(help="Its id.")],
    reason: Annotated[str, typer.Option(help="Kept in its story.")] = "",
    yes: Yes = False,
    json: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Take a device out of service: no rollout means it, and nothing is asked of it, although it may speak.

    It goes on with what it runs. Its telemetry and logs are not kept.

    Example: wherry devices decommission pi-1 --reason "sold"
    """
    from wherry.controller.cli.api import Api

    api, path = Api(url), f"devices/{device_id(device)}/decommission"
    confirm(f"Take {device} out of service?", yes=yes)
    found = api.put(path, {"reason": reason})
    show.as_json(found) if json else show.say(
        f"{device} is out of service until `wherry devices recommission {device}`"
    )


@app.command("recommission")
def recommission(
    device: Annotated[str, typer.Argument(help="Its id.")], json: Json = False, url: Url = DEFAULT_URL
) -> None:
    """Take a decommissioned device in again. What it is to run is decided by rollouts.

    Example: wherry devices recommission pi-1
    """
    from wherry.controller.cli.api import Api

    found = Api(url).delete(f"devices/{device_id(device)}/decommission")
    show.as_json(found) if json else show.say(f"{device} is in service again")


@app.command("remove")
def remove_device(
    device: Annotated[str, typer.Argument(help="Its id.")],
    yes: Yes = False,
    json: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Forget a device, and what the broker keeps of it. Rollouts count it no more.

    Stop its agent first: a device that is heard from again is known again.

    Example: wherry devices remove pi-1
    """
    from wherry.controller.cli.api import Api

    api, path = Api(url), f"devices/{device_id(device)}"
    confirm(f"Remove {device} from the fleet?", yes=yes)
    removed = api.delete(path)
    if json:
        show.as_json(removed)
    else:
        typer.echo(f"{device} is removed; it is known again as soon as it speaks")


def _nobody(where: str, narrowed: dict[str, str]) -> str:
    if where == "all" and not narrowed:
        return _NONE
    parts = [where] if where != "all" else []
    return f"no device is {' and '.join([*parts, *(f'{key} {value}' for key, value in narrowed.items())])}"


def _rows(device: dict[str, Any]) -> list[tuple[str, ...]]:
    head = (device["id"], presence_of(device), _runtimes(device))
    tail = ("yes" if device["in_step"] else "no", show.age(device["last_seen_s"]))
    slots = [(slot["slot"], show.ref(slot.get("serving")), slot["phase"]) for slot in device["slots"]]
    return [(*head, *slot, *tail) for slot in slots or [("–", "–", "–")]]


def presence_of(device: dict[str, Any]) -> str:
    return "decommissioned" if device["decommissioned_s"] is not None else str(device["presence"])


def _runtimes(device: dict[str, Any]) -> str:
    runtimes = device["birth"]["runtimes"] if device["birth"] else []
    return ", ".join(f"{runtime['family']} {runtime['version']}" for runtime in runtimes) or "–"


def _show(found: dict[str, Any]) -> None:
    device = found["device"]
    birth = device["birth"]
    show.say(f"{device['id']}: {presence_of(device)}, last seen {show.age(device['last_seen_s'])} ago")
    if birth is not None:
        show.say(f"{birth['machine']}, {birth['os']}, {birth['cpu_count']} CPUs, {show.size(birth['ram_bytes'])} RAM")
        show.say(f"runtimes: {_runtimes(device)}")
    if found["system"] is not None:
        show.say(_board(found["system"]))
    columns = ("slot", "version", "inferences", "errors", "p50 ms", "p95 ms", "accuracy", "confidence", "CPU", "last")
    rows = [_reading(reading) for reading in found["readings"]]
    show.table(columns, rows, empty="no figures in the last hour")
    for reading in found["readings"]:
        if reading["predictions"]:
            show.say(f"{reading['slot']} {reading['model']}:{reading['version']} says {_said(reading['predictions'])}")
    for slot in device["slots"]:
        for entry in slot.get("quarantine", ()):
            show.say(f"in quarantine in slot {slot['slot']}: {entry['artifact'][:12]} ({entry['reason']})")
    for revert in found["reverts"]:
        show.say(f"{revert['result']} {revert['model']}:{revert['version']}: {revert['reason']}")


def _reading(reading: dict[str, Any]) -> tuple[object, ...]:
    return (
        reading["slot"],
        f"{reading['model']}:{reading['version']}",
        reading["inferences"],
        reading["errors"],
        show.number(reading["p50_ms"], 2),
        show.number(reading["p95_ms"], 2),
        show.percent(reading["accuracy"]),
        show.percent(reading["confidence"]),
        show.percent(reading["worker_cpu_share"]),
        show.age(reading["last_s"]),
    )


def _said(predictions: list[dict[str, Any]]) -> str:
    return ", ".join(f"class {entry['top']} {show.percent(entry['share'])}" for entry in predictions)


def _board(system: dict[str, Any]) -> str:
    """`CPU 20%, 512.0 MiB RAM and 8.0 GiB disk free, 51.5 °C, held back: under-voltage`; what is not known left out."""
    parts = [
        f"CPU {show.percent(system['cpu_share'])}",
        f"{show.size(system['ram_available_bytes'])} RAM and {show.size(system['disk_free_bytes'])} disk free",
    ]
    if (temperature_c := system.get("temperature_c")) is not None:
        parts.append(f"{temperature_c:.1f} °C")
    if (share := system.get("frequency_share")) is not None:
        parts.append(f"at {show.percent(share)} of its frequency")
    if (throttling := system.get("throttling")) is not None:
        parts.append(f"held back: {', '.join(throttling)}" if throttling else "not held back")
    return ", ".join(parts)
