"""What task bodies hand over, as plain JSON data that the journal can carry."""

from typing import Any

import msgspec

from interlock.core.errors import Conflict, InterlockError
from interlock.runs.model import ErrorData

MAX_OUTPUT_BYTES = 1024 * 1024


def as_data(value: Any) -> Any:
    """``value`` as it will be read back. Raises Conflict ``result_not_serialisable`` or ``result_too_large``."""
    try:
        encoded = msgspec.json.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise Conflict("result_not_serialisable", f"it cannot be written as JSON: {error}") from error
    if len(encoded) > MAX_OUTPUT_BYTES:
        raise Conflict("result_too_large", f"it has {len(encoded)} bytes, {MAX_OUTPUT_BYTES} are allowed")
    return msgspec.json.decode(encoded)


def as_error(error: BaseException) -> ErrorData:
    """``error`` as JSON data; details that JSON cannot carry are left out."""
    if not isinstance(error, InterlockError):
        return {
            "kind": "internal",
            "code": "crashed",
            "message": f"{type(error).__name__}: {error}".encode(errors="replace").decode(),
        }
    try:
        return as_data(error.as_dict())
    except Conflict:
        return {"kind": error.kind, "code": error.code, "message": error.message.encode(errors="replace").decode()}
