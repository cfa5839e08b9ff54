"""What is for sale: one row for each sale that is open.

`sales` takes the place of the price that stood in each parcel. Offers of before end with this: they were made without an end, a fee,
and a look at what stands there. `sale` is JSON as world/sales.py has it, its kind among it; `sale_id` is the entry that made it. That
one parcel is in one sale, of whatever kind, is the database's to refuse; it looks when all of a flush is written, for in one flush a
sale may end and another begin. There is no way back while anything is for sale: the journal would say so for ever, and programs of
before could not end it.
"""

from alembic import op
from sqlalchemy import text

from persistence.store import StoreRefused

revision = "0006"
down_revision = "0005"

# A parcel's JSON is compared as text, so it must be written as its struct is: without the field, or with it in its place. Within the
# strings of JSON no quote stands without a backslash, so neither pattern can be part of one.
# A colon has a backslash, or it would begin the name of a parameter.
_UP = """
CREATE TABLE sales (
    sale_id bigint PRIMARY KEY,
    parcel_id bigint NOT NULL,
    seller_id bigint NOT NULL,
    sale json NOT NULL,
    CONSTRAINT sales_one_of_a_parcel UNIQUE (parcel_id) DEFERRABLE INITIALLY DEFERRED
)
|
CREATE INDEX sales_seller ON sales (seller_id)
|
UPDATE parcels SET parcel = regexp_replace(parcel::text, ',"price":(null|[0-9]+),"permits":', ',"permits":')::json
"""
_DOWN = r"""
DROP TABLE sales
|
UPDATE parcels SET parcel = regexp_replace(parcel::text, ',"permits":', ',"price"\:null,"permits":')::json
"""


def upgrade() -> None:
    """Make the table; nothing is for sale."""
    _run(_UP)


def downgrade() -> None:
    """Drop it. Raises StoreRefused while anything is for sale."""
    sales = op.get_bind().scalar(text("SELECT count(*) FROM sales"))
    if sales:
        raise StoreRefused(
            f"{sales:,} parcels are for sale; before going back their sellers must take them off the market, and auctions with bids end"
        )
    _run(_DOWN)


def _run(script: str) -> None:
    for statement in script.split("|\n"):  # asyncpg takes one statement at a time
        op.execute(statement)
