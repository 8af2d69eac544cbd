"""People: who has a token, and what that alone allows.

The owner may do everything. A member may read everything, ask for plans, decide about them where the rules of the environment
allow it, cancel runs and answer what the inbox asks; answers that go forward are for those whose approvals count there.
Whatever leads back to safety is never reserved.
"""

import re
from typing import Literal

import msgspec

from interlock.core.errors import Forbidden, Invalid
from interlock.core.scope import Scope

Role = Literal["owner", "member"]

OWNER = "user:owner"
"""The principal of the installation's owner, who exists from the start and cannot be removed."""

OWNER_NAME = "owner"
NAME = re.compile(r"[a-z][a-z0-9]*(?:[-_.][a-z0-9]+)*")
MAX_NAME = 40
RESERVED = frozenset({"anybody"})
"""Means everybody where approvers are named."""


class User(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody with a token. What was signed under this name before ``created_at`` was signed by somebody else."""

    name: str
    role: Role
    created_at: str

    @property
    def principal(self) -> str:
        return f"user:{self.name}"


def check_user_name(name: str) -> None:
    """Raises Invalid ``user_name`` unless ``name`` can be part of a principal."""
    if len(name) > MAX_NAME or not NAME.fullmatch(name) or name in RESERVED:
        hint = f"lower-case letters, digits, '-', '_' and '.', up to {MAX_NAME}, beginning with a letter"
        raise Invalid("user_name", f"{name!r} cannot be the name of a user", hint=hint)


def name_of(principal: str) -> str:
    """The name of a user; any other principal as it is, which is the name of nobody."""
    return principal.removeprefix("user:")


def is_owner(scope: Scope) -> bool:
    """Whether the owner asks, or the control plane itself."""
    return scope.principal == OWNER or scope.principal.startswith("system:")


def check_owner(scope: Scope, doing: str) -> None:
    """Raises Forbidden ``owner_only`` unless the owner asks. ``doing`` says what for: ``add users``."""
    if not is_owner(scope):
        message = f"{name_of(scope.principal)} may not {doing}: only the owner may"
        raise Forbidden("owner_only", message, hint="ask the owner")
