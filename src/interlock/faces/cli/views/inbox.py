"""What waits for a person."""

import shlex
from datetime import datetime

from rich.console import Group, RenderableType
from rich.text import Text

from interlock.faces.cli.text import Doc, as_text, since
from interlock.faces.cli.views.parts import DIM, STRONG, pairs


def inbox(page: Doc, now: datetime) -> RenderableType:
    """Every open item with the commands that settle it."""
    if not page["items"]:
        return Text("Nothing waits for you.", style=DIM)
    blocks: list[RenderableType] = []
    for item in page["items"]:
        head = Text.assemble((item["item_id"], STRONG), f"  {item['kind'].replace('_', ' ')}", (f"  {_age(item, now)}", DIM))
        blocks += [head, Text(f"  {item['title']}"), pairs(_rows(item)), Text("")]
    return Group(*blocks[:-1])


def _rows(item: Doc) -> list[tuple[str, str]]:
    about = [("  about", item["subject"])]
    details = {name: value for name, value in item["details"].items() if name not in {"plan_id", "content_hash"}}
    about += [(f"  {name.replace('_', ' ')}", as_text(value)) for name, value in details.items()]
    if item["kind"] == "approval":
        return [*about, ("  decide", f"interlock approve {item['subject'].partition(':')[2]}")]
    return [*about, *(("  answer", _answer(item, option)) for option in item["options"])]


def _answer(item: Doc, option: str) -> str:
    return f"interlock inbox answer {item['item_id']} {shlex.quote(option)}"


def _age(item: Doc, now: datetime) -> str:
    age = since(item["created_at"], now)
    return f"since {age}" if age else ""


def answered(item: Doc) -> RenderableType:
    """An item that was answered."""
    return Text(f"{item['item_id']} is answered: {item['answer']}.")
