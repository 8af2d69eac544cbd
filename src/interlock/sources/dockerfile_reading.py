"""What a Dockerfile says: which images it begins with, and what of it an engine cannot build. Pure.

Images are built through the API that engines share, and there Docker has its first builder alone: what came with BuildKit is
refused in the middle of a build, or taken for something else.
"""

import re
from collections.abc import Iterable, Iterator, Mapping

from interlock.sources.model import Finding

_DIRECTIVE = re.compile(r"^#\s*(\w+)\s*=\s*(\S+)\s*$")
_DIRECTIVES = frozenset({"syntax", "escape", "check"})
_BLANKS = re.compile(r"[\t\v\f\r ]+")
_FLAG = re.compile(r"^--([a-z-]+)(=|$)")
_HEREDOC = re.compile(r"(?<!<)<<-?[\"']?[A-Za-z_]")
_ONLY_BUILDKIT: dict[str, frozenset[str]] = {
    "RUN": frozenset({"mount", "network", "security", "device"}),
    "COPY": frozenset({"chmod", "link", "parents", "exclude"}),
    "ADD": frozenset({"chmod", "link", "checksum", "keep-git-dir", "exclude", "unpack"}),
}
_PART = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"(?:[A-Za-z0-9][A-Za-z0-9.-]*(?::\d+)?/)?{_PART}(?:/{_PART})*(?::[A-Za-z0-9_][A-Za-z0-9_.-]*)?(?:@sha256:[0-9a-f]{{64}})?"
)
"""A registry, a repository, a tag and a digest, of which only the repository has to be there."""
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)(?::-([^}$]*))?\})")
_NOTHING = "scratch"
_HINT = "write it without, or have Podman as the engine, which knows it"


def unbuildable(text: str | None, path: str) -> tuple[Finding, ...]:
    """What an engine will refuse of the Dockerfile at ``path``, one finding for each kind, at the line where it is used first;
    ``text`` None: there is none."""
    if text is None:
        message = f"there is no {path} in the repository at this commit, or it is too large to be one"
        return (_error("dockerfile_missing", message, path, "commit it, or leave `dockerfile:` out to have one generated"),)
    found: dict[str, int] = {}
    for line, words in _instructions(text):
        for feature in _features(words):
            found.setdefault(feature, line)
    return tuple(
        _error("needs_buildkit", f"{feature} needs BuildKit, with which images are not built here", f"{path}:{line}", _HINT)
        for feature, line in found.items()
    )


def base_images(text: str) -> tuple[str, ...]:
    """The images that a Dockerfile takes from outside, in its order and as it names them, with the defaults of its arguments.

    A name that only the builder can know, such as one with an argument that has no default, keeps its ``$``.
    """
    arguments: dict[str, str] = {}
    stages: list[str] = []
    found: list[str] = []
    for _, words in _instructions(text):
        name, flags, rest = _parted(words)
        taken = flags.get("from", "")
        if name == "FROM" and rest:
            taken = _VARIABLE.sub(lambda used: _value(used, arguments), rest[0])
        elif name == "ARG" and not stages:
            # Behind the first stage they are a stage's own, and name no image.
            arguments.update((key, value) for key, given, value in (word.partition("=") for word in rest) if given)
        is_own = taken.lower() in {_NOTHING, *stages} or (name != "FROM" and taken.isdecimal())
        if taken and not is_own:
            found.append(taken)
        if name == "FROM" and rest:
            stages.append(rest[2].lower() if len(rest) == 3 else "")
    return tuple(dict.fromkeys(found))


def has_digest(name: str) -> bool:
    """Whether the name of an image says itself which one it is, wherever it comes from."""
    return "@sha256:" in name


def is_reference(name: str) -> bool:
    """Whether this can name an image."""
    return bool(_REFERENCE.fullmatch(name))


def _value(used: re.Match[str], arguments: Mapping[str, str]) -> str:
    value = arguments.get(used[1] or used[2]) or used[3]
    return used[0] if value is None else value.strip("\"'")


def _parted(words: list[str]) -> tuple[str, dict[str, str], list[str]]:
    """An instruction's name, its flags and what follows them."""
    flags: dict[str, str] = {}
    for number, word in enumerate(words[1:], 1):
        if not word.startswith("--"):
            return words[0].upper(), flags, words[number:]
        name, _, value = word[2:].partition("=")
        flags[name] = value
    return words[0].upper(), flags, []


def _instructions(text: str) -> Iterator[tuple[int, list[str]]]:
    """Each instruction as words, with the line on which it begins; comments and continued lines as builders have them."""
    continued = re.compile(re.escape(_escape(text)) + r"[ \t]*$")
    begun, whole = 0, ""
    for number, line in enumerate(_lines(text), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        begun = begun or number
        # Nothing comes in between: what is continued in the middle of a word is one word.
        whole += continued.sub("", line)
        if not continued.search(line):
            if words := _words(whole):
                yield begun, words
            begun, whole = 0, ""
    if words := _words(whole):
        yield begun, words


def _lines(text: str) -> list[str]:
    """As builders split it, who know fewer ends of lines than Python."""
    return [line.removesuffix("\r") for line in text.removeprefix("\ufeff").split("\n")]


def _words(line: str) -> list[str]:
    return [word for word in _BLANKS.split(line) if word]


def _escape(text: str) -> str:
    """The character that continues a line; directives stand before everything else."""
    for line in _lines(text):
        directive = _DIRECTIVE.match(line.strip())
        if directive is None or directive[1].lower() not in _DIRECTIVES:
            break
        if directive[1].lower() == "escape":
            return directive[2]
    return "\\"


def _features(words: list[str]) -> Iterable[str]:
    name, rest = words[0].upper(), words[1:]
    if name == "ONBUILD" and rest:
        name, rest = rest[0].upper(), rest[1:]
    if name not in _ONLY_BUILDKIT:
        return
    for word in rest:
        flag = _FLAG.match(word)
        if flag is None:
            break
        if flag[1] in _ONLY_BUILDKIT[name]:
            yield f"{name} --{flag[1]}"
    # In the exec form nothing is read into the words.
    if not " ".join(rest).startswith("[") and _HEREDOC.search(" ".join(rest)):
        yield f"{name} <<, a text in the Dockerfile itself,"


def _error(code: str, message: str, where: str, hint: str) -> Finding:
    return Finding(severity="error", code=code, message=message, where=where, hint=hint)
