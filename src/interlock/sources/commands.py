"""Command lines as data: parsed by a real shell grammar, and refused unless they are plain commands joined by ``&&``."""

import shlex
import unicodedata
from collections.abc import Sequence
from typing import NoReturn

import tree_sitter_bash
from tree_sitter import Language, Node, Parser

from interlock.core.errors import Invalid
from interlock.sources.model import PORT_PLACEHOLDER, Command

MAX_LENGTH = 8192

_LANGUAGE = Language(tree_sitter_bash.language())
# Of the placeholder's length, so that the places in the tree are those in the text; plain letters in any context.
_STAND_IN = "p" * len(PORT_PLACEHOLDER)

_QUOTE = "put it in single quotes if the program shall see it as it stands"
_LIST = "no shell runs here: write several commands with && or as a list"
_FILES = "no shell runs here: let the program read and write its files itself, or put the line into a script of the repository"
_SCRIPT = "put it into a script of the repository and call the script"
_ENV = "write it under env:"

_CONSTRUCTS: dict[str, tuple[str, str]] = {
    "|": ("a pipe", _FILES),
    "|&": ("a pipe", _FILES),
    "||": ("an alternative (||)", _SCRIPT),
    ";": ("a semicolon", _LIST),
    ";;": ("a semicolon", _LIST),
    "&": ("a background command (&)", "the service is kept running by its supervisor: leave & away"),
    "!": ("a negation (!)", _SCRIPT),
    "\n": ("a line break", _LIST),
    "$": ("a dollar sign", _QUOTE),
    "comment": ("a comment", "leave it away, or write it as a YAML comment"),
    "file_redirect": ("a redirection", _FILES),
    "heredoc_redirect": ("a here-document", _FILES),
    "herestring_redirect": ("a here-string", _FILES),
    "command_substitution": ("a command substitution", _SCRIPT),
    "process_substitution": ("a process substitution", _SCRIPT),
    "arithmetic_expansion": ("an arithmetic expansion", _SCRIPT),
    "simple_expansion": ("a variable", "no shell expands it here: write the value, or let the program read its environment"),
    "expansion": ("a variable", "no shell expands it here: write the value, or let the program read its environment"),
    "brace_expression": ("a brace expansion", "write the words out, or " + _QUOTE),
    "ansi_c_string": ("an escape string ($'…')", "use plain quotes"),
    "translated_string": ('a translated string ($"…")', "use plain quotes"),
    "variable_assignment": ("an assignment", _ENV),
    "variable_assignments": ("an assignment", _ENV),
    "declaration_command": ("a declaration", _ENV),
    "unset_command": ("a change of shell variables", _ENV),
    "test_command": ("a shell test", _SCRIPT),
    "subshell": ("a subshell", _LIST),
    "compound_statement": ("a group of commands", _LIST),
    "function_definition": ("a function", _SCRIPT),
    "if_statement": ("an if statement", _SCRIPT),
    "for_statement": ("a loop", _SCRIPT),
    "c_style_for_statement": ("a loop", _SCRIPT),
    "while_statement": ("a loop", _SCRIPT),
    "case_statement": ("a case statement", _SCRIPT),
}
_TRANSPARENT = frozenset({"program", "list", "pipeline", "redirected_statement", "negated_command", "command", "command_name"})
_WORDS = frozenset({"word", "number", "raw_string", "string", "concatenation"})
_SPECIAL: dict[str, tuple[str, str]] = {
    "\\": ("a backslash", "use quotes instead"),
    "*": ("a wildcard", _QUOTE),
    "?": ("a wildcard", _QUOTE),
    "[": ("a wildcard", _QUOTE),
    "]": ("a wildcard", _QUOTE),
    "{": ("a brace", f"only {PORT_PLACEHOLDER} is a placeholder; else {_QUOTE}"),
    "}": ("a brace", f"only {PORT_PLACEHOLDER} is a placeholder; else {_QUOTE}"),
    "$": ("a dollar sign", _QUOTE),
    "`": ("a command substitution", _SCRIPT),
}
_SHELL_WORDS: dict[str, str] = {
    "cd": "every command runs in the root of the repository: write paths from there",
    "source": "call the program by its path, such as .venv/bin/python",
    ".": "call the program by its path, such as .venv/bin/python",
    "exec": "leave exec away: no shell stands between",
    "time": "leave time away: every command's duration is recorded",
} | dict.fromkeys(
    ("alias", "builtin", "command", "coproc", "eval", "set", "trap", "ulimit", "umask", "unalias", "wait"), _SCRIPT
)


def parse_command(text: str, *, file: str = "", line: int = 0, column: int = 1) -> Command:
    """Read a command line such as ``pip install . && python -m app --port {port}``.

    ``line`` and ``column`` (1-based) are where ``text`` begins in ``file``. Words may be plain or quoted; ``{port}`` may be a
    word or a part of one. Raises Invalid ``shell_syntax`` for everything else a shell would understand, with ``column`` and
    ``found`` in its details, and ``program_path`` for a program outside the repository and the search path.
    """
    return _Reader(text, file, line, column).command()


def parse_arguments(arguments: Sequence[str], *, file: str = "", line: int = 0, column: int = 1) -> Command:
    """One command given as its argument list. Raises Invalid ``shell_syntax`` and ``program_path`` as `parse_command` does."""
    text = " ".join(_quoted(argument) for argument in arguments)
    reader = _Reader(text, file, line, column)
    if not arguments:
        reader.refuse(0, "nothing", "write the program and its arguments")
    reader.check_characters()
    reader.check_program(arguments[0], 0)
    return Command(text=text, argv=(tuple(arguments),), file=file, line=line)


class _Reader:
    """One command line under reading; offsets are in bytes of its UTF-8 form, columns in characters."""

    def __init__(self, text: str, file: str, line: int, column: int) -> None:
        self._text = text
        self._file, self._line, self._column = file, line, column
        self._bytes = text.encode(errors="surrogatepass")

    def command(self) -> Command:
        self.check_characters()
        tree = Parser(_LANGUAGE).parse(self._text.replace(PORT_PLACEHOLDER, _STAND_IN).encode())
        root = tree.root_node
        commands = tuple(self._arguments(node) for node in self._commands(root))
        if not commands:
            self.refuse(0, "nothing", "write the program and its arguments")
        return Command(text=self._text, argv=commands, file=self._file, line=self._line)

    def check_characters(self) -> None:
        """Refuse what cannot be seen: control and format characters, and blanks other than the space."""
        if len(self._text) > MAX_LENGTH:
            self.refuse(0, f"more than {MAX_LENGTH} characters", _SCRIPT)
        for index, character in enumerate(self._text):
            category = unicodedata.category(character)
            if character != " " and category[0] in "CZ":
                found, hint = ("a line break", _LIST) if character in "\r\n" else (_invisible(character), "use plain spaces")
                self._refuse_at(index, found, hint)

    def check_program(self, program: str, offset: int) -> None:
        """Refuse a program that only a shell has, or that lies outside the repository and the search path."""
        if program in _SHELL_WORDS:
            self.refuse(offset, f"the shell's own command {program!r}", _SHELL_WORDS[program])
        if not program or program.startswith(("/", "-", "~")) or ".." in program.split("/") or PORT_PLACEHOLDER in program:
            column, where = self._place(len(self._bytes[:offset].decode(errors="replace")))
            hint = "name a program on the search path, or one of the repository by its path from the root"
            message = f"the program {program!r} cannot be run"
            raise Invalid("program_path", message, where=where, hint=hint, column=column, found=program)

    def refuse(self, offset: int, found: str, hint: str) -> NoReturn:
        """Raise ``shell_syntax`` for what begins at byte ``offset``."""
        self._refuse_at(len(self._bytes[:offset].decode(errors="replace")), found, hint)

    def _refuse_at(self, index: int, found: str, hint: str) -> NoReturn:
        column, where = self._place(index)
        message = f"a command may not hold {found}" if found != "nothing" else "a command is missing"
        raise Invalid("shell_syntax", message, where=where, hint=hint, column=column, found=found)

    def _place(self, index: int) -> tuple[int, str]:
        column = self._column + index
        return column, f"{self._file}:{self._line}:{column}" if self._file and self._line else f"column {column}"

    def _commands(self, root: Node) -> list[Node]:
        """The commands in their order, all checked: the whole line is refused before any word of it is looked at twice."""
        commands: list[Node] = []
        # A stack, not recursion: a hundred && nest a hundred levels deep.
        waiting = [root]
        while waiting:
            node = waiting.pop()
            self._check_node(node)
            if node.type == "command":
                commands.append(node)
            if node.type in _TRANSPARENT:
                waiting.extend(reversed(node.children))
        return commands

    def _check_node(self, node: Node) -> None:
        if node.is_error or node.is_missing:
            self._refuse_broken(node)
        if node.type in _WORDS:
            self._check_word(node)
        elif node.type not in _TRANSPARENT and node.type != "&&":
            found, hint = _CONSTRUCTS.get(node.type, ("something else than plain commands", _SCRIPT))
            if node.type in {"simple_expansion", "expansion"} and b"PORT" in self._slice(node).upper():
                hint = f"write {PORT_PLACEHOLDER}"
            self.refuse(node.start_byte, found, hint)

    def _check_word(self, node: Node) -> None:
        if node.type == "raw_string":
            return
        if node.type in {"string", "concatenation"}:
            for child in node.children:
                if child.is_missing or child.type not in {'"', "string_content"}:
                    self._check_node(child)
        if node.type == "string":
            self._check_letters(node.start_byte + 1, node.end_byte - 1, "\\$`")
        elif node.type != "concatenation":
            self._check_letters(node.start_byte, node.end_byte, "\\*?[]{}$`")
            self._check_tilde(node)

    def _check_letters(self, start: int, end: int, letters: str) -> None:
        plain = self._bytes[start:end].replace(PORT_PLACEHOLDER.encode(), _STAND_IN.encode())
        for offset, byte in enumerate(plain):
            if chr(byte) in letters:
                self.refuse(start + offset, *_SPECIAL[chr(byte)])

    def _check_tilde(self, node: Node) -> None:
        """A shell puts the home folder in the place of a tilde at a word's beginning, and after ``=`` or ``:``."""
        for offset in range(node.start_byte, node.end_byte):
            before = self._bytes[offset - 1 : offset]
            if self._bytes[offset : offset + 1] == b"~" and before in (b"", b" ", b"&", b"=", b":", b"'", b'"'):
                self.refuse(offset, "a tilde", "write the path from the root of the repository")

    def _refuse_broken(self, node: Node) -> NoReturn:
        start = node.start_byte + len(self._slice(node)) - len(self._slice(node).lstrip())
        quote = self._open_quote()
        if quote is not None:
            self.refuse(quote, "a quote that is never closed", "close it")
        rest = self._bytes[start:].decode(errors="replace").strip()
        if not rest or node.is_missing:
            self.refuse(min(start, len(self._bytes)), "an unfinished command", "write a command after &&")
        self.refuse(start, f"{rest.split()[0][:20]!r} here", "write plain commands joined by &&")

    def _open_quote(self) -> int | None:
        """Where the quote begins that is open at the end of the text."""
        opened: tuple[str, int] | None = None
        offset = 0
        for character in self._text:
            if opened is None and character in "'\"":
                opened = (character, offset)
            elif opened is not None and character == opened[0]:
                opened = None
            offset += len(character.encode())
        return opened[1] if opened else None

    def _arguments(self, node: Node) -> tuple[str, ...]:
        words = [child.children[0] if child.type == "command_name" else child for child in node.children]
        arguments = tuple(self._value(word) for word in words)
        # Two independent readings must agree: what is approved is what runs.
        if node.has_error or list(arguments) != _split(self._slice(node).decode()):
            self.refuse(node.start_byte, "words that can be read in two ways", "use quotes around each argument")
        self.check_program(arguments[0], node.start_byte)
        return arguments

    def _value(self, node: Node) -> str:
        if node.type == "concatenation":
            return "".join(self._value(child) for child in node.children)
        raw = self._slice(node).decode()
        return raw[1:-1] if node.type in {"raw_string", "string"} else raw

    def _slice(self, node: Node) -> bytes:
        return self._bytes[node.start_byte : node.end_byte]


def _quoted(argument: str) -> str:
    """As a command line has it; the placeholder alone is no reason for quotes."""
    plain = argument.replace(PORT_PLACEHOLDER, _STAND_IN)
    return argument if shlex.quote(plain) == plain else shlex.quote(argument)


def _split(text: str) -> list[str] | None:
    try:
        return shlex.split(text)
    except ValueError:
        return None


def _invisible(character: str) -> str:
    return f"the character U+{ord(character):04X}, which cannot be seen"
