"""Everything outside: the adapters of this control plane, and the tools made of them."""

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from interlock.adapters.caddy.forwarder import CaddyForwarder
from interlock.adapters.containers.build_logs import BuildLogs
from interlock.adapters.containers.engine import DockerEngine
from interlock.adapters.containers.registries import RegistryLogin
from interlock.adapters.containers.tls import client_context
from interlock.adapters.git.git import GitProgram
from interlock.adapters.hosts.local import LocalHost
from interlock.adapters.http.client import HttpxClient
from interlock.adapters.prometheus.pages import ScrapedPages
from interlock.adapters.prometheus.source import PrometheusSource
from interlock.core.clock import Clock
from interlock.core.signing import Signer
from interlock.delivery.tools import PointForwarder
from interlock.settings import TLS_OFF, Settings
from interlock.tools.checkout import Checkout, RemoveCheckout
from interlock.tools.containers.images import image_tools
from interlock.tools.containers.workloads import container_tools
from interlock.tools.http import HttpCheck
from interlock.tools.process import process_tools
from interlock.tools.secrets import SecretSource
from interlock.tools.service import Toolbox


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """One adapter for each technology. ``secret`` gives the value behind a reference, or None."""

    host: LocalHost
    containers: DockerEngine
    build_logs: BuildLogs
    forwarder: CaddyForwarder
    http: HttpxClient
    git: GitProgram
    prometheus: PrometheusSource
    pages: ScrapedPages
    secret: SecretSource


def reach(settings: Settings, clock: Clock, signer: Signer, tenant: str, environ: Mapping[str, str]) -> Outside:
    """Make the adapters; nothing is connected yet."""
    host = LocalHost(settings.home / "processes")

    def secret(name: str) -> str | None:
        return environ.get(_secret_variable(name))

    return Outside(
        host=host,
        # The engine tells control planes apart by their keys: a data folder that moves finds its containers again.
        containers=DockerEngine(
            settings.container_engine,
            lambda: signer.public_key(tenant)[:16],
            registry_login(settings, secret),
            settings.home / "container-logs",
            _engine_tls(settings),
        ),
        build_logs=BuildLogs(settings.home / "builds", settings.keep_processes_days * 86400),
        forwarder=CaddyForwarder(host, settings.home / "forwarder"),
        http=HttpxClient(clock),
        git=GitProgram(),
        prometheus=PrometheusSource(settings.prometheus_url, max_age_s=settings.prometheus_max_age_s),
        pages=ScrapedPages(clock),
        secret=secret,
    )


def registry_login(settings: Settings, secret: SecretSource) -> RegistryLogin | None:
    """The login at the registry that is set; None where it is set without a user."""
    if not settings.container_registry_user:
        return None
    registry = settings.container_registry.partition("/")[0]
    reference = settings.container_registry_password_secret
    return RegistryLogin(registry, settings.container_registry_user, lambda: secret(reference))


def toolbox(outside: Outside, settings: Settings, environ: Mapping[str, str]) -> Toolbox:
    """The tools that tasks may be granted."""
    base = _base_environment(settings.home, settings.inherit, environ)
    return Toolbox(
        [
            *process_tools(outside.host, base, outside.secret),
            *image_tools(outside.containers, outside.build_logs.take),
            *container_tools(outside.containers, outside.secret, outside.build_logs.keep),
            Checkout(outside.git),
            RemoveCheckout(outside.git),
            HttpCheck(outside.http),
            PointForwarder(outside.forwarder),
        ]
    )


def _engine_tls(settings: Settings) -> ssl.SSLContext | None:
    """Raises Invalid ``container_tls``."""
    folder = settings.container_tls
    return client_context(Path(folder)) if folder not in {"", TLS_OFF} else None


def _base_environment(home: Path, inherit: tuple[str, ...], environ: Mapping[str, str]) -> dict[str, str]:
    """What every build and service sees beneath its own variables: a home of its own, and what the settings let through."""
    own = {"HOME": str(home / "sandbox"), "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1", "LANG": "C.UTF-8"}
    return own | {name: environ[name] for name in inherit if name in environ}


def _secret_variable(name: str) -> str:
    return "INTERLOCK_SECRET_" + re.sub(r"[^A-Z0-9]", "_", name.upper())
