"""Channels to the outside, and what was sent through them."""

from datetime import datetime

from rich.console import Group, RenderableType
from rich.text import Text

from interlock.faces.cli.text import Doc, moment, since
from interlock.faces.cli.views.parts import listing, next_step, pairs, state, title


def added(channel: Doc) -> RenderableType:
    """A new channel, with the secret that is shown this once."""
    rows = [("kind", channel["kind"]), ("target", channel["target"]), ("events", ", ".join(channel["events"]))]
    lines: list[RenderableType] = [title(channel["name"], "is told from now on"), Text(""), pairs(rows)]
    if "secret" in channel:
        lines += [Text(""), *_secret(channel)]
    return Group(*lines, Text(""), next_step(f"interlock notify test {channel['name']}", "next"))


def rotated(channel: Doc) -> RenderableType:
    """A channel's new secret."""
    return Group(title(channel["name"], "has a new signing secret; the former one is valid for a while"), *_secret(channel))


def _secret(channel: Doc) -> list[RenderableType]:
    return [
        next_step(channel["secret"], "signing secret"),
        Text("It is not shown again: the receiver verifies with it that a request is from here."),
    ]


def channels(page: Doc) -> RenderableType:
    """All channels."""
    rows = [
        (item["name"], item["kind"], state(item["state"]), item["target"], ", ".join(item["events"]) + _why(item))
        for item in page["items"]
    ]
    nothing = "There is no channel; add one: interlock notify add NAME --webhook URL --events 'incident.*'"
    return listing(("channel", "kind", "state", "target", "events"), rows, nothing, wrapped=("target", "events"))


def _why(channel: Doc) -> str:
    return f" ({channel['reason']})" if channel["reason"] else ""


def tested(item: Doc) -> RenderableType:
    """What came of a test."""
    rows: list[tuple[str, RenderableType]] = [
        ("state", state(item["state"])),
        ("answer", f"status {item['status']}" if item["status"] else ""),
        ("problem", item["error"]),
        ("in its words", item["answer"]),
        ("next attempt", moment(item["due_at"]) if item["state"] == "pending" else ""),
    ]
    return Group(title(item["delivery_id"], f"test of {item['channel']}"), Text(""), pairs(rows))


def enabled(channel: Doc) -> RenderableType:
    """A channel that is delivered to again."""
    return Text(f"{channel['name']} is told again from now on.")


def removed(channel: Doc) -> RenderableType:
    """A channel that is no more."""
    return Text(f"{channel['name']} is removed; nothing more goes to {channel['target']}.")


def deliveries(page: Doc, now: datetime) -> RenderableType:
    """Deliveries with what became of them."""
    rows = [
        (
            item["delivery_id"],
            item["channel"],
            state(item["state"]),
            str(item["attempts"]),
            since(item["created_at"], now),
            item["event_type"],
            item["error"],
        )
        for item in page["items"]
    ]
    headings = ("delivery", "channel", "state", "attempts", "age", "event", "problem")
    return listing(headings, rows, "Nothing was sent.", wrapped=("problem",))


def redriven(page: Doc) -> RenderableType:
    """Deliveries that are tried again."""
    if not page["items"]:
        return Text("Nothing was given up.")
    return Text("\n".join(f"{item['delivery_id']} is sent again to {item['channel']}." for item in page["items"]))
