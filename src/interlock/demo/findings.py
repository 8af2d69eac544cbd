"""The checks: what was looked at, and what was observed."""

from dataclasses import dataclass, field
from types import TracebackType


class NotObserved(Exception):  # noqa: N818 - a finding, not a defect
    """What should have been observed was not; the message says what was."""


@dataclass(slots=True, kw_only=True)
class Check:
    """``name`` is the step, ``question`` what was checked.

    Used as a context, whose body fills in ``observed``. Whatever goes wrong in it makes the check false, and the story goes on.
    """

    name: str
    question: str
    ok: bool = False
    observed: str = ""

    def __enter__(self) -> "Check":
        return self

    def __exit__(self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None) -> bool:
        if error is None:
            self.ok = True
        elif isinstance(error, Exception):
            self.observed = _in_words(error)
        return error is None or isinstance(error, Exception)


@dataclass(slots=True)
class Findings:
    """All checks so far."""

    checks: list[Check] = field(default_factory=list[Check])

    @property
    def ok(self) -> bool:
        return bool(self.checks) and all(check.ok for check in self.checks)

    def check(self, name: str, question: str) -> Check:
        """A new check, false until it was observed."""
        check = Check(name=name, question=question)
        self.checks.append(check)
        return check


def expect(is_so: bool, otherwise: str) -> None:
    """Raises NotObserved with what was observed ``otherwise``."""
    if not is_so:
        raise NotObserved(otherwise)


def _in_words(error: Exception) -> str:
    text = str(error).strip() or "no further words"
    return text if isinstance(error, NotObserved) else f"{type(error).__name__}: {text}"
