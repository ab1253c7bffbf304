"""Aliases, groups, pins and tokens; what rollouts need to retry, queue, overrule and explain; sums of behaviour."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _registry()
    _fleet()
    _rollouts()
    op.create_table(
        "tokens",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("created_s", sa.Double(), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("expires_s", sa.Double(), nullable=True),
        sa.Column("revoked_s", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("name"),
        sa.UniqueConstraint("digest"),
    )
    op.create_index("audit_by_subject", "audit", ["subject", "id"])


def _registry() -> None:
    with op.batch_alter_table("models") as models:
        models.add_column(sa.Column("newest", NUMBER, nullable=False, server_default="0"))
    op.execute(
        "UPDATE models SET newest = (SELECT coalesce(max(number), 0) FROM versions WHERE versions.model = models.name)"
    )
    with op.batch_alter_table("versions") as versions:
        versions.add_column(sa.Column("retired_s", sa.Double(), nullable=True))
    op.create_table(
        "aliases",
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("alias", sa.String(), nullable=False),
        sa.Column("version", NUMBER, nullable=False),
        sa.Column("changed_s", sa.Double(), nullable=False),
        sa.Column("changed_by", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["model", "version"], ["versions.model", "versions.number"]),
        sa.PrimaryKeyConstraint("model", "alias"),
    )


def _fleet() -> None:
    with op.batch_alter_table("devices") as devices:
        devices.add_column(sa.Column("presence_s", sa.Double(), nullable=False, server_default="0"))
        devices.add_column(sa.Column("decommissioned_s", sa.Double(), nullable=True))
    op.execute("UPDATE devices SET presence_s = last_seen_s")
    op.create_table(
        "groups",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("query", sa.String(), nullable=False),
        sa.Column("changed_s", sa.Double(), nullable=False),
        sa.Column("changed_by", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "pins",
        sa.Column("device", sa.String(), nullable=False),
        sa.Column("slot", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("pinned_s", sa.Double(), nullable=False),
        sa.Column("pinned_by", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["device"], ["devices.id"]),
        sa.PrimaryKeyConstraint("device", "slot"),
    )


def _nothing() -> sa.TextClause:
    """`[]` as bytes, in the words of the database."""
    return sa.text("X'5B5D'" if op.get_bind().dialect.name == "sqlite" else "'[]'::bytea")


def _rollouts() -> None:
    """Columns are added and nothing else: SQLite changes a column by copying its table, which others refer to."""
    with op.batch_alter_table("rollouts") as rollouts:
        rollouts.add_column(sa.Column("key", sa.String(), nullable=True))
        rollouts.add_column(sa.Column("request", sa.String(), nullable=True))
        rollouts.add_column(sa.Column("waits_for", NUMBER, nullable=True))
        rollouts.add_column(sa.Column("overrides", sa.LargeBinary(), nullable=False, server_default=_nothing()))
        rollouts.add_column(sa.Column("restore_from", NUMBER, nullable=False, server_default="1"))
    op.create_index("rollouts_by_key", "rollouts", ["key"], unique=True)
    with op.batch_alter_table("rollout_devices") as entries:
        entries.add_column(sa.Column("before", sa.LargeBinary(), nullable=True))
        entries.add_column(sa.Column("attempts", NUMBER, nullable=False, server_default="0"))
    op.execute("UPDATE rollout_devices SET attempts = 1 WHERE sent IS NOT NULL")
    op.create_table(
        "verdicts",
        sa.Column("id", NUMBER, autoincrement=True, nullable=False),
        sa.Column("rollout", NUMBER, nullable=False),
        sa.Column("at_s", sa.Double(), nullable=False),
        sa.Column("wave", NUMBER, nullable=False),
        sa.Column("results", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["rollout"], ["rollouts.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("verdicts_by_rollout", "verdicts", ["rollout", "id"])
    op.create_table(
        "behaviours",
        sa.Column("device", sa.String(), nullable=False),
        sa.Column("slot", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("version", NUMBER, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("changed_s", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["device"], ["devices.id"]),
        sa.PrimaryKeyConstraint("device", "slot", "model", "version"),
    )
