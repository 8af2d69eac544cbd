"""The worked examples of CONTRIBUTING.md: each section's blocks are one module, and its tests are run."""

import inspect
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

TEXT = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text()
BLOCK = re.compile(r"^```python example\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SECTIONS = {section.partition("\n")[0]: BLOCK.findall(section) for section in TEXT.split("\n## ")}
WITH_EXAMPLES = {title: blocks for title, blocks in SECTIONS.items() if blocks}


def test_tool_adapter_and_face_have_an_example() -> None:
    assert {"How to add a tool", "How to add an adapter", "How to add a face"} <= set(WITH_EXAMPLES)


@pytest.mark.parametrize("title", WITH_EXAMPLES)
async def test_the_example_works(title: str, tmp_path: Path) -> None:
    namespace: dict[str, Any] = {"__name__": "example", "Path": Path}
    exec("\n".join(WITH_EXAMPLES[title]), namespace)  # noqa: S102 - the documentation of this very repository
    tests: list[Callable[..., Awaitable[None]]] = [value for name, value in namespace.items() if name.startswith("test_")]
    assert tests
    for test in tests:
        arguments = {"tmp_path": tmp_path} if "tmp_path" in inspect.signature(test).parameters else {}
        await test(**arguments)
