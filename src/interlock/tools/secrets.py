"""Secrets of what is started: named in the plan, looked up when it starts, and nowhere before."""

import re
from collections.abc import Callable, Mapping

from interlock.core.errors import Invalid

SecretSource = Callable[[str], str | None]
"""The value behind a secret's reference, given with ``_`` for whatever is no letter or digit; None where there is none. Called
when a process or a container starts, never before."""


def secret_values(references: Mapping[str, str], source: SecretSource) -> dict[str, str]:
    """Variable -> value, for variable -> reference. Raises Invalid ``secret_missing``."""
    values: dict[str, str] = {}
    for variable, reference in references.items():
        # No shell can set a variable with any other character in its name.
        name = re.sub(r"[^A-Za-z0-9]", "_", reference)
        value = source(name)
        if value is None:
            raise Invalid(
                "secret_missing",
                f"there is no secret {reference!r} for {variable}",
                hint=f"set INTERLOCK_SECRET_{name.upper()} in the environment of interlock serve, and start it again",
            )
        values[variable] = value
    return values
