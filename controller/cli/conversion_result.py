"""What `wherry convert` says at its end: the variants in every runtime, remedies, and where the report is."""

from pathlib import Path
from typing import Any

import msgspec
import typer

from wherry.controller.cli import show
from wherry.controller.cli.api import Api

COLUMNS = ("variant", "size", "runtime", "runs from", "agreement", "accuracy (float)", "p50 ms", "remark")


def tell(out_dir: str, report: msgspec.Raw, api: Api | None, *, as_json: bool) -> None:
    """Register the package where `api` says so, and print."""
    from wherry.controller.cli.packages import add_package

    version = add_package(api, Path(out_dir)) if api is not None else None
    if as_json:
        show.as_json({"out_dir": out_dir, "report": report, "version": version})
        return
    found = msgspec.json.decode(report)
    told = rows(found)
    width = len(COLUMNS) if any(row[-1] for row in told) else len(COLUMNS) - 1
    show.table(COLUMNS[:width], [row[:width] for row in told], empty="no runtime was tried")
    for tried in found.get("remedies", ())[1:]:  # the first is the variant without any
        show.say(f"remedy {tried['remedy']}: {tried['detail']}{' – the budget holds' if tried['held'] else ''}")
    page = (Path(out_dir) / "report.html").absolute()
    typer.echo(f"package: {out_dir}")
    typer.echo(f"report: {(version or {}).get('report_url') or page.as_uri()}")
    if version is None:
        typer.echo(f"register it with: wherry models add {out_dir}")
    else:
        typer.echo(f"registered as {version['name']}; roll it out with: wherry rollout start {version['name']}")


def rows(report: dict[str, Any]) -> list[tuple[object, ...]]:
    """A row for each variant in each runtime; a variant that could not be made has its reason."""
    found = []
    for variant in report.get("variants", ()):
        runs = variant.get("runtimes", ())
        if not runs:
            found.append((variant["name"], *["–"] * 6, f"left out: {variant.get('reason', '')}"))
        found += [_row(variant, run) for run in runs]
    return found


def _row(variant: dict[str, Any], run: dict[str, Any]) -> tuple[object, ...]:
    """One variant in one runtime; a family that was left out has its reason and no floor."""
    scores = run.get("scores") or {}
    floor = (run.get("floor") or {}).get("lowest", "–") if run["ok"] else "–"
    remark = variant.get("remark", "") if run["ok"] else f"left out: {run['reason']}"
    return (
        variant["name"],
        show.size(variant.get("artifact_bytes", 0)),
        f"{run['family']} {run['version']}",
        floor,
        show.percent(scores.get("agreement")),
        _accuracy(scores),
        show.number(run.get("p50_ms"), 2),
        remark,
    )


def _accuracy(scores: dict[str, Any]) -> str:
    """A share with half the width of its 95 % interval, and the float model's, as `96.4 ±1.2 % (96.5)`."""
    found, before = scores.get("accuracy"), scores.get("float_accuracy")
    if found is None:
        return "–"
    half = (found["high"] - found["low"]) / 2
    compared = f" ({before['share'] * 100:.1f})" if before else ""
    return f"{found['share'] * 100:.1f} ±{half * 100:.1f} %{compared}"
