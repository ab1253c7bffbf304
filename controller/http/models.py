"""`/models`: models, their immutable versions and the aliases of those. A version is named by number or alias."""

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from wherry.controller.core.plan import Positive
from wherry.controller.errors import Invalid, NotFound
from wherry.controller.http import pages
from wherry.controller.http.bodies import answer, read_json
from wherry.controller.http.desk import AtDesk
from wherry.controller.operations import aliases, deletion, registry
from wherry.controller.operations.history import history
from wherry.controller.operations.registry import VersionView
from wherry.controller.operations.retirement import retire, unretire
from wherry.protocol.manifest import Manifest
from wherry.protocol.types import Struct, is_name

router = APIRouter(prefix="/models", tags=["models"])

BeforeId = Annotated[int | None, Query(ge=1, le=2**53)]


class NewVersion(Struct, frozen=True, kw_only=True):
    """`report` is the converter's, kept as it is. The blobs that the manifest names are uploaded before.

    So is the report's HTML page, whose digest the report has as `page`.
    """

    manifest: Manifest
    report: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(b"{}"))
    notes: str = ""


class Alias(Struct, frozen=True, kw_only=True):
    version: Positive


class Remark(Struct, frozen=True, kw_only=True):
    notes: str


class Retirement(Struct, frozen=True, kw_only=True):
    """`reason` is kept in the audit log."""

    retired: bool
    reason: str = ""


@router.get("")
async def list_models(
    desk: AtDesk, after: str = Query("", max_length=64), limit: int = Query(1000, ge=1, le=1000)
) -> Response:
    """All models, by name, with their versions and aliases; those `after` a name, `limit` of them."""
    return answer(await desk.ledger.run(registry.list_models, after=after, limit=limit))


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
        actor=desk.actor,
    )
    return answer(_show(version), 201 if version.created else 200, Location=f"{request.url.path}/{version.number}")


@router.get("/{model}/versions")
async def list_versions(model: str, desk: AtDesk) -> Response:
    """The versions of a model, newest first, without their reports."""
    found = await desk.ledger.run(registry.list_versions, model)
    return answer([_show(version) | {"report": None} for version in found])


@router.get("/{model}/versions/{version}")
async def get_version(model: str, version: str, desk: AtDesk) -> Response:
    """One version, with its manifest and its report."""
    return answer(_show(await desk.ledger.run(registry.get_version, _name(model, version))))


@router.patch("/{model}/versions/{version}")
async def edit_version(model: str, version: str, request: Request, desk: AtDesk) -> Response:
    """Change the remark that is kept with it; nothing else of a version ever changes."""
    body = await read_json(request, Remark)
    name = _name(model, version)
    return answer(
        _show(await desk.ledger.run(registry.edit_notes, name, body.notes, now_s=desk.now_s(), actor=desk.actor))
    )


@router.put("/{model}/versions/{version}/retirement")
async def retire_version(model: str, version: str, request: Request, desk: AtDesk) -> Response:
    """Let nobody roll it out any more, or take it back into use. Idempotent; 409 while a rollout or alias needs it."""
    body = await read_json(request, Retirement)
    name, now_s = _name(model, version), desk.now_s()
    if body.retired:
        return answer(_show(await desk.ledger.run(retire, name, reason=body.reason, now_s=now_s, actor=desk.actor)))
    return answer(_show(await desk.ledger.run(unretire, name, now_s=now_s, actor=desk.actor)))


@router.delete("/{model}/versions/{version}")
async def delete_version(model: str, version: str, desk: AtDesk) -> Response:
    """Forget it for good, with the blobs that nothing else names. 409 with everything that uses it."""
    gone = await desk.ledger.run(deletion.delete_version, _name(model, version), now_s=desk.now_s(), actor=desk.actor)
    await desk.ledger.run(deletion.let_go, gone.blobs, desk.artifacts.drop)
    return answer(gone)


@router.get("/{model}/versions/{version}/report")
async def get_report(model: str, version: str, desk: AtDesk) -> Response:
    """The report of the conversion that made the version."""
    found = await desk.ledger.run(registry.get_version, _name(model, version))
    return answer(found.report)


@router.get("/{model}/versions/{version}/report.html")
async def get_report_page(model: str, version: str, desk: AtDesk) -> Response:
    """The same as a page for people. 404 where the version came without one."""
    found = await desk.ledger.run(registry.get_version, _name(model, version))
    if found.report_page is None:
        raise NotFound(
            f"{found} has no page of its report", f"read /api/v1/models/{model}/versions/{found.number}/report instead"
        )
    return pages.html(desk.artifacts.path(found.report_page))


@router.get("/{model}/versions/{version}/history")
async def get_version_history(model: str, version: str, desk: AtDesk, before_id: BeforeId = None) -> Response:
    """Who did what to the version, and to rollouts of it; newest first."""
    return answer(await desk.ledger.run(history, _name(model, version), before_id=before_id))


@router.get("/{model}/history")
async def get_history(model: str, desk: AtDesk, before_id: BeforeId = None) -> Response:
    """Who did what to the model, its versions, deleted ones too, aliases and rollouts; newest first."""
    return answer(await desk.ledger.run(history, _name(model), before_id=before_id))


@router.get("/{model}/aliases")
async def list_aliases(model: str, desk: AtDesk) -> Response:
    """The aliases of the model with the versions that they name."""
    return answer((await desk.ledger.run(registry.get_model, model)).aliases)


@router.put("/{model}/aliases/{alias}")
async def set_alias(model: str, alias: str, request: Request, desk: AtDesk) -> Response:
    """Name a version, or move the name to it. Idempotent; rollouts that were started stay with the version they had."""
    body = await read_json(request, Alias)
    now_s = desk.now_s()
    return answer(await desk.ledger.run(aliases.set_alias, model, alias, body.version, now_s=now_s, actor=desk.actor))


@router.delete("/{model}/aliases/{alias}")
async def delete_alias(model: str, alias: str, desk: AtDesk) -> Response:
    """Take the name away; the version stays."""
    return answer(await desk.ledger.run(aliases.delete_alias, model, alias, now_s=desk.now_s(), actor=desk.actor))


@router.get("/{model}")
async def get_newest(model: str, desk: AtDesk) -> Response:
    """The newest version."""
    return answer(_show(await desk.ledger.run(registry.get_version, model)))


def _name(model: str, version: str | None = None) -> str:
    """`digits:3`, or `digits@stable`; a colon in either would name something else, and is no name. Raises Invalid."""
    if not is_name(model):
        raise Invalid(f"not a model: {model[:200]!r}", "see `wherry models`")
    if version is None:
        return model
    return f"{model}:{version}" if version.isdecimal() else f"{model}@{version}"


def _show(version: VersionView) -> dict[str, Any]:
    fields = {name: getattr(version, name) for name in version.__struct_fields__}
    return fields | {"name": str(version), "report": msgspec.Raw(version.report)}
