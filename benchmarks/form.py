"""The form that every benchmark of the project keeps: machine, versions, n, figure, bare baseline, ratio.

Rules upheld here:
- A figure stands beside a bare baseline that was measured in the same run on the same machine.
- Standard output carries the result and nothing else; progress goes to standard error.
- A benchmark that measured nothing fails with one line, and prints no figure.
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

MIB = 1024 * 1024
ROOT = Path(__file__).resolve().parents[1]
"""Where child processes find `benchmarks` and `tests`."""


class Failed(Exception):
    """What was to be measured did not happen; the message is for a person."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure. `ratio` is `value` in terms of `bare_value`; both are in `unit`."""

    figure: str
    value: float
    unit: str
    n: str
    bare: str
    bare_value: float

    @property
    def ratio(self) -> float:
        return self.value / self.bare_value


@dataclass(frozen=True, kw_only=True)
class Result:
    """`headline` holds the figures that others read by name, some by size; `n` says of how many; `detail` explains."""

    headline: dict[str, float | dict[str, float]]
    n: dict[str, int]
    rows: tuple[Row, ...]
    versions: dict[str, str] = field(default_factory=dict)
    detail: dict[str, float] = field(default_factory=dict)


def joined(results: Sequence[Result]) -> Result:
    """The results of several measures as one; no two may use the same name."""
    return Result(
        headline={key: value for result in results for key, value in result.headline.items()},
        n={key: value for result in results for key, value in result.n.items()},
        rows=tuple(row for result in results for row in result.rows),
        versions={key: value for result in results for key, value in result.versions.items()},
        detail={key: value for result in results for key, value in result.detail.items()},
    )


def main(prog: str, description: str, measure: Callable[[bool], Result]) -> int:
    """Run `measure(quick)` and print its table, or with `--json` its JSON; the exit status."""
    parser = argparse.ArgumentParser(prog=prog, description=description)
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument(
        "--quick", action="store_true", help="few repetitions: shows that it works, the figures are poor"
    )
    options = parser.parse_args()
    facts = machine()
    try:
        result = measure(options.quick)
    except Failed as failure:
        print(f"{prog}: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{prog}: stopped", file=sys.stderr)
        return 130
    print(as_json(result, facts) if options.json else as_table(result, facts))
    return 0


def progress(text: str) -> None:
    print(f"... {text}", file=sys.stderr, flush=True)


Facts = dict[str, str | int | float]


def machine() -> Facts:
    """What the figures depend on, as it is now; nothing that names this machine or its owner."""
    return {
        "cpu": _cpu(),
        "machine": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "ram_gib": round(psutil.virtual_memory().total / 1024**3, 1),
        "kernel": platform.release(),
        "load_1min": round(os.getloadavg()[0], 1),
    }


def versions(*distributions: str) -> dict[str, str]:
    """Of Python and the named distributions; those that are not installed are left out."""
    found = {"python": platform.python_version()}
    for name in distributions:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def as_json(result: Result, machine: Facts) -> str:
    rows = [{**asdict(row), "ratio": row.ratio} for row in result.rows]
    facts = {"machine": machine, "versions": result.versions, "n": result.n, "rows": rows, "detail": result.detail}
    return json.dumps({**result.headline, **facts}, indent=2)


def as_table(result: Result, machine: Facts) -> str:
    """Markdown, so that it can be put into a page as it is."""
    lines = [
        "machine: {cpu} ({machine}), {cores} cores, {ram_gib} GiB".format(**machine),
        "system: Linux {kernel}, load {load_1min} at the start".format(**machine),
        "versions: " + ", ".join(f"{name} {value}" for name, value in result.versions.items()),
        "",
        "| figure | value | n | bare baseline | bare value | ratio |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.figure} | {row.value:.3g} {row.unit} | {row.n} | {row.bare} | {row.bare_value:.3g} {row.unit} "
        f"| {row.ratio:.2f} |"
        for row in result.rows
    ]
    told = [*_by_name(result.headline), *result.detail.items()]
    lines += ["", *(f"{name}: {value:.3g}" for name, value in told)]
    return "\n".join(lines)


def _by_name(headline: dict[str, float | dict[str, float]]) -> Iterator[tuple[str, float]]:
    for name, value in headline.items():
        yield from (
            ((f"{name} {size}", part) for size, part in value.items()) if isinstance(value, dict) else [(name, value)]
        )


def _cpu() -> str:
    """The model of the processor as the kernel tells it; ARM kernels tell the board's instead."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    told = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return told.get("model name") or told.get("Model") or platform.processor() or "unknown"
