"""Which paths a ``.dockerignore`` leaves out of a build, by the rules that the file's documentation gives.

Patterns are of the whole path, and the last one that fits decides; ``*`` and ``?`` stop at ``/``, ``**`` does not; ``!`` makes
an exception.
"""

import posixpath
import re


class Ignored:
    """The patterns of one file. A line that is no pattern is passed over."""

    def __init__(self, text: str) -> None:
        self._rules = [rule for line in text.splitlines() if (rule := _rule(line)) is not None]
        self.has_exceptions = any(is_exception for is_exception, _ in self._rules)

    def covers(self, path: str) -> bool:
        """Whether the path, or a folder in which it lies, is left out."""
        parts = path.split("/")
        places = ["/".join(parts[:length]) for length in range(1, len(parts) + 1)]
        is_covered = False
        for is_exception, pattern in self._rules:
            if is_covered == is_exception and any(pattern.fullmatch(place) for place in places):
                is_covered = not is_exception
        return is_covered


def _rule(line: str) -> tuple[bool, re.Pattern[str]] | None:
    if line.startswith("#") or not line.strip():
        return None
    text = line.strip()
    is_exception = text.startswith("!")
    path = posixpath.normpath(text.removeprefix("!").strip()).lstrip("/")
    if path in {"", "."}:
        return None
    try:
        return is_exception, re.compile(_expression(path), re.DOTALL)
    except re.error:
        return None


def _expression(path: str) -> str:
    found: list[str] = []
    position = 0
    while position < len(path):
        rest = path[position:]
        if rest.startswith("**"):
            position += 3 if rest.startswith("**/") else 2
            found.append("(?:.*/)?" if rest.startswith("**/") else ".*")
            continue
        if rest[0] == "\\" and len(rest) > 1:
            found.append(re.escape(rest[1]))
            position += 2
            continue
        if rest[0] == "[" and (end := rest.find("]", 2)) > 0:
            inside = rest[1:end].replace("\\", "\\\\").replace("[", "\\[")
            found.append(f"[{inside}]")
            position += end + 1
            continue
        found.append({"*": "[^/]*", "?": "[^/]"}.get(rest[0], re.escape(rest[0])))
        position += 1
    return "".join(found)
