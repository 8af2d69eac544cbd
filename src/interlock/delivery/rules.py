"""What an environment asks of those who change it: whose approvals, when, and one at a time. Values and pure rules."""

from datetime import datetime
from typing import Literal

import msgspec

from interlock.delivery.windows import Closed, Freeze, Open, Window, is_open

Busy = Literal["refuse", "wait"]
"""What becomes of a plan for a service that another plan is changing there: refused at approval, or it waits for its turn."""
Drift = Literal["heal", "ask"]
"""What becomes of a service that is found in another state than it was left in: brought back, or a person is asked."""

MAX_APPROVALS = 20


class EnvironmentRules(msgspec.Struct, frozen=True, kw_only=True):
    """The rules of one environment. As they stand here they ask for no more than any plan needs: one approval, by anybody."""

    environment: str
    approvals: int = 1
    """How many different people have to approve."""
    approvers: tuple[str, ...] = ()
    """The names of those whose approvals count; empty for everybody's."""
    not_requester: bool = False
    """Whether the approval of whoever asked for the plan does not count."""
    windows: tuple[Window, ...] = ()
    """When changes may begin; empty for always."""
    freeze: Freeze | None = None
    busy: Busy = "refuse"
    drift: Drift = "ask"
    changed_by: str = ""
    changed_at: str = ""

    def is_open(self, now: datetime) -> Open | Closed:
        """Whether a change may begin ``now``."""
        return is_open(self.windows, self.freeze, now)

    def may_count(self, name: str, requester: str) -> bool:
        """Whether an approval by ``name`` counts for a plan that ``requester`` asked for."""
        if self.not_requester and name == requester:
            return False
        return not self.approvers or name in self.approvers
