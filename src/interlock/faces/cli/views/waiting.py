"""What a run waits for, and what decides when it ends."""

from rich.console import Group, RenderableType
from rich.text import Text

from interlock.faces.cli.text import Doc, duration
from interlock.faces.cli.views.parts import columns, next_step, section, state, title

SHOWN = 20
"""So many lines of a kind, and how many there are besides."""


def run_waits(why: Doc) -> RenderableType:
    """What is under way, what waits for what, and the longest path."""
    parts: list[RenderableType] = [title(why["run_id"], why["answer"])]
    waits = [wait for wait in why["waits"] if not wait["is_reserve"]]
    for heading, found in (("under way", why["causes"]), ("waits", waits)):
        if found:
            more = [Text(f"and {len(found) - SHOWN} more")] if len(found) > SHOWN else []
            parts.append(section(heading, *(Text(wait["text"]) for wait in found[:SHOWN]), *more))
    if asked := [wait for wait in why["causes"] if wait["waits_for"] == "person"]:
        parts += [Text(""), next_step("interlock inbox", "answer" if len(asked) == 1 else f"answer {len(asked)} questions")]
    path = why["critical_path"]
    on_it = [step for step in path["steps"] if step["is_critical"]]
    if on_it and why["causes"]:
        about = f"longest path: {duration(path['length_s'])}, about {duration(path['left_s'])} of it left"
        parts.append(section(about, _steps(path["steps"])))
    return Group(*parts)


def _steps(steps: list[Doc]) -> RenderableType:
    rows = [
        (step["task"], state(step["status"]), duration(step["duration_s"]), step["basis"], _slack(step))
        for step in steps[:SHOWN]
    ]
    more = [(f"and {len(steps) - SHOWN} more", "", "", "", "")] if len(steps) > SHOWN else []
    return columns(("step", "state", "takes", "as", "may be late by"), [*rows, *more])


def _slack(step: Doc) -> str:
    return "nothing" if step["is_critical"] else duration(step["slack_s"])


def task_waits(why: Doc) -> RenderableType:
    """Why one step does not run."""
    parts: list[RenderableType] = [Text(why["answer"])]
    step = why["step"]
    if step is not None:
        late = "on the longest path" if step["is_critical"] else f"may be late by {duration(step['slack_s'])}"
        parts.append(Text(late))
    if why["chain"][-1]["waits_for"] == "person":
        parts.append(next_step("interlock inbox", "answer"))
    return Group(*parts)
