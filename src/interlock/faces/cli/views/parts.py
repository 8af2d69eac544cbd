"""The pieces that every view is made of. Nothing here interprets markup: texts are shown as they are."""

from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

DIM = "bright_black"
STRONG = "bold"

_GOOD, _BUSY, _BAD, _ASKS = "green", "cyan", "red", "yellow"
_STATES: dict[str, tuple[str, str]] = {
    "pending": ("○", DIM),
    "pending_approval": ("?", _ASKS),
    "open": ("?", _ASKS),
    "waiting": ("?", _ASKS),
    "paused": ("?", _ASKS),
    "unknown": ("?", _ASKS),
    "approved": ("›", _BUSY),
    "assigned": ("›", _BUSY),
    "running": ("›", _BUSY),
    "validating": ("›", _BUSY),
    "starting": ("›", _BUSY),
    "live": ("›", _BUSY),
    "drilling": ("›", _BUSY),
    "completed": ("✓", _GOOD),
    "succeeded": ("✓", _GOOD),
    "healthy": ("✓", _GOOD),
    "good": ("✓", _GOOD),
    "resolved": ("✓", _GOOD),
    "answered": ("✓", _GOOD),
    "delivered": ("✓", _GOOD),
    "active": ("✓", _GOOD),
    "acknowledged": ("›", _BUSY),
    "dead": ("✗", _BAD),
    "disabled": ("✗", _BAD),
    "failed": ("✗", _BAD),
    "unhealthy": ("✗", _BAD),
    "critical": ("✗", _BAD),
    "error": ("✗", _BAD),
    "rolled_back": ("↶", _ASKS),
    "warning": ("!", _ASKS),
    "info": ("·", DIM),
}


def state(name: str) -> Text:
    """A state: a sign, its word and a colour, so that the colour is never needed to read it."""
    sign, style = _STATES.get(name, ("–", DIM))
    return Text(f"{sign} {name.replace('_', ' ')}", style=style, no_wrap=True)


def title(name: str, about: str = "") -> Text:
    """The first line of a view."""
    line = Text(name, style=STRONG)
    return line.append(f"  {about}", style="not bold") if about else line


def section(heading: str, *content: RenderableType) -> RenderableType:
    """A heading with its content below and to the right of it."""
    return Group(Text(""), Text(heading, style=STRONG), *(Padding(item, (0, 0, 0, 2), expand=False) for item in content))


def pairs(rows: Iterable[tuple[str, RenderableType]]) -> RenderableType:
    """Labels beside values; an empty value is left out."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style=DIM, no_wrap=True)
    grid.add_column(overflow="fold")
    for label, value in rows:
        shown = Text(value) if isinstance(value, str) else value
        if not isinstance(shown, Text) or shown.plain:
            grid.add_row(label, shown)
    return grid


def columns(headings: Sequence[str], rows: Iterable[Sequence[RenderableType]], *, wrapped: Sequence[str] = ()) -> Table:
    """A table without lines. Only the columns in ``wrapped`` may be broken over several lines."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style=DIM, padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(heading, no_wrap=heading not in wrapped, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    return table


def listing(headings: Sequence[str], rows: Sequence[Sequence[RenderableType]], nothing: str, *, wrapped: Sequence[str] = ()):
    """A table, or a sentence where there is nothing to list."""
    return columns(headings, rows, wrapped=wrapped) if rows else Text(nothing, style=DIM)


def next_step(command: str, what: str) -> Text:
    """What can be done now: on one line however long it is, so that it can be copied."""
    return Text.assemble((f"{what}: ", DIM), command, no_wrap=True, overflow="ignore")


def number(value: float | None) -> str:
    """A number as short as it can be written; a dash for none."""
    return "–" if value is None else f"{value:g}"
