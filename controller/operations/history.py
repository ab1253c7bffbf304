"""Who did what to a model, or to one version of it: the audit rows that are of it, and those of its rollouts."""

from sqlalchemy import ColumnElement, String, cast, literal, or_, select

from wherry.controller.core.version_name import parse_version
from wherry.controller.errors import NotFound
from wherry.controller.operations.audit import AuditView, view
from wherry.controller.operations.registry import find_model, find_version
from wherry.controller.store.database import Database
from wherry.controller.store.tables import AuditRow, ModelRow, RolloutRow


def history(db: Database, text: str, *, before_id: int | None = None, max_rows: int = 200) -> list[AuditView]:
    """Newest first: of the model `digits`, also what became of deleted versions; or of the version that `digits:3` or
    `digits@stable` names. Raises Invalid or NotFound.
    """
    model, wanted = parse_version(text)
    with db.read() as session:
        find_model(session, model)
        number = find_version(session, text).number if isinstance(wanted, str) else wanted
        if number is not None and number > session.get_one(ModelRow, model).newest:
            raise NotFound(f"no version {model}:{number}", f"see `wherry models history {model}`")
        rows = select(AuditRow).where(or_(*_of(model, number))).order_by(AuditRow.id.desc()).limit(max_rows)
        if before_id is not None:
            rows = rows.where(AuditRow.id < before_id)
        return [view(row) for row in session.scalars(rows)]


def _of(model: str, number: int | None) -> list[ColumnElement[bool]]:
    rollouts = select(literal("rollout ") + cast(RolloutRow.id, String)).where(RolloutRow.model == model)
    if number is not None:
        of_it = rollouts.where(RolloutRow.version == number)
        return [AuditRow.subject == f"{model}:{number}", AuditRow.subject.in_(of_it)]
    named = [AuditRow.subject.startswith(f"{model}{sign}", autoescape=True) for sign in (":", "@")]
    return [*named, AuditRow.subject.in_(rollouts)]
