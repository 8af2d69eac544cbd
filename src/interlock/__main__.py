"""The ``interlock`` command: hands the server, the demo and the place of the data folder to the command line."""

import gc
import os
import sys
from pathlib import Path

from platformdirs import user_data_path

from interlock.faces.cli.app import build_app
from interlock.faces.cli.context import CliContext


def main() -> None:
    """Run the command line."""
    home = Path(os.environ.get("INTERLOCK_HOME") or user_data_path("interlock"))
    context = CliContext(
        home=home,
        url=os.environ.get("INTERLOCK_URL"),
        token=os.environ.get("INTERLOCK_TOKEN"),
        serve=_serve,
        demo=_demo,
    )
    build_app(context)()


def _serve(host: str | None, port: int | None) -> int:
    # Loaded when serving only: the other commands must start fast. What is loaded stays: there is nothing to collect.
    gc.disable()
    from interlock.bootstrap.serving import serve  # noqa: PLC0415

    gc.enable()
    return serve(host, port)


def _demo(*, once: bool, as_json: bool, keep: bool, containers: bool) -> int:
    # Loaded for the demo only, for the same reason.
    from interlock.demo.story import tell  # noqa: PLC0415

    return tell(once=once, as_json=as_json, keep=keep, containers=containers)


if __name__ == "__main__":
    sys.exit(main())
