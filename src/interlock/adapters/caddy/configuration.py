"""Caddy's configuration as data: one HTTP server a leg, and one line of text that says where the leg leads.

Every change of Caddy's JSON configuration starts all its servers anew: idle keep-alive connections of every client are closed,
WebSockets are cut, counters begin at zero. So what changes often, the upstream, is not in it. It is a line in a file of the
leg's own, which the server reads for each request (a read from the page cache, some microseconds); replacing the file by a
rename switches between one request and the next and touches no connection. The JSON changes only when a leg comes, moves to
another port, or goes.
"""

import re
from typing import Any

from interlock.core.errors import Invalid
from interlock.delivery.ports import Leg, LegKind

Data = dict[str, Any]

ADMIN_SOCKET = "admin.sock"
LEGS_FOLDER = "legs"

_LONGEST_NAME = 200  # with room for a suffix below the 255 bytes of a file name
_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_MARKER = re.compile(r"[A-Za-z0-9._:-]{0,200}")
# Read in the same way here and by Caddy.
_LINE = "^([1-9][0-9]{0,4}|-) ([A-Za-z0-9._:-]*)$"

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
        "match": [{"vars": {"{upstream_port}": ["-"]}}],
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
        "upstreams": [{"dial": "127.0.0.1:{upstream_port}"}],
        # The second try reads the line again: a request that saw the old upstream just before the switch reaches the new one
        # though the old one has ended meanwhile. Tried again are refused connections, and GETs that got no answer.
        "load_balancing": {"retries": 1},
        "transport": {"protocol": "http", "keep_alive": {"idle_timeout": _UPSTREAM_IDLE}},
        "stream_close_delay": _STREAMS_OUTLIVE_RELOADS,
    }
    upstream = {
        "handler": "map",
        "source": f"{{file.{LEGS_FOLDER}/{name}}}",
        "destinations": ["{upstream_port}"],
        "mappings": [{"input_regexp": _LINE, "outputs": ["${1}"]}],
        "defaults": ["-"],
    }
    return {
        "@id": name,
        "listen": [f"127.0.0.1:{leg.port}"],
        "automatic_https": {"disable": True},
        "protocols": ["h1", "h2c"],
        # Only this host can connect: whoever does may say for whom, as an ingress in front does.
        "trusted_proxies": {"source": "static", "ranges": ["127.0.0.0/8"]},
        "routes": [{"handle": [upstream, {"handler": "subroute", "routes": [nowhere, {"handle": [proxy]}]}]}],
    }


def leg_of(name: str, configured: Data) -> Leg:
    """The inverse of `server`."""
    route, _, kind = name.rpartition(".")
    port = int(configured["listen"][0].rpartition(":")[2])
    return Leg(route=route, kind="stable" if kind == "stable" else "candidate", port=port)


def upstream_line(upstream_port: int | None, marker: str) -> str:
    """The line that leads a leg to a port, or nowhere, and says for whom. Raises Invalid ``marker`` or ``upstream_port``."""
    if not _MARKER.fullmatch(marker):
        raise Invalid("marker", "not a usable marker", hint="at most 200 letters, digits and . _ : -")
    if upstream_port is not None and not 0 < upstream_port < 65536:
        raise Invalid("upstream_port", f"{upstream_port} is no port")
    return f"{upstream_port or '-'} {marker}"


def parse_upstream_line(line: str) -> tuple[int | None, str]:
    """The inverse of `upstream_line`; anything else leads nowhere, for nobody, and that is how the server reads it too."""
    match = re.fullmatch(_LINE, line)
    if match is None:
        return None, ""
    port, marker = match.groups()
    return (None if port == "-" else int(port)), marker
