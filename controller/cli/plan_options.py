"""The options that make a plan: the same for `wherry rollout start` and `wherry rollout plan`.

Rules upheld here:
- Every field of the plan has an option of its own name, except `windows`, which are written in a file; a test holds it.
- No option has a default of its own. Without it the file of the plan decides, and without a file the plan's default,
  which the help shows: so a file is never overridden by what nobody typed.
- "off" is no limit, where a limit can be left out.
"""

import inspect
from collections.abc import Callable, Mapping
from types import NoneType
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import msgspec
import typer

from wherry.controller.core.plan import FailureClass, RolloutPlan
from wherry.controller.errors import Invalid

Command = TypeVar("Command", bound=Callable[..., None])

PANEL = "The plan"
OFF = "off"
ONLY_IN_FILES = ("windows",)
ELSEWHERE = ("model", "version")
"""Named by the argument of the commands."""

HELP = {
    "slot": "Which slot of the devices.",
    "target": "all, ids (pi-1,pi-2), labels (site=hall,kind=cam), a group (@hall) or a query "
    "('site=hall and ram_mb>=2000').",
    "waves": "Devices reached after each wave: counts or percentages.",
    "soak_s": "Seconds between a settled wave and the next.",
    "min_devices": "Devices that must have committed.",
    "min_inferences": "Inferences that a wave's devices must have answered.",
    "max_failures": "Failed devices allowed, as a count.",
    "max_failure_share": "Failed devices allowed, as a share; the larger allowance holds.",
    "device_deadline_s": "Seconds after which a silent device has failed.",
    "wave_deadline_s": "Seconds after which a wave that is not through is a breach.",
    "deadline_s": "Seconds after which a rollout that has not ended is a breach.",
    "on_breach": "revert: take it back from all. revert-wave: from the open wave. hold: leave it where it was "
    "committed.",
    "max_p95_ratio": "Most that p95 may be, as a multiple of that before.",
    "p95_floor_ms": "A p95 under this is never too slow.",
    "max_error_share": "Share of failed requests allowed.",
    "max_crash_share": "Share of devices allowed on which the worker crashed.",
    "max_memory_ratio": "Most that the worker's memory may be, as a multiple of that before.",
    "max_prediction_psi": "How far the answers may drift from those before, as a population stability index.",
    "min_agreement": "Share of the inputs that devices kept which must be answered as by the version before.",
    "min_accuracy": "Share of labelled inferences that must be right.",
    "max_accuracy_drop": "By how much that share may fall.",
    "max_lost_share": "Share of devices allowed to lose their connection after the switch.",
    "lost_after_s": "Seconds after which such a device is lost.",
    "min_samples": "Inferences, inputs or labels below which errors, latency, drift, agreement and accuracy are not "
    "judged.",
    "confidence": "Confidence of the intervals that shares and ratios are judged by.",
    "max_sends_per_minute": "Devices that it is sent to within a minute, at most.",
    "retries": "How often it is sent again after a failure in a phase: download=2. May be given several times.",
    "retry_after_s": "Seconds after the failure.",
    "late_joiners": "join: also send it to devices that come to match the target later.",
    "on_overlap": "Where another rollout has one of the devices: refuse, or queue until it has ended.",
}

FIELDS = {field.name: field for field in msgspec.structs.fields(RolloutPlan)}
METAVARS = {"slot": "TEXT", "target": "TARGET", "waves": "WAVES", "retries": "PHASE=N"}
SHOWN = {"target": "all", "waves": "1,50%,100%", "retries": "none"}


def takes_a_plan(command: Command) -> Command:
    """The command with the plan's options in the place of its `**options`."""
    signature = inspect.signature(command)
    own = [entry for entry in signature.parameters.values() if entry.kind is not inspect.Parameter.VAR_KEYWORD]
    shown = [entry.replace(kind=inspect.Parameter.KEYWORD_ONLY) for entry in own]
    parameters = [*shown, *(_parameter(name) for name in HELP)]
    command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]  # what Typer reads
    return command


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were given, as fields of a plan. Raises Invalid."""
    from wherry.controller.core.targeting import parse_target, parse_waves

    meanings: dict[str, Callable[[Any], Any]] = {"target": parse_target, "waves": parse_waves, "retries": _retries}
    fields: dict[str, Any] = {}
    for name, value in options.items():
        if value in (None, []):
            continue
        fields[name] = meanings[name](value) if name in meanings else (None if value == OFF else value)
    return fields


def _parameter(name: str) -> inspect.Parameter:
    kind, can_be_off = _kind(FIELDS[name].type)
    choices = get_args(kind) if get_origin(kind) is Literal else ()
    option = typer.Option(
        f"--{name.replace('_', '-')}",
        help=HELP[name] + (' "off" for no limit.' if can_be_off else ""),
        show_default=_shown(name),
        rich_help_panel=PANEL,
        metavar="{" + ",".join(choices) + "}" if choices else METAVARS.get(name, "N"),
        parser=_off_or(kind) if can_be_off else None,
    )
    shape = list[str] if name == "retries" else str if name in SHOWN else kind
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[shape | None, option]
    )


def _kind(hint: Any) -> tuple[Any, bool]:
    """What a value is made of, and whether it may be None."""
    if get_origin(hint) is Annotated:
        return _kind(get_args(hint)[0])
    alternatives = get_args(hint) if NoneType in get_args(hint) else ()
    if alternatives:
        return _kind(next(entry for entry in alternatives if entry is not NoneType))[0], True
    return hint, False


def _shown(name: str) -> str:
    default = FIELDS[name].default
    text = f"{default:g}" if isinstance(default, float) else str(default)
    return SHOWN.get(name) or (OFF if default is None else text)


def _off_or(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    def number(text: str) -> Any:
        return text if text == OFF else kind(text)

    return number


def _retries(written: list[str]) -> dict[str, int]:
    retries = {}
    for entry in ",".join(written).split(","):
        phase, _, times = (part.strip() for part in entry.partition("="))
        if phase not in get_args(FailureClass) or not (times.isascii() and times.isdigit()):
            raise Invalid(
                f"not retries: {entry!r}", f"write download=2; the phases are {', '.join(get_args(FailureClass))}"
            )
        retries[phase] = int(times)
    return retries
