"""`wherry rollout`: a version to the fleet, wave by wave."""

from typing import Annotated, Any

import typer

from wherry.controller.cli import show
from wherry.controller.cli.follow import GOOD, follow, headline, picture
from wherry.controller.cli.options import DEFAULT_URL, Json, Slot, Target, Url, Yes, confirm
from wherry.controller.core.plan import OnAbort, OnBreach, RolloutPlan

app = typer.Typer(help="Bring a version to the fleet, wave by wave, and watch it.")

Id = Annotated[int, typer.Argument(help="Its number, as in `wherry rollout list`.", min=1)]
_DEFAULTS = RolloutPlan(model="x", version=1)


@app.command("start")
def start(
    version: Annotated[str, typer.Argument(help="digits:3, or digits for the newest.")],
    target: Target = "all",
    slot: Slot = "main",
    waves: Annotated[str, typer.Option(help="Devices reached after each wave: counts or percentages.")] = "1,50%,100%",
    soak_s: Annotated[float, typer.Option(help="Seconds between a settled wave and the next.")] = _DEFAULTS.soak_s,
    min_devices: Annotated[int, typer.Option(help="Devices that must have committed.")] = _DEFAULTS.min_devices,
    min_inferences: Annotated[
        int, typer.Option(help="Inferences that a wave's devices must have answered.")
    ] = _DEFAULTS.min_inferences,
    max_failures: Annotated[int, typer.Option(help="Failed devices allowed, as a count.")] = _DEFAULTS.max_failures,
    max_failure_share: Annotated[
        float, typer.Option(help="Failed devices allowed, as a share; the larger allowance holds.")
    ] = _DEFAULTS.max_failure_share,
    max_error_share: Annotated[
        float, typer.Option(help="Share of failed requests allowed.")
    ] = _DEFAULTS.max_error_share,
    max_p95_ratio: Annotated[
        float | None, typer.Option(help="Most that p95 may be, as a multiple of that before; no limit without it.")
    ] = None,
    p95_floor_ms: Annotated[float, typer.Option(help="A p95 under this is never too slow.")] = _DEFAULTS.p95_floor_ms,
    min_samples: Annotated[
        int, typer.Option(help="Inferences below which errors and latency are not judged.")
    ] = _DEFAULTS.min_samples,
    device_deadline_s: Annotated[
        float, typer.Option(help="Seconds after which a silent device has failed.")
    ] = _DEFAULTS.device_deadline_s,
    on_breach: Annotated[
        OnBreach, typer.Option(help="revert: take it back from all. hold: leave it where it was committed.")
    ] = _DEFAULTS.on_breach,
    paused: Annotated[bool, typer.Option("--paused", help="Plan it, and send nothing until `resume`.")] = False,
    explain: Annotated[bool, typer.Option("--explain", help="Say what would be done, and do nothing.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Stay until it has ended.")] = False,
    json: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Begin a rollout. It promotes itself on evidence, and takes the version back on a breach.

    Example: wherry rollout start digits:2 --waves 1,50%,100% --watch

    Example: wherry rollout start digits --target site=hall --max-p95-ratio 1.5 --explain
    """
    from wherry.controller.cli.api import Api
    from wherry.controller.cli.options import checked
    from wherry.controller.core.targeting import parse_target, parse_waves

    api = Api(url)
    model, number = _resolve(api, version)
    fields = {
        "model": model,
        "version": number,
        "slot": slot,
        "target": parse_target(target),
        "waves": parse_waves(waves),
        "soak_s": soak_s,
        "min_devices": min_devices,
        "min_inferences": min_inferences,
        "max_failures": max_failures,
        "max_failure_share": max_failure_share,
        "max_error_share": max_error_share,
        "max_p95_ratio": max_p95_ratio,
        "p95_floor_ms": p95_floor_ms,
        "min_samples": min_samples,
        "device_deadline_s": device_deadline_s,
        "on_breach": on_breach,
    }
    body = {"plan": checked(fields, RolloutPlan, "wherry rollout start"), "paused": paused}
    if explain:
        text = api.post("rollouts/explain", body)
        show.as_json(text) if json else typer.echo(text["text"], nl=False)
        return
    started = api.post("rollouts", body)
    if watch:
        follow(api, started["id"], as_json=json)
    else:
        _told(started, as_json=json)


@app.command("watch")
def watch(rollout: Id, json: Json = False, url: Url = DEFAULT_URL) -> None:
    """Watch a rollout until it has ended.

    Exit status 0 where it completed; 1 otherwise, or where a rollback did not bring every device back.

    With --json one document a line, each time that something has changed.
    """
    from wherry.controller.cli.api import Api

    follow(Api(url), rollout, as_json=json)


@app.command("show")
def show_rollout(rollout: Id, json: Json = False, url: Url = DEFAULT_URL) -> None:
    """Show a rollout as it stands: devices, gates, reasons."""
    from wherry.controller.cli.api import Api

    found = Api(url).get(f"rollouts/{rollout}")
    if json:
        show.as_json(found)
    else:
        show.console().print(picture(found))


@app.command("list")
def list_rollouts(json: Json = False, url: Url = DEFAULT_URL) -> None:
    """List the rollouts and rollbacks, newest first."""
    from wherry.controller.cli.api import Api

    found = Api(url).get("rollouts")
    if json:
        show.as_json(found)
        return
    columns = ("id", "kind", "version", "state", "wave", "devices", "age", "reason")
    show.table(columns, [_row(entry) for entry in found], empty="no rollouts yet: `wherry rollout start`")


@app.command("pause")
def pause(rollout: Id, json: Json = False, url: Url = DEFAULT_URL) -> None:
    """Send and promote nothing more. A breach still acts."""
    _order(rollout, "pause", {}, url, as_json=json)


@app.command("resume")
def resume(rollout: Id, json: Json = False, url: Url = DEFAULT_URL) -> None:
    """Carry on after `pause`."""
    _order(rollout, "resume", {}, url, as_json=json)


@app.command("abort")
def abort(
    rollout: Id,
    restore: Annotated[
        OnAbort,
        typer.Option(help="keep: who committed it keeps it, the others go on with what they had. revert: from all."),
    ] = "keep",
    yes: Yes = False,
    json: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Stop a rollout for good.

    Example: wherry rollout abort 7 --restore revert
    """
    from wherry.controller.cli.api import Api

    Api(url).get(f"rollouts/{rollout}")
    what = (
        "and take the version back from every device" if restore == "revert" else "and leave it where it was committed"
    )
    confirm(f"Abort rollout {rollout} {what}?", yes=yes)
    _order(rollout, "abort", {"restore": restore}, url, as_json=json)


def _order(rollout: int, what: str, body: dict[str, str], url: str, *, as_json: bool) -> None:
    from wherry.controller.cli.api import Api

    _told(Api(url).post(f"rollouts/{rollout}/{what}", body), as_json=as_json)


def _told(rollout: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        show.as_json(rollout)
        return
    show.say(headline(rollout))
    if rollout["live"]:
        typer.echo(f"watch it with: wherry rollout watch {rollout['id']}")


def _resolve(api: Any, version: str) -> tuple[str, int]:
    from wherry.controller.cli.models import path_of

    found = api.get(path_of(version))
    return found["model"], found["number"]


def _row(rollout: dict[str, Any]) -> tuple[object, ...]:
    wave = f"{rollout['wave']}/{rollout['wave_count']}"
    counts, age = show.counts(rollout["counts"]), show.age(rollout["created_s"])
    kind, state = rollout["kind"], rollout["state"]
    reason = "" if state == GOOD else show.short(rollout["reason"])
    return rollout["id"], kind, show.plan_of(rollout), state, wave, counts, age, reason
