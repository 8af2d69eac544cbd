"""Tenants, and who a token stands for."""

import hashlib
import secrets

from interlock.core.clock import Clock, to_text
from interlock.core.errors import Forbidden
from interlock.core.ids import new_id
from interlock.core.scope import DEFAULT_TENANT, Scope
from interlock.db.database import CONTROL, Database
from interlock.tenancy import store

OWNER = "user:owner"


class Tenancy:
    """The tenants of this installation. One, `DEFAULT_TENANT`, exists from the start; its owner holds a token."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def ensure_tenant(self, scope: Scope) -> None:
        """Register the scope's tenant if it is not known yet."""
        async with self._database.write(scope, CONTROL) as session:
            await store.ensure_tenant(session.connection, scope.tenant, to_text(self._clock.now()))

    async def issue_token(self, scope: Scope, principal: str) -> str:
        """A new token for ``principal``; the one it had before is void. Only a digest of it is stored."""
        # 256 random bits need no slow hash: there is nothing to guess.
        token = f"ilk_{secrets.token_urlsafe(32)}"
        async with self._database.write(scope, CONTROL) as session:
            at = to_text(self._clock.now())
            await store.replace_token(session.connection, _digest(token), scope.tenant, principal, at)
        return token

    async def authenticate(self, token: str, origin: str, trace_id: str = "") -> Scope:
        """The scope of whoever holds ``token``. Raises Forbidden ``unauthenticated``."""
        nobody = Scope(tenant=DEFAULT_TENANT, principal="anonymous", origin=origin)
        async with self._database.read(nobody, CONTROL) as connection:
            owner = await store.owner_of(connection, _digest(token))
        if owner is None:
            raise Forbidden(
                "unauthenticated", "the token is not known here", hint="use the one in the data folder: owner.token"
            )
        tenant, principal = owner
        return Scope(tenant=tenant, principal=principal, origin=origin, correlation_id=new_id("cor"), trace_id=trace_id)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
