"""The world row, the players, and what they said.

Units: x, y in tiles; tick counts ticks; times are Postgres' own.
"""

from alembic import op

revision = "0001"
down_revision = None

# The world row is updated every flush and players' positions with it: room on each page
# and no index on what changes keep those updates on their page (HOT), without touching an index.
_UP = """
CREATE TABLE world (
    id smallint PRIMARY KEY CHECK (id = 1),
    seed bigint NOT NULL,
    epoch bigint NOT NULL DEFAULT 0 CHECK (epoch >= 0),
    tick bigint NOT NULL DEFAULT 0 CHECK (tick >= 0),
    last_seq bigint NOT NULL DEFAULT 0 CHECK (last_seq >= 0),
    created_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 10);

CREATE TABLE players (
    player_id bigint GENERATED ALWAYS AS IDENTITY (MINVALUE 1 MAXVALUE 4294967295) PRIMARY KEY,
    key text NOT NULL UNIQUE,
    name text NOT NULL,
    name_fold text NOT NULL,
    role text NOT NULL CHECK (role IN ('guest', 'user', 'moderator', 'admin')),
    look bigint NOT NULL CHECK (look BETWEEN 0 AND 4294967295),
    x double precision NOT NULL,
    y double precision NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    last_seen_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);
CREATE INDEX players_name_fold ON players (name_fold);

CREATE TABLE chat_messages (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    epoch bigint NOT NULL,
    serial bigint NOT NULL,
    channel smallint NOT NULL,
    sender_id bigint NOT NULL,
    sender_name text NOT NULL,
    recipient_id bigint,
    x double precision NOT NULL,
    y double precision NOT NULL,
    tick bigint NOT NULL,
    said_at timestamptz NOT NULL,
    text text NOT NULL,
    UNIQUE (epoch, serial)
);
"""
_DOWN = "DROP TABLE chat_messages; DROP TABLE players; DROP TABLE world;"


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
