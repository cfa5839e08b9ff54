"""The journal and what follows from it: ledger, parcels, what is built on each chunk.

`journal` is the history, one row an entry, in partitions of 1,000,000; `record` is JSON as world/entries.py writes it, `digest`
chains it to the row before. The view `history` is for people. Where the beginning was pruned, `journal_pruned` has the last entry that
is gone and its digest, and `journal_opening` the changes that make, out of nothing, the world as it was after that entry. All other
tables are projections: they are written in the transaction of their entries, and say what is so after world.last_seq.

The database refuses by itself: postings of an entry that do not sum to zero, a wallet below zero, two parcels on one plot.
`surfaces` takes the place of `tile_edits`: each edited tile once, as packed CHUNK_EDIT records (protocol/edits.py). What was built
before there was a journal is in its opening, so that the audit knows of it. On the way back land is nobody's again, and bare.
"""

from alembic import op

revision = "0003"
down_revision = "0002"

_UP = """
ALTER TABLE world ADD COLUMN last_digest bytea NOT NULL DEFAULT decode(repeat('00', 32), 'hex'),
    ADD COLUMN last_parcel_id bigint NOT NULL DEFAULT 0
|
CREATE TABLE journal (
    seq bigint NOT NULL CHECK (seq > 0),
    epoch bigint NOT NULL,
    written_at timestamptz NOT NULL DEFAULT now(),
    record json NOT NULL,
    digest bytea NOT NULL CHECK (length(digest) = 32),
    PRIMARY KEY (seq)
) PARTITION BY RANGE (seq)
|
CREATE TABLE journal_0 PARTITION OF journal FOR VALUES FROM (0) TO (1000000)
|
CREATE VIEW history AS
SELECT seq, epoch, written_at, (record->>'tick')::bigint AS tick, record->>'kind' AS kind,
       (record->>'player_id')::bigint AS player_id, record->'changes' AS changes, record->'result' AS result
FROM journal
|
CREATE TABLE journal_pruned (
    id smallint PRIMARY KEY CHECK (id = 1),
    seq bigint NOT NULL DEFAULT 0,
    digest bytea NOT NULL DEFAULT decode(repeat('00', 32), 'hex')
)
|
INSERT INTO journal_pruned (id) VALUES (1)
|
CREATE TABLE journal_opening (
    place bigint PRIMARY KEY,
    change json NOT NULL
)
|
ALTER TABLE answers ADD COLUMN seq bigint NOT NULL DEFAULT 0, ALTER COLUMN result TYPE json USING result::json
|
CREATE TABLE accounts (
    account_id bigint PRIMARY KEY,
    balance bigint NOT NULL,
    seq bigint NOT NULL,
    CHECK (balance >= 0 OR account_id = -1 OR account_id <= -100)
) WITH (fillfactor = 70)
|
CREATE TABLE postings (
    seq bigint NOT NULL,
    place smallint NOT NULL,
    account_id bigint NOT NULL,
    amount bigint NOT NULL,
    balance bigint NOT NULL,
    PRIMARY KEY (seq, place)
)
|
CREATE INDEX postings_account ON postings (account_id, seq)
|
CREATE FUNCTION postings_sum_to_zero() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM written GROUP BY seq HAVING sum(amount) <> 0) THEN
        RAISE EXCEPTION 'the postings of an entry do not sum to zero' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$
|
CREATE TRIGGER postings_sum_to_zero AFTER INSERT ON postings
    REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION postings_sum_to_zero()
|
CREATE TABLE holds (
    hold_id bigint PRIMARY KEY,
    account_id bigint NOT NULL,
    amount bigint NOT NULL CHECK (amount > 0),
    why text NOT NULL
)
|
CREATE TABLE parcels (
    parcel_id bigint PRIMARY KEY CHECK (parcel_id BETWEEN 1 AND 4294967295),
    owner_id bigint NOT NULL,
    px integer NOT NULL,
    py integer NOT NULL,
    pw integer NOT NULL CHECK (pw > 0),
    ph integer NOT NULL CHECK (ph > 0),
    parcel json NOT NULL,
    CONSTRAINT parcels_apart EXCLUDE USING gist
        (box(point(px + 0.25, py + 0.25), point(px + pw - 0.25, py + ph - 0.25)) WITH &&) DEFERRABLE INITIALLY DEFERRED
)
|
CREATE INDEX parcels_owner ON parcels (owner_id)
|
CREATE TABLE surfaces (
    cx integer NOT NULL CHECK (cx BETWEEN -32768 AND 32767),
    cy integer NOT NULL CHECK (cy BETWEEN -32768 AND 32767),
    version bigint NOT NULL CHECK (version > 1),
    edits bytea NOT NULL,
    PRIMARY KEY (cx, cy)
)
|
INSERT INTO surfaces (cx, cy, version, edits)
SELECT cx, cy, max(newest), string_agg(
    set_byte(set_byte(set_byte(E'\\\\x000000'::bytea, 0, tile & 255), 1, tile >> 8), 2, kind), ''::bytea ORDER BY tile)
FROM (
    SELECT DISTINCT ON (cx, cy, tile) cx, cy, tile::integer, kind::integer, version,
           max(version) OVER (PARTITION BY cx, cy) AS newest
    FROM tile_edits ORDER BY cx, cy, tile, version DESC
) AS last_edit GROUP BY cx, cy
|
INSERT INTO journal_opening (place, change)
SELECT row_number() OVER (ORDER BY cx, cy) - 1, json_build_object(
    'type', 'built', 'cx', cx, 'cy', cy, 'version', version, 'edits', translate(encode(edits, 'base64'), E'\\n', ''))
FROM surfaces
|
DROP TABLE tile_edits
"""

# As many rows as the chunk has versions: where tiles were edited again, the first of them stand more than once.
_DOWN = """
CREATE TABLE tile_edits (
    cx integer NOT NULL CHECK (cx BETWEEN -32768 AND 32767),
    cy integer NOT NULL CHECK (cy BETWEEN -32768 AND 32767),
    version bigint NOT NULL CHECK (version > 1),
    tile smallint NOT NULL CHECK (tile BETWEEN 0 AND 1023),
    kind smallint NOT NULL CHECK (kind BETWEEN 0 AND 255),
    player_id bigint NOT NULL,
    tick bigint NOT NULL,
    PRIMARY KEY (cx, cy, version)
)
|
INSERT INTO tile_edits (cx, cy, version, tile, kind, player_id, tick)
SELECT cx, cy, place + 1, get_byte(edits, at) + 256 * get_byte(edits, at + 1), get_byte(edits, at + 2), 0, 0
FROM (
    SELECT cx, cy, place, edits, 3 * greatest(0, place - version + length(edits) / 3)::integer AS at
    FROM surfaces, generate_series(1, version - 1) AS place
) AS edit
|
UPDATE tile_edits SET kind = 0 FROM parcels
WHERE box(point(px + 0.25, py + 0.25), point(px + pw - 0.25, py + ph - 0.25))
    && box(point(cx * 2 + tile % 32 / 16 + 0.5, cy * 2 + tile / 512 + 0.5))
|
DROP TABLE surfaces
|
DROP TABLE parcels
|
DROP TABLE holds
|
DROP TABLE postings
|
DROP FUNCTION postings_sum_to_zero
|
DROP TABLE accounts
|
ALTER TABLE answers DROP COLUMN seq, ALTER COLUMN result TYPE jsonb USING result::jsonb
|
DROP TABLE journal_opening
|
DROP TABLE journal_pruned
|
DROP VIEW history
|
DROP TABLE journal
|
UPDATE world SET last_seq = 0
|
ALTER TABLE world DROP COLUMN last_digest, DROP COLUMN last_parcel_id
"""


def upgrade() -> None:
    """Make the tables, and take over what was built."""
    _run(_UP)


def downgrade() -> None:
    """Back to the tables of before; the journal, all land with what stands on it, and all money go."""
    _run(_DOWN)


def _run(script: str) -> None:
    for statement in script.split("|\n"):  # asyncpg takes one statement at a time
        op.execute(statement)
