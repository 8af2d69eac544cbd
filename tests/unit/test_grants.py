"""Grants: nothing outside what the plan says, whatever the arguments look like."""

import msgspec
import pytest

from interlock.core.errors import Forbidden, Invalid
from interlock.testing.tools import CreateFile
from interlock.tools.grants import Grant, Rule, check_call, exactly
from interlock.tools.service import Toolbox, defaults, to_data, to_input


def grant(**arguments: Rule) -> list[Grant]:
    return [Grant(task="t", tool="tool", arguments=arguments)]


def under(folder: str) -> Rule:
    return Rule(rule="under", value=folder)


def is_allowed(rule: Rule, value: object) -> bool:
    try:
        check_call(grant(value=rule), "t", "tool", {"value": value})
    except Forbidden:
        return False
    return True


@pytest.mark.parametrize(
    ("rule", "value", "allowed"),
    [
        (exactly(1), 1, True),
        (exactly(1), True, False),
        (exactly(False), 0, False),
        (exactly("1"), 1, False),
        (exactly({"a": [1, 2]}), {"a": [1, 2]}, True),
        (exactly({"a": (1, 2)}), {"a": [1, 2]}, True),
        (exactly({"a": [1, 2]}), {"a": [1, 2], "b": None}, False),
        (exactly(None), None, True),
        (exactly("x"), object(), False),
        (under("/data/r"), "/data/r", True),
        (under("/data/r"), "/data/r/a/b", True),
        (under("/data/r"), "/data/r/./a", True),
        (under("/data/r"), "/data/rr", False),
        (under("/data/r"), "/data/r/../s", False),
        (under("/data/r"), "data/r/a", False),
        (under("/data/r"), "//data/r/a", False),
        (under("/data/r"), "", False),
        (under("/data/r"), None, False),
        (Rule(rule="one_of", value=["a", 1]), "a", True),
        (Rule(rule="one_of", value=["a", 1]), True, False),
        (Rule(rule="one_of", value=["a", 1]), "b", False),
        (Rule(rule="port"), 1024, True),
        (Rule(rule="port"), 1023, False),
        (Rule(rule="port"), 65536, False),
        (Rule(rule="port"), "8080", False),
        (Rule(rule="port"), True, False),
        (Rule(rule="port"), None, True),
        (Rule(rule="decided"), {"any": "thing"}, True),
    ],
)
def test_a_rule_allows_what_it_says_and_nothing_that_looks_like_it(rule, value, allowed):
    assert is_allowed(rule, value) is allowed


@pytest.mark.parametrize(
    ("task", "tool", "arguments", "what"),
    [
        ("other", "tool", {}, "no right to tool"),
        ("t", "other", {}, "no right to other"),
        ("t", "tool", {"path": "/etc"}, "path of tool is outside"),
        ("t", "tool", {"path": "/data", "mode": 1}, "without mode"),
    ],
)
def test_a_refusal_says_what_is_outside_the_plan(task, tool, arguments, what):
    with pytest.raises(Forbidden, match=what) as refusal:
        check_call(grant(path=under("/data")), task, tool, arguments)
    assert refusal.value.code == "not_granted"


def test_one_grant_has_to_cover_the_whole_call():
    grants = grant(a=exactly(1), b=exactly(2)) + grant(a=exactly(3), b=exactly(4))
    check_call(grants, "t", "tool", {"a": 3, "b": 4})
    with pytest.raises(Forbidden):
        check_call(grants, "t", "tool", {"a": 1, "b": 4})


def test_leaving_an_argument_out_does_not_get_round_its_grant():
    class Input(msgspec.Struct, kw_only=True):
        url: str
        network: bool = True
        labels: list[str] = []

    class Tool(CreateFile):
        input = Input  # pyright: ignore[reportAssignmentType]

    tool = Tool.__new__(Tool)
    assert defaults(tool) == {"network": True, "labels": []}
    without_network = grant(url=exactly("u"), network=exactly(False), labels=exactly([]))
    with pytest.raises(Forbidden, match="network of tool is outside"):
        check_call(without_network, "t", "tool", {"url": "u"}, defaults(tool))
    check_call(without_network, "t", "tool", {"url": "u", "network": False}, defaults(tool))


def test_input_and_output_of_a_tool_are_typed(tmp_path):
    tool = CreateFile(tmp_path)
    with pytest.raises(Invalid, match="label") as wrong:
        to_input(tool, {"label": 1})
    assert (wrong.value.code, wrong.value.where) == ("tool_input", "test.create")
    assert to_data(tool, tool.output(label="x")) == {"label": "x"}
    with pytest.raises(Invalid, match="tools: test"):
        Toolbox([tool]).get("test.remove")
