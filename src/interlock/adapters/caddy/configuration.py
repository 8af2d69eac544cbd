"""Caddy's configuration as data: one HTTP server a leg, and one line of text that says where the leg leads.

A leg has a hundred slots, and each of them leads to an address: as many slots an address as it gets percents. Requests take the
slots in turn, so a split is exact over each hundred requests, and an address that refuses a connection is followed by the next
slot's.

Every change of Caddy's JSON configuration starts all its servers anew: idle keep-alive connections of every client are closed,
WebSockets are cut, counters begin at zero. So what changes often, the upstream, is not in it. It is a line in a file of the
leg's own, which the server reads for each request (a read from the page cache, some microseconds); replacing the file by a
rename switches between one request and the next and touches no connection. The JSON changes only when a leg comes, moves to
another port, or goes.
"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from interlock.core.addresses import LOCAL, Address
from interlock.core.errors import Invalid
from interlock.delivery.model import Share, Shares, check_shares
from interlock.delivery.ports import Leg, LegKind

Data = dict[str, Any]

ADMIN_SOCKET = "admin.sock"
LEGS_FOLDER = "legs"

_LONGEST_NAME = 200  # with room for a suffix below the 255 bytes of a file name
_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_MARKER = re.compile(r"[A-Za-z0-9._:-]{0,200}")
_SLOTS = 100
# Read in the same way here and by Caddy. Anchored and without choices, so that Go matches each in one pass. The first one is of
# ports of this host, which is what most legs lead to; in the second one every slot says its host.
_LINE = "^" + "([0-9]+) " * _SLOTS + "([A-Za-z0-9._:-]*)$"
_LINE_WITH_HOSTS = "^" + "([0-9.]+:[0-9]+) " * _SLOTS + "([A-Za-z0-9._:-]*)$"
_PLACEHOLDERS = [f"{{slot_{number}}}" for number in range(_SLOTS)]
_NOWHERE = "-"

# An idle connection to the service is dropped before the service itself may drop it: the shortest default among common servers
# is 2 s (gunicorn; Node and uvicorn have 5 s). A POST sent just when the service hangs up cannot be repeated and would be lost.
_UPSTREAM_IDLE = "1s"
# WebSockets and the like would end at once when a leg comes or goes; they go on for up to this time.
_STREAMS_OUTLIVE_RELOADS = "24h"
# When Caddy itself is asked to end: below the grace of its process, so that it ends in order.
_GRACE = "5s"


def leg_name(route: str, kind: LegKind) -> str:
    """``<route>.<kind>``: the name of the leg's server, of its ``@id`` and of its file. Raises Invalid ``leg_name``."""
    name = f"{route}.{kind}"
    if not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME:
        raise Invalid(
            "leg_name", f"{name[:_LONGEST_NAME]!r} cannot name a leg", hint="letters, digits, - and _, joined by dots"
        )
    return name


def initial_configuration() -> Data:
    """What Caddy starts with the first time: an admin endpoint for this user alone, and no leg."""
    return {
        # The path is relative to Caddy's working folder, since a socket's path may have only 107 bytes.
        "admin": {"listen": f"unix/{ADMIN_SOCKET}|0600", "config": {"persist": False}},
        # Errors of single requests are counted, not logged: the entries would carry addresses with what clients put in them.
        "logging": {"logs": {"default": {"level": "ERROR", "exclude": ["http.log", "http.handlers"]}}},
        "apps": {"http": {"grace_period": _GRACE, "metrics": {}, "servers": {}}},
    }


def server(leg: Leg) -> Data:
    """Caddy's HTTP server for ``leg``. It is one route, because Caddy counts a request once for every route that it takes."""
    name = leg_name(leg.route, leg.kind)
    problem = f'{{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"Nothing serves {name} now."}}'
    nowhere = {
        "match": [{"vars": {_PLACEHOLDERS[0]: [_NOWHERE]}}],
        "terminal": True,
        "handle": [
            {
                "handler": "static_response",
                "status_code": 503,
                "headers": {"Content-Type": ["application/problem+json"], "Cache-Control": ["no-store"]},
                "body": problem,
            }
        ],
    }
    proxy = {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": placeholder} for placeholder in _PLACEHOLDERS],
        # A further try takes the next slot and reads the line again: a request that saw the old upstream just before the
        # switch reaches the new one though the old one has ended meanwhile. Tried again are refused connections, and GETs that
        # got no answer. Three times, since all requests take their slots from one counter: the next one of a request among
        # many may lead to the same ended instance.
        "load_balancing": {"retries": 3, "selection_policy": {"policy": "round_robin"}},
        "transport": {"protocol": "http", "keep_alive": {"idle_timeout": _UPSTREAM_IDLE}},
        "stream_close_delay": _STREAMS_OUTLIVE_RELOADS,
    }
    numbers = [f"${{{number + 1}}}" for number in range(_SLOTS)]
    slots = {
        "handler": "map",
        "source": f"{{file.{LEGS_FOLDER}/{name}}}",
        "destinations": _PLACEHOLDERS,
        "mappings": [
            {"input_regexp": _LINE, "outputs": [f"{LOCAL}:{number}" for number in numbers]},
            {"input_regexp": _LINE_WITH_HOSTS, "outputs": numbers},
        ],
        "defaults": [_NOWHERE] * _SLOTS,
    }
    return {
        "@id": name,
        "listen": [f"127.0.0.1:{leg.port}"],
        "automatic_https": {"disable": True},
        "protocols": ["h1", "h2c"],
        # Only this host can connect: whoever does may say for whom, as an ingress in front does.
        "trusted_proxies": {"source": "static", "ranges": ["127.0.0.0/8"]},
        "routes": [{"handle": [slots, {"handler": "subroute", "routes": [nowhere, {"handle": [proxy]}]}]}],
    }


def leg_of(name: str, configured: Data) -> Leg:
    """The inverse of `server`."""
    route, _, kind = name.rpartition(".")
    port = int(configured["listen"][0].rpartition(":")[2])
    return Leg(route=route, kind="stable" if kind == "stable" else "candidate", port=port)


def upstream_line(shares: Sequence[Share], marker: str) -> str:
    """The line that leads a leg to addresses, or nowhere, and says for whom. Raises Invalid ``marker`` or ``shares``."""
    if not _MARKER.fullmatch(marker):
        raise Invalid("marker", "not a usable marker", hint="at most 200 letters, digits and . _ : -")
    check_shares(shares)
    is_local = all(share.host == LOCAL for share in shares)
    slots = " ".join(str(slot.port if is_local else slot) for slot in _slots(shares)) or _NOWHERE
    return f"{slots} {marker}"


def _slots(shares: Sequence[Share]) -> list[Address]:
    """The address of each slot, every address as evenly over all slots as its share allows."""
    places = [((number + 0.5) / share.percent, share.address) for share in shares for number in range(share.percent)]
    return [address for _, address in sorted(places)]


def parse_upstream_line(line: str) -> tuple[Shares, str]:
    """The inverse of `upstream_line`, by address; anything else leads nowhere, and that is how the server reads it too."""
    match = re.fullmatch(_LINE, line) or re.fullmatch(_LINE_WITH_HOSTS, line)
    if match is None:
        nowhere, _, marker = line.partition(" ")
        return (), marker if nowhere == _NOWHERE and _MARKER.fullmatch(marker) else ""
    *slots, marker = match.groups()
    return tuple(_share(slot, count) for slot, count in sorted(Counter(slots).items())), marker


def _share(slot: str, percent: int) -> Share:
    host, _, port = slot.rpartition(":")
    return Share(host=host or LOCAL, port=int(port), percent=percent)
