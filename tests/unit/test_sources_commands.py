"""Command lines: what is a plain command, and the exact place of everything that is not."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.examples import examples
from interlock.core.errors import Invalid
from interlock.sources.commands import parse_arguments, parse_command


@pytest.mark.parametrize(
    ("text", "argv"),
    [
        ("pytest", [["pytest"]]),
        ("  pytest  -q ", [["pytest", "-q"]]),
        ("npm ci && npm run build", [["npm", "ci"], ["npm", "run", "build"]]),
        ("a&&b && c", [["a"], ["b"], ["c"]]),
        ("""echo 'it''s' "it's" "" '' a'b'"c"d""", [["echo", "its", "it's", "", "", "abcd"]]),
        ("""curl -d '{"a": [1, "$x"]}' x""", [["curl", "-d", '{"a": [1, "$x"]}', "x"]]),
        ("pip install 'x[y]>=1' a~=1.0 b==2", [["pip", "install", "x[y]>=1", "a~=1.0", "b==2"]]),
        ("python -m http.server {port}", [["python", "-m", "http.server", "{port}"]]),
        ("run --port={port} --bind '127.0.0.1:{port}' \"{port}\" x{port}y", [
            ["run", "--port={port}", "--bind", "127.0.0.1:{port}", "{port}", "x{port}y"]]),
        ("./größe --x=ü a#b 10 1.5 @x +y %z ^w a,b = !", [
            ["./größe", "--x=ü", "a#b", "10", "1.5", "@x", "+y", "%z", "^w", "a,b", "=", "!"]]),
    ],
)  # fmt: skip
def test_plain_commands(text: str, argv: list[list[str]]) -> None:
    command = parse_command(text, file="ai-module.yaml", line=3)
    assert [list(arguments) for arguments in command.argv] == argv
    assert (command.text, command.file, command.line) == (text, "ai-module.yaml", 3)


REFUSED = [
    ("a | b", 3, "pipe"),
    ("a |& b", 3, "pipe"),
    ("a && b | c", 8, "pipe"),
    ("größe ü | b", 9, "pipe"),
    ("a || b", 3, "alternative"),
    ("a; b", 2, "semicolon"),
    ("a b;", 4, "semicolon"),
    ("a &", 3, "background"),
    ("a && b & c", 8, "background"),
    ("! a", 1, "negation"),
    ("a > x", 3, "redirection"),
    ("a 2>&1", 3, "redirection"),
    ("a<b", 2, "redirection"),
    ("a <<< x", 3, "here-string"),
    ("a <<EOF\nx\nEOF", 8, "line break"),
    ("a\nb", 2, "line break"),
    ("a \\\n b", 4, "line break"),
    ("a $(b)", 3, "command substitution"),
    ("a `b`", 3, "command substitution"),
    ('a "`b`"', 4, "command substitution"),
    ('a "x $(b)"', 6, "command substitution"),
    ("a <(b)", 3, "process substitution"),
    ("a $((1))", 3, "arithmetic"),
    ("a $X", 3, "variable"),
    ("a ${X:-1}", 3, "variable"),
    ("a --x=$Y", 7, "variable"),
    ('a "x $Y"', 6, "variable"),
    ("a $1", 3, "variable"),
    ("a $", 3, "dollar"),
    ('a "$"', 4, "dollar"),
    ("a $'x'", 3, "escape string"),
    ('a $"x"', 3, "dollar"),
    ("a *.py", 3, "wildcard"),
    ("a x?", 4, "wildcard"),
    ("a x[y]", 4, "wildcard"),
    ("a ~/x", 3, "tilde"),
    ("a x=~/y", 5, "tilde"),
    ("a x:~y", 5, "tilde"),
    ("a {1,2}", 3, "brace"),
    ("a {1..2}", 3, "brace"),
    ("a x{y", 4, "brace"),
    ("a {PORT}", 3, "brace"),
    ("a b\\ c", 4, "backslash"),
    ('a "\\$x"', 4, "backslash"),
    ("FOO=1 a", 1, "assignment"),
    ("a && FOO=1 b", 6, "assignment"),
    ("FOO=1", 1, "assignment"),
    ("a[0]=1", 1, "assignment"),
    ("export A=1", 1, "declaration"),
    ("unset A", 1, "variables"),
    ("a # b", 3, "comment"),
    ("(a)", 1, "subshell"),
    ("{ a; }", 1, "group"),
    ("a && (b)", 6, "subshell"),
    ("f() { a; }", 1, "function"),
    ("if a; then b; fi", 1, "if statement"),
    ("for x in a; do b; done", 1, "loop"),
    ("while a; do b; done", 1, "loop"),
    ("case a in b) c;; esac", 1, "case"),
    ("[ a ]", 1, "shell test"),
    ("[[ a ]]", 1, "shell test"),
    ("cd x && a", 1, "'cd'"),
    ("source .venv/bin/activate && a", 1, "'source'"),
    ("a && exec b", 6, "'exec'"),
    ("a 'b", 3, "quote"),
    ('a && b "c', 8, "quote"),
    ("a && ", 5, "unfinished"),
    ("&& a", 1, "'&&'"),
    ("a && && b", 3, "'&&'"),
    ("a ) b", 3, "')'"),
    ("a +(x)", 3, "'+(x)'"),
    ("a\tb", 2, "U+0009"),
    ("a \x00b", 3, "U+0000"),
    ("a \x1b[31m", 3, "U+001B"),
    ("a\u00a0b", 2, "U+00A0"),
    ("a \u202eb", 3, "U+202E"),
    ("a \ud800", 3, "U+D800"),
    ("", 1, "nothing"),
    ("   ", 1, "nothing"),
]


@pytest.mark.parametrize(("text", "column", "found"), REFUSED)
def test_everything_else_is_refused_at_its_place(text: str, column: int, found: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_command(text, file="ai-module.yaml", line=7, column=11)
    error = caught.value
    assert error.code == "shell_syntax"
    assert found in error.details["found"]
    assert error.details["column"] == column + 10
    assert error.where == f"ai-module.yaml:7:{column + 10}"
    assert error.hint


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("a --port $PORT", "write {port}"),
        ("a --port ${PORT:-8000}", "write {port}"),
        ("FOO=1 a", "under env:"),
        ("a; b", "&&"),
        ("a & ", "supervisor"),
        ("cd web && npm ci", "root of the repository"),
        ("a *.py", "single quotes"),
    ],
)
def test_hint_says_what_to_write(text: str, hint: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_command(text)
    assert hint in caught.value.hint
    assert caught.value.where == f"column {caught.value.details['column']}"


@pytest.mark.parametrize("program", ["/bin/sh", "../x", "a/../b", "..", "'' b", "{port}", "-x", "'~/x'"])
def test_program_outside_of_repository_and_search_path(program: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_command(f"a && {program} c")
    assert caught.value.code == "program_path"
    assert caught.value.details["column"] == 6


def test_argument_list_is_taken_as_it_is() -> None:
    command = parse_arguments(["python3", "-c", "print($X; 'a | b')", "--port={port}", ""])
    assert command.argv == (("python3", "-c", "print($X; 'a | b')", "--port={port}", ""),)
    assert parse_command(command.text).argv == command.argv
    assert command.takes_port
    assert command.on_port(81)[0][3] == "--port=81"


@pytest.mark.parametrize("arguments", [[], [""], ["/bin/sh"], ["a", "b\0"], ["a", "\x1b[1m"], ["cd", "x"]])
def test_argument_list_that_cannot_run(arguments: list[str]) -> None:
    with pytest.raises(Invalid):
        parse_arguments(arguments)


@pytest.mark.parametrize(
    "text", ["a&&" * 2700 + "a", "a||" * 2700, "$(" * 4000, "{ " * 4000, "a" + '"' * 8001, "`" * 8000, "a " * 5000]
)
def test_deep_and_long_lines_end_well(text: str) -> None:
    with contextlib.suppress(Invalid):
        assert parse_command(text).argv


@examples(300)
@given(st.lists(st.text(st.characters(categories=["L", "N", "P", "S"]), max_size=8), min_size=1, max_size=4))
def test_quoting_and_parsing_are_inverse(arguments: list[str]) -> None:
    arguments = ["program", *arguments]
    assert parse_command(parse_arguments(arguments).text).argv == (tuple(arguments),)


@examples(500)
@given(st.text("ab ${}()[]|&;<>'\"\\`*?~#!=/.,pé\n\t-0", max_size=25))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    with contextlib.suppress(Invalid):
        assert all(arguments and arguments[0] for arguments in parse_command(text).argv)
