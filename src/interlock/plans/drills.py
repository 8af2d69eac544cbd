"""What is known of a drill before its run: a release that a rollback could not bring back."""

from interlock.core.errors import Conflict
from interlock.core.scope import Scope
from interlock.delivery.incidents.record import Incidents
from interlock.delivery.model import Release
from interlock.delivery.service import Delivery

WOULD_FAIL = "rollback_would_fail"


class DrillRules:
    """The check when a drill is planned, and again when it is approved."""

    def __init__(self, delivery: Delivery, incidents: Incidents) -> None:
        self._delivery = delivery
        self._incidents = incidents

    async def check(self, scope: Scope, release: Release, environment: str, behind: str) -> None:
        """Raises Conflict `WOULD_FAIL` where the release is damaged or in quarantine: that is the result of the drill.
        ``behind`` is the version that serves."""
        try:
            await self._incidents.check_not_quarantined(scope, release.service, release.content)
            await self._delivery.check_intact(release)
        except Conflict as error:
            again = f"then drill again: interlock drill {release.service} --env {environment}"
            mend = error.hint if error.code == "quarantined" else f"restore {release.folder} from a backup"
            raise Conflict(
                WOULD_FAIL,
                title_of(release.service, environment, error.message),
                where=release.release_id,
                hint=f"{mend}, or deploy a version to go back to; {again}",
                drill={
                    "service": release.service,
                    "environment": environment,
                    "release_id": release.release_id,
                    "version": release.version,
                    "behind": behind,
                    "reason": error.message,
                },
            ) from error


def title_of(service: str, environment: str, reason: str) -> str:
    """What a failed drill says."""
    return f"the rollback of {service} in {environment} would not work: {reason}"
