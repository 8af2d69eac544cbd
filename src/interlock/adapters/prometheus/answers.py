"""Answers of Prometheus' HTTP API, read as measurements. Pure.

The format is that of https://prometheus.io/docs/prometheus/latest/querying/api/: ``status``, ``data`` with ``resultType`` and
``result``, ``errorType`` and ``error``, ``warnings``.
"""

import math
from typing import Any

import msgspec

from interlock.delivery.ports import Measurement

_SHOWN_SERIES = 3
_SHOWN_LETTERS = 300
_RANGES = {"matrix": "a range of samples for each series", "string": "a text"}

Sample = tuple[float, str]
"""Time in seconds, and the value as text: JSON has neither NaN nor infinity."""


class Series(msgspec.Struct, frozen=True):
    """One element of a vector; a ``histogram`` comes instead of a value where the series holds such."""

    metric: dict[str, str] = {}
    value: Sample | None = None
    histogram: msgspec.Raw = msgspec.Raw()


class Data(msgspec.Struct, frozen=True, rename="camel"):
    result_type: str
    result: msgspec.Raw


class Answer(msgspec.Struct, frozen=True, rename="camel"):
    status: str
    data: Data | None = None
    error_type: str = ""
    error: str = ""
    warnings: tuple[str, ...] = ()


def measurement_of(status: int, body: bytes) -> Measurement:
    """The one value in the answer to an instant query, or why there is none."""
    try:
        answer = msgspec.json.decode(body, type=Answer)
        return _of_answer(answer, status)
    except (msgspec.DecodeError, ValueError):
        told = f"it answered {status}" if status != 200 else "its answer cannot be read"
        return unknown(f"{told}: {body[:_SHOWN_LETTERS].decode(errors='replace').strip()!r}")


def ages_of(status: int, body: bytes) -> list[float] | None:
    """The values of all series in the answer; None where there is no such answer."""
    try:
        answer = msgspec.json.decode(body, type=Answer)
        if status != 200 or answer.data is None or answer.data.result_type != "vector":
            return None
        return [float(series.value[1]) for series in _vector(answer.data) if series.value is not None]
    except (msgspec.DecodeError, ValueError):
        return None


def unknown(reason: str, **fields: Any) -> Measurement:
    """What cannot be told, and why."""
    return Measurement(value=None, reason=reason, **fields)


def finite(value: float, **fields: Any) -> Measurement:
    """The value, if it is a number that can be compared with others."""
    if math.isnan(value):
        return unknown("the value is NaN, as when nothing is divided by nothing", **fields)
    if math.isinf(value):
        return unknown("the value is infinite, as when something is divided by nothing", **fields)
    return Measurement(value=value, **fields)


def _of_answer(answer: Answer, status: int) -> Measurement:
    if answer.status != "success" or answer.data is None:
        kind = {"bad_data": "the query is wrong", "timeout": "the query took too long"}.get(answer.error_type)
        return unknown(f"{kind or f'it answered {status} ({answer.error_type})'}: {answer.error[:_SHOWN_LETTERS]}")
    about: dict[str, Any] = {"warnings": answer.warnings}
    match answer.data.result_type:
        case "scalar":
            return finite(float(msgspec.json.decode(answer.data.result, type=Sample)[1]), samples=1, **about)
        case "vector":
            return _of_vector(_vector(answer.data), about)
        case other:
            return unknown(f"the query gives {_RANGES.get(other, other)}, where one value now is meant", **about)


def _of_vector(series: list[Series], about: dict[str, Any]) -> Measurement:
    if not series:
        return unknown("no samples: nothing matches the query now", **about)
    if len(series) > 1:
        shown = ", ".join(_labels(item.metric) for item in series[:_SHOWN_SERIES])
        more = ", …" if len(series) > _SHOWN_SERIES else ""
        reason = f"{len(series)} series where one is meant ({shown}{more}); aggregate them, as by sum(…)"
        return unknown(reason, samples=len(series), **about)
    if series[0].value is None:
        return unknown("the series holds histograms, not numbers", samples=1, **about)
    return finite(float(series[0].value[1]), samples=1, **about)


def _vector(data: Data) -> list[Series]:
    return msgspec.json.decode(data.result, type=list[Series])


def _labels(metric: dict[str, str]) -> str:
    labels = ",".join(f'{name}="{value}"' for name, value in sorted(metric.items()) if name != "__name__")
    return f"{metric.get('__name__', '')}{{{labels}}}"[:_SHOWN_LETTERS]
