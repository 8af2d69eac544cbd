"""The envelope that every event travels in, and how it maps to CloudEvents 1.0."""

from typing import Any, ClassVar

import msgspec

SOURCE = "/interlock"


class EventData(msgspec.Struct, frozen=True, kw_only=True):
    """The base of every event's data; a subclass in a slice's ``contracts.py`` names its type and contract version."""

    event_type: ClassVar[str] = ""
    contract_version: ClassVar[str] = "1.0"


def event_types() -> tuple[str, ...]:
    """The type of every event that Interlock publishes."""
    return tuple(sorted(kind.event_type for kind in EventData.__subclasses__() if kind.__module__.startswith("interlock.")))


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """What happened, to what, by whom.

    ``originating_agent`` is the principal who caused it, ``origin`` the face and address it came through, ``timestamp`` RFC
    3339 in UTC, ``correlation_id`` shared by everything that one request led to.
    """

    event_id: str
    event_type: str
    version: str
    subject: str
    timestamp: str
    originating_agent: str
    origin: str = ""
    correlation_id: str = ""
    trace_id: str = ""
    project_id: str = ""
    artifact_uri: str | None = None
    data: dict[str, Any] = {}

    def cloud_event(self, tenant: str) -> dict[str, Any]:
        """The event as CloudEvents 1.0 in JSON, with the remaining fields as extension attributes."""
        event: dict[str, Any] = {
            "specversion": "1.0",
            "id": self.event_id,
            "source": f"{SOURCE}/{tenant}",
            "type": f"interlock.{self.event_type}",
            "subject": self.subject,
            "time": self.timestamp,
            "datacontenttype": "application/json",
            "dataschemaversion": self.version,
            "originatingagent": self.originating_agent,
            "correlationid": self.correlation_id,
            "projectid": self.project_id,
            "artifacturi": self.artifact_uri or "",
            "data": self.data,
        }
        if self.trace_id:
            event["traceparent"] = f"00-{self.trace_id}-{self.trace_id[:16]}-01"
        return {name: value for name, value in event.items() if value != ""}
