"""`/models`: models and their immutable versions."""

from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from wherry.controller.errors import Invalid, NotFound
from wherry.controller.http import pages
from wherry.controller.http.bodies import answer, read_json
from wherry.controller.http.desk import ACTOR, AtDesk
from wherry.controller.operations import registry
from wherry.controller.operations.registry import VersionView
from wherry.protocol.manifest import Manifest
from wherry.protocol.types import Struct

router = APIRouter(prefix="/models", tags=["models"])


class NewVersion(Struct, frozen=True, kw_only=True):
    """`report` is the converter's, kept as it is. The blobs that the manifest names are uploaded before.

    So is the report's HTML page, whose digest the report has as `page`.
    """

    manifest: Manifest
    report: msgspec.Raw = msgspec.Raw(b"{}")
    notes: str = ""


@router.get("")
async def list_models(desk: AtDesk) -> Response:
    """All models, by name, with the numbers of their versions."""
    return answer(await desk.ledger.run(registry.list_models))


@router.post("/{model}/versions")
async def create_version(model: str, request: Request, desk: AtDesk) -> Response:
    """Number the manifest. The same content again is the same version: 200 instead of 201."""
    body = await read_json(request, NewVersion)
    if body.manifest.model != model:
        raise Invalid(f"the manifest is of the model {body.manifest.model!r}, not {model!r}", "post it there")
    version = await desk.ledger.run(
        registry.create_version,
        body.manifest,
        report=bytes(body.report),
        keep=desk.artifacts.put,
        notes=body.notes,
        now_s=desk.now_s(),
        actor=ACTOR,
    )
    return answer(_show(version), 201 if version.created else 200, Location=f"{request.url.path}/{version.number}")


@router.get("/{model}/versions/{number}")
async def get_version(model: str, number: int, desk: AtDesk) -> Response:
    """One version, with its manifest and its report."""
    return answer(_show(await desk.ledger.run(registry.get_version, f"{model}:{number}")))


@router.get("/{model}/versions/{number}/report")
async def get_report(model: str, number: int, desk: AtDesk) -> Response:
    """The report of the conversion that made the version."""
    version = await desk.ledger.run(registry.get_version, f"{model}:{number}")
    return answer(version.report)


@router.get("/{model}/versions/{number}/report.html")
async def get_report_page(model: str, number: int, desk: AtDesk) -> Response:
    """The same as a page for people. 404 where the version came without one."""
    version = await desk.ledger.run(registry.get_version, f"{model}:{number}")
    if version.report_page is None:
        raise NotFound(
            f"{version} has no page of its report", f"read /api/v1/models/{model}/versions/{number}/report instead"
        )
    return pages.html(desk.artifacts.path(version.report_page))


@router.get("/{model}")
async def get_newest(model: str, desk: AtDesk) -> Response:
    """The newest version."""
    return answer(_show(await desk.ledger.run(registry.get_version, model)))


def _show(version: VersionView) -> dict[str, Any]:
    fields = {name: getattr(version, name) for name in version.__struct_fields__}
    return fields | {"name": str(version), "report": msgspec.Raw(version.report)}
