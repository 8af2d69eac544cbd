"""The ``interlock`` command: every command is loaded when it runs, so that help is there at once."""

import contextlib
import importlib
from collections.abc import Callable, Generator
from typing import Annotated, Any, cast

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command, get_group

from interlock import __version__
from interlock.core.errors import InterlockError, Invalid
from interlock.faces.cli.catalogue import COMMANDS, GROUPS, SECTIONS, SHOWN_BY_ID
from interlock.faces.cli.context import CliContext
from interlock.faces.cli.failures import ASKED, exit_code, report

HELP = "The control plane for software delivery done by agents: words become a plan, an approved plan becomes a durable run."
NAMES = {"help_option_names": ["-h", "--help"]}
WRONG_USAGE = cast("type[Exception]", typer.BadParameter.__base__)
"""Every way to call a command that it does not understand."""


@contextlib.contextmanager
def _reporting(ctx: Any) -> Generator[None]:
    """Shows an error as the command was asked to, and ends with the exit code that stands for it."""
    try:
        yield
    except InterlockError as error:
        report(error, as_json=bool(ctx.params.get("as_json")))
        raise typer.Exit(exit_code(error)) from error


class LoadedCommand(TyperCommand):
    """A command whose errors are shown, with the exit code that stands for them."""

    def invoke(self, ctx: Any) -> Any:
        with _reporting(ctx):
            return super().invoke(ctx)


class LazyGroup(TyperGroup):
    """The commands of the catalogue that lie under the group's name; each is imported when somebody asks for it."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names under this group, in the order of the catalogue."""
        depth = len(self._prefix())
        paths = [tuple(path.split()) for path in COMMANDS]
        return list(dict.fromkeys(path[depth] for path in paths if len(path) > depth and path[:depth] == self._prefix()))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command, loaded; None where there is none of this name."""
        path = " ".join((*self._prefix(), cmd_name))
        if path in GROUPS:
            return get_group(_group(path))
        return get_command(_single(path)) if path in COMMANDS else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        prefix, command = SHOWN_BY_ID.get(self.name or "", ("", ""))
        if prefix and args and args[0].startswith(prefix):
            args = [command, *args]
        # The names alone are enough for "did you mean".
        self.commands = cast("Any", dict.fromkeys(self.list_commands(ctx)))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The help of the catalogue, without loading a command."""
        for heading, entries in SECTIONS.items():
            inside = {path: entry.help for path, entry in entries.items() if self._is_inside(path)}
            if inside:
                with formatter.section(heading if not self._prefix() else "Commands"):
                    formatter.write_dl([(self._shown(path), text) for path, text in inside.items()])

    def invoke(self, ctx: Any) -> Any:
        wants_json = "--json" in (*ctx._protected_args, *ctx.args)
        try:
            with _reporting(ctx):
                return super().invoke(ctx)
        except WRONG_USAGE as error:
            if not wants_json:
                raise
            message, usage = cast("Any", error).format_message(), cast("Any", error).ctx
            report(Invalid("usage", message, hint=f"try: {usage.command_path} -h" if usage else ""), as_json=True)
            raise typer.Exit(ASKED) from error

    def _prefix(self) -> tuple[str, ...]:
        return (self.name,) if self.name else ()

    def _is_inside(self, path: str) -> bool:
        words = path.split()
        return len(words) > len(self._prefix()) and tuple(words[: len(self._prefix())]) == self._prefix()

    def _shown(self, path: str) -> str:
        width = max(len(known) for known in COMMANDS) if not self._prefix() else 0
        return " ".join(path.split()[len(self._prefix()) :]).ljust(width)


def build_app(context: CliContext) -> typer.Typer:
    """The application; call it to run it with the arguments of the process."""
    app = _typer(help=HELP, context_settings=NAMES | {"obj": context}, no_args_is_help=True)

    @app.callback()
    def root(
        version: Annotated[
            bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_version)
        ] = False,
    ) -> None:
        pass

    return app


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"interlock {__version__}")
        raise typer.Exit


def _group(name: str) -> typer.Typer:
    """A group; one that is a command too does that when no further word is given."""
    is_command = name in COMMANDS
    options: Any = {"context_settings": NAMES, "no_args_is_help": not is_command, "invoke_without_command": is_command}
    group = _typer(name=name, help=GROUPS[name], **options)
    if is_command:
        group.callback()(_load(COMMANDS[name].target))
    return group


def _single(path: str) -> typer.Typer:
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    command = app.command(path.rsplit(maxsplit=1)[-1], cls=LoadedCommand, context_settings=NAMES, help=None)
    command(_load(COMMANDS[path].target))
    return app


def _typer(**options: Any) -> typer.Typer:
    # Plain help: the decorated one takes longer to load than everything else together.
    return typer.Typer(cls=LazyGroup, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, **options)


def _load(target: str) -> Callable[..., Any]:
    """The one place where commands are imported: start-up must not pay for those that do not run."""
    module, _, function = target.partition(":")
    return getattr(importlib.import_module(f"interlock.faces.cli.commands.{module}"), function)
