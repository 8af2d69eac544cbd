"""How the story is told: calm lines, at a terminal and without one."""

import sys
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.status import Status
from rich.table import Table
from rich.text import Text

from interlock.demo.findings import Check

PIPE_WIDTH = 110
INDENT = 2


def make_console(*, is_silent: bool) -> Console:
    """A console on stdout, or one that prints nothing."""
    width = None if sys.stdout.isatty() else PIPE_WIDTH
    return Console(width=width, quiet=is_silent, highlight=False, markup=False, emoji=False)


class Teller:
    """Prints chapters, commands, what came back, and progress. With ``is_held`` all is kept until `release`."""

    def __init__(self, console: Console, *, is_held: bool = False) -> None:
        self._console = console
        self._is_held = is_held
        self._held: list[RenderableType] = []
        self._turn = threading.RLock()
        self._status: Status | None = None

    @property
    def columns(self) -> int:
        """How many columns the output of a command may use."""
        return self._console.width - 2 * INDENT

    def aside(self) -> "Teller":
        """A teller for what happens at the same time; all is kept until its `release`."""
        return Teller(self._console, is_held=True)

    def chapter(self, title: str, text: str = "") -> None:
        """A heading, and what this is about."""
        self._print(Text())
        self._print(Rule(Text(title, style="bold"), align="left", style="cyan"))
        if text:
            self.say(text)

    def say(self, line: str) -> None:
        """A line of the story."""
        self._print(Text(line))

    def command(self, line: str) -> None:
        """A command, as it is typed."""
        self._print(Text())
        self._print(Text("$ ", style="bold cyan") + Text(line, style="bold"))

    def output(self, text: str) -> None:
        """What a command printed."""
        for line in text.splitlines():
            self._print(Padding(Text(line.rstrip(), style="dim", overflow="fold"), (0, 0, 0, INDENT), expand=False))

    def event(self, mark: str, style: str, name: str, message: str) -> None:
        """One thing that happened to what is under way."""
        row = Table.grid(padding=(0, 1, 0, 0), pad_edge=True)
        row.add_column(width=INDENT + 1)
        row.add_column(min_width=18, no_wrap=True)
        row.add_column(overflow="fold")
        row.add_row(Text(f"{mark:>{INDENT + 1}}", style), Text(name, "bold"), Text(message))
        self._print(row)

    def alarm(self, line: str) -> None:
        """Something that is done to the system on purpose."""
        self._print(Padding(Text(f"✗ {line}", style="bold red"), (0, 0, 0, INDENT), expand=False))

    def verdict(self, check: Check) -> None:
        """What was observed."""
        mark, style = ("✓", "bold green") if check.ok else ("✗", "bold red")
        self._print(Text())
        self._print(Text.assemble((f"{mark} {check.name}: ", style), check.observed))

    @contextmanager
    def waiting(self, text: str) -> Generator[None]:
        """At a terminal: a sign of life while something lasts; `note` changes its text."""
        if self._is_held or not self._console.is_terminal:
            yield
            return
        with self._console.status(Text(text, style="cyan")) as status:
            self._status = status
            try:
                yield
            finally:
                self._status = None

    def note(self, text: str) -> None:
        """What the sign of life says now."""
        if self._status is not None:
            self._status.update(Text(text, style="cyan"))

    def release(self) -> None:
        """Print what was held back; from now on nothing is."""
        with self._turn:
            self._is_held = False
            for renderable in self._held:
                self._console.print(renderable)
            self._held.clear()

    def summary(self, checks: Sequence[Check], seconds: float) -> None:
        """The table at the end."""
        table = Table(box=None, padding=(0, 2, 1, 0), header_style="bold", expand=True)
        table.add_column("")
        table.add_column("step", ratio=2)
        table.add_column("what was checked", ratio=4)
        table.add_column("what was observed", ratio=5)
        for check in checks:
            mark = Text("✓", style="bold green") if check.ok else Text("✗", style="bold red")
            table.add_row(mark, Text(check.name), Text(check.question), Text(check.observed))
        good = sum(check.ok for check in checks)
        self.chapter("What was observed")
        self._print(table)
        style = "bold green" if good == len(checks) else "bold red"
        self._print(Text(f"{good} of {len(checks)} checks were observed true, in {seconds:.0f} s", style=style))

    def _print(self, renderable: RenderableType) -> None:
        with self._turn:
            if self._is_held:
                self._held.append(renderable)
            else:
                self._console.print(renderable)
