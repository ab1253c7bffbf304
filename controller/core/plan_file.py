"""Plans as people write them, in TOML or JSON, and what is wrong with them.

Rules upheld here:
- Every field of the plan can be written, under its own name. `version` is a number or an alias, `target` and `waves`
  may be in the short forms of the command line, and "off" is no limit where a limit can be left out.
- What nobody knows is refused, with the nearest name that there is: a limit that is misspelt must not be lost.
- An error names the file, the key and what to write.
"""

import difflib
import math
import tomllib
from collections.abc import Collection, Mapping
from typing import Any, get_args

import msgspec

from wherry.controller.core.asked_plan import AskedPlan
from wherry.controller.core.plan import FailureClass, RolloutPlan, Target, WaveStep, Window
from wherry.controller.core.targeting import parse_target, parse_waves
from wherry.controller.errors import Invalid

FIELDS = RolloutPlan.__struct_fields__
CAN_BE_OFF = frozenset(
    field.name for field in msgspec.structs.fields(RolloutPlan) if type(None) in get_args(field.type)
)


def read_plan(text: str, where: str) -> dict[str, Any]:
    """What is written in the file `where`, as a plan's fields. Raises Invalid."""
    written = _json(text, where) if where.endswith(".json") else _toml(text, where)
    _refuse_unknown(where, "", written, (*FIELDS, "alias"))
    fields: dict[str, Any] = {}
    for key, value in written.items():
        try:
            fields |= _field(key, value, where)
        except Invalid as error:
            told = error.message if error.message.startswith(where) else f"{where}: {key}: {error.message}"
            raise Invalid(told, error.fix) from error
    return fields


def plan_of(fields: Mapping[str, Any], where: str) -> AskedPlan:
    """The fields as a plan. Raises Invalid."""
    if "model" not in fields:
        raise Invalid(f"{where}: model is missing", 'write a line such as: model = "digits"')
    try:
        return msgspec.convert(dict(fields), AskedPlan)
    except msgspec.ValidationError as error:
        told, _, path = str(error).partition(" - at ")
        key = path.strip("`").removeprefix("$.") or "the plan"
        raise Invalid(
            f"{where}: {key}: {told[:1].lower()}{told[1:]}", "see docs/reference/rollout-plans.md, or `--init`"
        ) from error


def _toml(text: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Invalid(f"{where} is not TOML: {error}", "correct it; `wherry rollout plan --init` shows one") from error


def _json(text: str, where: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError) as error:
        raise Invalid(f"{where} is not a JSON object: {error}", "correct it, or name a TOML file .toml") from error


def _field(key: str, value: Any, where: str) -> dict[str, Any]:
    """One key as the fields that it stands for. Raises Invalid."""
    if isinstance(value, float) and not math.isfinite(value):
        raise Invalid(f"{value:g} is not a number to count to", "write a finite number")
    if value == "off" and key in CAN_BE_OFF:
        return {key: None}
    if key == "version" and isinstance(value, str):
        return {"version": int(value)} if value.isascii() and value.isdigit() else {"alias": value}
    if key == "target":
        return {key: parse_target(value) if isinstance(value, str) else _tables(where, key, value, Target)}
    if key == "waves":
        return {key: _waves(value, where)}
    if key == "windows":
        return {key: _tables(where, key, [value] if isinstance(value, dict) else value, Window)}
    if key == "retries" and isinstance(value, dict):
        _refuse_unknown(where, "retries.", value, get_args(FailureClass))
    return {key: value}


def _waves(value: Any, where: str) -> Any:
    if isinstance(value, str):
        return parse_waves(value)
    if not isinstance(value, list):
        raise Invalid(f"not waves: {value!r}", 'write "1,50%,100%" or [1, "50%", "100%"]')
    if not value:
        raise Invalid("there are none", 'write "1,50%,100%" or [1, "50%", "100%"]')
    return [_step(entry, where) for entry in value]


def _step(entry: Any, where: str) -> Any:
    if isinstance(entry, dict):
        return _tables(where, "waves", entry, WaveStep)
    if isinstance(entry, bool) or not isinstance(entry, int | str) or "," in str(entry):
        raise Invalid(f"not a wave: {entry!r}", 'write a count or a percentage, such as 1 or "50%"')
    return parse_waves(str(entry))[0]


def _tables(where: str, key: str, value: Any, shape: type[msgspec.Struct]) -> Any:
    """The table or the tables as they are. Raises Invalid for keys that the shape does not have."""
    for table in value if isinstance(value, list) else [value]:
        if isinstance(table, dict):
            _refuse_unknown(where, f"{key}.", table, shape.__struct_fields__)
    return value


def _refuse_unknown(where: str, prefix: str, written: Mapping[str, Any], known: Collection[str]) -> None:
    for key in written:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            fix = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            raise Invalid(f"{where}: no such key: {prefix}{key}", fix)


EXAMPLE = """\
# A rollout plan. Only `model` is needed; the other lines show the defaults, or an example behind #.
# Check it with `wherry rollout plan --file FILE`, begin it with `wherry rollout start --plan FILE`.

model = "digits"
# version = 3                      # or an alias, as "stable"; the newest without it
slot = "main"
target = "all"                     # "pi-1,pi-2", "site=hall", "@group" or "site=hall and ram_mb>=2000"
waves = "1,50%,100%"               # devices reached after each wave, counted from the beginning

# What must hold before the next wave is opened.
soak_s = 60
min_devices = 1
min_inferences = 200

# What takes the version back.
on_breach = "revert"               # or "revert-wave", or "hold"
max_failures = 0
max_failure_share = 0.0
device_deadline_s = 3600
wave_deadline_s = 86400            # "off" for none
# deadline_s = 604800
max_error_share = 0.02
max_crash_share = 0.1              # "off" for no limit
max_lost_share = 0.2
lost_after_s = 120
# max_p95_ratio = 1.5              # of that before, by class of hardware
p95_floor_ms = 2
# max_memory_ratio = 1.5
# max_prediction_psi = 0.25
# min_agreement = 0.9              # with that before, on the same inputs
# min_accuracy = 0.9
# max_accuracy_drop = 0.02
min_samples = 50
confidence = 0.95

# How fast, and what is tried again.
# max_sends_per_minute = 100
retry_after_s = 60
late_joiners = "leave"             # or "join"
on_overlap = "refuse"              # or "queue"

# [retries]                        # so many times, by the phase that failed
# download = 2

# [[windows]]                      # versions are sent within these only
# begin = "02:00"
# end = "05:00"
# zone = "Europe/Berlin"
# days = ["mon", "tue", "wed", "thu"]
"""
"""What `wherry rollout plan --init` prints; the defaults in it are those of the plan."""
