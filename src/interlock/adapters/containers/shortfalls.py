"""What an engine does not have, or does not keep, beside what Docker does: told by its refusals, and made up for here.

Podman (4.3) has no marks on containers that run, no record of why one did not start, no word for one that waits to be started
again, and fewer options of mounts. What it does not keep is kept in memory: after a restart of the control plane a container
that did not start counts as one that never ran, and one that was stopped as one that ended.
"""

import re
from collections.abc import Iterable

from interlock.adapters.containers.configuration import STOPPING_SHARES
from interlock.adapters.containers.connection import Data, Refusal
from interlock.adapters.containers.observation import explains_itself

_NO_OWNER = re.compile(r"unknown mount option \W*[ug]id=", re.IGNORECASE)
_NO_INIT = re.compile(r"docker-init|init binary|catatonit", re.IGNORECASE)
_NO_STATE = re.compile(r"unknown container state: (\w+)", re.IGNORECASE)


class Shortfalls:
    """Of one engine, as far as they have shown. Containers are known by the names that Interlock gives them."""

    def __init__(self) -> None:
        self.has_init = True
        self.owns_tmp = True
        self._unknown_states: set[str] = set()
        self._refusals: dict[str, str] = {}
        self._stopped: set[str] = set()

    def shows(self, refusal: Refusal) -> bool:
        """Whether the refusal tells of one that was not known yet: then it is worth to ask again, without."""
        before = (self.has_init, self.owns_tmp, len(self._unknown_states))
        if _NO_INIT.search(refusal.message):
            self.has_init = False
        if _NO_OWNER.search(refusal.message):
            self.owns_tmp = False
        if state := _NO_STATE.search(refusal.message):
            self._unknown_states.add(state[1])
        return before != (self.has_init, self.owns_tmp, len(self._unknown_states))

    def known(self, states: Iterable[str]) -> list[str]:
        """Those of the states by which this engine can be asked."""
        return [state for state in states if state not in self._unknown_states]

    def did_not_start(self, name: str, refusal: Refusal) -> bool:
        """Keep why a container did not start, where the refusal says it and the engine will not."""
        if not explains_itself(refusal.message):
            return False
        self._refusals[name] = refusal.message
        return True

    def is_stopped(self, name: str) -> None:
        """Its end is asked for, and the engine takes no mark that says so."""
        self._stopped.add(name)

    def forget(self, name: str) -> None:
        """There is no container of this name any more."""
        self._refusals.pop(name, None)
        self._stopped.discard(name)

    def completed(self, name: str, found: Data) -> Data:
        """What the engine says of a container, and what it would say if it had kept it."""
        state: Data = found["State"]
        if state["Status"] == "stopped":
            # Podman has seen the end and not yet acted on it.
            state["Status"] = "restarting" if _is_due(found) and name not in self._stopped else "exited"
        if name in self._refusals and not state.get("Error"):
            state["Error"] = self._refusals[name]
        if name in self._stopped:
            found["HostConfig"]["CpuShares"] = STOPPING_SHARES
        return found


def _is_due(found: Data) -> bool:
    policy: Data = found["HostConfig"]["RestartPolicy"]
    is_wanted = policy.get("Name") == "on-failure" and found["State"]["ExitCode"] != 0
    return is_wanted and found.get("RestartCount", 0) < (policy.get("MaximumRetryCount") or float("inf"))
