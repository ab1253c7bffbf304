"""`wherry rollout`: a version to the fleet, wave by wave."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from wherry.controller.cli import show
from wherry.controller.cli.follow import GOOD, follow, headline, picture
from wherry.controller.cli.options import DEFAULT_URL, Json, Url, Yes, confirm
from wherry.controller.cli.plan import PlanFile, Version, asked_plan, outlook, plan, tell
from wherry.controller.cli.plan_options import takes_a_plan
from wherry.controller.core.asked_plan import AskedPlan
from wherry.controller.core.plan import OnAbort, Target

if TYPE_CHECKING:
    from wherry.controller.cli.api import Api

app = typer.Typer(help="Bring a version to the fleet, wave by wave, and watch it.")

Id = Annotated[int, typer.Argument(help="Its number, as in `wherry rollout list`.", min=1)]
MAX_AT_ONCE = 10
"""So many devices of the whole fleet may be sent a version in one wave without a question."""


@app.command("start")
@takes_a_plan
def start(
    version: Version = None,
    file: PlanFile = None,
    paused: Annotated[bool, typer.Option("--paused", help="Plan it, and send nothing until `resume`.")] = False,
    explain: Annotated[bool, typer.Option("--explain", help="The same as `wherry rollout plan`.", hidden=True)] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Stay until it has ended.")] = False,
    yes: Yes = False,
    json: Json = False,
    url: Url = DEFAULT_URL,
    **options: Any,
) -> None:
    """Begin a rollout. It promotes itself on evidence, and takes the version back on a breach.

    Example: wherry rollout start digits:2 --waves 1,50%,100% --watch

    Example: wherry rollout start --plan careful.toml --target site=hall

    Example: wherry rollout start digits@stable --max-p95-ratio 1.5 --retries download=2 --on-overlap queue
    """
    from wherry.controller.cli.api import Api

    api = Api(url)
    asked = asked_plan(version, file, options, "wherry rollout start")
    if explain:
        tell(api, asked, everything=True, as_json=json)
        return
    _confirm_all_at_once(api, asked, yes=yes)
    started = api.post("rollouts", {"plan": asked, "paused": paused})
    if watch:
        follow(api, started["id"], as_json=json)
    else:
        _told(started, as_json=json)


app.command("plan")(plan)


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


def _confirm_all_at_once(api: "Api", asked: AskedPlan, *, yes: bool) -> None:
    """The whole fleet in one wave has no canary, so nobody should do it by a slip of the hand."""
    first = asked.waves[0]
    may_be_one_wave = first.amount == 100 if first.percent else first.amount > MAX_AT_ONCE
    if yes or asked.target != Target() or not may_be_one_wave:
        return
    waves = outlook(api, asked)["waves"]
    count = len(waves[0]["devices"])
    if len(waves) == 1 and count > MAX_AT_ONCE:
        confirm(f"Send {asked.version_name} to all {count} devices at once?", yes=yes)


def _row(rollout: dict[str, Any]) -> tuple[object, ...]:
    wave = f"{rollout['wave']}/{rollout['wave_count']}" if rollout["state"] != "queued" else "–"
    counts, age = show.counts(rollout["counts"]), show.age(rollout["created_s"])
    kind, state = rollout["kind"], rollout["state"]
    reason = "" if state == GOOD else show.short(rollout["reason"])
    return rollout["id"], kind, show.plan_of(rollout), state, wave, counts, age, reason
