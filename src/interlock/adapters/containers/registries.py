"""The login at the registry that asks for one, as an engine's API takes it: with each request, kept nowhere."""

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from interlock.core.errors import Invalid

_HUB = "docker.io"
_HUB_INDEX = "https://index.docker.io/v1/"
"""What engines call Docker's own registry among logins."""


@dataclass(frozen=True, slots=True)
class RegistryLogin:
    """Who images are sent and fetched as at ``registry`` (``host:port``). ``password`` is asked for at each request; None where
    there is none."""

    registry: str
    user: str
    password: Callable[[], str | None]


def transfer_headers(login: RegistryLogin | None, reference: str) -> dict[str, str]:
    """For a push or a pull; the password goes to its own registry alone. Raises Invalid ``no_password``."""
    is_asked_for = login is not None and reference.partition("/")[0] == login.registry
    # The engine wants the header even where there is nothing to say.
    return {"X-Registry-Auth": _header(_credentials(login) if login and is_asked_for else {})}


def build_headers(login: RegistryLogin | None) -> dict[str, str]:
    """For a build, whose base images may lie in the registry. Raises Invalid ``no_password``."""
    if login is None:
        return {}
    name = _HUB_INDEX if login.registry == _HUB else login.registry
    return {"X-Registry-Config": _header({name: _credentials(login)})}


def _credentials(login: RegistryLogin) -> dict[str, str]:
    password = login.password()
    if password is None:
        hint = "set the variable of INTERLOCK_CONTAINER_REGISTRY_PASSWORD_SECRET where interlock serve runs"
        raise Invalid("no_password", f"there is no password for the registry {login.registry}", hint=hint)
    return {"username": login.user, "password": password, "serveraddress": login.registry}


def _header(value: Mapping[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()
