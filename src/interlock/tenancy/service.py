"""Tenants, people, and who a token stands for."""

import asyncio
import hashlib
import secrets
from collections import defaultdict
from collections.abc import Generator
from contextlib import contextmanager

from interlock.core.clock import Clock, to_text
from interlock.core.errors import Conflict, Forbidden, NotFound
from interlock.core.ids import new_id
from interlock.core.scope import DEFAULT_TENANT, Scope
from interlock.db.database import Database
from interlock.db.namespaces import CONTROL
from interlock.db.session import Session
from interlock.events.service import Events
from interlock.tenancy import contracts, store
from interlock.tenancy.model import OWNER, OWNER_NAME, User, check_owner, check_user_name, name_of


class Tenancy:
    """The tenants of this installation and their people. One, `DEFAULT_TENANT`, exists from the start; its owner holds a
    token."""

    def __init__(self, database: Database, events: Events, clock: Clock) -> None:
        self._database = database
        self._events = events
        self._clock = clock
        self._held: defaultdict[tuple[str, str], set[asyncio.Event]] = defaultdict(set)

    async def ensure_tenant(self, scope: Scope) -> None:
        """Register the scope's tenant if it is not known yet."""
        async with self._database.write(scope, CONTROL) as session:
            await store.ensure_tenant(session.connection, scope.tenant, self._now())

    # --- people ---

    async def add_user(self, scope: Scope, name: str) -> tuple[User, str]:
        """A new member, with the token that nobody can be told again. Raises Forbidden ``owner_only``, Invalid ``user_name``,
        Conflict ``user_exists``."""
        await self.require_owner(scope, "add users")
        check_user_name(name)
        user = User(name=name, role="member", created_at=self._now())
        async with self._database.write(scope) as session:
            if name == OWNER_NAME or await store.has_user(session.connection, name):
                hint = f"for a new token: interlock user remove {name}, then add {name} again"
                raise Conflict("user_exists", f"{name} is a user already", hint="" if name == OWNER_NAME else hint)
            await store.add_user(session.connection, user)
            data = contracts.UserAdded(name=name, role=user.role)
            await self._events.publish(session, data, subject=f"user:{name}")
        # Behind the user, who without a token can do nothing: a token without its user would not be on the record.
        return user, await self.issue_token(scope, user.principal)

    async def remove_user(self, scope: Scope, name: str) -> User:
        """Void a user's token and approvals. Raises Forbidden ``owner_only``, NotFound ``user``, Conflict ``owner_stays``."""
        await self.require_owner(scope, "remove users")
        if name == OWNER_NAME:
            raise Conflict("owner_stays", "the owner cannot be removed")
        async with self._database.write(scope) as session:
            user = next((user for user in await store.all_users(session.connection) if user.name == name), None)
            if user is None:
                raise NotFound("user", f"there is no user {name}", hint="see: interlock user list")
            await store.remove_user(session.connection, name)
            await self._events.publish(session, contracts.UserRemoved(name=name), subject=f"user:{name}")
        self._end_access(scope.tenant, user.principal)
        async with self._database.write(scope, CONTROL) as session:
            await store.void_token(session.connection, scope.tenant, user.principal)
        return user

    async def require_owner(self, scope: Scope, doing: str) -> None:
        """`check_owner`, with the refusal on the record."""
        try:
            check_owner(scope, doing)
        except Forbidden:
            async with self._database.write(scope) as session:
                await self._events.publish(session, contracts.AccessRefused(doing=doing), subject="access:refused")
            raise

    async def users(self, scope: Scope) -> list[User]:
        """Everybody, the owner first, then by name."""
        async with self._database.read(scope) as connection:
            return [_THE_OWNER, *await store.all_users(connection)]

    async def users_in(self, session: Session) -> list[User]:
        """The same as it stands inside of a transaction."""
        return [_THE_OWNER, *await store.all_users(session.connection)]

    # --- tokens ---

    async def issue_token(self, scope: Scope, principal: str) -> str:
        """A new token for ``principal``; the one it had before is void. Only a digest of it is stored."""
        # 256 random bits need no slow hash: there is nothing to guess.
        token = f"ilk_{secrets.token_urlsafe(32)}"
        async with self._database.write(scope, CONTROL) as session:
            await store.replace_token(session.connection, _digest(token), scope.tenant, principal, self._now())
        self._end_access(scope.tenant, principal)
        return token

    async def authenticate(self, token: str, origin: str, trace_id: str = "") -> Scope:
        """The scope of whoever holds ``token``. Raises Forbidden ``unauthenticated``."""
        nobody = Scope(tenant=DEFAULT_TENANT, principal="anonymous", origin=origin)
        async with self._database.read(nobody, CONTROL) as connection:
            holder = await store.owner_of(connection, _digest(token))
        if holder is None:
            raise _unknown_token()
        tenant, principal = holder
        scope = Scope(tenant=tenant, principal=principal, origin=origin, correlation_id=new_id("cor"), trace_id=trace_id)
        if principal != OWNER:
            # Users are the tenant's: one who was removed there is nobody, whatever became of the token.
            async with self._database.read(scope) as connection:
                if not await store.has_user(connection, name_of(principal)):
                    raise _unknown_token()
        return scope

    @contextmanager
    def access(self, scope: Scope) -> Generator[asyncio.Event]:
        """An event for as long as the context lasts: it is set once the token with which the scope was made is void. Who holds
        on to what a token gave has to authenticate once more inside of it."""
        is_void, place = asyncio.Event(), (scope.tenant, scope.principal)
        self._held[place].add(is_void)
        try:
            yield is_void
        finally:
            self._held[place].discard(is_void)
            if not self._held[place]:
                del self._held[place]

    def _end_access(self, tenant: str, principal: str) -> None:
        for is_void in self._held.get((tenant, principal), ()):
            is_void.set()

    def _now(self) -> str:
        return to_text(self._clock.now())


_THE_OWNER = User(name=OWNER_NAME, role="owner", created_at="")


def _unknown_token() -> Forbidden:
    hint = "use the one in the data folder, owner.token, or the one that `interlock user add` printed"
    return Forbidden("unauthenticated", "the token is not known here", hint=hint)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
