"""An engine on another host: what the settings must say, and where traffic may be led."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as some

from interlock.adapters.caddy.configuration import parse_upstream_line, server, upstream_line
from interlock.adapters.containers.configuration import container_configuration
from interlock.core.addresses import LOCAL, Address, is_host, local
from interlock.core.errors import Invalid
from interlock.delivery.model import Instance, Share, addresses_of, evenly
from interlock.delivery.ports import Leg
from interlock.delivery.steps.inputs import ContainerPlan
from interlock.plans.blueprints.layout import lay_out
from interlock.settings import Settings
from interlock.tools.containers.ports import ContainerSpec
from interlock.tools.grants import Grant, Rule
from unit.plan_facts import deployment, environment, facts, recipe, release

THERE = "10.1.2.3"
REMOTE = "tcp://10.1.2.3:2376"


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"container_engine": "unix:///run/docker.sock"},
        {"container_engine": "unix:///run/docker.sock", "container_address": THERE},
        {"container_engine": "tcp://127.0.0.1:2375"},
        {"container_engine": "tcp://localhost:2375"},
        {"container_engine": "tcp://[::1]:2375"},
        {"container_engine": "tcp://127.0.0.2:2376", "container_tls": "/tls"},
        {"container_engine": REMOTE, "container_tls": "/tls", "container_address": THERE},
        {"container_engine": "tcp://engine.internal:2376", "container_tls": "/tls", "container_address": THERE},
        {"container_engine": REMOTE, "container_tls": "off", "container_address": THERE},
    ],
)
def test_an_engine_here_or_on_another_host_can_be_set(said: dict[str, str]) -> None:
    assert Settings(home=Path("/nowhere"), **said).container_engine == said.get("container_engine", "")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("said", "fault", "advice"),
    [
        ({"container_engine": "ssh://me@host"}, "CONTAINER_ENGINE: only unix", "ssh -L"),
        ({"container_engine": "10.1.2.3:2376"}, "CONTAINER_ENGINE: only unix", "tcp://HOST:PORT"),
        ({"container_engine": "unix://"}, "CONTAINER_ENGINE: only unix", "unix:///PATH"),
        ({"container_engine": "tcp://10.1.2.3"}, "CONTAINER_ENGINE: not a host and a port", "tcp://HOST:PORT"),
        ({"container_engine": "tcp://10.1.2.3:0"}, "CONTAINER_ENGINE: not a host and a port", "tcp://HOST:PORT"),
        ({"container_engine": "tcp://me:word@10.1.2.3:1"}, "CONTAINER_ENGINE: not a host and a port", "tcp://HOST:PORT"),
        ({"container_engine": "tcp://10.1.2.3:1/v1"}, "CONTAINER_ENGINE: not a host and a port", "nothing behind it"),
        ({"container_engine": REMOTE, "container_tls": "/tls"}, "CONTAINER_ADDRESS: the engine is on another host", "set it"),
        (
            {"container_engine": REMOTE, "container_tls": "/tls", "container_address": "127.0.0.9"},
            "CONTAINER_ADDRESS: the engine is on another host",
            "reached from here",
        ),
        ({"container_engine": REMOTE, "container_address": THERE}, "CONTAINER_TLS: whoever reaches", "ca.pem"),
        ({"container_address": "engine.internal"}, "CONTAINER_ADDRESS: 'engine.internal' is not", "IPv4"),
        ({"container_address": "0.0.0.0"}, "CONTAINER_ADDRESS: '0.0.0.0' is not", "one host"),  # noqa: S104
        ({"container_tls": "/tls"}, "CONTAINER_TLS is for an engine at tcp://", "names none"),
    ],
)
def test_what_could_not_work_or_is_not_safe_stops_the_start_and_says_what_to_do(
    said: dict[str, str], fault: str, advice: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(f"INTERLOCK_{fault}")) as refusal:
        Settings(home=Path("/nowhere"), **said)  # type: ignore[arg-type]
    assert advice in str(refusal.value)


def test_a_password_in_the_url_of_an_engine_is_not_repeated() -> None:
    with pytest.raises(ValueError, match="INTERLOCK_CONTAINER_ENGINE") as refusal:
        Settings(home=Path("/nowhere"), container_engine="tcp://me:open-sesame@10.1.2.3:1")
    assert "open-sesame" not in refusal.value.errors()[0]["msg"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("10.1.2.3", True),
        ("127.0.0.2", True),
        ("", False),
        ("host", False),
        ("0.0.0.0", False),  # noqa: S104
        ("255.255.255.255", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("10.1.2.3 ", False),
        ("10.1.2.3\n", False),
        ("10.1.2", False),
        ("010.1.2.3", False),
        ("10.1.2.3:80", False),
        ("{env.HOME}", False),
    ],
)
def test_a_host_is_the_address_of_one(text: str, is_one: bool) -> None:
    assert is_host(text) is is_one


def test_a_leg_to_this_host_alone_is_written_as_it_always_was() -> None:
    line = upstream_line(evenly([local(20001)]), "call-1")
    assert line == "20001 " * 100 + "call-1"
    assert parse_upstream_line(line) == ((Share(port=20001, percent=100),), "call-1")


def test_a_leg_to_several_hosts_says_each() -> None:
    shares = (Share(port=18101, percent=25), Share(port=32768, percent=75, host=THERE))
    line = upstream_line(shares, "call-1")
    assert line.split()[:100].count("127.0.0.1:18101") == 25
    assert line.split()[:100].count("10.1.2.3:32768") == 75
    found, marker = parse_upstream_line(line)
    assert (set(found), marker) == (set(shares), "call-1")


hosts = some.ip_addresses(v=4).map(str).filter(is_host)
places = some.lists(some.builds(Address, hosts, some.integers(1, 65535)), min_size=1, max_size=20, unique=True)


@given(places=places)
def test_every_line_is_read_as_it_was_meant(places: list[Address]) -> None:
    shares = evenly(places)
    found, marker = parse_upstream_line(upstream_line(shares, "call-1"))
    assert (set(found), marker) == (set(shares), "call-1")


@pytest.mark.parametrize("host", ["", "localhost", "{file./etc/passwd}", "10.1.2.3 9", "10.1.2.3:9", "$1", "::1", "0.0.0.0"])  # noqa: S104
def test_nothing_but_an_address_gets_into_a_line(host: str) -> None:
    with pytest.raises(Invalid, match="no shares"):
        upstream_line([Share(port=20001, percent=100, host=host)], "call-1")


def test_the_server_reads_both_kinds_of_lines_and_dials_what_they_say() -> None:
    """As Caddy does: the first mapping whose expression matches, its outputs with the groups filled in."""
    (route,) = server(Leg(route="shop.prod", kind="stable", port=18100))["routes"]
    slots, proxy = route["handle"]
    assert [upstream["dial"] for upstream in proxy["routes"][1]["handle"][0]["upstreams"]] == slots["destinations"]
    for host in (LOCAL, THERE):
        line = upstream_line(evenly([Address(host, 20001), Address(host, 20002)]), "call-1")
        matches = [(re.fullmatch(item["input_regexp"], line), item["outputs"]) for item in slots["mappings"]]
        match, outputs = next(found for found in matches if found[0])
        assert match is not None
        dialled = {match.expand(re.sub(r"\$\{(\d+)\}", r"\\g<\1>", output)) for output in outputs}
        assert dialled == {f"{host}:20001", f"{host}:20002"}


def test_what_is_kept_and_planned_for_this_host_says_no_host() -> None:
    """So what was approved and recorded before there were others is what it was."""
    assert msgspec.to_builtins(Share(port=20001, percent=100)) == {"port": 20001, "percent": 100}
    plain = {
        "image": "sha256:1",
        "environment": {},
        "secrets": {},
        "limits": {},
        "writable": [],
        "labels": {},
        "takes_port": True,
    }
    plan = msgspec.convert(plain | {"target": "container"}, ContainerPlan)
    assert (plan.host, "host" in msgspec.to_builtins(plan)) == (LOCAL, False)
    assert msgspec.convert({"key": "k", "port": 20001}, Instance).host == LOCAL


def test_instances_that_take_no_port_are_reached_nowhere() -> None:
    instances = (Instance(key="a", port=1, host=THERE), Instance(key="b"), Instance(key="c", port=2))
    assert addresses_of(instances) == (Address(THERE, 1), local(2))
    assert [address.short for address in addresses_of(instances)] == ["10.1.2.3:1", "2"]


def test_a_container_is_published_on_its_host_alone() -> None:
    found = container_configuration("plane", "key", ContainerSpec(image="x", port=18000, host=THERE), "1")
    assert found["HostConfig"]["PortBindings"] == {"18000/tcp": [{"HostIp": THERE, "HostPort": "18000"}]}
    with pytest.raises(Invalid, match="IPv4"):
        container_configuration("plane", "key", ContainerSpec(image="x", port=18000, host="0.0.0.0"), "1")  # noqa: S104


def point_rules(grants: tuple[Grant, ...]) -> list[Rule]:
    return [grant.arguments["shares"] for grant in grants if grant.tool == "forwarder.point"]


def contained(version: str, **fields: Any) -> Any:
    return release(version, recipe=recipe(target="container"), image=f"sha256:{version}", container_port=8080, **fields)


def test_a_plan_grants_its_engine_s_host_and_no_other_one() -> None:
    chosen = contained("v2")
    before = environment("staging", contained("v1"))
    serving = deployment("v1", "staging", instances=(Instance(key="old", port=20001, host="10.9.9.9"),), target="container")
    before = msgspec.structs.replace(before, serving=serving)
    plan = facts(release=chosen, recipe=chosen.recipe, container_host=THERE, environments=(before,))
    _, grants = lay_out(plan)
    starts = [grant.arguments for grant in grants if grant.tool == "container.start"]
    assert starts
    assert all(arguments["host"] == Rule(rule="exactly", value=THERE) for arguments in starts)
    assert point_rules(grants)
    for rule in point_rules(grants):
        for host, is_granted in (
            (THERE, True),
            ("10.9.9.9", True),
            (LOCAL, True),
            ("10.1.2.4", False),
            (None, False),
            (1, False),
        ):
            assert rule.allows([{"port": 20001, "percent": 100, "host": host}]) is is_granted
        assert rule.allows([{"port": 20001, "percent": 100, "host": THERE, "path": "/"}]) is False


def test_without_another_host_a_plan_is_what_it_was() -> None:
    chosen = contained("v2")
    _, grants = lay_out(facts(release=chosen, recipe=chosen.recipe, environments=(environment("staging", contained("v1")),)))
    assert all("host" not in grant.arguments for grant in grants)
    assert {rule.value for rule in point_rules(grants)} == {None}
    assert not any(rule.allows([{"port": 20001, "percent": 100, "host": THERE}]) for rule in point_rules(grants))
