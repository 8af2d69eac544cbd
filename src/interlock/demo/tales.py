"""The two stories: the same one with processes and with containers. What differs between them is said here as data."""

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from interlock.adapters.containers.connection import usual_socket
from interlock.core.errors import Unavailable
from interlock.demo.checks.altered_plan import approve_altered
from interlock.demo.checks.bad_release import deploy_bad_release
from interlock.demo.checks.containers.bad_canary import abort_canary
from interlock.demo.checks.containers.crash import kill_during_canary
from interlock.demo.checks.containers.first_image import build_and_run
from interlock.demo.checks.containers.good_canary import promote_canary
from interlock.demo.checks.containers.way_back import roll_back
from interlock.demo.checks.crash import kill_control_plane
from interlock.demo.checks.first_releases import deploy_greeter, deploy_quotes
from interlock.demo.checks.quarantine import try_again
from interlock.demo.checks.record import verify_record
from interlock.demo.engine import Engine, EngineAwayError
from interlock.demo.findings import Findings
from interlock.demo.scene import Scene
from interlock.settings import Settings

PYTHON_IMAGE = "INTERLOCK_CONTAINER_PYTHON_IMAGE"


class NotReadyError(Exception):
    """Something that the story needs is not on this machine; the message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tale:
    """``versions`` are the releases of each service, oldest first; ``settings`` are for the control plane of the story."""

    title: str
    promise: str
    versions: Mapping[str, Sequence[str]]
    chapters: Sequence[Callable[[Scene], None]]
    end_number: int
    settings: Mapping[str, str] = field(default_factory=dict[str, str])
    engine: Engine | None = None


def with_processes() -> Tale:
    """Two services as processes of this machine."""
    return Tale(
        title="Interlock: words become a plan, an approved plan becomes a run, what it deploys is watched and brought back",
        promise="Everything below happens now, on this machine, with the commands that you see. Each claim is checked from "
        "outside the control plane: by requests to the services, by the files of the processes, by the services' own logs.",
        versions={"greeter": ("v1.0.0", "v1.1.0", "v1.2.0"), "quotes": ("v1.0.0",)},
        chapters=(_deploy_both, deploy_bad_release, try_again, kill_control_plane, approve_altered, verify_record),
        end_number=8,
    )


def with_containers() -> Tale:
    """One service in containers, rolled out as canaries. Raises NotReadyError where there is no engine or no base image."""
    engine, name = _engine()
    image = os.environ.get(PYTHON_IMAGE) or str(Settings.model_fields["container_python_image"].default)
    if not engine.has_image(image):
        raise NotReadyError(
            f"{name} has no image {image}, which the story's images begin with. Have it fetched (docker pull {image}), or "
            f"name another one with Python 3.11 or newer that it has: {PYTHON_IMAGE}=IMAGE"
        )
    settings = {"INTERLOCK_CONTAINER_ENGINE": engine.url, PYTHON_IMAGE: image}
    registry = os.environ.get("INTERLOCK_CONTAINER_REGISTRY", "")
    beside = f", and the registry {registry}" if registry else ""
    chapters = (build_and_run, promote_canary, kill_during_canary, abort_canary, roll_back)
    return Tale(
        title="Interlock with containers: words become an image, a canary is judged by its numbers and aborted by them",
        promise=f"Everything below happens now, with the commands that you see, on {name} at {engine.url}{beside}. Each claim "
        "is checked from outside the control plane: by requests to the service, and by what the engine itself says.",
        versions={"weather": ("v1.0.0", "v1.1.0", "v1.1.1", "v1.2.0")},
        chapters=[partial(chapter, engine=engine) for chapter in chapters],
        end_number=6,
        settings=settings | ({"INTERLOCK_CONTAINER_REGISTRY": registry} if registry else {}),
        engine=engine,
    )


def _engine() -> tuple[Engine, str]:
    """The engine that is set, or at one of the usual places, and its name."""
    try:
        engine = Engine(os.environ.get("INTERLOCK_CONTAINER_ENGINE") or usual_socket())
        return engine, engine.name()
    except Unavailable as error:
        problem = f"{error.message} ({error.where})"
    except EngineAwayError as error:
        problem = str(error)
    raise NotReadyError(
        f"it needs a container engine, and none answers: {problem}. Start Docker or Podman, or say where one is: "
        "INTERLOCK_CONTAINER_ENGINE=unix:///PATH. Without one: interlock demo"
    )


def _deploy_both(scene: Scene) -> None:
    aside = replace(scene, teller=scene.teller.aside(), findings=Findings())
    beside = threading.Thread(target=deploy_quotes, args=(aside,), daemon=True)
    beside.start()
    deploy_greeter(scene)
    aside.teller.release()
    with scene.teller.waiting("quotes is on its way …"):
        beside.join()
    scene.findings.checks += aside.findings.checks
