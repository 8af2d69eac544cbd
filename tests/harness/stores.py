"""The stores that a database can have: what holds of one holds of all."""

import pytest

ON_BOTH = pytest.mark.parametrize("database", ["sqlite", "postgres"], indirect=True)
"""Of a module or a test: on a file and on a server."""
