"""The files of a repository at one commit, read only when somebody looks."""

from collections.abc import Awaitable, Callable, Sequence

from interlock.sources.model import Evidence

Read = Callable[[str], Awaitable[bytes | None]]
"""A file's content; None where there is no such file, or it is too large to be looked at."""

MAX_FILE_BYTES = 256 * 1024


class Files:
    """Paths as git stores them, and the text of those that were asked for."""

    def __init__(self, paths: Sequence[str], read: Read) -> None:
        self.paths = tuple(paths)
        self._known = frozenset(paths)
        self._read = read
        self._texts: dict[str, str | None] = {}

    def __contains__(self, path: str) -> bool:
        return path in self._known

    async def text(self, path: str) -> str | None:
        """The text of a file; None where there is none, or it is no text of a size that a person would write."""
        if path not in self._known:
            return None
        if path not in self._texts:
            self._texts[path] = _decoded(await self._read(path))
        return self._texts[path]

    async def evidence(self, claim: str, value: str, file: str, line: int = 0, confidence: float = 1.0) -> Evidence:
        """Evidence with the text of its line."""
        lines = (await self.text(file) or "").split("\n")
        text = lines[line - 1].strip()[:200] if 0 < line <= len(lines) else ""
        return Evidence(claim=claim, value=value, file=file, line=line, text=text, confidence=confidence)


def line_of(text: str, word: str) -> int:
    """The first line (1-based) that holds ``word``, whatever its case; 0 where none does."""
    wanted = word.casefold()
    return next((number for number, line in enumerate(text.split("\n"), 1) if wanted in line.casefold()), 0)


def _decoded(content: bytes | None) -> str | None:
    if content is None or len(content) > MAX_FILE_BYTES or b"\0" in content:
        return None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
