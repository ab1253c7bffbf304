"""Orders to devices with what they bring."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "actions",
        sa.Column("device", sa.String(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("ordered_s", sa.Double(), nullable=False),
        sa.Column("ordered_by", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("device", "id"),
        sa.ForeignKeyConstraint(["device"], ["devices.id"]),
    )
    op.create_table(
        "uploads",
        sa.Column("device", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("size_bytes", NUMBER, nullable=False),
        sa.Column("blocks", NUMBER, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=True),
        sa.Column("received_s", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("device", "action"),
        sa.ForeignKeyConstraint(["device", "action"], ["actions.device", "actions.id"]),
    )
    op.create_table(
        "upload_blocks",
        sa.Column("device", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("index", NUMBER, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("device", "action", "index"),
        sa.ForeignKeyConstraint(["device", "action"], ["uploads.device", "uploads.action"]),
    )
