"""The events of a run over a WebSocket, as they happen."""

import asyncio
from contextlib import suppress
from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, WebSocket, WebSocketDisconnect, status

from interlock.core.errors import Forbidden, InterlockError
from interlock.core.scope import Scope
from interlock.runs.service import Runs
from interlock.runs.wording import face_type
from interlock.tenancy.service import Tenancy

UNAUTHENTICATED = 4401
NOT_FOUND = 4404


def live_router(tenancy: Tenancy, runs: Runs) -> APIRouter:
    """``/runs/{run_id}/live``: JSON messages ``{"seq", "event", "data"}``; closes with 1000 behind the run's end.

    The token comes in the ``Authorization`` header, or from browsers, which cannot set it, as the subprotocol
    ``bearer.TOKEN`` beside ``interlock``. ``after`` is the last sequence number that was seen.
    """
    router = APIRouter(tags=["runs"])

    @router.websocket("/runs/{run_id}/live")
    async def live(socket: WebSocket, run_id: str, after: Annotated[int, Query(ge=0, lt=10**18)] = 0) -> None:
        origin = f"ws {socket.client.host if socket.client else 'unknown'}"
        try:
            scope = await tenancy.authenticate(_token(socket), origin)
            await runs.events(scope, run_id, after, 1)
        except InterlockError as error:
            # Accepted first: a refused handshake cannot say why.
            await socket.accept()
            code = UNAUTHENTICATED if error.kind == "forbidden" else NOT_FOUND
            await socket.close(code, error.message[:120])
            return
        await socket.accept(subprotocol="interlock" if "interlock" in socket.scope["subprotocols"] else None)
        sending = asyncio.ensure_future(_send_all(socket, runs, scope, run_id, after))
        leaving = asyncio.ensure_future(_until_gone(socket))
        voiding = asyncio.ensure_future(_until_void(tenancy, scope, _token(socket)))
        tasks = (sending, leaving, voiding)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if voiding.done() and not voiding.cancelled():
            with suppress(WebSocketDisconnect, RuntimeError):
                await socket.close(UNAUTHENTICATED, "the token is void")

    return router


async def _until_gone(socket: WebSocket) -> None:
    """Read and ignore frames, so that a disconnect is noticed while the run is silent."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass


async def _until_void(tenancy: Tenancy, scope: Scope, token: str) -> None:
    """Until whoever listens may not any more."""
    with tenancy.access(scope) as is_void, suppress(Forbidden):
        # It may have been voided since it was looked at.
        await tenancy.authenticate(token, scope.origin)
        await is_void.wait()


async def _send_all(socket: WebSocket, runs: Runs, scope: Scope, run_id: str, after: int) -> None:
    try:
        async for seq, event in runs.follow(scope, run_id, after):
            message = {"seq": seq, "event": face_type(event), "data": msgspec.to_builtins(event)}
            await socket.send_text(msgspec.json.encode(message).decode())
        await socket.close(status.WS_1000_NORMAL_CLOSURE)
    except (WebSocketDisconnect, RuntimeError):
        # The other side went away; it comes back with the number that it saw last.
        return


def _token(socket: WebSocket) -> str:
    scheme, _, token = socket.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token
    offered = [protocol.removeprefix("bearer.") for protocol in socket.scope["subprotocols"] if protocol.startswith("bearer.")]
    return offered[0] if offered else ""
