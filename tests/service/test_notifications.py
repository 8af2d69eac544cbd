"""Notifications: each event that a channel asks for is delivered or accounted for, whatever its receiver does."""

import asyncio
import os
import sqlite3
import stat
from collections.abc import Awaitable, Callable
from datetime import timedelta

import msgspec
import pytest

from harness.engine import make_tables
from harness.notifying import World
from interlock.adapters.keys.sealing import SealingKeyFiles
from interlock.core.errors import Conflict, Invalid, LimitReached, NotFound, Unavailable
from interlock.notifications import model, signing, store
from interlock.notifications.model import Receipt
from interlock.testing.carriers import FakeCarrier


@pytest.fixture
def carrier() -> FakeCarrier:
    return FakeCarrier()


@pytest.fixture
def world(database, scope, clock, carrier, tmp_path) -> World:
    return World(database, scope, clock, {"webhook": carrier, "email": carrier}, tmp_path)


async def until(look: Callable[[], Awaitable[bool]] | Callable[[], bool], patience_s: float = 20.0) -> None:
    async with asyncio.timeout(patience_s):
        while True:
            seen = look()
            if seen is True or (seen is not False and await seen):  # type: ignore[misc]
                return
            await asyncio.sleep(0.005)


async def reach(world: World, *states: str, channel: str | None = None) -> None:
    async def look() -> bool:
        return await world.states(channel) == list(states)

    try:
        await until(look)
    except TimeoutError:
        raise AssertionError(f"{await world.states(channel)} is not {states}") from None


def names(carrier: FakeCarrier) -> list[str]:
    return [msgspec.json.decode(parcel.body)["data"]["incident_id"] for parcel in carrier.arrived]


class TestAccount:
    async def test_each_event_that_a_channel_asks_for_is_delivered_once(self, world, carrier, scope):
        await world.add()
        await world.add("none", "http://nobody/", "release.*")
        await world.add("all", "http://other/", "*")
        async with world.working():
            await world.happen("inc_1", "inc_2")
            await reach(world, *["delivered"] * 4)
        assert sorted(names(carrier)) == ["inc_1", "inc_1", "inc_2", "inc_2"]
        assert {parcel.target for parcel in carrier.arrived} == {"http://receiver/hook", "http://other/"}
        assert await world.service.deliveries(scope, "none") == []

    async def test_what_happened_before_a_channel_was_added_is_not_its_business(self, world, carrier, database, scope, clock):
        await world.happen("inc_0")
        await world.add()
        async with world.working():
            await world.happen("inc_1")
            await reach(world, "delivered")
        assert names(carrier) == ["inc_1"]

    async def test_a_crash_between_commit_and_dispatch_loses_and_doubles_nothing(
        self, world, carrier, database, scope, clock, tmp_path, monkeypatch
    ):
        await world.add()
        await world.happen("inc_1", "inc_2")
        add, tries = store.add_delivery, []

        async def break_off(connection, item, body):
            tries.append(item.event_id)
            if len(tries) == 2:
                raise asyncio.CancelledError
            return await add(connection, item, body)

        monkeypatch.setattr(store, "add_delivery", break_off)
        dispatch = asyncio.create_task(world.events.dispatch(scope))
        await until(lambda: len(tries) == 2)
        await asyncio.wait([dispatch])
        assert await world.states() == [], "the first row went with the place that was not saved"
        again = World(database, scope, clock, {"webhook": carrier, "email": carrier}, tmp_path)
        async with again.working():
            await reach(again, "delivered", "delivered")
        assert sorted(names(carrier)) == ["inc_1", "inc_2"]

    async def test_an_attempt_that_nobody_heard_of_again_is_made_again_under_the_same_id(
        self, world, carrier, database, scope, clock, tmp_path
    ):
        await world.add()
        carrier.manners["http://receiver/hook"] = "hangs"
        async with world.working():
            await world.happen("inc_1")
            await until(lambda: len(carrier.attempts) == 1)
        [item] = await world.service.deliveries(scope)
        assert (item.state, item.attempts, item.was_tried) == ("pending", 1, False)
        carrier.manners.clear()
        again = World(database, scope, clock, {"webhook": carrier, "email": carrier}, tmp_path)
        async with again.working():
            clock.advance(60.0)
            again.courier.wake()
            await reach(again, "delivered")
        assert {parcel.delivery_id for parcel in carrier.attempts} == {item.delivery_id}

    async def test_a_full_disk_is_waited_for(self, world, carrier, database, scope, monkeypatch):
        await world.add()
        save, failures = store.save_delivery, []

        async def fail(connection, item):
            if len(failures) < 2:
                failures.append(item)
                raise Unavailable("storage", "the disk is full")
            await save(connection, item)

        monkeypatch.setattr(store, "save_delivery", fail)
        async with world.working():
            await world.happen("inc_1")
            await reach(world, "delivered")
        assert names(carrier) == ["inc_1"]


class TestRetries:
    async def test_at_once_then_later_then_given_up_with_one_alarm(self, world, carrier, scope, clock):
        await world.add()
        carrier.manners["http://receiver/hook"] = "is busy"
        async with world.working():
            await world.happen("inc_1", "inc_2")
            await until(lambda: len(carrier.attempts) == 4)
            await asyncio.sleep(0.05)
            assert await world.states() == ["pending", "pending"]
            assert len(carrier.attempts) == 4, "the next one is due in half a minute"
            clock.advance(30.0)
            world.courier.wake()
            await reach(world, "dead", "dead")
        assert len(carrier.attempts) == 6
        [alarm] = await world.inbox.listing(scope)
        assert (alarm.kind, alarm.details["first_error"]) == ("alarm", "status 503")
        assert "interlock notify deliveries --channel ops" in alarm.title

    async def test_a_receiver_that_asks_for_time_is_left_alone(self, world, carrier, scope, clock):
        await world.add()
        carrier.answer = lambda _: Receipt(outcome="failed", status=429, detail="status 429", retry_after_s=600.0)
        async with world.working():
            await world.happen("inc_1")
            await until(lambda: len(carrier.attempts) == 1)

            async def tried() -> bool:
                return (await world.service.deliveries(scope))[0].was_tried

            await until(tried)
        [item] = await world.service.deliveries(scope)
        assert item.due_at == "2026-01-01T00:10:00.000Z"

    async def test_what_can_never_be_taken_is_given_up_at_once(self, world, carrier, scope):
        await world.add()
        carrier.answer = lambda _: Receipt(outcome="refused", status=550, detail="status 550: no such user")
        async with world.working():
            await world.happen("inc_1")
            await reach(world, "dead")
        assert len(carrier.attempts) == 1

    async def test_a_receiver_that_is_gone_disables_its_channel(self, world, carrier, scope):
        await world.add()
        carrier.answer = lambda _: Receipt(outcome="gone", status=410, detail="status 410")
        async with world.working():
            await world.happen("inc_1")
            await reach(world, "dead")
            channel = await world.service.channel(scope, "ops")
            assert (channel.state, channel.reason) == ("disabled", "status 410")
            await world.happen("inc_2")
            with pytest.raises(Conflict, match="disabled"):
                await world.service.test(scope, "ops")
            with pytest.raises(Conflict, match="disabled"):
                await world.service.redrive_all(scope, "ops")
            carrier.answer = None
            await world.service.enable(scope, "ops")
            await world.happen("inc_3")
            await reach(world, "dead", "delivered")
        assert names(carrier) == ["inc_3"]

    async def test_what_is_dead_is_sent_again_by_a_person_and_the_alarm_ends(self, world, carrier, scope):
        await world.add()
        carrier.answer = lambda _: Receipt(outcome="refused", detail="no")
        async with world.working():
            await world.happen("inc_1", "inc_2", "inc_3")
            await reach(world, "dead", "dead", "dead")
            carrier.answer = None
            last = (await world.service.deliveries(scope))[0]
            await world.service.redrive(scope, last.delivery_id)
            await reach(world, "dead", "dead", "delivered")
            assert len(await world.inbox.listing(scope)) == 1
            assert len(await world.service.redrive_all(scope, "ops")) == 2
            await reach(world, "delivered", "delivered", "delivered")
            assert await world.inbox.listing(scope) == []
        with pytest.raises(Conflict, match="only what is dead"):
            await world.service.redrive(scope, last.delivery_id)
        with pytest.raises(NotFound):
            await world.service.redrive(scope, "dlv_unknown")

    async def test_two_channels_in_trouble_do_not_keep_each_other_in_trouble(self, world, carrier, scope):
        await world.add("first", events="*")
        await world.add("second", events="*")
        carrier.answer = lambda _: Receipt(outcome="refused", detail="no")
        async with world.working():
            await world.happen("inc_1")

            async def settled() -> bool:
                found = await world.service.deliveries(scope, limit=1000)
                return len(found) > 2 and all(item.state == "dead" for item in found)

            await until(settled)
            await asyncio.sleep(0.1)
            await until(settled)
        # The event itself for both, the second channel's addition for the first, and each channel's one alarm for the other.
        assert len(await world.service.deliveries(scope, limit=1000)) == 5
        assert len(await world.inbox.listing(scope)) == 2


class TestIsolation:
    async def test_a_receiver_that_hangs_holds_up_nobody_else_and_has_bounded_places(
        self, database, scope, clock, carrier, tmp_path
    ):
        world = World(database, scope, clock, {"webhook": carrier}, tmp_path, per_channel=2)
        await world.add("slow", "http://slow/")
        await world.add("quick", "http://quick/")
        carrier.manners["http://slow/"] = "hangs"
        async with world.working():
            await world.happen(*(f"inc_{number}" for number in range(20)))
            await reach(world, *["delivered"] * 20, channel="quick")
            assert len([parcel for parcel in carrier.attempts if parcel.target == "http://slow/"]) == 2

    async def test_a_carrier_with_a_defect_is_a_failure_of_its_delivery_alone(self, world, carrier, scope):
        await world.add()

        def break_down(_parcel):
            raise RuntimeError("a defect")

        carrier.answer = break_down
        async with world.working():
            await world.happen("inc_1")
            await until(lambda: len(carrier.attempts) == 2)
            carrier.answer = None
            await world.happen("inc_2")
            await reach(world, "pending", "delivered")
        assert [item.error for item in await world.service.deliveries(scope)] == ["", "RuntimeError"]


class TestChannels:
    async def test_the_secret_is_shown_once_and_lies_nowhere_in_plain(self, world, database, scope, tmp_path):
        channel = await world.add()
        assert world.secret.startswith("whsec_")
        await database.close()
        content = b"".join(file.read_bytes() for file in (tmp_path / "data").rglob("*") if file.is_file())
        assert channel.channel_id.encode() in content
        assert world.secret.removeprefix("whsec_").encode() not in content
        assert world.secret not in repr(await world.service.channels(scope))
        assert stat.S_IMODE(os.stat(tmp_path / "keys" / "default.sealing").st_mode) == 0o600

    def test_what_is_sealed_opens_only_with_its_key_for_its_purpose(self, tmp_path):
        sealer = SealingKeyFiles(tmp_path / "keys")
        sealed = sealer.seal("default", "chn_1", b"geheim")
        assert SealingKeyFiles(tmp_path / "keys").open("default", "chn_1", sealed) == b"geheim"
        for tenant, about, content in (
            ("other", "chn_1", sealed),
            ("default", "chn_2", sealed),
            ("default", "chn_1", sealed[:-1]),
            ("default", "chn_1", b""),
        ):
            with pytest.raises(Unavailable, match="cannot be opened"):
                sealer.open(tenant, about, content)

    async def test_after_a_rotation_both_secrets_sign_for_a_while(self, world, carrier, scope, clock):
        await world.add()
        first = world.secret
        _, second = await world.service.rotate(scope, "ops", timedelta(hours=1))

        async def signatures() -> list[str]:
            carrier.arrived.clear()
            await world.service.test(scope, "ops")
            await until(lambda: bool(carrier.arrived))
            parcel = carrier.arrived[0]
            at_s = int(parcel.headers["webhook-timestamp"])
            known = {signing.signature(s, parcel.delivery_id, at_s, parcel.body): s for s in (first, second)}
            return [known[given] for given in parcel.headers["webhook-signature"].split(" ")]

        async with world.working():
            assert await signatures() == [second, first]
            clock.advance(3601.0)
            assert await signatures() == [second]

    async def test_a_removed_channel_gets_nothing_more(self, world, carrier, scope):
        await world.add()
        carrier.manners["http://receiver/hook"] = "is busy"
        async with world.working():
            await world.happen("inc_1")
            await until(lambda: len(carrier.attempts) == 2)
            await world.service.remove(scope, "ops")
            await world.happen("inc_2")
            await reach(world, "cancelled")
            await world.add("ops")
        with pytest.raises(NotFound, match="there is no channel gone"):
            await world.service.deliveries(scope, "gone")

    async def test_names_are_unique_and_their_number_is_bounded(self, world, scope, monkeypatch):
        await world.add()
        with pytest.raises(Conflict, match="already"):
            await world.add()
        with pytest.raises(Invalid, match="no event is called"):
            await world.add("other", events="inbox.asked")
        monkeypatch.setattr(model, "MAX_CHANNELS", 1)
        monkeypatch.setattr("interlock.notifications.service.MAX_CHANNELS", 1)
        with pytest.raises(LimitReached):
            await world.add("other")

    async def test_a_test_goes_to_the_channel_whatever_it_asks_for(self, world, carrier, scope):
        await world.add(events="release.*")
        async with world.working():
            item = await world.service.test(scope, "ops")
            assert (await world.service.tried(scope, item.delivery_id, 10.0)).state == "delivered"
        assert msgspec.json.decode(carrier.arrived[0].body)["type"] == "interlock.notification.test"

    async def test_what_ended_long_ago_is_forgotten(self, world, carrier, clock):
        await world.add()
        async with world.working():
            await world.happen("inc_1")
            await reach(world, "delivered")
            clock.advance(3600.0)
            assert await world.forget() == 0
            clock.advance(24 * 3600.0)
            assert await world.forget() == 1
            assert await world.states() == []


def test_an_event_has_one_delivery_to_a_channel_even_for_the_database(database):
    make_tables(database, "default")
    with sqlite3.connect(database.store.file("default")) as connection:
        row = "INSERT INTO notification_deliveries (delivery_id, channel_id, event_id, state, due_at, body, value) VALUES "
        connection.execute(row + "('a', 'c', 'e', 'pending', '', '', '')")
        with pytest.raises(sqlite3.IntegrityError):
            connection.execute(row + "('b', 'c', 'e', 'pending', '', '', '')")
    connection.close()
