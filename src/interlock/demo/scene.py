"""What the chapters share, and what they do in the same way: run a command, plan, approve, follow, ask the service."""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from interlock.demo.api import Api, Doc
from interlock.demo.command_line import CommandLine, Output, shown
from interlock.demo.control_plane import ControlPlane
from interlock.demo.findings import Findings, NotObserved, expect
from interlock.demo.progress import Progress
from interlock.demo.repositories import SampleRepository
from interlock.demo.stage import Stage
from interlock.demo.telling import Teller
from interlock.demo.traffic import version_in

ENVIRONMENT = "staging"
PLAN_ID = re.compile(r"plan_[a-z0-9]+")
SETTLED = ("succeeded", "failed", "rolled_back")
SETTLE_PATIENCE_S = 20.0


@dataclass(slots=True, kw_only=True)
class Scene:
    """``urls`` are the services in `ENVIRONMENT` by name; ``memory`` is what one chapter leaves for later ones."""

    stage: Stage
    plane: ControlPlane
    cli: CommandLine
    api: Api
    teller: Teller
    findings: Findings
    repositories: dict[str, SampleRepository]
    urls: dict[str, str] = field(default_factory=dict[str, str])
    memory: dict[str, Any] = field(default_factory=dict[str, Any])

    def run(self, *words: str, is_shown: bool = True) -> Output:
        """Run a command and show it with what it printed."""
        self.teller.command(shown(*words))
        output = self.cli.run(*words)
        if is_shown:
            self.teller.output(output.said)
        return output

    def instance(self) -> str:
        """How the control plane labels what it makes at a container engine: the beginning of the key that signs its record."""
        return str(self.api.first_line("/audit/export")["public_key"])[:16]

    def add_service(self, name: str) -> None:
        """Register a service with its repository. Raises NotObserved."""
        path = str(self.repositories[name].path)
        output = self.run("service", "add", name, "--repo", path)
        expect(output.exit_code == 0, f"it was not registered: {last_line(output)}")
        rows = self.api.get("/status", service=name, environment=ENVIRONMENT)["items"]
        self.urls[name] = rows[0]["url"]

    def plan(self, text: str, *, is_whole: bool = False, sections: Sequence[str] = ("Changes",)) -> Doc:
        """The plan for a sentence, shown as a whole or in its main lines and these sections. Raises NotObserved where there is
        none."""
        output = self.run("plan", text, is_shown=is_whole)
        found = PLAN_ID.search(output.text)
        if output.exit_code or found is None:
            self.teller.output(output.said)
            raise NotObserved(f"there is no plan: {last_line(output)}")
        if not is_whole:
            self.teller.output(main_lines(output.text, sections))
        return self.api.get(f"/plans/{found[0]}")

    def approve(self, plan: Doc) -> None:
        """Approve exactly the content with the plan's hash. Raises NotObserved."""
        output = self.run("approve", plan["plan_id"], "--hash", plan["content_hash"])
        expect(output.exit_code == 0, f"it was not approved: {last_line(output)}")

    def follow(self, plan: Doc) -> str:
        """Tell the run of a plan to its end; returns its status."""
        run_id = self.api.run_of(plan["plan_id"])
        self.teller.say("")
        with self.teller.waiting(f"{plan['text']} …"):
            return Progress(self.teller).tell(self.api.follow(run_id))

    def settled(self, plan: Doc) -> Doc:
        """The plan once it knows of the end of its run. Raises NotObserved."""
        deadline = time.monotonic() + SETTLE_PATIENCE_S
        while (now := self.api.get(f"/plans/{plan['plan_id']}"))["state"] not in SETTLED:
            expect(time.monotonic() < deadline, f"{plan['plan_id']} is still {now['state']}")
            time.sleep(0.05)
        return now

    def ask(self, service: str, path: str = "/") -> httpx.Response:
        """What a service answers where its users reach it. Raises httpx.HTTPError."""
        return httpx.get(self.urls[service] + path, timeout=10, trust_env=False)

    def expect_version(self, service: str, version: str) -> str:
        """That the service answers as ``version``; returns that in words. Raises NotObserved."""
        answer = self.ask(service)
        seen = f"GET {self.urls[service]}/ answers {answer.status_code} {version_in(answer.content) or 'without a version'}"
        expect(answer.status_code == 200 and version_in(answer.content) == version, seen)
        return seen


def main_lines(text: str, sections: Sequence[str]) -> str:
    """What a plan is and what it changes: its heading, its facts, and the sections of these names."""
    parts = text.split("\n\n")
    kept = [part for part in parts[:2] if part] + [part for part in parts[2:] if part.splitlines()[0] in sections]
    return "\n\n".join(kept)


def last_line(output: Output) -> str:
    """The line that says what went wrong."""
    errors = [line for line in output.said.splitlines() if line.startswith("error: ")]
    lines = errors or output.said.splitlines() or [f"exit code {output.exit_code}"]
    return lines[0].removeprefix("error: ")
