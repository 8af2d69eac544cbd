"""Tools: typed operations with an effect class, and the words of the effect ledger."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Generic, Literal, Protocol, TypeVar

import msgspec

from interlock.core.scope import Scope


class Effect(StrEnum):
    """What a tool does to the world, in rising order of caution. Everything above READ needs an approved plan."""

    READ = "read"
    WRITE = "write"
    DEPLOY = "deploy"
    DESTRUCTIVE = "destructive"


Keying = Literal["keyed", "unkeyed"]
"""``keyed``: the target itself refuses a second effect under the same key. ``unkeyed``: it would happen again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One use of a tool: ``key`` is the idempotency key, unique to the intent, made of ``[a-z0-9-]``."""

    scope: Scope
    run_id: str
    task_id: str
    key: str


@dataclass(frozen=True, slots=True)
class Done:
    """The effect has happened; ``output`` is its result, as JSON data."""

    output: dict[str, Any]


@dataclass(frozen=True, slots=True)
class NotDone:
    """The effect has not happened."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """It cannot be told whether the effect happened; a person is asked. ``output`` is its result if it did."""

    reason: str
    output: dict[str, Any] = field(default_factory=dict[str, Any])


Probe = Done | NotDone | Unknown

I = TypeVar("I", bound=msgspec.Struct)  # noqa: E741 - input
O_co = TypeVar("O_co", bound=msgspec.Struct, covariant=True)


class Tool(Protocol, Generic[I, O_co]):
    """A typed operation. `act` does it, `probe` tells afterwards whether it was done."""

    @property
    def name(self) -> str: ...
    @property
    def effect(self) -> Effect: ...
    @property
    def keying(self) -> Keying: ...
    @property
    def input(self) -> type[I]: ...
    @property
    def output(self) -> type[O_co]: ...

    async def act(self, call: Call, arguments: I) -> O_co:
        """Do it. Raises an InterlockError; of kind ``unavailable`` where trying again may help."""
        ...

    async def probe(self, call: Call, arguments: I) -> Probe:
        """Look at the target, without changing it, whether the effect of ``call.key`` happened."""
        ...

    async def abort(self, call: Call, arguments: I) -> None:
        """Give up an effect under way, when its task was cancelled or ran out of time. Idempotent; most have nothing to do."""
        ...
