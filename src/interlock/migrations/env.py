"""Alembic's entry: runs the migrations of one namespace, whose kind the caller chooses by the target revision."""

from typing import Any

from alembic import context
from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.pool import NullPool


def run() -> None:
    """Upgrade the database whose URL the caller gave, in its schema if it has one."""
    schema = context.config.attributes["schema"]
    within: dict[str, Any] = {"options": f'-csearch_path="{schema}"'} if schema else {}
    engine = create_engine(context.config.attributes["url"], poolclass=NullPool, connect_args=within)
    if not schema:
        # The driver would commit each statement by itself: a start that is killed half-way must leave the schema as it was.
        event.listen(engine, "connect", _leave_transactions_to_us)
        event.listen(engine, "begin", _begin)
    with engine.begin() as connection:
        if schema:
            # Of two control planes that start at once the second one finds it done.
            connection.execute(text("SELECT pg_advisory_xact_lock(hashtext(:schema), 2)"), {"schema": schema})
        context.configure(connection=connection, transactional_ddl=True)
        with context.begin_transaction():
            context.run_migrations()
    engine.dispose()


def _leave_transactions_to_us(connection: Any, _record: Any) -> None:
    connection.isolation_level = None


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


run()
