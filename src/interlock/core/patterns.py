"""Regular expressions from strangers, over texts from strangers.

RE2 and not `re`: a pattern of a module file may take `re` exponential time on the wrong line, and nothing can interrupt it
meanwhile, for it holds the interpreter. RE2 takes time linear in the text and memory within a bound, and has no
back-references and no look-around in return. It is also the dialect of Prometheus.
"""

from typing import Any

import re2  # pyright: ignore[reportMissingTypeStubs]

from interlock.core.errors import Invalid

MAX_LENGTH = 1000
_engine: Any = re2
_MAX_MEMORY_BYTES = 1024 * 1024


class Pattern:
    """A regular expression in the syntax of RE2. Raises Invalid ``pattern`` for what is none, or is too large."""

    def __init__(self, text: str) -> None:
        if len(text) > MAX_LENGTH:
            raise Invalid("pattern", f"the pattern has {len(text)} letters; {MAX_LENGTH} are allowed")
        options: Any = _engine.Options()
        options.max_mem = _MAX_MEMORY_BYTES
        options.log_errors = False
        try:
            self._compiled: Any = _engine.compile(text, options)
        except Exception as error:
            # Its own error, which holds bytes, or that of the encoder; there are no others.
            said = b"".join(part for part in error.args if isinstance(part, bytes)).decode(errors="replace") or str(error)
            hint = "regular expressions in the syntax of RE2; it has no back-references and no look-around"
            raise Invalid("pattern", f"{text[:200]!r} is no pattern: {said}", hint=hint) from error

    def is_in(self, text: str) -> bool:
        """Whether it matches somewhere in ``text``."""
        return self._compiled.search(text) is not None

    def is_all_of(self, text: str) -> bool:
        """Whether it matches ``text`` as a whole."""
        return self._compiled.fullmatch(text) is not None
