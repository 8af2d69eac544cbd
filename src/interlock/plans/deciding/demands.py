"""What the environments of a plan ask of it together: whose approvals, and that they are open. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from interlock.core.clock import to_text
from interlock.core.errors import Conflict, Forbidden
from interlock.delivery.rules import EnvironmentRules
from interlock.delivery.windows import Closed
from interlock.plans.model import Action, Approval, Plan, Terms
from interlock.tenancy.model import OWNER, User, name_of

BOUND: frozenset[Action] = frozenset({"deploy", "promote", "restart"})
"""What windows and freezes hold back. A way back, or taking something out, is never made to wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demands:
    """The rules of a plan's environments at one moment. ``joined`` tells since when each user is one."""

    rules: Sequence[EnvironmentRules]
    joined: Mapping[str, str]
    requester: str
    action: Action
    now: datetime

    def names(self, approvals: Sequence[Approval]) -> list[str]:
        """Who has approved, each once. One who was removed since has not, even if another got the name."""
        names = [name_of(item.by) for item in approvals if item.at >= self.joined.get(name_of(item.by), "~")]
        return list(dict.fromkeys(names))

    def terms(self, approvals: Sequence[Approval]) -> tuple[Terms, ...]:
        """What each environment asks, and what of it was given."""
        return tuple(self._terms(rules, self.names(approvals)) for rules in self.rules)

    def missing(self, approvals: Sequence[Approval]) -> str:
        """The approvals that are not there yet, in words: ``1 of 2 approvals; maria or jonas``; empty for none."""
        names = self.names(approvals)
        said: list[str] = []
        for rules in self.rules:
            given = self._given(rules, names)
            if len(given) < rules.approvals:
                place = f"{rules.environment}: " if len(self.rules) > 1 else ""
                unit = "approval" if rules.approvals == 1 else "approvals"
                said.append(f"{place}{len(given)} of {rules.approvals} {unit}; {self._candidates(rules, given)}")
        return " / ".join(said)

    def check_may_approve(self, principal: str) -> None:
        """Raises Forbidden ``not_an_approver`` or ``requester`` where an approval by ``principal`` counts nowhere."""
        name = name_of(principal)
        if self._counts(name):
            return
        wanted = " / ".join(self._wanted(rules) for rules in self.rules)
        if name == self.requester:
            message = f"{name} asked for this plan, and somebody else has to approve it"
            raise Forbidden("requester", message, hint=f"ask {wanted}")
        raise Forbidden("not_an_approver", f"the approval of {name} does not count here", hint=f"ask {wanted}")

    def check_may_answer(self, principal: str, answer: str, open_answers: Sequence[str]) -> None:
        """Raises Forbidden ``not_an_approver`` or ``requester`` where an approval by ``principal`` counts nowhere, and so no
        answer that goes forward. ``open_answers`` are those that anybody may give."""
        name = name_of(principal)
        if self._counts(name):
            return
        hint = f"ask {' / '.join(self._wanted(rules) for rules in self.rules)}"
        if open_answers:
            hint += f"; anybody may answer: {', '.join(open_answers)}"
        if name == self.requester:
            message = f"{name} asked for this plan, and somebody else has to answer {answer!r}"
            raise Forbidden("requester", message, hint=hint)
        message = f"{name} may not answer {answer!r}: it needs somebody whose approval counts here"
        raise Forbidden("not_an_approver", message, hint=hint)

    def check_may_reject(self, principal: str) -> None:
        """Raises Forbidden ``not_an_approver`` unless it is an approver, the requester or the owner."""
        name = name_of(principal)
        if principal == OWNER or name == self.requester or any(rules.may_count(name, "") for rules in self.rules):
            return
        wanted = " / ".join(self._wanted(rules) for rules in self.rules)
        raise Forbidden("not_an_approver", f"{name} may not reject this plan", hint=f"ask {wanted}")

    def closed(self) -> Conflict | None:
        """Why the plan may not start now, where that is so: Conflict ``frozen`` or ``window_closed`` with ``opens_at``."""
        found = [(rules.environment, state) for rules in self.rules if (state := self._closed(rules)) is not None]
        if not found:
            return None
        opens = [state.until for _, state in found]
        latest = "" if None in opens else to_text(max(moment for moment in opens if moment is not None))
        why = "; ".join(f"{environment} is {state.why}" for environment, state in found)
        when = f"; it opens at {latest}" if latest else "; nobody said until when"
        hint = "approve it with --when-open, and it starts by itself then; in an emergency the owner may --override REASON"
        code = "frozen" if any(state.code == "frozen" for _, state in found) else "window_closed"
        return Conflict(code, why + when, hint=hint, opens_at=latest)

    def _counts(self, name: str) -> bool:
        return name in self.joined and any(rules.may_count(name, self.requester) for rules in self.rules)

    def _closed(self, rules: EnvironmentRules) -> Closed | None:
        state = rules.is_open(self.now)
        return state if isinstance(state, Closed) and self.action in BOUND else None

    def _terms(self, rules: EnvironmentRules, names: Sequence[str]) -> Terms:
        closed = self._closed(rules)
        return Terms(
            environment=rules.environment,
            approvals=rules.approvals,
            approvers=rules.approvers,
            not_requester=rules.not_requester,
            given=tuple(self._given(rules, names)),
            windows=tuple(str(window) for window in rules.windows),
            busy=rules.busy,
            drift=rules.drift,
            closed=closed.why if closed else "",
            opens_at=to_text(closed.until) if closed and closed.until else "",
        )

    def _given(self, rules: EnvironmentRules, names: Sequence[str]) -> list[str]:
        return [name for name in names if rules.may_count(name, self.requester)]

    def _candidates(self, rules: EnvironmentRules, given: Sequence[str]) -> str:
        """Who could still approve."""
        if not rules.approvers:
            except_for = [*given, *([self.requester] if rules.not_requester else [])]
            return "anybody" + (f" but {' and '.join(except_for)}" if except_for else "")
        left = [name for name in rules.approvers if name not in given and name in self.joined]
        left = [name for name in left if rules.may_count(name, self.requester)]
        return " or ".join(left) or "nobody is left who could: ask the owner to change the rules"

    def _wanted(self, rules: EnvironmentRules) -> str:
        return self._candidates(rules, ())


def demands_of(plan: Plan, rules: Sequence[EnvironmentRules], users: Sequence[User], now: datetime) -> Demands:
    """What ``rules`` ask of ``plan``, with these people."""
    joined = {user.name: user.created_at for user in users}
    requester = name_of(plan.requested_by)
    return Demands(rules=rules, joined=joined, requester=requester, action=plan.action, now=now)


def is_overridden(approvals: Sequence[Approval]) -> bool:
    """Whether the owner said that windows and freezes do not count."""
    return any(approval.override and approval.by == OWNER for approval in approvals)


def wants_to_wait(approvals: Sequence[Approval]) -> bool:
    """Whether somebody who approved said that it should wait for windows and the end of freezes."""
    return any(approval.when_open for approval in approvals)
