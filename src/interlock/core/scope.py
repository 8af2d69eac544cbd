"""Who asks, for which tenant, from where: the first argument of every use case."""

from dataclasses import dataclass, replace

from interlock.core.ids import new_id

DEFAULT_TENANT = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Bound to exactly one tenant; a database session opened with it cannot see another one.

    Fields: ``tenant`` (namespace name), ``principal`` (``user:owner``, ``system:watch``, …), ``origin`` (face and
    address of the caller), ``correlation_id`` (one per thing that somebody asked for), ``trace_id`` (W3C, 32 hex digits or
    empty).
    """

    tenant: str
    principal: str
    origin: str = "internal"
    correlation_id: str = ""
    trace_id: str = ""

    def acting_as(self, principal: str) -> "Scope":
        """The same tenant and correlation, another identity."""
        return replace(self, principal=principal, origin="internal")


def system_scope(component: str, tenant: str = DEFAULT_TENANT) -> Scope:
    """The scope of a part of Interlock that acts on its own, such as ``system:watch``."""
    return Scope(tenant=tenant, principal=f"system:{component}", correlation_id=new_id("cor"))
