"""A carrier in memory, and what every `Carrier` must do."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal, Protocol

from interlock.notifications.model import Receipt
from interlock.notifications.ports import Carrier, Parcel

Manner = Literal["takes", "is busy", "hangs", "breaks off"]
"""How a receiver meets what is carried to it: it takes it; refuses for now; never answers; or ends the connection."""

PATIENT_S = 10.0
IMPATIENT_S = 0.3


class FakeCarrier:
    """A `Carrier` without sockets. Script it: ``manners`` of a target, or ``answer`` for one of your own; `arrived` says what
    the receivers have taken, attempt by attempt."""

    def __init__(self) -> None:
        self.manners: dict[str, Manner] = {}
        self.answer: Callable[[Parcel], Receipt] | None = None
        self.attempts: list[Parcel] = []
        self.arrived: list[Parcel] = []

    async def carry(self, parcel: Parcel, *, timeout_s: float) -> Receipt:
        self.attempts.append(parcel)
        if self.answer is not None:
            return self.answer(parcel)
        match self.manners.get(parcel.target, "takes"):
            case "takes":
                self.arrived.append(parcel)
                return Receipt(outcome="delivered", status=200)
            case "is busy":
                return Receipt(outcome="failed", status=503, detail="status 503")
            case "breaks off":
                return Receipt(outcome="failed", detail="the connection was closed")
            case "hangs":
                await asyncio.sleep(timeout_s)
                return Receipt(outcome="failed", detail=f"no answer within {timeout_s:g} s")


class Bench(Protocol):
    """A carrier with a receiver behind it that can be told how to behave."""

    carrier: Carrier
    target: str

    async def behave(self, manner: Manner) -> None: ...

    async def arrived(self) -> list[tuple[str, str]]:
        """Id and text of what the receiver took, in order; the same one comes as often as it was taken."""
        ...


class CarrierBehaviour(ABC):
    """The suite of the port. A subclass gives the ``bench``."""

    @abstractmethod
    def bench(self) -> Bench: ...

    async def test_what_is_taken_is_delivered(self, bench: Bench) -> None:
        receipt = await bench.carrier.carry(self.parcel(bench, "dlv_1", "Grüße, 1 < 2"), timeout_s=PATIENT_S)
        assert receipt.outcome == "delivered", receipt
        assert await bench.arrived() == [("dlv_1", "Grüße, 1 < 2")]

    async def test_another_attempt_arrives_under_the_same_id(self, bench: Bench) -> None:
        for _ in range(2):
            await bench.carrier.carry(self.parcel(bench, "dlv_1", "again"), timeout_s=PATIENT_S)
        assert await bench.arrived() == [("dlv_1", "again")] * 2

    async def test_a_refusal_for_now_is_a_failure_that_may_pass(self, bench: Bench) -> None:
        await bench.behave("is busy")
        receipt = await bench.carrier.carry(self.parcel(bench, "dlv_1", "no"), timeout_s=PATIENT_S)
        assert (receipt.outcome, bool(receipt.status), bool(receipt.detail)) == ("failed", True, True)
        assert await bench.arrived() == []
        await bench.behave("takes")
        assert (await bench.carrier.carry(self.parcel(bench, "dlv_1", "no"), timeout_s=PATIENT_S)).outcome == "delivered"

    async def test_a_receiver_that_hangs_is_left_after_the_time_limit(self, bench: Bench) -> None:
        await bench.behave("hangs")
        async with asyncio.timeout(PATIENT_S):
            receipt = await bench.carrier.carry(self.parcel(bench, "dlv_1", "slow"), timeout_s=IMPATIENT_S)
        assert (receipt.outcome, receipt.status) == ("failed", 0)

    async def test_a_connection_that_breaks_off_is_a_failure(self, bench: Bench) -> None:
        await bench.behave("breaks off")
        receipt = await bench.carrier.carry(self.parcel(bench, "dlv_1", "cut"), timeout_s=PATIENT_S)
        assert (receipt.outcome, bool(receipt.detail)) == ("failed", True)

    async def test_many_at_the_same_time_do_not_mix(self, bench: Bench) -> None:
        parcels = [self.parcel(bench, f"dlv_{number}", f"text {number}") for number in range(8)]
        receipts = await asyncio.gather(*(bench.carrier.carry(parcel, timeout_s=PATIENT_S) for parcel in parcels))
        assert {receipt.outcome for receipt in receipts} == {"delivered"}
        assert sorted(await bench.arrived()) == [(f"dlv_{number}", f"text {number}") for number in range(8)]

    def parcel(self, bench: Bench, delivery_id: str, text: str) -> Parcel:
        """A parcel as the kind of the carrier wants it."""
        return Parcel(delivery_id=delivery_id, target=bench.target, headers={}, body=text.encode())
