"""Families of technology, each a function in a file of its own; the first that finds something startable wins."""

from collections.abc import Awaitable, Callable, Sequence

from interlock.sources.detect.detection import Detection
from interlock.sources.detect.files import Files, Read
from interlock.sources.detect.node import detect_node
from interlock.sources.detect.python import detect_python

Family = Callable[[Files, str], Awaitable[Detection | None]]
"""Looks at the files of the repository with the given name; None where it is of another family."""

FAMILIES: tuple[Family, ...] = (detect_python, detect_node)


async def detect_stack(paths: Sequence[str], read: Read, name: str) -> Detection | None:
    """How to install and run what lies in a repository called ``name``, found in its files without running any of them.

    Returns None where no family knows it; a detection whose recipe has no start command where a family knows it but finds
    nothing to start.
    """
    files = Files(paths, read)
    unstartable: Detection | None = None
    for family in FAMILIES:
        found = await family(files, name)
        if found is not None and found.recipe.start is not None:
            return found
        unstartable = unstartable or found
    return unstartable
