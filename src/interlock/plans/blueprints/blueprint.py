"""A graph while it is laid out, and the values that its tasks are made of."""

from collections.abc import Iterable
from typing import Any

import msgspec

from interlock.core.addresses import LOCAL
from interlock.core.errors import Invalid
from interlock.delivery.model import Deployment, Instance
from interlock.delivery.steps.inputs import Place
from interlock.plans.facts import EnvironmentFacts, Facts
from interlock.runs.graph import Retry, TaskGraph, TaskSpec
from interlock.sources.model import Recipe
from interlock.tools.grants import Grant, Rule, exactly
from interlock.tools.model import Effect

STEADY = Retry(max_attempts=4, delay_s=1.0)
PATIENT = Retry(max_attempts=10, delay_s=1.0, max_delay_s=30.0)
"""For what clears up: given up, it would leave something running that nobody looks after."""
ONCE = Retry(max_attempts=1)
ANYTHING = Rule(rule="decided")


class Contained(msgspec.Struct, frozen=True, kw_only=True):
    """What a container of a release is made of: an image id, or what stands for the output of the task that builds it."""

    image: Any
    port: int | None
    labels: dict[str, str]
    host: str
    """The address at which it is reached."""


class Blueprint:
    """Collects tasks and grants while a graph is laid out."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.recipe = facts.analysis.recipe
        self.tasks: list[TaskSpec] = []
        self.grants: list[Grant] = []

    def add(self, task_id: str, kind: str, title: str, effect: Effect, inputs: dict[str, Any], **options: Any) -> str:
        """Add a task; returns its id, for the needs of the next one."""
        spec = TaskSpec(id=task_id, kind=f"delivery.{kind}", title=title, effect=effect, inputs=plain(inputs), **options)
        self.tasks.append(spec)
        return task_id

    def grant(self, task_id: str, tool: str, **arguments: Rule) -> None:
        """Give a task the right to a tool with these arguments."""
        self.grants.append(Grant(task=task_id, tool=tool, arguments=arguments))

    def grant_exactly(self, task_id: str, tool: str, arguments: dict[str, Any]) -> None:
        """Give a task the right to a tool with just these arguments."""
        self.grant(task_id, tool, **{name: exactly(value) for name, value in plain(arguments).items()})

    def grant_known(self, task_id: str, tool: str, arguments: dict[str, Any], **rules: Rule) -> None:
        """Give a task the right to a tool with just these arguments, as far as they are known: what an earlier task of the run
        makes has no name yet."""
        fixed = {name: ANYTHING if is_output(value) else exactly(value) for name, value in plain(arguments).items()}
        self.grant(task_id, tool, **fixed, **rules)

    def candidate(self, environment: EnvironmentFacts) -> dict[str, Any]:
        """How an instance of the release that the plan brings is started."""
        facts = self.facts
        if self.recipe.target != "container":
            return instance_of(self.recipe, facts.folder)
        built = outputs("release", "image")["image"] if facts.release is None else facts.release.image
        port = facts.release.container_port if facts.release else (facts.image.container_port if facts.image else None)
        labels = self.labels(environment, facts.release_id)
        return instance_of(self.recipe, "", Contained(image=built, port=port, labels=labels, host=facts.container_host))

    def labels(self, environment: EnvironmentFacts, release_id: str) -> dict[str, str]:
        """By which a container is found again, whoever looks."""
        about = {"service": self.facts.service, "environment": environment.name}
        named = about | {"release": release_id, "plan": self.facts.plan_id}
        return {f"interlock.{name}": value for name, value in named.items()}

    def grant_start(self, task_id: str, instance: dict[str, Any]) -> None:
        """The right to start instances like this one, on any port."""
        given = {name: value for name, value in instance.items() if name not in {"target", "takes_port"}}
        self.grant_known(task_id, f"{instance['target']}.start", given, port=Rule(rule="port"))

    def grant_point(self, task_id: str, place: Place, kind: str) -> None:
        """The right to lead a leg of the place to ports of this host, and of those others where its instances are."""
        port = place.stable_port if kind == "stable" else place.candidate_port
        rules = {"route": exactly(place.route), "kind": exactly(kind), "listen_port": exactly(port)}
        self.grant(task_id, "forwarder.point", shares=Rule(rule="shares", value=self._hosts(place) or None), **rules)

    def _hosts(self, place: Place) -> list[str]:
        found: set[str] = set()
        for environment in self.facts.environments:
            if environment.place == place:
                found |= {instance.host for instance in environment.serving.instances} if environment.serving else set()
                is_contained = self.recipe.target == "container" or bool(environment.fallback and environment.fallback.image)
                found |= {self.facts.container_host} if is_contained else set()
        return sorted(found - {LOCAL})

    def grant_stop(self, task_id: str, target: str, instances: Iterable[Instance] | None) -> None:
        """The right to stop these instances; None: those that this run starts, which have no name yet. The deployment that they
        belong to is fixed by the task's inputs."""
        keys = None if instances is None else [instance.key for instance in instances]
        self.grant(task_id, f"{target}.stop", key=ANYTHING if keys is None else Rule(rule="one_of", value=keys))

    def graph(self) -> TaskGraph:
        """The graph, checked."""
        graph = TaskGraph(tasks=tuple(self.tasks))
        graph.check()
        return graph


def instance_of(recipe: Recipe, folder: str, contained: Contained | None = None) -> dict[str, Any]:
    """How an instance of a release is started: as a process in ``folder``, or as a container. Raises Invalid ``no_start``."""
    common = {"environment": dict(recipe.env), "secrets": dict(recipe.secrets), "takes_port": recipe.takes_port}
    if contained is not None:
        # With a Dockerfile of its own the image says how it is started, unless the module says so too.
        command = [word for argv in recipe.start.argv for word in argv] if recipe.start and recipe.dockerfile else []
        return common | {
            "target": "container",
            "image": contained.image,
            "command": command,
            "container_port": contained.port,
            "limits": limits_of(recipe),
            "writable": list(recipe.writable),
            "labels": contained.labels,
            **({} if contained.host == LOCAL else {"host": contained.host}),
        }
    if recipe.start is None:
        raise Invalid("no_start", f"{recipe.name} has no start command", hint="add `start:` to ai-module.yaml")
    return common | {"target": "process", "commands": [list(argv) for argv in recipe.start.argv], "folder": folder}


def limits_of(recipe: Recipe) -> dict[str, float]:
    """The bounds of one container; what the module does not say is left to the tool."""
    said = {"cpus": recipe.resources.cpu, "memory_mb": recipe.resources.memory_mb, "pids": recipe.resources.pids}
    return {name: value for name, value in said.items() if value is not None}


def shown(instance: dict[str, Any]) -> str:
    """How an instance is started, for people."""
    if instance["target"] == "container":
        return " ".join(instance["command"]) or "its image"
    return " && ".join(" ".join(command) for command in instance["commands"])


def outputs(task_id: str, *names: str) -> dict[str, Any]:
    """Inputs that stand for outputs of the same name of an earlier task."""
    return {name: {"$output": f"{task_id}.{name}"} for name in names}


def is_output(value: Any) -> bool:
    """Whether a value stands for what an earlier task gives."""
    return isinstance(value, dict) and set(value) == {"$output"}  # pyright: ignore[reportUnknownArgumentType]


def target_of(environment: EnvironmentFacts) -> str:
    """The kind of target on which runs what serves."""
    return environment.serving.target if environment.serving else "process"


def has_port(serving: Deployment | None) -> bool:
    return serving is not None and bool(serving.addresses)


def plain(value: Any) -> Any:
    """``value`` as JSON data."""
    return msgspec.to_builtins(value)
