"""The error tree. Every error that leaves a use case is one of these; each face maps the kind.

InterlockError
├── NotFound      not_found     what was named does not exist
├── Conflict      conflict      the state of things forbids it now
├── Forbidden     forbidden     the caller may not, or the approved plan does not grant it
├── Invalid       invalid       the input cannot be accepted
├── Unavailable   unavailable   something that is needed does not answer; trying again may help
├── LimitReached  limit         a bound was reached
└── Internal      internal      a defect of Interlock

A message says what happened, `where` where it happened, `hint` what to do next. `code` is stable: people write programs
against it.
"""

from typing import Any, ClassVar, Literal

Kind = Literal["not_found", "conflict", "forbidden", "invalid", "unavailable", "limit", "internal"]


class InterlockError(Exception):
    """The root: ``code`` (stable, snake case), ``message``, ``where`` (a place, or empty), ``hint`` (what to do next)."""

    kind: ClassVar[Kind] = "internal"

    def __init__(self, code: str, message: str, *, where: str = "", hint: str = "", **details: Any) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.where = where
        self.hint = hint
        self.details = details

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        advice = f" ({self.hint})" if self.hint else ""
        return f"{place}{self.message}{advice}"

    def as_dict(self) -> dict[str, Any]:
        """The error as JSON data, for journals and faces."""
        fields = {"kind": self.kind, "code": self.code, "message": self.message, "where": self.where, "hint": self.hint}
        return {name: value for name, value in fields.items() if value} | self.details


class NotFound(InterlockError):  # noqa: N818 - the tree reads as a sentence: raise NotFound(...)
    kind = "not_found"


class Conflict(InterlockError):  # noqa: N818
    kind = "conflict"


class Forbidden(InterlockError):  # noqa: N818
    kind = "forbidden"


class Invalid(InterlockError):  # noqa: N818
    kind = "invalid"


class Unavailable(InterlockError):  # noqa: N818
    kind = "unavailable"


class LimitReached(InterlockError):  # noqa: N818
    kind = "limit"


class Internal(InterlockError):  # noqa: N818
    kind = "internal"
