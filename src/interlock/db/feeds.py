"""The positions of feeds: tables of rows that others read in their order, such as the journal of runs."""

from sqlalchemy import Column, Connection, Integer, String, Table, text

from interlock.db.database import tenant_metadata
from interlock.db.prepared import Prepared

feeds = Table(
    "feeds",
    tenant_metadata,
    Column("name", String, primary_key=True),
    Column("position", Integer, nullable=False),
)
"""The last position that each feed has given out."""

_TAKE = Prepared(
    text(
        "INSERT INTO feeds (name, position) VALUES (:name, :count)"
        " ON CONFLICT (name) DO UPDATE SET position = feeds.position + excluded.position RETURNING position"
    )
)


def take(connection: Connection, name: str, count: int) -> int:
    """The first of ``count`` positions that follow each other.

    Whoever takes some keeps others from it until its transaction ends, so that positions are committed in their order and
    without a gap: a reader who has seen one has seen all before it. None is ever given out twice, whatever is deleted.
    """
    return int(_TAKE.run(connection, {"name": name, "count": count}).scalar_one()) - count + 1
