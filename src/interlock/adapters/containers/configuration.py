"""A container's configuration for the engine's API, made of its specification; and the names that lead back to its key."""

import math
import re
from collections.abc import Iterable

from interlock.adapters.containers.connection import Data
from interlock.adapters.containers.folders import holder_name, owner
from interlock.core.addresses import is_host
from interlock.core.errors import Invalid
from interlock.tools.containers.ports import INSTANCE_LABEL, KEY_LABEL, ContainerSpec

SECRETS_LABEL = "interlock.secret-variables"
KIND_LABEL = "interlock.kind"
USER = "65532:65532"
"""Who runs what would otherwise run as root; no account has this number."""
STOPPING_SHARES = 1024
"""A weight that nothing else sets. Told to a container before it is stopped, it says for good that somebody asked for its end;
labels cannot be changed, and an engine does not record who ended what."""
KEPT_LOG_FILES = 3

_KEY = re.compile(r"[a-z0-9][a-z0-9-]{0,100}")
_STRAY, _STRAY_DIGITS = "stray-", 16
_STRAY_KEY = re.compile(_STRAY + r"[0-9a-f]{16}")
_USER = re.compile(r"\d{1,10}(:\d{1,10})?")
_ROOT = re.compile(r"(0+|root)?(:.*)?")
_TMP = "rw,noexec,nosuid,nodev,size=64m,mode=1777"


def container_name(instance: str, key: str) -> str:
    """Raises Invalid ``process_key`` for what is not a key (``[a-z0-9][a-z0-9-]{0,100}``)."""
    if not _KEY.fullmatch(key):
        raise Invalid("process_key", f"not a key: {key[:120]!r}", hint="use a-z, 0-9 and '-', at most 101 of them")
    return f"interlock.{instance}.{key}"


def found_name(instance: str, key: str) -> str:
    """Under which name or id the container of a key is asked for: a stray one (`stray_key`) by its id."""
    return key.removeprefix(_STRAY) if _STRAY_KEY.fullmatch(key) else container_name(instance, key)


def stray_key(container_id: str) -> str:
    """The key of a container that bears the labels of this control plane, but not a name that it gives."""
    return _STRAY + container_id[:_STRAY_DIGITS]


def key_of(instance: str, names: Iterable[str], container_id: str) -> str:
    """The key that a container's names lead back to, else that of a stray one."""
    prefix = f"/interlock.{instance}."
    keys = (name.removeprefix(prefix) for name in names if name.startswith(prefix))
    return next((key for key in keys if _KEY.fullmatch(key)), stray_key(container_id))


def name_filter(instance: str) -> Data:
    """Every container with a name that this control plane gives, whatever its labels are."""
    return {"name": [f"^/?interlock[.]{re.escape(instance)}[.]"]}


def user_of(spec: ContainerSpec, image_user: str) -> str:
    """The user said, else the image's own, else `USER` where that would be root."""
    return spec.user or (USER if _ROOT.fullmatch(image_user) else image_user)


def container_configuration(
    instance: str, key: str, spec: ContainerSpec, user: str, *, has_init: bool = True, owns_tmp: bool = True
) -> Data:
    """What ``POST /containers/create`` takes. Raises Invalid ``container_spec``.

    Without numbers for its user, volumes cannot be handed over beforehand; the container then gets those of the image.
    """
    _check(spec)
    inside = spec.container_port or spec.port
    ports = (
        {} if inside is None or spec.port is None else {f"{inside}/tcp": [{"HostIp": spec.host, "HostPort": str(spec.port)}]}
    )
    numbers = owner(user)
    environment = {"HOME": "/tmp", **spec.environment}  # noqa: S108 - the container's own, in memory
    return {
        "Image": spec.image,
        # A command stands for all of what the image would run: what was approved is what runs.
        **({"Entrypoint": [spec.command[0]], "Cmd": list(spec.command[1:])} if spec.command else {}),
        "Env": [f"{name}={value}" for name, value in environment.items()],
        "User": user,
        "Labels": _labels(instance, key, spec),
        "ExposedPorts": {port: {} for port in ports},
        "Volumes": {} if numbers else {folder: {} for folder in spec.writable},
        "StopTimeout": whole_seconds(spec.grace_s),
        "Tty": False,
        "HostConfig": {
            "PortBindings": ports,
            **({"NetworkMode": f"container:{container_name(instance, spec.joins)}"} if spec.joins else {}),
            "ReadonlyRootfs": True,
            # Everybody may write there; that it belongs to the user is for programs that look at their home.
            "Tmpfs": {"/tmp": _TMP + (f",uid={numbers[0]},gid={numbers[1]}" if numbers and owns_tmp else "")},  # noqa: S108
            "VolumesFrom": [holder_name(container_name(instance, key))] if spec.writable and numbers else [],
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            # A process that is number 1 gets no signal it has no handler for; the engine's small init passes them on.
            "Init": has_init,
            "RestartPolicy": _restarts(spec),
            "LogConfig": _log(spec.log_limit_bytes),
            **_limits(spec),
        },
    }


def stopping(has_restarts: bool) -> Data:
    """What ``POST /containers/…/update`` takes before a stop: the mark, and no restart whatever comes between."""
    return {"CpuShares": STOPPING_SHARES, **({"RestartPolicy": {"Name": "no"}} if has_restarts else {})}


def label_filter(instance: str) -> Data:
    return {"label": [f"{INSTANCE_LABEL}={instance}"]}


def secret_names(labels: dict[str, str]) -> list[str]:
    return [name for name in labels.get(SECRETS_LABEL, "").split(",") if name]


def secret_values(labels: dict[str, str], environment: Iterable[str]) -> list[str]:
    """The values to be masked in a container's output, told from its own configuration."""
    parts = [entry.partition("=") for entry in environment]
    values = {name: value for name, _, value in parts}
    return [values[name] for name in secret_names(labels) if values.get(name)]


def whole_seconds(grace_s: float) -> int:
    return math.ceil(grace_s)


def _labels(instance: str, key: str, spec: ContainerSpec) -> dict[str, str]:
    own = {KEY_LABEL: key, INSTANCE_LABEL: instance, KIND_LABEL: spec.kind}
    return spec.labels | own | ({SECRETS_LABEL: ",".join(spec.secret_variables)} if spec.secret_variables else {})


def _restarts(spec: ContainerSpec) -> Data:
    if spec.kind == "job" or spec.max_restarts == 0:
        return {"Name": "no"}
    return {"Name": "on-failure", "MaximumRetryCount": spec.max_restarts}


def _log(limit_bytes: int) -> Data:
    # The files hold JSON, somewhat longer than what was written.
    return {"Type": "json-file", "Config": {"max-size": str(limit_bytes), "max-file": str(KEPT_LOG_FILES)}}


def _limits(spec: ContainerSpec) -> Data:
    limits, found = spec.limits, Data()
    if limits.cpus is not None:
        found["NanoCpus"] = round(limits.cpus * 1e9)
    if limits.memory_mb is not None:
        found["Memory"] = found["MemorySwap"] = limits.memory_mb * 1024 * 1024
    if limits.pids is not None:
        found["PidsLimit"] = limits.pids
    return found


def _check(spec: ContainerSpec) -> None:
    limits = spec.limits
    texts = [spec.image, *spec.command, *spec.writable, *(part for entry in spec.environment.items() for part in entry)]
    faults = {
        "there is no image": not spec.image,
        "a text holds a NUL character": any("\0" in text for text in texts),
        "the name of an environment variable is empty or holds '='": any(not name or "=" in name for name in spec.environment),
        "a secret's variable has no value or holds a comma": any(
            name not in spec.environment or "," in name for name in spec.secret_variables
        ),
        "a writable folder is not an absolute path": any(
            not folder.startswith("/") or ".." in folder.split("/") or folder.rstrip("/") == "" for folder in spec.writable
        ),
        "the user is not given as numbers": bool(spec.user) and not _USER.fullmatch(spec.user),
        "what joins another container's network publishes no port": bool(spec.joins) and spec.port is not None,
        "its host is no IPv4 address of one host": not is_host(spec.host),
        "a container port is published nowhere": spec.container_port is not None and spec.port is None,
        "a limit is negative or too small": min(spec.grace_s, spec.max_restarts) < 0
        or spec.log_limit_bytes < 1
        or (limits.cpus is not None and limits.cpus < 0.01)
        or (limits.memory_mb is not None and limits.memory_mb < 6)
        or (limits.pids is not None and limits.pids < 1),
    }
    if found := [fault for fault, is_there in faults.items() if is_there]:
        raise Invalid("container_spec", "; ".join(found))
