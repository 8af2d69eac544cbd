"""Version tags in their order."""

import pytest

from interlock.sources.ports import Ref
from interlock.sources.versions import latest, newest_first


def _tags(*names: str) -> list[Ref]:
    return [Ref(kind="tag", name=name, commit="0" * 40, tree="0" * 40) for name in names]


def test_order_of_semantic_versions() -> None:
    ordered = [
        "v10.0.0",
        "2.0.0",
        "2.0.0-rc.11",
        "2.0.0-rc.2",
        "2.0.0-rc",
        "2.0.0-beta",
        "2.0.0-1",
        "v1.10.0",
        "v1.9",
        "0.1",
        "nightly",
        "stable",
    ]
    assert [tag.name for tag in newest_first(_tags(*reversed(ordered)))] == ordered
    assert [tag.name for tag in newest_first(_tags(*sorted(ordered)))] == ordered


@pytest.mark.parametrize(
    ("names", "highest"),
    [
        (["v1.2.0", "v1.10.0", "v2.0.0-rc.1"], "v1.10.0"),
        (["v2.0.0-rc.1", "v2.0.0-rc.2"], "v2.0.0-rc.2"),
        (["1.0.0+build.5", "0.9"], "1.0.0+build.5"),
        (["nightly", "release-1"], None),
        (["9" * 5000, "v1"], "v1"),
        ([], None),
    ],
)
def test_latest_is_the_highest_release(names: list[str], highest: str | None) -> None:
    found = latest(_tags(*names))
    assert (found.name if found else None) == highest
