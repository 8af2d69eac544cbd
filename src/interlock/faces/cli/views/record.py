"""The verdict on the record."""

from rich.console import Group, RenderableType
from rich.text import Text

from interlock.faces.cli.text import Doc
from interlock.faces.cli.views.parts import DIM, pairs


def verdict(found: Doc) -> RenderableType:
    """Whether the record is whole, how much of it was checked, and where it is broken."""
    if found["ok"]:
        first = Text("✓ the record is whole: every row is sealed, every seal follows the one before", style="green")
    else:
        first = Text.assemble(("✗ the record is broken: ", "red"), (found["problem"], "bold"))
    checked = f"{found['seals']} seals over {found['rows']} rows" + ("" if found["ok"] else ", up to the problem")
    keep = Text("keep it elsewhere; with --head it shows later that nothing was cut off", style=DIM)
    rows: list[tuple[str, RenderableType]] = [("checked", checked), ("head", found["head"])]
    return Group(first, Text(""), pairs([*rows, ("", keep)] if found["ok"] else rows))
