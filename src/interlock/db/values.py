"""Values that are kept as JSON in a table's column ``value``."""

from typing import Any, TypeVar

import msgspec
from sqlalchemy import Table, select
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.elements import ColumnElement

V = TypeVar("V", bound=msgspec.Struct)


async def one(connection: AsyncConnection, table: Table, where: ColumnElement[bool], kind: type[V]) -> V | None:
    """The first value that ``where`` finds, nothing if there is none."""
    row = (await connection.execute(select(table.c.value).where(where))).first()
    return None if row is None else msgspec.json.decode(row.value, type=kind)


async def many(connection: AsyncConnection, query: Any, kind: type[V]) -> list[V]:
    """The values of all rows that ``query`` finds; it selects the column ``value``."""
    return [msgspec.json.decode(row.value, type=kind) for row in (await connection.execute(query)).all()]
