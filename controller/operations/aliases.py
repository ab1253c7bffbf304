"""Aliases: names such as `stable` for a version of a model, moved as the fleet moves on.

Rules upheld here:
- An alias is looked up once, when a rollout is planned: moving it later changes no rollout.
- A retired version gets no alias, and one that has an alias is not retired or deleted: what an alias names can be used.
"""

from wherry.controller.core.version_name import check_alias
from wherry.controller.errors import Conflict
from wherry.controller.operations import audit
from wherry.controller.operations.registry import ModelView, find_alias, find_model, find_version, model_view, name_of
from wherry.controller.store.database import Database
from wherry.controller.store.tables import AliasRow
from wherry.protocol.types import Struct


class AliasView(Struct, frozen=True, kw_only=True, omit_defaults=False):
    model: str
    alias: str
    version: int
    changed_s: float
    changed_by: str


def set_alias(db: Database, model: str, alias: str, version: int, *, now_s: float, actor: str) -> ModelView:
    """Name the version, or move the name to it. Idempotent.

    Raises Invalid for a name that is none, NotFound, or Conflict for a version that is retired.
    """
    check_alias(alias)
    with db.write() as session:
        found = find_version(session, f"{model}:{version}")
        row = session.get(AliasRow, (model, alias))
        if row is not None and row.version == version:
            return model_view(session, find_model(session, model))
        if found.retired_s is not None:
            raise Conflict(f"{name_of(found)} is retired", "choose another version, or take it back into use first")
        before = row.version if row is not None else None
        if row is None:
            row = AliasRow(model=model, alias=alias, version=version, changed_s=now_s, changed_by=actor)
            session.add(row)
        row.version, row.changed_s, row.changed_by = version, now_s, actor
        audit.record(session, "alias-set", f"{model}@{alias}", now_s=now_s, actor=actor, version=version, before=before)
        session.flush()
        return model_view(session, find_model(session, model))


def get_alias(db: Database, model: str, alias: str) -> AliasView:
    """Raises NotFound for the model or the alias."""
    with db.read() as session:
        find_model(session, model)
        row = find_alias(session, model, alias)
        return AliasView(
            model=model, alias=alias, version=row.version, changed_s=row.changed_s, changed_by=row.changed_by
        )


def delete_alias(db: Database, model: str, alias: str, *, now_s: float, actor: str) -> ModelView:
    """Raises NotFound for the model or the alias."""
    with db.write() as session:
        find_model(session, model)
        row = find_alias(session, model, alias)
        audit.record(session, "alias-deleted", f"{model}@{alias}", now_s=now_s, actor=actor, before=row.version)
        session.delete(row)
        session.flush()
        return model_view(session, find_model(session, model))
