"""Repositories of the obedient service, with module files whose times are short."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

PROGRAM = Path(__file__).with_name("obedient_service.py")
GIT = ("git", "-c", "user.name=tests", "-c", "user.email=tests@example.invalid", "-c", "commit.gpgsign=false")

MODULE: dict[str, Any] = {
    "version": "1",
    "module_type": "api",
    "start": "python3 -I service.py {port}",
    "health": {"path": "/health", "interval": 0.1, "timeout": "1s", "healthy_after": 2, "start_timeout": "20s"},
    "deploy": {"drain": 0.3},
    "watch": {"window": 0.3, "interval": 0.1, "min_requests": 5, "error_rate": "20%", "health_failures": 2, "restarts": 2},
}


class Sample:
    """A git repository with one service in it. Each `release` is a commit with a tag."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / name
        self.name = name
        self.path.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main")

    def release(self, tag: str, module: dict[str, Any] | str | None = None, **behaviour: Any) -> str:
        """Commit the service with this behaviour and tag it; returns the commit. ``module`` adds to `MODULE`, or is the whole
        text of the module file."""
        return self.commit(tag, module, {"version": tag} | behaviour, tag=True)

    def commit(self, message: str, module: dict[str, Any] | str | None, behaviour: dict[str, Any], *, tag: bool) -> str:
        """Commit, and tag it with the message if ``tag``."""
        if not isinstance(module, str):
            module = json.dumps({"name": self.name} | MODULE | (module or {}), indent=1)
        self.write("ai-module.yaml", module)
        self.write("behaviour.json", json.dumps(behaviour))
        self.write("service.py", PROGRAM.read_text())
        return self.commit_all(message, tag=tag)

    def commit_all(self, message: str, *, tag: bool = False) -> str:
        """Commit whatever lies in the work tree."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", message)
        if tag:
            self.git("tag", message)
        return self.git("rev-parse", "HEAD")

    def write(self, name: str, text: str) -> None:
        """Write a file into the work tree."""
        (self.path / name).write_text(text)

    def git(self, *arguments: str) -> str:
        """Run git in the repository; returns what it printed."""
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.path), "GIT_CONFIG_NOSYSTEM": "1"}
        done = subprocess.run(
            [*GIT, *arguments], cwd=self.path, env=environment, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()
