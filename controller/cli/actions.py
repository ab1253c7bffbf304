"""`wherry devices action`, `actions` and `collected`: one-shot orders to one device, and what they bring."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wherry.controller.cli import show
from wherry.controller.cli.options import DEFAULT_URL, Json, Url, action_id, checked, device_id
from wherry.controller.errors import Invalid, Unavailable
from wherry.protocol.down.action import ActionKind
from wherry.protocol.types import Digest, Name, Struct

if TYPE_CHECKING:
    from wherry.controller.cli.api import Api

POLL_S = 0.5
UPLOAD_GRACE_S = 10.0
"""After the device's answer was seen: its last block may be on its way through the broker still."""

Device = Annotated[str, typer.Argument(help="Its id.")]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to put it; DEVICE-ID.jsonl.gz without it.")
]


class _Order(Struct, frozen=True, kw_only=True):
    kind: ActionKind
    valid_s: float
    slot: Name | None
    artifact: Digest | None


def order(
    device: Device,
    kind: Annotated[ActionKind, typer.Argument(help="What it is to do, once.")],
    slot: Annotated[str | None, typer.Option("--slot", help="Which slot; the first without it.")] = None,
    artifact: Annotated[
        str | None, typer.Option("--artifact", metavar="DIGEST", help="forget-quarantine: only this one.")
    ] = None,
    valid_s: Annotated[
        float, typer.Option(help="The device refuses it later than so many seconds from now.", min=1)
    ] = 300,
    wait: Annotated[
        bool, typer.Option("--wait", help="Stay until the device has answered, and fetch what it sends.")
    ] = False,
    output: Output = None,
    json: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Order something of one device, which does it at most once.

    collect-logs brings the last log lines and the state of the agent; self-test runs the golden vectors of what serves;
    restart-slot starts its worker anew; forget-quarantine lets versions be tried again that were found bad.

    Exit status with --wait: 0 done, 1 refused or not answered in time.

    Example: wherry devices action pi-1 collect-logs --wait
    """
    from wherry.controller.cli.api import Api

    if output is not None and (kind != "collect-logs" or not wait):
        raise Invalid("--output is for what collect-logs --wait brings", "leave it out")
    fields = {"kind": kind, "valid_s": valid_s, "slot": slot, "artifact": artifact}
    asked = checked(fields, _Order, "wherry devices action")
    api, path = Api(url), f"devices/{device_id(device)}"
    sent = api.post(f"{path}/actions", asked)
    if not wait:
        _say(
            sent, f"{kind} is ordered of {device} as {sent['id']}; see `wherry devices actions {device}`", as_json=json
        )
        return
    found = _await_answer(api, path, sent["id"], quiet=json)
    if found["state"] == "done" and kind == "collect-logs":
        found["file"] = str(_save(api, path, device, sent["id"], output))
    _say(found, _told(found), as_json=json)
    if found["state"] != "done":
        raise typer.Exit(1)


def list_actions(device: Device, json: Json = False, url: Url = DEFAULT_URL) -> None:
    """List the newest orders to a device, with their answers."""
    from wherry.controller.cli.api import Api

    found = Api(url).get(f"devices/{device_id(device)}/actions")
    if json:
        show.as_json(found)
        return
    columns = ("id", "kind", "ordered", "state", "brought", "reason")
    show.table(columns, [_row(entry) for entry in found], empty="nothing was ordered of it yet")


def fetch(
    device: Device,
    action: Annotated[str, typer.Argument(metavar="ID", help="The order that brought it.")],
    output: Output = None,
    json: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Fetch what an order collected: a line of JSON an entry, compressed with gzip.

    Example: wherry devices collected pi-1 3f6c0a9d1b2e4f58 -o pi-1.jsonl.gz
    """
    from wherry.controller.cli.api import Api

    path = f"devices/{device_id(device)}"
    saved = _save(Api(url), path, device, action_id(action), output)
    _say({"file": str(saved)}, f"it is in {saved}", as_json=json)


def _await_answer(api: "Api", path: str, action: str, *, quiet: bool) -> dict[str, Any]:
    """The order once it is answered, or too late to be; with what it brings, given a moment after the answer.

    The moment is measured here: this machine's clock may be an hour off the controller's.
    """
    told, done_s = "", float("inf")
    while True:
        found: dict[str, Any] = api.get(f"{path}/actions/{action}")
        line = _progress(found)
        if line != told and not quiet:
            show.say(line)
        told = line
        if found["state"] in ("refused", "late"):
            return found
        if found["state"] == "done":
            done_s = min(done_s, time.monotonic())
            if _is_here(found) or time.monotonic() > done_s + UPLOAD_GRACE_S:
                return found
        time.sleep(POLL_S)


def _is_here(found: dict[str, Any]) -> bool:
    upload = found["upload"]
    return found["action"]["kind"] != "collect-logs" or bool(upload and upload["complete"])


def _progress(found: dict[str, Any]) -> str:
    upload = found["upload"]
    if upload is None or upload["complete"]:
        return f"{found['action']['kind']} {found['action']['id']}: {found['state']}"
    return f"{found['action']['id']}: {upload['blocks_here']} of {upload['blocks']} blocks"


def _save(api: "Api", path: str, device: str, action: str, output: Path | None) -> Path:
    data = api.get_bytes(f"{path}/logs/{action}")
    file = output or Path(f"{device}-{action}.jsonl.gz")
    try:
        file.write_bytes(data)
    except OSError as error:
        raise Unavailable(f"cannot write {file}: {error.strerror}", "name another file with --output") from error
    return file


def _say(found: object, text: str, *, as_json: bool) -> None:
    if as_json:
        show.as_json(found)
    else:
        show.say(text)


def _told(found: dict[str, Any]) -> str:
    reason = f": {found['reason']}" if found["reason"] else ""
    told = {"late": ": no answer in time; it may be away, or was restarted meanwhile"}.get(found["state"], reason)
    where = f"; it is in {found['file']}" if "file" in found else ""
    return f"{found['action']['kind']} is {found['state']}{told}{where}"


def _row(found: dict[str, Any]) -> tuple[str, ...]:
    upload = found["upload"]
    brought = "–" if upload is None else show.size(upload["size_bytes"]) if upload["complete"] else _progress(found)
    action = found["action"]
    reason = show.short(found["reason"]) or "–"
    return (action["id"], action["kind"], f"{show.age(found['ordered_s'])} ago", found["state"], brought, reason)
