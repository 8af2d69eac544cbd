"""The checks: what was looked at, and what was observed."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field


class NotObserved(Exception):
    """What should have been observed was not; the message says what was."""


@dataclass(slots=True, kw_only=True)
class Check:
    """``name`` is the step, ``question`` what was checked."""

    name: str
    question: str
    ok: bool = False
    observed: str = ""


@dataclass(slots=True)
class Findings:
    """All checks so far."""

    checks: list[Check] = field(default_factory=list[Check])

    @property
    def ok(self) -> bool:
        return bool(self.checks) and all(check.ok for check in self.checks)

    @contextmanager
    def check(self, name: str, question: str) -> Generator[Check]:
        """One check: the body fills in ``observed``. Whatever goes wrong in it makes the check false, and the story goes on."""
        check = Check(name=name, question=question)
        self.checks.append(check)
        try:
            yield check
            check.ok = True
        except Exception as error:
            check.observed = _in_words(error)


def expect(is_so: bool, otherwise: str) -> None:
    """Raises NotObserved with what was observed ``otherwise``."""
    if not is_so:
        raise NotObserved(otherwise)


def _in_words(error: Exception) -> str:
    text = str(error).strip() or "no further words"
    return text if isinstance(error, NotObserved) else f"{type(error).__name__}: {text}"
