"""The number of images in a request, which some prices count, and the vectors of embeddings."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add the columns; NULL (unknown) in earlier rows."""
    op.add_column("responses", sa.Column("images", sa.Integer))
    op.add_column("responses", sa.Column("vector", sa.LargeBinary))
    op.add_column("pair_answers", sa.Column("images", sa.Integer))
