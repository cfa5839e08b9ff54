"""What is built, edit by edit, and the answers to durable actions.

`tile_edits` is the history of each chunk: version 1 is bare ground, and the rows of a chunk are its versions 2, 3, ... without a gap.
tile is y * 32 + x within the chunk, kind a Build (world/tiles.py), tick the world's when it was stored.
`answers` makes an action happen once: the first answer to each `action_id`, as JSON, and a digest of what was asked.
"""

from alembic import op

revision = "0002"
down_revision = "0001"

_UP = """
CREATE TABLE tile_edits (
    cx integer NOT NULL CHECK (cx BETWEEN -32768 AND 32767),
    cy integer NOT NULL CHECK (cy BETWEEN -32768 AND 32767),
    version bigint NOT NULL CHECK (version > 1),
    tile smallint NOT NULL CHECK (tile BETWEEN 0 AND 1023),
    kind smallint NOT NULL CHECK (kind BETWEEN 0 AND 255),
    player_id bigint NOT NULL,
    tick bigint NOT NULL,
    PRIMARY KEY (cx, cy, version)
);

CREATE TABLE answers (
    action_id bytea PRIMARY KEY CHECK (length(action_id) = 16),
    player_id bigint NOT NULL,
    content_digest bytea NOT NULL,
    result jsonb NOT NULL,
    answered_at timestamptz NOT NULL DEFAULT now()
);
"""
_DOWN = "DROP TABLE answers; DROP TABLE tile_edits;"


def upgrade() -> None:
    """Make the tables."""
    _run(_UP)


def downgrade() -> None:
    """Drop them, with all that is in them."""
    _run(_DOWN)


def _run(script: str) -> None:
    for statement in script.split(";"):  # asyncpg takes one statement at a time
        if statement.strip():
            op.execute(statement)
