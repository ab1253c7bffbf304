"""What `wherry convert` says at its end: the variants in every runtime, remedies, and where the report is."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import typer

from wherry.controller.cli import show
from wherry.controller.cli.api import Api

COLUMNS = ("variant", "size", "runtime", "runs from", "agreement", "accuracy (float)", "p50 ms")


def tell(out_dir: str, report: msgspec.Raw, api: Api | None, *, as_json: bool) -> None:
    """Register the package where `api` says so, and print."""
    from wherry.controller.cli.packages import add_package

    version = add_package(api, Path(out_dir)) if api is not None else None
    if as_json:
        show.as_json({"out_dir": out_dir, "report": report, "version": version})
        return
    found = msgspec.json.decode(report)
    show.table(COLUMNS, rows(found), empty="no runtime was tried")
    for line in remarks(found):
        show.say(line)
    for tried in found.get("remedies", ()):
        if tried["remedy"] != "none":
            show.say(f"remedy {tried['remedy']}: {tried['detail']}{' – the budget holds' if tried['held'] else ''}")
    page = (Path(out_dir) / "report.html").absolute()
    typer.echo(f"package: {out_dir}")
    typer.echo(f"report: {(version or {}).get('report_url') or page.as_uri()}")
    if version is None:
        typer.echo(f"register it with: wherry models add {out_dir}")
    else:
        typer.echo(f"registered as {version['name']}; roll it out with: wherry rollout start {version['name']}")


def rows(report: dict[str, Any]) -> list[tuple[object, ...]]:
    """A row for each variant in each runtime that tried it; one that was left out has no floor."""
    return [_row(variant, run) for variant in report.get("variants", ()) for run in variant.get("runtimes", ())]


def remarks(report: dict[str, Any]) -> Iterator[str]:
    """What is to be said of variants, and why one was left out, in a runtime or altogether."""
    for variant in report.get("variants", ()):
        runs = variant.get("runtimes", ())
        if variant.get("remark"):
            yield f"{variant['name']}: {variant['remark']}"
        if not runs:
            yield f"{variant['name']} is left out: {variant.get('reason', '')}"
        for run in runs:
            if not run["ok"]:
                yield f"{variant['name']} is left out of {run['family']} {run['version']}: {run['reason']}"


def _row(variant: dict[str, Any], run: dict[str, Any]) -> tuple[object, ...]:
    scores = run.get("scores") or {}
    return (
        variant["name"],
        show.size(variant.get("artifact_bytes", 0)),
        f"{run['family']} {run['version']}",
        (run.get("floor") or {}).get("lowest", "–") if run["ok"] else "left out",
        show.percent(scores.get("agreement")),
        _accuracy(scores),
        show.number(run.get("p50_ms"), 2),
    )


def _accuracy(scores: dict[str, Any]) -> str:
    """A share with half the width of its 95 % interval, and the float model's, as `96.4 ±1.2 % (96.5)`."""
    found, before = scores.get("accuracy"), scores.get("float_accuracy")
    if found is None:
        return "–"
    half = (found["high"] - found["low"]) / 2
    compared = f" ({before['share'] * 100:.1f})" if before else ""
    return f"{found['share'] * 100:.1f} ±{half * 100:.1f} %{compared}"
