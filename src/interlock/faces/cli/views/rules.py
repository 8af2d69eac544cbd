"""The rules of environments, by themselves and on a plan; and the people they are about."""

from datetime import datetime

from rich.console import Group, RenderableType
from rich.text import Text

from interlock.faces.cli.text import Doc, moment, since
from interlock.faces.cli.views.parts import DIM, STRONG, listing, next_step, pairs, title


def terms_of(terms: list[Doc]) -> RenderableType:
    """What each environment asks of a plan, and what of it was given."""
    return pairs((item["environment"] or "approval", _terms(item)) for item in terms)


def _terms(item: Doc) -> Text:
    given = f", given by {' and '.join(item['given'])}" if item["given"] else ""
    text = Text(_approvals(item) + given)
    if item["closed"]:
        opens = f"; it opens at {moment(item['opens_at'])}" if item["opens_at"] else ""
        text.append(f"\n! {item['closed']}{opens}", style="yellow")
    elif item["windows"]:
        text.append(f"\nopen now, as {' and '.join(item['windows'])}", style=DIM)
    if item["busy"] == "wait":
        text.append("\nwaits for its turn while another plan is under way", style=DIM)
    return text


def _approvals(rules: Doc) -> str:
    unit = "approval" if rules["approvals"] == 1 else "approvals"
    who = f" by {' or '.join(rules['approvers'])}" if rules["approvers"] else ""
    return f"{rules['approvals']} {unit}{who}" + (", not by whoever asked" if rules["not_requester"] else "")


def environments(page: Doc) -> RenderableType:
    """Every environment with its rules and what serves."""
    blocks = [part for item in page["items"] for part in (_environment(item), Text(""))]
    return Group(*blocks[:-1])


def changed(item: Doc) -> RenderableType:
    """An environment whose rules were changed."""
    return _environment(item)


def _environment(item: Doc) -> RenderableType:
    sign = Text("✓ open", style="green") if item["open"] else Text(f"✗ {item['closed_why']}", style="red")
    serves = ", ".join(f"{each['service']} {each['version']}" for each in item["serves"])
    rows: list[tuple[str, RenderableType]] = [
        ("  now", sign),
        ("  opens", moment(item["opens_at"])),
        ("  asks", _approvals(item)),
        ("  windows", "\n".join(item["windows"]) or "always"),
        ("  busy", {"wait": "wait for the other plan", "refuse": "refuse"}[item["busy"]]),
        ("  drift", item["drift"]),
        ("  serves", serves or "nothing"),
    ]
    return Group(Text(item["name"], style=STRONG), pairs(rows))


def user_added(user: Doc) -> RenderableType:
    """A new user with the token, which nobody can be shown again."""
    hint = next_step(f"export INTERLOCK_TOKEN={user['token']}", "the user types")
    return Group(title(user["name"], "may use Interlock; the token is not shown again"), Text(user["token"]), hint)


def users(page: Doc, now: datetime) -> RenderableType:
    """Everybody with a token."""
    rows = [(item["name"], item["role"], since(item["created_at"], now)) for item in page["items"]]
    return listing(("user", "role", "age"), rows, "")


def user_removed(user: Doc) -> RenderableType:
    """Somebody whose token is void."""
    return Text(f"{user['name']} is removed: the token is void, and approvals by it count no more.")
