"""The tool that moves traffic."""

from typing import Literal

import msgspec

from interlock.core.errors import Unavailable
from interlock.delivery.model import Share
from interlock.delivery.ports import Forwarder, Leg
from interlock.tools.model import Call, Done, Effect, Keying, NotDone, Probe


class PointInput(msgspec.Struct, frozen=True, kw_only=True):
    """Lead the leg ``kind`` of ``route``, which listens on ``listen_port``, to ``shares``; none for nowhere."""

    route: str
    kind: Literal["stable", "candidate"]
    listen_port: int
    shares: list[Share]


class PointOutput(msgspec.Struct, frozen=True, kw_only=True):
    shares: list[Share]


class PointForwarder:
    """``forwarder.point``. The forwarder keeps the key of the call that pointed a leg, so that it can be asked afterwards."""

    name = "forwarder.point"
    effect = Effect.DEPLOY
    keying: Keying = "keyed"
    input = PointInput
    output = PointOutput

    def __init__(self, forwarder: Forwarder) -> None:
        self._forwarder = forwarder

    async def act(self, call: Call, arguments: PointInput) -> PointOutput:
        try:
            await self._point(call, arguments)
        except OSError as error:
            hint = "free disk space or mend the disk, then ask for it again"
            message = f"the forwarder's files cannot be written: {error}"
            raise Unavailable("storage", message, where=arguments.route, hint=hint) from error
        return PointOutput(shares=arguments.shares)

    async def _point(self, call: Call, arguments: PointInput) -> None:
        await self._forwarder.ensure()
        leads_nowhere = await self._forwarder.read(arguments.route, arguments.kind) is None
        if not arguments.shares and leads_nowhere:
            # A leg that was never there need not be made, which its port might forbid, only to lead nowhere.
            return
        leg = Leg(route=arguments.route, kind=arguments.kind, port=arguments.listen_port)
        await self._forwarder.point(leg, arguments.shares, call.key)

    async def probe(self, call: Call, arguments: PointInput) -> Probe:
        await self._forwarder.ensure()
        status = await self._forwarder.read(arguments.route, arguments.kind)
        if status is not None and status.marker == call.key:
            return Done({"shares": msgspec.to_builtins(status.shares)})
        return NotDone()

    async def abort(self, call: Call, arguments: PointInput) -> None:
        """Pointing is one step; the branch that follows a cancelled task points back."""
