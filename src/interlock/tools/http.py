"""``http.check``: one HTTP GET and what it must answer."""

import msgspec

from interlock.core.errors import Conflict
from interlock.tools.model import Call, Effect, Keying, NotDone, Probe
from interlock.tools.ports import HttpClient


class CheckInput(msgspec.Struct, frozen=True, kw_only=True):
    """``expect_text`` must occur in the body, when given."""

    url: str
    expect_status: int = 200
    expect_text: str = ""
    timeout_s: float = 5.0


class CheckOutput(msgspec.Struct, frozen=True, kw_only=True):
    status: int
    elapsed_ms: float


class HttpCheck:
    """Raises Conflict ``check_failed`` with what was observed; ``status`` in its details is 0 where there was no answer."""

    name = "http.check"
    effect = Effect.READ
    keying: Keying = "keyed"
    input = CheckInput
    output = CheckOutput

    def __init__(self, client: HttpClient) -> None:
        self._client = client

    async def act(self, call: Call, arguments: CheckInput) -> CheckOutput:
        answer = await self._client.get(arguments.url, timeout_s=arguments.timeout_s)
        observed = f"status {answer.status}" if answer.status else answer.error
        if answer.status != arguments.expect_status:
            wanted = f"expected status {arguments.expect_status}"
            message = f"GET {arguments.url}: {observed}, {wanted}"
            raise Conflict("check_failed", message, observed=answer.body[:500], status=answer.status)
        if arguments.expect_text not in answer.body:
            wanted = f"{arguments.expect_text!r} is not in the answer"
            raise Conflict("check_failed", f"GET {arguments.url}: {wanted}", observed=answer.body[:500])
        return CheckOutput(status=answer.status, elapsed_ms=answer.elapsed_ms)

    async def probe(self, call: Call, arguments: CheckInput) -> Probe:
        return NotDone()

    async def abort(self, call: Call, arguments: CheckInput) -> None:
        """Reading leaves nothing behind."""
