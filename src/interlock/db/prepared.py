"""Statements of the hot path: built and compiled once, not for each execution."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, CursorResult
from sqlalchemy.sql import ClauseElement

Parameters = Mapping[str, Any]


class Prepared:
    """``statement`` with a ``bindparam`` for whatever differs between two executions.

    What it binds and returns goes to the driver and comes from it as it is: numbers, texts and bytes.
    """

    def __init__(self, statement: ClauseElement) -> None:
        self._statement = statement
        self._compiled: dict[str, tuple[str, Sequence[str] | None]] = {}

    def run(self, connection: Connection, parameters: Parameters | Sequence[Parameters]) -> CursorResult[Any]:
        """Execute it, for a list once with each; there must be one at least."""
        text, names = self._compile(connection)
        if names is None:
            return connection.exec_driver_sql(text, parameters)  # pyright: ignore[reportArgumentType]
        if isinstance(parameters, Mapping):
            return connection.exec_driver_sql(text, tuple(parameters[name] for name in names))
        return connection.exec_driver_sql(text, [tuple(each[name] for name in names) for each in parameters])

    def _compile(self, connection: Connection) -> tuple[str, Sequence[str] | None]:
        dialect = connection.dialect
        if dialect.name not in self._compiled:
            compiled = self._statement.compile(dialect=dialect)
            names = compiled.positiontup if compiled.positional else None  # type: ignore[attr-defined]
            self._compiled[dialect.name] = str(compiled), names
        return self._compiled[dialect.name]
