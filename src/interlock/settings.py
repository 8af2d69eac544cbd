"""Settings: environment variables named ``INTERLOCK_…``, each with a default that works."""

import re
from pathlib import Path
from typing import Annotated, Literal

from platformdirs import user_data_path
from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from interlock.core.addresses import LOCAL, is_host, is_loopback

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8420
MAX_RETRIES = 20


def _comma_separated(default: str, description: str) -> tuple[str, ...]:
    return Field(default=tuple(default.split(",")), description=description)


TLS_OFF = "off"
"""In the place of a folder: an engine on another host is spoken to without TLS."""
_TCP = re.compile(r"tcp://(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):(?P<port>[0-9]{1,5})")
ENVIRONMENT = re.compile(r"[a-z][a-z0-9-]{0,39}")


class Settings(BaseSettings):
    """What this installation is set to. Bounds are checked at start; a value outside them stops it with the name."""

    model_config = SettingsConfigDict(env_prefix="INTERLOCK_", extra="ignore", frozen=True)

    home: Path = Field(default_factory=lambda: user_data_path("interlock"), description="The data folder.")
    host: str = Field(default=DEFAULT_HOST, description="Where the server listens; loopback unless told otherwise.")
    port: int = Field(default=DEFAULT_PORT, ge=0, le=65535)

    environments: Annotated[tuple[str, ...], NoDecode] = _comma_separated("dev,staging,production", "In promotion order.")
    first_port: int = Field(default=18100, ge=1024, le=65535, description="Services are reached on ports from here …")
    last_port: int = Field(default=19999, ge=1024, le=65535, description="… to here.")
    plan_lifetime_hours: float = Field(default=24, gt=0, le=24 * 30)

    max_concurrent_workflows: int = Field(default=10, ge=1, le=100)
    max_concurrent_tasks_per_workflow: int = Field(default=8, ge=1, le=20)
    run_timeout_s: int = Field(default=14400, ge=300, le=86400)
    task_timeout_s: int = Field(default=1800, ge=60, le=7200, description="For one install, build or test command.")

    keep_releases: int = Field(default=10, ge=2, description="Builds of a service that are kept; pinned ones always are.")
    keep_processes_days: float = Field(default=30, gt=0, description="How long the output of ended processes is kept.")

    watch_window_s: float = Field(default=60, gt=0, le=86400)
    watch_interval_s: float = Field(default=2, gt=0, le=600)
    watch_min_requests: int = Field(default=20, ge=1)
    watch_error_rate: float = Field(default=0.05, ge=0, le=1)
    watch_p95_ms: float | None = Field(default=None, gt=0)
    watch_health_failures: int = Field(default=3, ge=1)
    watch_restarts: int = Field(default=3, ge=1)

    drift_interval_s: float = Field(default=5, gt=0, le=600, description="Between two looks at what runs against the record.")

    container_engine: str = Field(default="", description="``unix://`` or ``tcp://``; empty: the first usual socket.")
    container_tls: str = Field(default="", description="The folder of the certificates for ``tcp://``; ``off``: go without.")
    container_address: str = Field(default=LOCAL, description="Where on the engine's host containers are reached.")
    container_registry: str = Field(default="", pattern=r"^$|^[A-Za-z0-9.-]+(:\d+)?(/[a-z0-9._/-]+)?$")
    container_registry_user: str = ""
    container_registry_password_secret: str = Field(default="", description="The reference of the password, not the password.")
    container_python_image: str = Field(default="python:3.12-slim", min_length=1)
    container_node_image: str = Field(default="node:22-slim", min_length=1)
    prometheus_url: str | None = Field(default=None, pattern=r"^https?://\S+$", description="Where queries in PromQL go.")
    prometheus_max_age_s: float = Field(default=150, gt=0, le=300, description="Older samples say nothing of now.")
    notify_allow: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Names of receivers, with * for any letters, that may lead to an address that is not public."
    )
    notify_retry_delays_s: Annotated[tuple[int, ...], NoDecode] = Field(
        default=(0, 30, 300, 1200, 3600), description="After each failure; up to twice as long, by chance."
    )
    notify_timeout_s: float = Field(default=10, ge=1, le=60, description="For one attempt, all in all.")
    notify_per_channel: int = Field(default=4, ge=1, le=50, description="Attempts of one channel at the same time.")
    notify_keep_days: float = Field(default=30, gt=0, description="How long deliveries that ended are listed.")
    smtp_host: str = Field(default="", description="Where mail is handed in; empty: there are no channels by e-mail.")
    smtp_port: int = Field(default=25, ge=1, le=65535)
    smtp_encryption: Literal["none", "starttls", "tls"] = "none"
    smtp_sender: str = Field(default="interlock@localhost", pattern=r"^[^\s<>@]+@[A-Za-z0-9.-]+$")
    smtp_user: str = ""
    smtp_password_secret: str = Field(default="", description="The reference of the password, never the password.")

    inherit: Annotated[tuple[str, ...], NoDecode] = _comma_separated(
        "PATH,LANG,SSL_CERT_FILE,SSL_CERT_DIR,REQUESTS_CA_BUNDLE,CURL_CA_BUNDLE,NODE_EXTRA_CA_CERTS,PIP_CERT,PIP_INDEX_URL,"
        "PIP_EXTRA_INDEX_URL,PIP_FIND_LINKS,PIP_CONFIG_FILE,NPM_CONFIG_REGISTRY,HTTP_PROXY,HTTPS_PROXY,NO_PROXY",
        "Variables of the server's own environment that builds and services get too; no others.",
    )
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")

    @model_validator(mode="before")
    @classmethod
    def _split_lists(cls, values: dict[str, object]) -> dict[str, object]:
        for name in ("environments", "inherit", "notify_allow", "notify_retry_delays_s"):
            value = values.get(name)
            if isinstance(value, str):
                values[name] = tuple(item.strip() for item in value.split(",") if item.strip())
        return values

    @model_validator(mode="after")
    def _check_together(self) -> "Settings":
        if self.first_port > self.last_port:
            raise ValueError("INTERLOCK_FIRST_PORT is above INTERLOCK_LAST_PORT")
        if any(delay < 0 for delay in self.notify_retry_delays_s) or len(self.notify_retry_delays_s) > MAX_RETRIES:
            raise ValueError(f"INTERLOCK_NOTIFY_RETRY_DELAYS_S: up to {MAX_RETRIES} numbers of seconds, none below 0")
        if self.container_registry_user and not (self.container_registry and self.container_registry_password_secret):
            together = "INTERLOCK_CONTAINER_REGISTRY and INTERLOCK_CONTAINER_REGISTRY_PASSWORD_SECRET"
            raise ValueError(f"INTERLOCK_CONTAINER_REGISTRY_USER says nothing without {together}")
        if not self.environments:
            raise ValueError("INTERLOCK_ENVIRONMENTS names no environment")
        for name in self.environments:
            if not ENVIRONMENT.fullmatch(name) or self.environments.count(name) > 1:
                rule = "each once: lower-case letters, digits and '-', up to 40, beginning with a letter"
                raise ValueError(f"INTERLOCK_ENVIRONMENTS: {name!r} cannot name an environment ({rule})")
        if fault := _engine_fault(self.container_engine, self.container_tls, self.container_address):
            raise ValueError(fault)
        return self


def _engine_fault(engine: str, tls: str, address: str) -> str:
    """Why a container engine cannot be used like this, and what to do; empty where it can."""
    scheme, _, rest = engine.partition("://")
    if engine and (scheme not in {"unix", "tcp"} or not rest):
        # What is not said here may hold a password.
        way = "; for an engine behind ssh, let `ssh -L` bring its socket here, and name that" if scheme == "ssh" else ""
        return f"INTERLOCK_CONTAINER_ENGINE: only unix:///PATH and tcp://HOST:PORT are spoken{way}"
    if not is_host(address):
        return f"INTERLOCK_CONTAINER_ADDRESS: {address!r} is not the IPv4 address of one host; a name cannot stand for it"
    if scheme != "tcp":
        is_odd = tls not in {"", TLS_OFF}
        return "INTERLOCK_CONTAINER_TLS is for an engine at tcp://, and INTERLOCK_CONTAINER_ENGINE names none" if is_odd else ""
    found = _TCP.fullmatch(engine)
    if found is None or not 0 < int(found["port"]) < 65536:
        return "INTERLOCK_CONTAINER_ENGINE: not a host and a port: write tcp://HOST:PORT and nothing behind it"
    if is_loopback(found["host"].strip("[]")):
        return ""
    if is_loopback(address):
        return (
            f"INTERLOCK_CONTAINER_ADDRESS: the engine is on another host ({engine}), where {address} leads nobody; set it to "
            "the IPv4 address of that host at which containers are to be reached from here"
        )
    if not tls:
        return (
            f"INTERLOCK_CONTAINER_TLS: whoever reaches {engine} without a certificate has that host and reads every secret on "
            f"the way; set it to a folder with ca.pem, cert.pem and key.pem, or to {TLS_OFF!r} where a tunnel guards it"
        )
    return ""
