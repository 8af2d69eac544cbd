"""What ran for a service, as the targets themselves tell it: the supervisors' folders, or the container engine."""

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from harness.containers import TestEngine, docker
from harness.server import Server
from interlock.demo.targets import process_folders
from interlock.tools.containers.ports import KEY_LABEL


@dataclass(frozen=True, slots=True)
class Ran:
    """What was started under one key. ``said`` are its lines, in the order in which they were written, without process ids."""

    key: str
    is_running: bool
    was_stopped: bool
    restarts: int
    port: int | None
    said: tuple[str, ...]


def processes(server: Server, keys: Iterable[str]) -> dict[str, Ran]:
    """Those of the services' processes of this control plane whose key begins with one of ``keys``."""
    begins = tuple(keys)
    folders = [folder for folder in process_folders(server.home) if folder.key.startswith(begins) and "-start-" in folder.key]
    return {
        folder.key: Ran(
            key=folder.key,
            is_running=not folder.result and folder.is_locked,
            was_stopped=folder.result.get("reason") == "stopped",
            restarts=json.loads((folder.path / "process.json").read_bytes())["restarts"],
            port=folder.spec["port"],
            said=_said(folder.log),
        )
        for folder in folders
    }


async def containers(engine: TestEngine, service: str) -> dict[str, Ran]:
    """The containers of a service that were started under a key, also those that have ended."""
    found = await asyncio.to_thread(_inspected, engine, service)
    return {ran.key: ran for ran in await asyncio.gather(*(asyncio.to_thread(_container, engine, each) for each in found))}


def _inspected(engine: TestEngine, service: str) -> list[dict[str, Any]]:
    wanted = ("--filter", f"label=interlock.service={service}", "--filter", f"label={KEY_LABEL}")
    ids = docker(engine.url, "ps", "--all", "--quiet", "--no-trunc", *wanted).stdout.split()
    found = json.loads(docker(engine.url, "inspect", *ids).stdout) if ids else []
    return [each for each in found if "-start-" in each["Config"]["Labels"][KEY_LABEL]]


def _container(engine: TestEngine, found: dict[str, Any]) -> Ran:
    ports = [binding["HostPort"] for port in (found["HostConfig"]["PortBindings"] or {}).values() for binding in port]
    return Ran(
        key=found["Config"]["Labels"][KEY_LABEL],
        is_running=found["State"]["Running"],
        was_stopped=found["State"]["Status"] == "exited" and found["State"]["ExitCode"] == 0,
        restarts=found["RestartCount"],
        port=int(ports[0]) if ports else None,
        said=_said(docker(engine.url, "logs", found["Id"]).stdout),
    )


def _said(log: str) -> tuple[str, ...]:
    return tuple(line.partition(" pid=")[0] for line in log.splitlines())


def remove_containers(engine: TestEngine, service: str) -> None:
    """End whatever the engine has of a service."""
    ids = docker(engine.url, "ps", "--all", "--quiet", "--filter", f"label=interlock.service={service}").stdout.split()
    if ids:
        docker(engine.url, "rm", "--force", "--volumes", *ids)
