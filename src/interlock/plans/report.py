"""The report of a run: what was asked, done and changed, what went wrong, what it took and what it left. Pure.

A function of the plan and the journal: the same run says the same for ever. No model has a part in it.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from interlock.core.clock import from_text
from interlock.core.markdown import plain_line as md
from interlock.core.markdown import table, time_span
from interlock.delivery.logs.clusters import mask
from interlock.plans.launching import MAIN
from interlock.plans.model import Change, Plan, PlanContent
from interlock.plans.outcome import what_is_now
from interlock.runs import model as m
from interlock.runs.evolve import worked_s
from interlock.runs.fanning import instance_id
from interlock.runs.graph import TaskSpec
from interlock.tools.model import Effect

_MADE = {
    "delivery.release": (("release_id", "release", "/releases"),),
    "delivery.image": (("image", "image", ""),),
    "delivery.push": (("reference", "image", ""),),
}
"""For a kind of task the fields of its output that name what it made."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A task of the run. ``said`` is the last line that it reported, or why it ended as it did; the attempts of one for each
    item of a list are those of its items."""

    task: str
    title: str
    status: str
    attempts: int
    duration_s: float | None
    changes: bool
    """Whether it may change the world."""
    said: str


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt that failed, and whether the step was tried again after it."""

    at: str
    task: str
    code: str
    message: str
    is_tried_again: bool


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """A question of the run, and who answered what; both empty where nobody has."""

    task: str
    question: str
    answer: str = ""
    by: str = ""


class Artifact(msgspec.Struct, frozen=True, kw_only=True):
    """Something that the run made or left to be read; ``link`` is a path of the API, empty where there is none."""

    kind: str
    name: str
    link: str = ""


class Costs(msgspec.Struct, frozen=True, kw_only=True):
    """What it took. ``waited_s`` went by while a person was asked, or between the last word of a control plane that died and
    the first one of the next: of that time nobody knows whether work was done."""

    duration_s: float
    waited_s: float
    attempts: int
    retries: int
    effects: int
    """Calls of tools that may change the world, each of which was recorded before it acted."""
    adoptions: int
    """How often the run went on after its control plane had gone."""


class RunReport(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a reader of the run needs, derived anew from the record each time."""

    run_id: str
    plan_id: str
    role: str
    title: str
    status: str
    outcome: str
    """What became of it and what is where now, in words."""
    asked: str
    requested_by: str
    approved_by: tuple[str, ...]
    submitted_at: str
    started_at: str
    ended_at: str
    cancelled_by: str
    """Who asked for its end; empty where nobody did."""
    changes: tuple[Change, ...]
    """What the plan set out to change; empty for what brings it back or heals it."""
    steps: tuple[Step, ...]
    summary: m.RunSummary | None
    failures: tuple[Failure, ...]
    questions: tuple[Said, ...]
    refused: tuple[str, ...]
    """Calls outside of the grants, in words."""
    artifacts: tuple[Artifact, ...]
    costs: Costs


def report_of(plan: Plan, content: PlanContent, state: m.RunState, events: Sequence[m.RunEvent]) -> RunReport:
    """Put together what the plan and the journal say: ``events`` are all of the run's, and ``state`` is what they lead to.

    What looks like a secret in what commands and services said is masked: a report is made to be handed on.
    """
    names = ("submitted_at", "started_at", "ended_at", "summary")
    report = RunReport(
        **{name: getattr(state.run, name) for name in ("run_id", "plan_id", "role", "title")},
        **{name: getattr(state, name) for name in names},
        status=str(state.status),
        outcome=_outcome(plan, content, state),
        asked=plan.text,
        requested_by=plan.requested_by,
        approved_by=tuple(approval.by for approval in plan.approvals),
        cancelled_by=next((event.by for event in events if isinstance(event, m.RunCancelRequested)), ""),
        changes=plan.changes if state.run.role == MAIN else (),
        steps=tuple(_step(spec, state) for spec in state.run.graph),
        failures=tuple(_failures(events)),
        questions=tuple(_questions(events)),
        refused=tuple(_refused(events)),
        artifacts=tuple(_artifacts(state)),
        costs=_costs(state, events),
    )
    return msgspec.convert(_masked(msgspec.to_builtins(report)), RunReport)


def _masked(value: Any) -> Any:
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, dict):
        return {key: _masked(item) for key, item in value.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, list | tuple):
        return [_masked(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
    return value


def _outcome(plan: Plan, content: PlanContent, state: m.RunState) -> str:
    why = f"{state.error['task']}: {state.error['message']}" if state.error.get("task") else state.error.get("message", "")
    words = [str(state.status).replace("_", " "), why or state.cancel_requested, what_is_now(content, plan.version, state)]
    return "; ".join(word for word in words if word)


def _step(spec: TaskSpec, state: m.RunState) -> Step:
    task = state.tasks[spec.id]
    items = (state.tasks[instance_id(spec.id, number)] for number in range(task.items or 0))
    return Step(
        task=spec.id,
        title=spec.title,
        status=str(task.status),
        attempts=task.attempt + sum(item.attempt for item in items),
        duration_s=_seconds(task.started_at, task.ended_at),
        changes=spec.effect is not Effect.READ,
        said=task.error.get("message", "") or task.reason or task.note,
    )


def _failures(events: Sequence[m.RunEvent]) -> Iterator[Failure]:
    last = {event.task: number for number, event in enumerate(events) if isinstance(event, m.TaskStarted)}
    for number, event in enumerate(events):
        if isinstance(event, m.TaskFailed | m.TaskRetryScheduled):
            code, message = event.error.get("code", ""), event.error.get("message", "")
            is_again = last.get(event.task, -1) > number
            yield Failure(at=event.at, task=event.task, code=code, message=message, is_tried_again=is_again)


def _questions(events: Iterable[m.RunEvent]) -> Iterable[Said]:
    found: list[Said] = []
    for event in events:
        match event:
            case m.TaskParked(task=task, question=question):
                found.append(Said(task=task, question=question))
            case m.TaskAnswered(task=task, answer=answer, by=by):
                place = max(number for number, said in enumerate(found) if said.task == task)
                found[place] = msgspec.structs.replace(found[place], answer=answer, by=by)
            case _:
                pass
    return found


def _refused(events: Iterable[m.RunEvent]) -> Iterator[str]:
    for event in events:
        if isinstance(event, m.CallRefused):
            yield f"{event.task} asked for {event.tool}: {event.error.get('message', '')}"


def _artifacts(state: m.RunState) -> Iterator[Artifact]:
    """What was made and is still there as far as the run knows: not what it took back itself."""
    graph, undone = state.run.graph, state.summary.undone if state.summary else ()
    kept = {task_id: task.output for task_id, task in state.tasks.items() if graph.base(task_id) not in undone}
    for task_id, output in kept.items():
        for name, kind, link in _MADE.get(graph.spec(task_id).kind, ()):
            if output.get(name):
                yield Artifact(kind=kind, name=str(output[name]), link=link)
    started = {entry.task for entry in state.ledger.values() if entry.tool.endswith(".start") and entry.outcome == "done"}
    found = (kept[task_id].get("deployment_id") for task_id in sorted(started) if task_id in kept)
    for name in dict.fromkeys(str(value) for value in found if value):
        yield Artifact(kind="deployment", name=name, link="/deployments")
    for name in dict.fromkeys(str(value) for task in state.tasks.values() if (value := task.output.get("incident_id"))):
        yield Artifact(kind="incident", name=name, link=f"/incidents/{name}/report")
    for task_id in dict.fromkeys(entry.task for entry in state.ledger.values() if "output_bytes" in entry.output):
        yield Artifact(kind="log", name=task_id, link=f"/runs/{state.run.run_id}/tasks/{quote(task_id)}/log")


def _costs(state: m.RunState, events: Sequence[m.RunEvent]) -> Costs:
    until = state.ended_at or state.last_at
    duration_s = _seconds(state.started_at, until) or 0.0
    return Costs(
        duration_s=duration_s,
        waited_s=round(max(0.0, duration_s - worked_s(state, until)), 3),
        attempts=sum(task.attempt for task in state.tasks.values()),
        retries=sum(isinstance(event, m.TaskRetryScheduled) for event in events),
        effects=len(state.ledger),
        adoptions=state.adoptions,
    )


def _seconds(start: str, end: str) -> float | None:
    if not start or not end:
        return None
    return round(max(0.0, (from_text(end) - from_text(start)).total_seconds()), 3)


# --- Markdown ----------------------------------------------------------------------------------------------------------------


def markdown(report: RunReport) -> str:
    """The report for people."""
    parts = [
        _head(report),
        _changes(report),
        _steps(report),
        _left(report),
        _failed(report),
        _asked(report),
        _made(report),
        _took(report.costs),
    ]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _head(report: RunReport) -> list[str]:
    approved = f", approved by {md(', '.join(report.approved_by))}" if report.approved_by else ""
    return [
        f"# {md(report.title)}",
        "",
        f"{md(report.outcome[:1].upper() + report.outcome[1:])}.",
        "",
        f"- asked: {md(report.asked)}, by {md(report.requested_by)}{approved}",
        *([f"- cancelled by {md(report.cancelled_by)}"] if report.cancelled_by else []),
        f"- {md(report.role)} run {report.run_id} of plan {report.plan_id}, from {report.started_at or 'not started'}"
        f" to {report.ended_at or 'now, it is under way'}",
    ]


def _changes(report: RunReport) -> list[str]:
    if not report.changes:
        return []
    rows = [(md(item.environment), md(item.now), md(item.then), md(item.rollback)) for item in report.changes]
    return ["## What was to change", "", *table(("environment", "from", "to", "way back"), rows)]


def _steps(report: RunReport) -> list[str]:
    # An empty list is done without an attempt.
    done = [step for step in report.steps if step.attempts or step.status == m.TaskStatus.COMPLETED]
    rows = [
        (
            md(step.task),
            md(step.title),
            step.status,
            str(step.attempts),
            "" if step.duration_s is None else time_span(step.duration_s),
            md(step.said),
        )
        for step in done
    ]
    never = [step.task for step in report.steps if step not in done]
    rest = ["", f"Never begun: {md(', '.join(never))}."] if never else []
    headings = ("step", "what", "status", "attempts", "took", "in words")
    return ["## What was done", "", *table(headings, rows), *rest] if done else []


def _left(report: RunReport) -> list[str]:
    if report.summary is None:
        return []
    lines = [
        *(f"- stands: {md(task)}" for task in report.summary.stands),
        *(f"- undone: {md(task)}" for task in report.summary.undone),
        *(f"- left: {md(item.task)}: {md(item.reason)}" for item in report.summary.left),
    ]
    return ["## What is left", "", *lines] if lines else []


def _failed(report: RunReport) -> list[str]:
    rows = [
        (item.at, md(item.task), md(item.code), "tried again" if item.is_tried_again else "given up", md(item.message))
        for item in report.failures
    ]
    lines = table(("at", "step", "code", "and then", "in words"), rows) if rows else []
    lines += [f"- refused: {md(words)}" for words in report.refused]
    return ["## What failed", "", *lines] if lines else []


def _asked(report: RunReport) -> list[str]:
    rows = [(md(item.task), md(item.question), md(item.answer), md(item.by)) for item in report.questions]
    return ["## What people were asked", "", *table(("step", "question", "answer", "by"), rows)] if rows else []


def _made(report: RunReport) -> list[str]:
    lines = [f"- {item.kind} {md(item.name)}{f' (`{item.link}`)' if item.link else ''}" for item in report.artifacts]
    return ["## What it made", "", *lines] if lines else []


def _took(costs: Costs) -> list[str]:
    waited = f", {time_span(costs.waited_s)} of it waiting for a person or a control plane" if costs.waited_s else ""
    counts = (
        _count(costs.attempts, "attempt", "attempts"),
        _count(costs.retries, "retry", "retries"),
        _count(costs.effects, "recorded effect", "recorded effects"),
    )
    again = f", taken up {_count(costs.adoptions, 'time', 'times')} after a restart" if costs.adoptions else ""
    return ["## What it took", "", f"{time_span(costs.duration_s)}{waited}; {', '.join(counts)}{again}."]


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
