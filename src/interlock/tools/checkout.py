"""``git.checkout``: a work tree of exactly one commit, in a new folder."""

from pathlib import Path

import msgspec

from interlock.core.errors import Conflict
from interlock.sources.ports import Git
from interlock.tools.model import Call, Done, Effect, Keying, NotDone, Probe


class CheckoutInput(msgspec.Struct, frozen=True, kw_only=True):
    """``mirror`` holds the commit; ``folder`` does not exist yet."""

    mirror: str
    commit: str
    folder: str


class CheckoutOutput(msgspec.Struct, frozen=True, kw_only=True):
    folder: str


class Checkout:
    """Keyed by the folder, which appears whole or not at all."""

    name = "git.checkout"
    effect = Effect.WRITE
    keying: Keying = "keyed"
    input = CheckoutInput
    output = CheckoutOutput

    def __init__(self, git: Git) -> None:
        self._git = git

    async def act(self, call: Call, arguments: CheckoutInput) -> CheckoutOutput:
        await self._git.checkout(arguments.mirror, arguments.commit, arguments.folder)
        return CheckoutOutput(folder=arguments.folder)

    async def probe(self, call: Call, arguments: CheckoutInput) -> Probe:
        return Done({"folder": arguments.folder}) if Path(arguments.folder).exists() else NotDone()

    async def abort(self, call: Call, arguments: CheckoutInput) -> None:
        await self._git.remove_checkout(arguments.mirror, arguments.folder)


class RemoveCheckout:
    """``git.remove_checkout``: take a work tree away with everything in it."""

    name = "git.remove_checkout"
    effect = Effect.WRITE
    keying: Keying = "keyed"
    input = CheckoutInput
    output = CheckoutOutput

    def __init__(self, git: Git) -> None:
        self._git = git

    async def act(self, call: Call, arguments: CheckoutInput) -> CheckoutOutput:
        await self._git.remove_checkout(arguments.mirror, arguments.folder)
        if Path(arguments.folder).exists():
            raise Conflict("folder_exists", f"{arguments.folder} could not be removed", hint="look at its permissions")
        return CheckoutOutput(folder=arguments.folder)

    async def probe(self, call: Call, arguments: CheckoutInput) -> Probe:
        return NotDone() if Path(arguments.folder).exists() else Done({"folder": arguments.folder})

    async def abort(self, call: Call, arguments: CheckoutInput) -> None:
        """A removal that was begun is left to end."""
