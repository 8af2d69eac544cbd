"""Regular expressions from strangers, searched in every line that a service writes: only such as end in time.

Python's engine tries every way in which repetitions can share a text. That is exponential where a repetition stands in a
repetition or can be met in two ways, and a power of the length where several follow each other; so both are bounded here, and
the lines by whoever reads them.
"""

import re
from collections.abc import Iterator

from interlock.core.errors import Invalid

MAX_PATTERN_CHARACTERS = 200
MAX_LINE_CHARACTERS = 500
"""What is searched of a line; the rest is left aside."""

MAX_REPETITIONS = 2
MAX_OPTIONS = 10
MAX_COUNT = 100

_ADVICE = "write a plainer pattern, or several checks"
_TOKEN = re.compile(
    r"(?P<escape>\\.)|(?P<set>\[\^?\]?(?:\\.|[^\]\\])*\]?)|(?P<flags>\(\?[aimsu]+\))"
    r"|(?P<open>\((?:\?(?:[:=!]|<[=!]|P<\w+>))?)|(?P<close>\))|(?P<repeat>(?:[*+?]|\{\d*(?:,\d*)?\})[?+]?)"
    r"|(?P<bar>\|)|(?P<other>.)",
    re.DOTALL,
)
_SET_OPERATOR = re.compile(r"(?<!\\)\[|--|&&|~~|\|\|")


def log_pattern(text: str) -> re.Pattern[str]:
    """``text`` compiled. Raises Invalid ``log_pattern`` where it is none, or where a line could keep the machine busy."""
    if len(text) > MAX_PATTERN_CHARACTERS:
        raise _refused(f"longer than {MAX_PATTERN_CHARACTERS} characters", _ADVICE)
    for found in _TOKEN.finditer(text):
        # Python warns of these: they may come to mean sets of sets.
        if found.lastgroup == "set" and _SET_OPERATOR.search(found[0], 1):
            raise _refused(f"the set {found[0]}", "put a backslash before [ and before one of two equal signs")
    try:
        compiled = re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise _refused(f"no regular expression: {error}", "put a backslash before what is meant as it stands") from error
    _check(text)
    return compiled


def _check(text: str) -> None:
    # For each open group whether it holds a repetition or a choice; and the same of the group that the last token closed.
    varies, repeated = [False], False
    repetitions = options = 0
    for kind in _kinds(text):
        before, repeated = repeated, False
        if kind == "open":
            varies.append(False)
        elif kind == "close":
            repeated = varies.pop()
            varies[-1] |= repeated
        elif kind == "bar" and len(varies) == 1:
            # Of alternatives only one is tried at a time, so those of the whole pattern do not add up.
            repetitions = options = 0
        elif kind in ("bar", "option"):
            varies[-1] = True
            options += 1
        elif kind in ("repeat", "count"):
            if before:
                raise _refused("a repetition of what repeats or has alternatives", _ADVICE)
            varies[-1] = True
            repetitions += kind == "repeat"
        if repetitions > MAX_REPETITIONS or options > MAX_OPTIONS:
            limits = f"{MAX_REPETITIONS} repetitions or {MAX_OPTIONS} options"
            raise _refused(f"more than {limits} in one alternative", _ADVICE)


def _kinds(text: str) -> Iterator[str]:
    """What matters of a sound pattern: open, close, bar, option (``?``), count (``{3}``), repeat, and anything else."""
    for found in _TOKEN.finditer(text):
        kind, token = found.lastgroup or "", found[0]
        is_reference = kind == "escape" and token[1] in "123456789"
        if is_reference or (token == "(" and text[found.end() : found.end() + 1] == "?"):  # noqa: S105 - a bracket
            raise _refused(f"{text[found.start() : found.start() + 4]} is not allowed here", "groups are ( ) and (?: )")
        yield _repetition(token) if kind == "repeat" else kind


def _repetition(token: str) -> str:
    bare = token[:-1] if len(token) > 1 and token[-1] in "?+" else token
    if bare in ("?", "{0,1}", "{,1}"):
        return "option"
    if max((int(number) for number in re.findall(r"\d+", bare)), default=0) > MAX_COUNT:
        raise _refused(f"the repetition {token} is over {MAX_COUNT} times", _ADVICE)
    return "count" if bare[1:-1].isdigit() else "repeat"


def _refused(message: str, hint: str) -> Invalid:
    return Invalid("log_pattern", message, hint=hint)
