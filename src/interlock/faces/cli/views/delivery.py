"""Services, releases, what serves where and the quarantine."""

from collections.abc import Iterable
from datetime import datetime

from rich.console import Group, RenderableType
from rich.text import Text

from interlock.faces.cli.text import Doc, since
from interlock.faces.cli.views.parts import DIM, listing, next_step, number, pairs, state, title


def service_added(service: Doc) -> RenderableType:
    """A new service with the addresses at which it will be reached."""
    return Group(
        title(service["name"], "is registered"),
        Text(""),
        pairs([("repository", service["repository"]), *service["environments"].items()]),
        Text(""),
        next_step(f'interlock plan "deploy latest of {service["name"]} to {next(iter(service["environments"]))}"', "next"),
    )


def services(page: Doc, now: datetime) -> RenderableType:
    """All services."""
    rows = [(item["name"], item["repository"], since(item["created_at"], now)) for item in page["items"]]
    nothing = "No service is registered; register one: interlock service add NAME --repo PATH_OR_URL"
    return listing(("service", "repository", "age"), rows, nothing, wrapped=("repository",))


def thresholds(service: Doc) -> RenderableType:
    """A service's own thresholds."""
    said = [(name, number(value)) for name, value in service["watch"].items() if value is not None]
    rows = said or [("thresholds", "those of its module file")]
    return Group(title(service["name"], "is watched by its own thresholds in later plans"), Text(""), pairs(rows))


def status(page: Doc, now: datetime) -> RenderableType:
    """What serves where, as observed; below it, a line for each place that there is more to say about."""
    rows = [_status_row(row) for row in page["items"]]
    nothing = "No service is registered; register one: interlock service add NAME --repo PATH_OR_URL"
    table = listing(("service", "environment", "version", "health", "address"), rows, nothing)
    told = [Text(f"{row['service']} in {row['environment']}: {notes}") for row in page["items"] if (notes := _notes(row, now))]
    return Group(table, Text(""), *told) if told else table


def _status_row(row: Doc) -> list[RenderableType]:
    serving = row["serving"]
    if serving is None:
        return [row["service"], row["environment"], Text("nothing", style=DIM), Text(""), Text(row["url"], style=DIM)]
    health = state(serving["observed"]["health"])
    return [row["service"], row["environment"], serving["version"], health, row["url"]]


def _notes(row: Doc, now: datetime) -> str:
    serving = row["serving"]
    differs = [f"drift: {detail}" for detail in row.get("drift", ())]
    if serving is None:
        return ", ".join(differs)
    observed = serving["observed"]
    notes = [] if observed["health"] == "healthy" else [observed["reason"]]
    if observed["restarts"]:
        notes.append(f"{observed['restarts']} restarts")
    if not observed["routed"]:
        notes.append("no traffic leads to it")
    if serving["state"] != "good":
        notes.append({"live": "under watch"}.get(serving["state"], serving["state"].replace("_", " ")))
    return ", ".join([*notes, *differs, *_way_back(row, now)])


def _way_back(row: Doc, now: datetime) -> Iterable[str]:
    """Where a rollback would go now, and whether that was ever tried."""
    back, drill = row.get("back_to"), row.get("last_drill")
    if back is None:
        return
    about = f"rollback to {back['version']}"
    if drill is None:
        yield f"{about} never proven"
    elif drill["release_id"] != back["release_id"]:
        yield f"{about} never proven ({drill['version']} was drilled {since(drill['at'], now)} ago)"
    elif drill["outcome"] == "proven":
        yield f"{about} proven {since(drill['at'], now)} ago"
    else:
        yield f"{about} failed its drill {since(drill['at'], now)} ago: {drill['reason']}"


def drift(page: Doc, now: datetime) -> RenderableType:
    """Where what runs is not what should run, a line for each difference, and what cannot be observed."""
    rows: list[list[RenderableType]] = []
    for item in page["items"]:
        place: list[RenderableType] = [item["service"] or "–", item["environment"] or "–"]
        age = since(item["since"], now) if item["since"] else ""
        standing = item["state"].replace("_", " ")
        rows += [[*place, each["kind"].replace("_", " "), each["detail"], age, standing] for each in item["drifts"]]
        rows += [[*place, Text("cannot be observed", style=DIM), reason, "", ""] for reason in item["unseen"]]
    headings = ("service", "environment", "what", "detail", "since", "state")
    return listing(headings, rows, "What runs is what should run.", wrapped=("detail",))


def releases(page: Doc, now: datetime) -> RenderableType:
    """Releases, with where they serve and whether they are in quarantine."""
    rows = [
        (
            item["release_id"],
            item["service"],
            item["version"],
            item["commit"][:12],
            since(item["built_at"], now),
            _standing(item),
        )
        for item in page["items"]
    ]
    nothing = "No release was built yet."
    return listing(("release", "service", "version", "commit", "age", "standing"), rows, nothing, wrapped=("standing",))


def _standing(release: Doc) -> Text:
    text = Text(f"serves in {', '.join(release['serving_in'])}" if release["serving_in"] else "")
    if release["quarantined_by"]:
        text.append("; " if text.plain else "").append(f"✗ quarantined by {release['quarantined_by']}", style="red")
    return text


def quarantine(page: Doc, now: datetime) -> RenderableType:
    """Content that must not be deployed again."""
    rows = [
        (item["service"], item["version"], since(item["at"], now), item["incident_id"], item["reason"])
        for item in page["items"]
    ]
    headings = ("service", "version", "age", "incident", "reason")
    return listing(headings, rows, "Nothing is in quarantine.", wrapped=("reason",))


def lifted(item: Doc) -> RenderableType:
    """A version that may be deployed again."""
    return Text(f"{item['service']} {item['version']} may be deployed again (lifted by {item['lifted_by']}).")
