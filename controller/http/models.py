"""`/models`: models, their immutable versions and the aliases of those. A version is named by number or alias."""

from functools import partial
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from wherry.controller.core.plan import Positive
from wherry.controller.errors import Invalid, NotFound
from wherry.controller.http import pages, paging
from wherry.controller.http.bodies import answer, read_json
from wherry.controller.http.desk import AtDesk, Desk
from wherry.controller.http.etags import IfMatch, IfNoneMatch, change, look
from wherry.controller.http.paging import Cursor, Limit, one_more, page
from wherry.controller.operations import aliases, deletion, registry, revisions
from wherry.controller.operations.history import history
from wherry.controller.operations.registry import VersionView
from wherry.controller.operations.retirement import retire, unretire
from wherry.controller.operations.revisions import Revision
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
    request: Request,
    desk: AtDesk,
    after: str = Query("", max_length=64),
    cursor: Cursor = None,
    limit: int = Query(1000, ge=1, le=1000),
) -> Response:
    """All models, by name, in pages, with their versions and aliases; those `after` a name."""
    start = paging.after("models", cursor, str) or after
    found = await desk.ledger.run(registry.list_models, after=start, limit=limit + 1)
    return page(request, "models", found, limit, lambda model: model.name)


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
async def list_versions(
    model: str, request: Request, desk: AtDesk, cursor: Cursor = None, limit: Limit = None
) -> Response:
    """The versions of a model, newest first, without their reports; all of them, or in pages of `limit`."""
    before = paging.after("versions", cursor, int)
    found = await desk.ledger.run(registry.list_versions, model, before=before, limit=one_more(limit))
    return page(request, "versions", found, limit, lambda version: version.number, _show_in_list)


@router.get("/{model}/versions/{version}")
async def get_version(model: str, version: str, desk: AtDesk, if_none_match: IfNoneMatch = None) -> Response:
    """One version, with its manifest and its report."""
    return await _look_at(desk, if_none_match, _name(model, version))


@router.patch("/{model}/versions/{version}")
async def edit_version(model: str, version: str, request: Request, desk: AtDesk, if_match: IfMatch = None) -> Response:
    """Change the remark that is kept with it; nothing else of a version ever changes."""
    body = await read_json(request, Remark)
    name, now_s = _name(model, version), desk.now_s()
    found = await change(
        desk, if_match, _revision(name), registry.edit_notes, name, body.notes, now_s=now_s, actor=desk.actor
    )
    return answer(_show(found))


@router.put("/{model}/versions/{version}/retirement")
async def retire_version(
    model: str, version: str, request: Request, desk: AtDesk, if_match: IfMatch = None
) -> Response:
    """Let nobody roll it out any more, or take it back into use. Idempotent; 409 while a rollout or alias needs it."""
    body = await read_json(request, Retirement)
    name = _name(model, version)
    operation = partial(retire, reason=body.reason) if body.retired else unretire
    now_s = desk.now_s()
    found = await change(desk, if_match, _revision(name), operation, name, now_s=now_s, actor=desk.actor)
    return answer(_show(found))


@router.delete("/{model}/versions/{version}")
async def delete_version(model: str, version: str, desk: AtDesk, if_match: IfMatch = None) -> Response:
    """Forget it for good, with the blobs that nothing else names. 409 with everything that uses it."""
    name, now_s = _name(model, version), desk.now_s()
    gone = await change(desk, if_match, _revision(name), deletion.delete_version, name, now_s=now_s, actor=desk.actor)
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


@router.get("/{model}/aliases/{alias}")
async def get_alias(model: str, alias: str, desk: AtDesk, if_none_match: IfNoneMatch = None) -> Response:
    """The version that it names, since when, and who said so."""
    found = partial(aliases.get_alias, model=model, alias=alias)
    return await look(desk, if_none_match, _alias_revision(model, alias), found)


@router.put("/{model}/aliases/{alias}")
async def set_alias(model: str, alias: str, request: Request, desk: AtDesk, if_match: IfMatch = None) -> Response:
    """Name a version, or move the name to it. Idempotent; rollouts that were started stay with the version they had."""
    body = await read_json(request, Alias)
    present, number, now_s = _alias_revision(model, alias), body.version, desk.now_s()
    return answer(
        await change(desk, if_match, present, aliases.set_alias, model, alias, number, now_s=now_s, actor=desk.actor)
    )


@router.delete("/{model}/aliases/{alias}")
async def delete_alias(model: str, alias: str, desk: AtDesk, if_match: IfMatch = None) -> Response:
    """Take the name away; the version stays."""
    present, now_s = _alias_revision(model, alias), desk.now_s()
    return answer(
        await change(desk, if_match, present, aliases.delete_alias, model, alias, now_s=now_s, actor=desk.actor)
    )


@router.get("/{model}")
async def get_newest(model: str, desk: AtDesk, if_none_match: IfNoneMatch = None) -> Response:
    """The newest version."""
    return await _look_at(desk, if_none_match, model)


def _name(model: str, version: str | None = None) -> str:
    """`digits:3`, or `digits@stable`; a colon in either would name something else, and is no name. Raises Invalid."""
    if not is_name(model):
        raise Invalid(f"not a model: {model[:200]!r}", "see `wherry models`")
    if version is None:
        return model
    return f"{model}:{version}" if version.isdecimal() else f"{model}@{version}"


async def _look_at(desk: Desk, if_none_match: str | None, name: str) -> Response:
    return await look(desk, if_none_match, _revision(name), lambda db: _show(registry.get_version(db, name)))


def _revision(name: str) -> Revision:
    return partial(revisions.of_version, text=name)


def _alias_revision(model: str, alias: str) -> Revision:
    return partial(revisions.of_alias, model=model, alias=alias)


def _show_in_list(version: VersionView) -> dict[str, Any]:
    return _show(version) | {"report": None}


def _show(version: VersionView) -> dict[str, Any]:
    fields = {name: getattr(version, name) for name in version.__struct_fields__}
    return fields | {"name": str(version), "report": msgspec.Raw(version.report)}
