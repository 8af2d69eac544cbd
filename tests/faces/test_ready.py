"""What the control plane says of its parts."""

import os
from pathlib import Path
from typing import Any

from harness.http_target import http_target
from harness.plane import Plane

ANSWER = '{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[0,"1"]}]}}'


async def test_a_prometheus_that_is_set_is_reported_and_not_needed(tmp_path: Path) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("INTERLOCK_")}
    async with http_target() as target:
        plane = Plane(tmp_path, environ, prometheus_url=target.url)
        await plane.start()
        try:

            async def ready() -> tuple[int, Any]:
                answer = await plane.http.get("/ready")
                return answer.status_code, answer.json()["components"]["prometheus"]

            target.says(ANSWER)
            assert await ready() == (200, {"ok": True, "optional": True})
            target.says("ill", 503)
            assert await ready() == (200, {"ok": False, "optional": True, "problem": "no answer"})
        finally:
            await plane.stop()
