"""Caddy's counters, read from its metrics in the Prometheus text format."""

import re

from interlock.delivery.ports import LegCounters

# Of Caddy's families only this one sees every answer, with its status: `response_duration` leaves out the answers that Caddy
# gives itself when the upstream fails (502), `requests_total` has no status. It is the time to the end of the answer.
_BUCKET = re.compile(r"caddy_http_request_duration_seconds_bucket\{(?P<labels>[^}]*)\} (?P<count>\S+)")
_LABEL = re.compile(r'(\w+)="([^"]*)"')
# A reload of the configuration starts the counters anew just as a new process does.
_EPOCHS = (
    re.compile(r"^process_start_time_seconds (\S+)$", re.MULTILINE),
    re.compile(r"^caddy_config_last_reload_success_timestamp_seconds (\S+)$", re.MULTILINE),
)


def leg_counters(text: str, name: str) -> LegCounters:
    """The counters of the server ``name``; zeros where it had no request since the counters began."""
    buckets: dict[str, int] = {}
    server_errors = 0
    for match in _BUCKET.finditer(text):
        labels = dict(_LABEL.findall(match["labels"]))
        if labels.get("server") != name:
            continue
        bound = "inf" if labels["le"] == "+Inf" else labels["le"]
        count = int(float(match["count"]))
        buckets[bound] = buckets.get(bound, 0) + count
        if bound == "inf" and labels["code"].startswith("5"):
            server_errors += count
    buckets = buckets or {"inf": 0}
    return LegCounters(generation=_generation(text), requests=buckets["inf"], server_errors=server_errors, buckets=buckets)


def _generation(text: str) -> str:
    return "/".join(match[1] if (match := epoch.search(text)) else "" for epoch in _EPOCHS)
