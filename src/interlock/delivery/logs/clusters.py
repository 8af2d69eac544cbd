"""The log of a deployment in few lines: what says the same is one cluster, and what may be a secret is masked. Pure."""

import re
from collections.abc import Iterable

import msgspec

MAX_LINE = 500
MAX_TEMPLATES = 2000
MAX_CLUSTERS = 20
MASK = "***"

_SECRET = re.compile(
    r"(?i)\b([a-z_-]*(?:passwo?r?d|passwd|secret|token|api[_-]?key|private[_-]?key|credential)[a-z_-]*)(['\"]?\s*[=:]\s*)"
    r"(\"[^\"]*\"|'[^']*'|[^\s,;&'\"]+)"
)
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[a-z0-9._~+/=-]{6,}")
_USER_INFO = re.compile(r"(?i)\b([a-z][a-z0-9+.-]{1,20}://)[^\s/@]+@")
_UUID = re.compile(r"(?i)[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_LONG = re.compile(r"[A-Za-z0-9_+/=-]{32,}")

# In this order: what is more particular comes first.
_VARIABLE = (
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d)?(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?"), "<time>"),
    (re.compile(r"\b\d\d:\d\d:\d\d(?:[.,]\d+)?\b"), "<time>"),
    (re.compile(r"\d{1,2}/[A-Z][a-z]{2}/\d{4}[: ]<time>(?: [+-]\d{4})?"), "<time>"),
    (_UUID, "<id>"),
    (re.compile(r"\"[^\"]*\"|'[^']*'"), "<text>"),
    (re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b"), "<address>"),
    (re.compile(r"(?i)\b0x[0-9a-f]+\b|\b(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{7,}\b"), "<hex>"),
    (re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d+)?"), "<n>"),
    (re.compile(r"\d+"), "<n>"),
)
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?")
_BAD = re.compile(r"(?i)\b(\w*error|\w*exception|traceback|fatal|panic|critical|failed|failure|refused|killed|out of memory)\b")


class LogCluster(msgspec.Struct, frozen=True, kw_only=True):
    """Lines that differ in numbers, ids, times and quoted texts alone. ``example`` is the first of them, masked.

    ``first_line`` and ``last_line`` count from 1 within what was read, ``first_at`` and ``last_at`` are the lines' own times,
    where they have some. ``is_new`` tells whether the last good deployment's log has none such; None where that is unknown.
    """

    template: str
    count: int
    example: str
    first_line: int
    last_line: int
    first_at: str = ""
    last_at: str = ""
    is_bad: bool = False
    is_new: bool | None = None


def mask(text: str) -> str:
    """``text`` without what looks like a password, a token, or credentials in a URL. What it is called stays readable."""
    text = _SECRET.sub(rf"\1\2{MASK}", text)
    text = _BEARER.sub(rf"\1 {MASK}", text)
    return _USER_INFO.sub(rf"\1{MASK}@", text)


def mask_line(line: str) -> str:
    """A line of a log on one line, of bounded length, masked; long strings without a blank count as tokens."""
    flat = "".join(letter if letter.isprintable() else " " for letter in line[: 2 * MAX_LINE]).strip()
    # Masked before it is cut: half a secret is one too, and has lost what it is known by.
    return _LONG.sub(_token, mask(flat))[:MAX_LINE]


def template_of(line: str) -> str:
    """What a masked line says, whatever it says it about."""
    for pattern, name in _VARIABLE:
        line = pattern.sub(name, line)
    return line


def clusters_of(lines: Iterable[str], before: frozenset[str] | None = None) -> tuple[LogCluster, ...]:
    """The clusters: errors before everything else, then the most frequent. ``before`` are templates of another log."""
    found: dict[str, LogCluster] = {}
    for number, line in enumerate(lines, 1):
        shown = mask_line(line)
        if not shown:
            continue
        template = template_of(shown)
        time = _TIME.search(shown)
        at = time[0] if time else ""
        known = found.get(template)
        if known is not None:
            found[template] = msgspec.structs.replace(
                known, count=known.count + 1, last_line=number, last_at=at or known.last_at
            )
        elif len(found) < MAX_TEMPLATES:
            found[template] = LogCluster(
                template=template,
                count=1,
                example=shown,
                first_line=number,
                last_line=number,
                first_at=at,
                last_at=at,
                is_bad=_BAD.search(shown) is not None,
                is_new=None if before is None else template not in before,
            )
    ordered = sorted(found.values(), key=lambda item: (not item.is_bad, item.is_new is False, -item.count, item.first_line))
    return tuple(ordered[:MAX_CLUSTERS])


def templates_of(lines: Iterable[str]) -> frozenset[str]:
    """Everything that a log says, to compare another one with."""
    return frozenset(template_of(shown) for shown in map(mask_line, lines) if shown)


def _token(found: re.Match[str]) -> str:
    # Words joined by signs are a path or a name; a token mixes letters and digits, and a UUID says what belongs together.
    text = found[0]
    if _UUID.fullmatch(text):
        return text
    looks_random = any(letter.isdigit() for letter in text) and any(letter.isalpha() for letter in text) and "/" not in text
    return MASK if looks_random else text
