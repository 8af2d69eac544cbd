"""The environments and their rules: who changes them, and what they are."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import msgspec

from interlock.core.clock import Clock, from_text, to_text
from interlock.core.errors import Conflict, Invalid
from interlock.core.scope import Scope
from interlock.db.database import Database
from interlock.db.session import Session
from interlock.delivery import contracts, store
from interlock.delivery.naming import unknown_environment
from interlock.delivery.rules import MAX_APPROVALS, EnvironmentRules
from interlock.delivery.windows import MAX_WINDOWS, Closed, Freeze, Open
from interlock.events.model import EventData
from interlock.events.service import Events
from interlock.tenancy.model import name_of
from interlock.tenancy.service import Tenancy

LONGEST_FREEZE = timedelta(days=10 * 365)

UNRULED = EnvironmentRules(environment="")
"""What holds for a plan that changes no environment, such as a build."""


class Environments:
    """The use cases of environments; ``names`` are in promotion order. Only the owner changes rules; everybody reads them."""

    def __init__(self, database: Database, events: Events, tenancy: Tenancy, clock: Clock, names: Sequence[str]) -> None:
        self._database = database
        self._events = events
        self._tenancy = tenancy
        self._clock = clock
        self.names = tuple(names)

    async def listing(self, scope: Scope) -> list[EnvironmentRules]:
        """The rules of every environment, in promotion order."""
        return await self.rules(scope, self.names)

    async def get(self, scope: Scope, name: str) -> EnvironmentRules:
        """Raises NotFound ``environment``."""
        self._check_known(name)
        return (await self.rules(scope, (name,)))[0]

    async def rules(self, scope: Scope, names: Sequence[str]) -> list[EnvironmentRules]:
        """The rules of these environments, in this order; those of `UNRULED` where there are none."""
        async with self._database.read(scope) as connection:
            return _of(await store.all_rules(connection), names)

    async def rules_in(self, session: Session, names: Sequence[str]) -> list[EnvironmentRules]:
        """The same as they stand inside of a transaction."""
        return _of(await store.all_rules(session.connection), names)

    def state(self, rules: EnvironmentRules) -> Open | Closed:
        """Whether a change may begin at this moment."""
        return rules.is_open(self._clock.now())

    async def change(self, scope: Scope, name: str, **said: Any) -> EnvironmentRules:
        """Set the rules that are said (fields of `EnvironmentRules`); the others stay.

        Raises Forbidden ``owner_only``, NotFound ``environment``, Invalid ``approvals``, ``approvers``,
        ``too_few_approvers`` or ``windows``.
        """
        await self._tenancy.require_owner(scope, f"change the rules of {name}")
        self._check_known(name)
        async with self._database.write(scope) as session:
            (before,) = await self.rules_in(session, (name,))
            after = msgspec.structs.replace(before, **said)
            _check(after, {user.name for user in await self._tenancy.users_in(session)})
            changed = {field: (_plain(before, field), _plain(after, field)) for field in said}
            changed = {field: (then, now) for field, (then, now) in changed.items() if then != now}
            if not changed:
                return before
            data = contracts.EnvironmentRulesChanged(environment=name, changed=changed)
            return await self._save(session, after, data)

    async def freeze(self, scope: Scope, name: str, until: str, reason: str) -> EnvironmentRules:
        """Let nothing new begin until a moment (RFC 3339), or until `thaw` where ``until`` is empty; a freeze that holds is
        replaced. Raises Forbidden ``owner_only``, NotFound ``environment``, Invalid ``until``."""
        await self._tenancy.require_owner(scope, f"freeze {name}")
        self._check_known(name)
        until = self._later(until) if until else ""
        freeze = Freeze(until=until, reason=reason, by=name_of(scope.principal), at=self._now())
        async with self._database.write(scope) as session:
            (before,) = await self.rules_in(session, (name,))
            data = contracts.EnvironmentFrozen(environment=name, until=until, reason=reason)
            return await self._save(session, msgspec.structs.replace(before, freeze=freeze), data)

    async def thaw(self, scope: Scope, name: str) -> EnvironmentRules:
        """End a freeze. Raises Forbidden ``owner_only``, NotFound ``environment``, Conflict ``not_frozen``."""
        await self._tenancy.require_owner(scope, f"thaw {name}")
        self._check_known(name)
        async with self._database.write(scope) as session:
            (before,) = await self.rules_in(session, (name,))
            if before.freeze is None:
                raise Conflict("not_frozen", f"{name} is not frozen")
            data = contracts.EnvironmentThawed(environment=name)
            return await self._save(session, msgspec.structs.replace(before, freeze=None), data)

    async def _save(self, session: Session, rules: EnvironmentRules, data: EventData) -> EnvironmentRules:
        rules = msgspec.structs.replace(rules, changed_by=session.scope.principal, changed_at=self._now())
        await store.put_rules(session.connection, rules)
        await self._events.publish(session, data, subject=f"environment:{rules.environment}")
        return rules

    def _later(self, until: str) -> str:
        try:
            moment = from_text(until)
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is None:
            raise Invalid("until", f"{until!r} is no time with a zone", hint="such as 2026-12-27T00:00:00Z")
        if not self._clock.now() < moment < self._clock.now() + LONGEST_FREEZE:
            raise Invalid("until", f"{until} is over, or years away", hint="a freeze without an end is ended by `thaw`")
        return to_text(moment)

    def _check_known(self, name: str) -> None:
        if name not in self.names:
            raise unknown_environment(name, self.names)

    def _now(self) -> str:
        return to_text(self._clock.now())


def _of(known: dict[str, EnvironmentRules], names: Sequence[str]) -> list[EnvironmentRules]:
    return [known.get(name, msgspec.structs.replace(UNRULED, environment=name)) for name in names]


def _plain(rules: EnvironmentRules, field: str) -> Any:
    value = getattr(rules, field)
    return [str(window) for window in value] if field == "windows" else msgspec.to_builtins(value)


def _check(rules: EnvironmentRules, users: set[str]) -> None:
    """Rules that nobody could ever fulfil are refused when they are made, not when they are met."""
    if not 1 <= rules.approvals <= MAX_APPROVALS:
        raise Invalid("approvals", f"there can be 1 to {MAX_APPROVALS} approvals, not {rules.approvals}")
    if unknown := sorted(set(rules.approvers) - users):
        hint = f"users: {', '.join(sorted(users))}; add one: interlock user add {unknown[0]}"
        raise Invalid("approvers", f"there is no user {' or '.join(unknown)}", hint=hint)
    if len(set(rules.approvers)) != len(rules.approvers):
        raise Invalid("approvers", "each approver is named once")
    possible = len(rules.approvers or users)
    if rules.approvals > possible:
        message = f"{rules.approvals} approvals are more than the {possible} people who could give them"
        raise Invalid("too_few_approvers", message, hint="name more approvers, or ask for fewer approvals")
    if len(rules.windows) > MAX_WINDOWS:
        raise Invalid("windows", f"an environment has at most {MAX_WINDOWS} windows")
