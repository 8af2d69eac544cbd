"""``deploy`` and ``migrate`` of a module file: how a release takes its place, how it is judged, what changes beside it."""

import re
from typing import Any, cast

from interlock.core.errors import Invalid
from interlock.core.patterns import Pattern
from interlock.sources.model import (
    CANARY_STEPS,
    AnalysisPolicy,
    CanaryStep,
    Check,
    Migration,
    Signal,
    Strategy,
    Target,
)
from interlock.sources.module_document import Path
from interlock.sources.module_reading import Reading, share

DRAIN_S = 10.0
PROMQL_NAMES = ("service", "environment", "release", "deployment")
"""What ``{NAME}`` in a PromQL query may stand for; the last two tell the candidate from what serves."""

_SIGNALS: tuple[Signal, ...] = ("error_rate", "p95_ms", "promql", "metric", "log_pattern")
_MEASURED: tuple[Signal, ...] = ("error_rate", "p95_ms")
"""Signals of the forwarder: their bounds stand below them, those of the others beside them."""
_BOUNDS = ("max", "min", "max_increase", "max_ratio")
_PLACEHOLDER = re.compile(r"(?<!\\)\{([a-z_]+)\}")
_SYSTEM_FOLDERS = frozenset({"proc", "sys", "dev"})


class Rollout:
    """These two fields of one file under reading; problems go to ``reading``."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self.said = reading.said("deploy")
        self.target: Target = self.said.get("target", "process")

    def strategy(self, *, needs_port: bool) -> Strategy | None:
        """The strategy, where one is said. ``needs_port``: the service is started and can be told no port."""
        strategy = self.said.get("strategy")
        if needs_port and strategy not in (None, "recreate"):
            hint = "write {port} into the start command, or choose recreate"
            message = f"{strategy} needs a service that can be told its port"
            self._reading.report(("deploy", "strategy"), message, hint)
        if strategy not in (None, "canary") and "steps" in self.said:
            self._reading.report(("deploy", "steps"), f"{strategy} has no steps", "remove them, or choose canary", of_key=True)
        return strategy

    def dockerfile(self) -> str:
        """Its path below the root; empty where one is generated."""
        path = self.said.get("dockerfile", "")
        self._check_for_containers("dockerfile")
        if ".." in path.split("/"):
            self._reading.report(("deploy", "dockerfile"), "a path may not hold '..'", "write the path from the root")
        return path

    def writable(self) -> tuple[str, ...]:
        """Folders inside the container."""
        folders = tuple(folder for folder in self.said.get("writable", ()) if folder is not None)
        self._check_for_containers("writable")
        for index, folder in enumerate(folders):
            parts = folder.split("/")[1:]
            if not {".", ".."}.isdisjoint(parts) or parts[0] in _SYSTEM_FOLDERS:
                hint = "name a folder of the service's own, such as /var/cache/app"
                self._reading.report(("deploy", "writable", index), f"{folder} cannot be made writable", hint)
        return folders

    def _check_for_containers(self, field: str) -> None:
        if field in self.said and self.target != "container":
            hint = "remove it, or write target: container"
            self._reading.report(("deploy", field), f"{field} is for containers", hint, of_key=True)

    def steps(self) -> tuple[CanaryStep, ...]:
        """The steps of a canary, in rising percentages."""
        if "steps" not in self.said:
            return CANARY_STEPS
        steps: list[CanaryStep] = []
        for index, item in enumerate(self.said["steps"]):
            path: Path = ("deploy", "steps", index)
            if item is None or "percent" not in item or "bake" not in item:
                continue
            percent = int(item["percent"])
            if steps and percent <= steps[-1].percent:
                message = f"{percent} % does not rise: the step before has {steps[-1].percent} %"
                self._reading.report((*path, "percent"), message, "order the steps by their percentages")
            steps.append(CanaryStep(percent=percent, bake_s=self._reading.duration((*path, "bake"), item["bake"])))
        return tuple(steps)

    def drain_s(self) -> float:
        """Seconds."""
        return self._reading.duration(("deploy", "drain"), self.said.get("drain", DRAIN_S))

    def migrations(self) -> tuple[Migration, ...]:
        """What runs before the new release gets traffic, in its order."""
        items = cast("list[dict[str, Any] | None]", self._reading.document.fields.get("migrate", []))
        found = [self._migration(("migrate", index), item) for index, item in enumerate(items) if item is not None]
        return tuple(migration for migration in found if migration is not None)

    def _migration(self, path: Path, item: dict[str, Any]) -> Migration | None:
        if ("undo" in item) == ("one_way" in item) and not self._reading.is_reported_in(path):
            message = "a migration has either an undo or a reason why it is one_way"
            self._reading.report(path, message, "write exactly one of them")
        command = self._reading.command_without_port((*path, "run"), item.get("run"))
        undo = self._reading.command_without_port((*path, "undo"), item.get("undo"))
        return Migration(command=command, undo=undo, one_way=item.get("one_way", "")) if command is not None else None

    def analysis(self) -> AnalysisPolicy:
        """How a candidate is judged."""
        said = self.said.get("analysis", {})
        items = cast("list[dict[str, Any] | None]", said.get("checks", []))
        paths: list[Path] = [("deploy", "analysis", "checks", index) for index in range(len(items))]
        checks = [self._check(path, item) for path, item in zip(paths, items, strict=True) if item is not None]
        names: set[str] = set()
        for path, item in zip(paths, items, strict=True):
            name = (item or {}).get("name")
            if name is not None and name in names:
                self._reading.report((*path, "name"), f"two checks are named {name!r}", "give each its own name")
            names.add(name or "")
        found = tuple(check for check in checks if check is not None)
        return AnalysisPolicy(min_requests=self._reading.whole(said.get("min_requests")), checks=found)

    def _check(self, path: Path, item: dict[str, Any]) -> Check | None:
        signals: list[Signal] = [signal for signal in _SIGNALS if signal in item]
        if len(signals) != 1:
            if not self._reading.is_reported_in(path):
                self._reading.report(path, f"a check has exactly one of {', '.join(_SIGNALS)}", "write exactly one of them")
            return None
        signal = signals[0]
        is_measured = signal in _MEASURED
        for name in _BOUNDS:
            if is_measured and name in item:
                hint = f"write {signal}: {{{name}: ...}}"
                self._reading.report((*path, name), f"{name} stands below {signal}", hint, of_key=True)
        at = (*path, signal) if is_measured else path
        bounds = self._bounds(at, item[signal] if is_measured else item, is_share=signal == "error_rate")
        query = "" if is_measured else item[signal]
        self._check_query(at, signal, query, compares=bounds["max_increase"] is not None or bounds["max_ratio"] is not None)
        return Check(name=item.get("name", ""), signal=signal, query=query, **bounds)

    def _bounds(self, path: Path, said: dict[str, Any], *, is_share: bool) -> dict[str, float | None]:
        bounds: dict[str, float | None] = dict.fromkeys(_BOUNDS)
        for name in bounds:
            if name in said:
                bounds[name] = share(said[name]) if is_share and name != "max_ratio" else float(said[name])
        least, most = bounds["min"], bounds["max"]
        if all(bound is None for bound in bounds.values()) and not self._reading.is_reported_in(path):
            self._reading.report(path, "a check without a bound", f"write at least one of {', '.join(_BOUNDS)}")
        if least is not None and most is not None and least > most:
            self._reading.report((*path, "min"), f"min {least:g} is above max {most:g}", "exchange them")
        return bounds

    def _check_query(self, path: Path, signal: Signal, query: str, *, compares: bool) -> None:
        if signal == "log_pattern":
            try:
                Pattern(query)
            except Invalid as error:
                self._reading.report((*path, signal), error.message, error.hint)
        elif signal == "promql":
            names = set(_PLACEHOLDER.findall(query))
            if unknown := sorted(names - set(PROMQL_NAMES)):
                known = ", ".join(f"{{{name}}}" for name in PROMQL_NAMES)
                self._reading.report((*path, signal), f"{{{unknown[0]}}} stands for nothing", f"known here: {known}")
            elif compares and names.isdisjoint(PROMQL_NAMES[2:]):
                hint = "name {release} or {deployment} in it, or compare with max and min alone"
                message = "the query asks the same of the candidate and of what serves"
                self._reading.report((*path, signal), message, hint)
