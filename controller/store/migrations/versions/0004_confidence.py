"""How sure models were, and what their workers used, in each window of telemetry; unknown of older ones."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("telemetry", schema=None) as batch_op:
        batch_op.add_column(sa.Column("confidence", sa.LargeBinary(), nullable=True))
        batch_op.add_column(sa.Column("worker_cpu_share", sa.Double(), nullable=True))
