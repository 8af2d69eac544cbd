"""Comparing what a journal gives when it is read again."""

import msgspec

from interlock.runs.model import RunState


def to_json(state: RunState) -> bytes:
    """The state as JSON: equal states give equal bytes."""
    return msgspec.json.encode(state, order="sorted")
