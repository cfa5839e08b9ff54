"""Accounts: who may sign in by a password, where they are signed in, and codes that went out by mail.

None of it is in the journal: a person must be able to go, and the journal is for ever. Rows of these tables, but for `registrations`,
go with the account; the player's row stays, with nobody's name in it. `..._sealed` are sealed (persistence/sealing.py), `email_hash` is
what an address is found by. A session's `generation` is that of its newest refresh token. `former_key` is the key of the guest that an
account was before: tickets for that are worth nothing. A code's `code_hash` is of a secret too long to be guessed.
`registrations` makes a registration happen once, as `answers` does for what the journal holds, and like it is for ever.

And the world's tick_hz, which all its times are counted by; NULL until the first start since.
"""

from alembic import op

revision = "0004"
down_revision = "0003"

_UP = """
ALTER TABLE world ADD COLUMN tick_hz smallint;

CREATE TABLE credentials (
    player_id bigint PRIMARY KEY,
    name_fold text NOT NULL UNIQUE,
    former_key text UNIQUE,
    password_hash text NOT NULL,
    email_sealed bytea,
    email_hash bytea,
    email_verified_at timestamptz,
    bio text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    password_changed_at timestamptz NOT NULL DEFAULT now(),
    CHECK ((email_sealed IS NULL) = (email_hash IS NULL)),
    CHECK (email_verified_at IS NULL OR email_sealed IS NOT NULL)
);
CREATE INDEX credentials_email ON credentials (email_hash) WHERE email_hash IS NOT NULL;

CREATE TABLE sessions (
    session_id uuid PRIMARY KEY,
    player_id bigint NOT NULL,
    generation bigint NOT NULL DEFAULT 1 CHECK (generation > 0),
    client text NOT NULL,
    address_sealed bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    used_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    ended_at timestamptz
);
CREATE INDEX sessions_player ON sessions (player_id);
CREATE INDEX sessions_expires ON sessions (expires_at);

CREATE TABLE codes (
    player_id bigint NOT NULL,
    purpose text NOT NULL CHECK (purpose IN ('verify', 'reset')),
    code_hash bytea NOT NULL,
    email_hash bytea NOT NULL,
    tries smallint NOT NULL DEFAULT 0,
    sent_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (player_id, purpose)
);

CREATE TABLE registrations (
    action_id bytea PRIMARY KEY CHECK (length(action_id) = 16),
    player_id bigint NOT NULL,
    content_digest bytea NOT NULL
);
CREATE INDEX registrations_player ON registrations (player_id);
"""
_DOWN = """
DROP TABLE registrations; DROP TABLE codes; DROP TABLE sessions; DROP TABLE credentials;
ALTER TABLE world DROP COLUMN tick_hz;
"""


def upgrade() -> None:
    """Make the tables."""
    _run(_UP)


def downgrade() -> None:
    """Drop them: nobody can sign in by a password any more."""
    _run(_DOWN)


def _run(script: str) -> None:
    for statement in script.split(";"):  # asyncpg takes one statement at a time
        if statement.strip():
            op.execute(statement)
