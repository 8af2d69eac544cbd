"""A plan, to be read before it is approved."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from interlock.faces.cli.text import Doc, duration, moment, since
from interlock.faces.cli.views.parts import DIM, STRONG, listing, next_step, pairs, section, state, title
from interlock.faces.cli.views.rules import terms_of
from interlock.faces.cli.views.steps import is_straight, outline, steps

_SILENT_ROLES = {"grammar", "connector", "filler"}
_THRESHOLDS = {
    "error_rate": "errors > {:g} %",
    "p95_ms": "p95 > {:g} ms",
    "health_failures": "failed health checks ≥ {:g}",
    "restarts": "restarts ≥ {:g}",
}
_SEVERITIES = ("error", "warning", "info")


def whole_plan(plan: Doc) -> RenderableType:
    """Everything that a person needs to decide: every step with its exact commands and rights."""
    return Group(*_upper_part(plan), *steps(plan["content"]))


def plan_to_decide(plan: Doc) -> RenderableType:
    """The same, and while it waits, the commands that decide about exactly what is shown."""
    if plan["state"] != "pending_approval":
        return whole_plan(plan)
    approval = f"interlock approve {plan['plan_id']} --hash {plan['content_hash']}"
    reject = f"interlock reject {plan['plan_id']} --reason WHY"
    return Group(whole_plan(plan), Text(""), next_step(approval, "approve exactly this"), next_step(reject, "turn it down"))


def plan_summary(plan: Doc, *, is_stored: bool = True) -> RenderableType:
    """The same with one line for each step, and what to do next."""
    hints: list[RenderableType] = [Text("")]
    if not is_stored:
        hints.append(Text("Preview: nothing was stored.", style=DIM))
    elif plan["state"] == "pending_approval":
        hints.append(next_step(f"interlock show {plan['plan_id']}", "every command and right"))
        hints.append(next_step(f"interlock approve {plan['plan_id']}", "approve"))
    return Group(*_upper_part(plan), *outline(plan["content"]), *hints)


def listing_of(page: Doc, now: datetime) -> RenderableType:
    """Plans, newest first."""
    rows = [(item["plan_id"], state(item["state"]), since(item["created_at"], now), item["text"]) for item in page["items"]]
    nothing = 'No plan yet; make one: interlock plan "deploy latest of SERVICE to ENVIRONMENT"'
    return listing(("plan", "state", "age", "what"), rows, nothing, wrapped=("what",))


def approved(plan: Doc) -> RenderableType:
    """A plan that was approved."""
    rows = [("signed", _signed(item)) for item in plan["approvals"]]
    about = pairs([*rows, ("hash", plan["content_hash"]), ("missing", plan["missing"]), ("waits", _waits(plan))])
    new = [finding for finding in plan["findings"] if finding["code"] == "branch_advanced"]
    warnings = [section("Findings", _findings(new))] if new else []
    if plan["state"] == "pending_approval":
        return Group(title(plan["plan_id"], "needs more approvals; yours counts"), about, *warnings)
    what = "is approved; it starts by itself" if plan["waits"] else "is approved; its run begins"
    follow = next_step(f"interlock watch {plan['plan_id']}", "follow it")
    return Group(title(plan["plan_id"], what), about, *warnings, follow)


def _signed(approval: Doc) -> str:
    said = f", overriding windows and freezes: {approval['override']}" if approval["override"] else ""
    return f"by {approval['by']}{said}"


def _waits(plan: Doc) -> str:
    return plan["reason"] if plan["waits"] else ""


def rejected(plan: Doc) -> RenderableType:
    """A plan that was turned down."""
    return title(plan["plan_id"], "is rejected" + (f": {plan['reason']}" if plan["reason"] else ""))


def _upper_part(plan: Doc) -> Iterable[RenderableType]:
    yield title(plan["plan_id"], _headline(plan))
    yield Text("")
    yield _header(plan)
    yield section("Understood", *_understood(plan))
    if plan["terms"]:
        yield section("Rules", terms_of(plan["terms"]))
    if plan["changes"]:
        yield section("Changes", *(_change(change) for change in plan["changes"]))
    if plan["findings"]:
        yield section("Findings", _findings(plan["findings"]))
    if plan["evidence"]:
        yield section("Evidence", _evidence(plan["evidence"]))


def _headline(plan: Doc) -> str:
    places = ", then ".join(plan["environments"])
    return f"{plan['action']} {plan['service']} {plan['version']}" + (f" in {places}" if places else "")


def _header(plan: Doc) -> RenderableType:
    content = plan["content"]
    waits = plan["state"] == "pending_approval"
    decided = state(plan["state"])
    if waits:
        decided.append(f" until {moment(plan['expires_at'])}", style="default")
    elif plan["reason"]:
        decided.append(f": {plan['reason']}", style="default")
    straight = sum(1 for task in content["graph"]["tasks"] if is_straight(task))
    spare = len(content["graph"]["tasks"]) - straight
    in_reserve = f", {spare} more in reserve" if spare else ""
    return pairs(
        (
            ("state", decided),
            ("asked", f"by {plan['requested_by']} at {moment(plan['created_at'])}"),
            *(("signed", f"{_signed(item)} at {moment(item['at'])}") for item in plan["approvals"]),
            ("missing", plan["missing"]),
            ("run", plan["run_id"]),
            ("source", f"{content['repository']}, {content['ref_kind']} {content['ref_name']} = {content['commit'][:12]}"),
            ("tier", _tier(plan["tier"])),
            ("takes", f"about {duration(plan['estimate_s'])}: {straight} steps{in_reserve}"),
            ("watch", _watch(content)),
            ("hash", plan["content_hash"]),
        )
    )


def _tier(tier: int) -> str:
    return "1: ai-module.yaml decides" if tier == 1 else "2: derived from the files, see the evidence"


def _watch(content: Doc) -> str:
    """For how long and against what a release is watched, and what follows when a threshold is crossed."""
    if not any(task["kind"] == "delivery.watch" for task in content["graph"]["tasks"]):
        return ""
    said = {name: value for name, value in content["watch"].items() if value is not None}
    thresholds = [
        text.format(said[name] * 100 if name == "error_rate" else said[name])
        for name, text in _THRESHOLDS.items()
        if name in said
    ]
    then = "rolled back" if content["recipe"]["rollback"] == "automatic" else "a rollback is proposed"
    return f"{duration(said.get('window_s', 0))}; {then} on {', '.join(thresholds)}"


def _understood(plan: Doc) -> Iterable[RenderableType]:
    yield Text(f"“{plan['text']}”")
    read_as = {item["said"]: item["read_as"] for item in plan["corrections"]}
    rows: list[tuple[str, RenderableType]] = []
    for item in plan["highlights"]:
        if item["role"] in _SILENT_ROLES:
            continue
        said = plan["text"][item["start"] : item["end"]]
        meaning = Text(_meaning(item))
        if correction := next((read for wrong, read in read_as.items() if wrong.casefold() in said.casefold()), None):
            meaning.append(f"  “{said}” was read as “{correction}”", style="yellow")
        rows.append((said, meaning))
    constraints = {name: value for name, value in plan["constraints"].items() if value is not None}
    rows += [(name.replace("_", " "), str(value)) for name, value in constraints.items() if not plan["highlights"]]
    yield pairs(rows)


def _meaning(highlight: Doc) -> str:
    role, meaning = highlight["role"], highlight["meaning"].replace("_", " ")
    return meaning if role in {"action", "version", "constraint"} and meaning else f"{role} {meaning}"


def _change(change: Doc) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    versions = Text.assemble((change["now"], DIM), " → ", (change["then"], STRONG), f"   {change['url']}")
    grid.add_row(Text(change["environment"], style=STRONG), versions)
    for commit in change["commits"]:
        grid.add_row("", Text(commit))
    for part in change["recipe"]:
        was, will = part["now"] or "not said", part["then"] or "not said"
        grid.add_row("", Text.assemble((f"{part['field']}: ", DIM), (was, DIM), " → ", will))
    if change["rollback"]:
        grid.add_row("", Text.assemble(("way back: ", DIM), change["rollback"]))
    return grid


def _findings(findings: list[Doc]) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for finding in sorted(findings, key=lambda item: _SEVERITIES.index(item["severity"])):
        text = Text(finding["message"])
        if finding["where"]:
            text.append(f"  {finding['where']}", style=DIM)
        if finding["hint"]:
            text.append(f"\n{finding['hint']}", style=DIM)
        grid.add_row(state(finding["severity"]), text)
    return grid


def _evidence(evidence: list[Doc]) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style=DIM, no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_column(overflow="fold", style=DIM)
    for item in evidence:
        grid.add_row(item["claim"].replace("_", " "), Text(item["value"]), Text(_place(item)))
    return grid


def _place(item: dict[str, Any]) -> str:
    return f"{item['file']}:{item['line']}" if item["line"] else item["file"]
