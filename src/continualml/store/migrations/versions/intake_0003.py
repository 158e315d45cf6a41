"""What was answered and refused, as rows of the log."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the table; what was refused before was counted nowhere."""
    op.create_table(
        "intake",
        sa.Column("seq", NUMBER, autoincrement=False, nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("answered", NUMBER, nullable=False),
        sa.Column("refused", NUMBER, nullable=False),
        sa.Column("fields", sa.Text(), nullable=False),
        sa.Column("recorded_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_intake")),
    )
    op.create_index(op.f("ix_intake_model_seq"), "intake", ["model", "seq"], unique=False)
