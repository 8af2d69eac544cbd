"""What the chapters look at in the same way: the service's containers at the engine, the shares of a canary, its numbers."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from interlock.demo.api import Doc
from interlock.demo.engine import INSTANCE_LABEL, Engine
from interlock.demo.findings import expect
from interlock.demo.scene import ENVIRONMENT, Scene
from interlock.demo.targets import upstream_ports
from interlock.demo.traffic import Answer, tally

SERVICE = "weather"
RATE_PER_S = 80
SETTLING_S = 0.5
SHIFT, ANALYSE = f"shift-{ENVIRONMENT}-", f"analyse-{ENVIRONMENT}-"
UNEVEN = 0.15
"""By so much the share of a canary may be off, on a few hundred requests that two senders put on a handful of connections."""


def serving(scene: Scene, engine: Engine) -> Doc:
    """The one container of the service that runs, to which the forwarder leads. Raises NotObserved."""
    labels = {INSTANCE_LABEL: scene.instance(), "interlock.service": SERVICE}
    running = [container for container in engine.containers(**labels) if container["State"]["Running"]]
    expect(len(running) == 1, f"{len(running)} containers of {SERVICE} run")
    ports = {int(binding["HostPort"]) for binding in bindings(running[0])}
    stable, candidate = (upstream_ports(scene.stage.home, f"{SERVICE}.{ENVIRONMENT}.{leg}") for leg in ("stable", "candidate"))
    expect(stable == ports, f"the forwarder's stable leg leads to {stable}, the container listens on {ports}")
    expect(candidate <= ports, f"the forwarder's candidate leg leads to {candidate}, the container listens on {ports}")
    return running[0]


def bindings(container: Doc) -> list[Doc]:
    """Where a container's ports are published."""
    return [binding for found in container["HostConfig"]["PortBindings"].values() for binding in found]


def name_of(container: Doc) -> str:
    return str(container["Name"]).removeprefix("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """The answers while a part of the traffic was led to a canary, and those of them that came from it."""

    percent: int
    answers: list[Answer]
    canary: list[Answer]

    def __str__(self) -> str:
        part = len(self.canary) / max(1, len(self.answers))
        return f"{len(self.canary)} of {len(self.answers)} answers at {self.percent} % ({part:.0%})"


def shares(scene: Scene, run_id: str, version: str, answers: Sequence[Answer]) -> list[Share]:
    """For each step of a canary what the client got between the run's own marks. Raises NotObserved for a wrong share."""
    events: list[Doc] = scene.api.get(f"/runs/{run_id}/events", limit=1000)["items"]
    found: list[Share] = []
    for event in events:
        task: str = event.get("task", "")
        if event["type"] != "TaskCompleted" or not task.startswith(SHIFT):
            continue
        percent = int(task.removeprefix(SHIFT))
        judged = (e["at"] for e in events if e.get("task") == f"{ANALYSE}{percent}" and e["type"] in _ENDED)
        begin, end = _monotonic(event["at"]), _monotonic(next(judged))
        during = [answer for answer in answers if begin <= answer.sent_at < end]
        canary = [answer for answer in during if answer.version == version]
        found.append(Share(percent=percent, answers=during, canary=canary))
        off = abs(len(canary) / max(1, len(during)) - percent / 100)
        expect(bool(canary) and off <= UNEVEN, f"{version} gave {found[-1]}")
    return found


def nothing_lost(answers: Sequence[Answer]) -> str:
    """That every request got a good answer, in words. Raises NotObserved."""
    counted = tally(answers)
    expect(counted.requests > 0, "there was no traffic")
    expect(counted.lost == counted.failed == 0, f"{counted}, {counted.failed} answered 500")
    return f"{counted}, none failed"


def tasks_of(scene: Scene, run_id: str) -> dict[str, Doc]:
    """What became of each task of a run."""
    return {task["id"]: task for task in scene.api.get(f"/runs/{run_id}")["tasks"]}


_ENDED = ("TaskCompleted", "TaskFailed")


def _monotonic(at: str) -> float:
    return datetime.fromisoformat(at).timestamp() - time.time() + time.monotonic()
