"""The events of a run in words."""

from interlock.faces.cli.text import Doc, duration, time_of_day


def event_line(event: Doc) -> str:
    """An event on one line: its number, its time (UTC), the task that it is about, and what happened."""
    return f"{event['seq']:>4}  {time_of_day(event['at'])}  {event.get('task', '-'):<22}  {what_happened(event)}"


def what_happened(event: Doc) -> str:
    """An event in words."""
    if "task" not in event:
        return _to_the_run(event)
    return _to_an_effect(event) if event["type"] in _ABOUT_EFFECTS else _to_the_task(event)


def with_error(what: str, error: Doc) -> str:
    """What happened, why, and what to do about it."""
    hint = f" ({error['hint']})" if error.get("hint") else ""
    return f"{what}: {error['message']}{hint}" if error.get("message") else what


def what_became(summary: Doc | None) -> list[str]:
    """What became of what a run had begun: a line for each kind that there is."""
    if not summary:
        return []
    left = [f"{item['task']} ({item['reason']})" for item in summary["left"]]
    kinds = {"undone": summary["undone"], "not undone": left, "done and kept": summary["stands"]}
    kinds["never begun"] = summary["never_begun"]
    return [f"{kind}: {', '.join(names)}" for kind, names in kinds.items() if names]


def _to_the_run(event: Doc) -> str:
    match event["type"]:
        case "RunSubmitted":
            run = event["run"]
            return f"{run['run_id']} of {run['plan_id']} begins: {run['title']} ({len(run['graph']['tasks'])} steps)"
        case "RunStarted":
            return "the run has a slot"
        case "RunAdopted":
            return f"taken over by {event['owner']} after a restart"
        case "RunPaused" | "RunResumed" as kind:
            reason = f": {event['reason']}" if event["reason"] else ""
            return f"{kind.removeprefix('Run').lower()} by {event['by']}{reason}"
        case "RunContinued":
            return "the run goes on"
        case "RunCancelRequested":
            return f"{event['by']} asks for the end: {event['reason']}"
        case "RunFinished":
            ended = with_error(event["status"].replace("_", " "), event["error"])
            return "; ".join([ended, *what_became(event.get("summary"))])
        case other:
            return other


def _to_the_task(event: Doc) -> str:
    match event["type"]:
        case "TaskStarted":
            return "starts" if event["attempt"] == 1 else f"starts, attempt {event['attempt']}"
        case "TaskExpanded":
            return f"is done for each of {event['items']} items"
        case "TaskReported":
            return event["message"]
        case "TaskRetryScheduled":
            return with_error(f"tried again in {duration(event['delay_s'])}", event["error"])
        case "TaskReady":
            return "is due again"
        case "TaskFailed":
            return with_error("failed", event["error"])
        case "TaskSkipped" | "TaskCancelled" as kind:
            return f"{kind.removeprefix('Task').lower()}: {event['reason']}"
        case "TaskParked":
            return f"asks: {event['question']} ({' | '.join(event['options'])}; see: interlock inbox)"
        case "TaskAnswered":
            return f"{event['by']} answers: {event['answer']}"
        case other:
            return other.removeprefix("Task").lower()


_DOING = {
    "git.checkout": "check out the sources",
    "git.remove_checkout": "remove the work tree",
    "command.run": "run commands",
    "process.start": "start a process",
    "process.stop": "stop a process",
    "forwarder.point": "lead traffic",
    "http.check": "ask the service",
}
_ABOUT_EFFECTS = {"IntentRecorded", "ReceiptRecorded", "CallRefused"}


def _to_an_effect(event: Doc) -> str:
    match event["type"]:
        case "IntentRecorded":
            return f"is about to {_DOING.get(event['tool'], event['effect'])} ({event['tool']})"
        case "ReceiptRecorded":
            how = "" if event["by"] == "act" else f" (told by {event['by']})"
            return with_error(f"effect {event['outcome']}{how}", event["error"])
        case _:
            return with_error(f"was refused {event['tool']}", event["error"])
