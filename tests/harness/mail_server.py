"""A mail server: ``python mail_server.py PORT FOLDER PASSWORD`` puts every message into a file.

``FOLDER/manner`` says how it behaves. With a password it wants the login ``interlock`` first.
"""

import asyncio
import itertools
import sys
from pathlib import Path

from aiosmtpd.controller import UnthreadedController
from aiosmtpd.smtp import AuthResult

port, folder, password = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
count = itertools.count(1)


class Handler:
    async def handle_DATA(self, server, session, envelope):  # noqa: N802 - the library's name
        manner = (folder / "manner").read_text()
        if manner == "is busy":
            return "451 4.3.0 come back later"
        if manner == "refuses":
            return "550 5.7.1 no such thing"
        if manner == "hangs":
            await asyncio.sleep(3600)
        if manner == "breaks off":
            server.transport.abort()
            return "421 gone"
        aside = folder / "writing"
        aside.write_bytes(envelope.content)
        aside.rename(folder / f"{next(count):06}.eml")
        return "250 2.0.0 taken"


def authenticate(_server, _session, _envelope, _mechanism, data):
    # Not handled yet: the library answers, also with a refusal.
    return AuthResult(success=(data.login, data.password) == (b"interlock", password.encode()), handled=False)


async def main():
    options = {"authenticator": authenticate, "auth_required": True, "auth_require_tls": False} if password else {}
    controller = UnthreadedController(Handler(), hostname="127.0.0.1", port=port, loop=asyncio.get_running_loop(), **options)
    await controller._create_server()
    await asyncio.Event().wait()


asyncio.run(main())
