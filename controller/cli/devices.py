"""`wherry devices`: who is there, what they run, how it goes."""

from typing import Annotated, Any

import typer

from wherry.controller.cli import show
from wherry.controller.cli.options import DEFAULT_URL, Json, Url, Yes, confirm, device_id

app = typer.Typer(help="The devices of the fleet.")

_NONE = "no devices yet: start an agent with `wherry-agent run`"


@app.callback(invoke_without_command=True)
def devices(context: typer.Context, json: Json = False, url: Url = DEFAULT_URL) -> None:
    """The devices of the fleet; lists them without a command."""
    if context.invoked_subcommand is None:
        list_devices(json=json, url=url)


@app.command("list")
def list_devices(
    where: Annotated[str, typer.Option(help="Which: all, ids, labels or a query.")] = "all",
    json: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """List the devices with what each slot runs.

    Example: wherry devices list --where 'site=berlin and ram_mb>=2000 and runtime.litert>=2.1'
    """
    from wherry.controller.cli.api import Api

    found = Api(url).get("devices", where=where)
    if json:
        show.as_json(found)
        return
    rows = [row for device in found for row in _rows(device)]
    columns = ("device", "presence", "runtime", "slot", "serving", "phase", "in step", "seen")
    show.table(columns, rows, empty=_NONE if where == "all" else f"no device is {where}")


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


def _rows(device: dict[str, Any]) -> list[tuple[str, ...]]:
    head = (device["id"], device["presence"], _runtimes(device))
    tail = ("yes" if device["in_step"] else "no", show.age(device["last_seen_s"]))
    slots = [(slot["slot"], show.ref(slot.get("serving")), slot["phase"]) for slot in device["slots"]]
    return [(*head, *slot, *tail) for slot in slots or [("–", "–", "–")]]


def _runtimes(device: dict[str, Any]) -> str:
    runtimes = device["birth"]["runtimes"] if device["birth"] else []
    return ", ".join(f"{runtime['family']} {runtime['version']}" for runtime in runtimes) or "–"


def _show(found: dict[str, Any]) -> None:
    device = found["device"]
    birth = device["birth"]
    show.say(f"{device['id']}: {device['presence']}, last seen {show.age(device['last_seen_s'])} ago")
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
