"""Seals over the rows of the log."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the table; what is logged already is sealed from its beginning on."""
    op.create_table(
        "seals",
        sa.Column("last", NUMBER, autoincrement=False, nullable=False),
        sa.Column("first", NUMBER, nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("last", name=op.f("pk_seals")),
    )
