"""What tasks promise and ask: schemas that are none, edges that cannot hold, results that are not what was promised."""

from typing import Any

import pytest

from harness.engine import task
from interlock.core.errors import Invalid
from interlock.runs import model as m
from interlock.runs import schemas
from interlock.runs.graph import TaskGraph
from interlock.runs.parts import Each
from unit.test_runs_decide import Story


def properties(**fields: Any) -> dict[str, Any]:
    return {"type": "object", "properties": fields}


TEXT, NUMBER, WHOLE = {"type": "string"}, {"type": "number"}, {"type": "integer"}
GIVES = properties(port=WHOLE, name=TEXT, files={"type": "array", "items": properties(path=TEXT)})


def refused(*tasks: Any) -> Invalid:
    with pytest.raises(Invalid) as refusal:
        TaskGraph(tasks=tasks).check()
    assert refusal.value.code == "task_graph"
    return refusal.value


@pytest.mark.parametrize(
    ("schema", "place", "what"),
    [
        ({"type": "texts"}, "output_schema.type", "is no JSON Schema"),
        (properties(a={"minimum": "x"}), "output_schema.properties.a.minimum", "is no JSON Schema"),
        (properties(a={"$ref": "https://example.org/s.json"}), "output_schema.properties.a.$ref", "which is elsewhere"),
        ({"$ref": "#/default", "default": {"$ref": "http://127.0.0.1:1/secret"}}, "output_schema.$ref", "which is elsewhere"),
        ({"$ref": "#/$defs/a/const", "$defs": {"a": {"const": {}}}}, "output_schema.$ref", "which is elsewhere"),
        ({"$id": "http://127.0.0.1:1/"}, "output_schema.$id", "is not done here"),
        ({"$dynamicRef": "#a"}, "output_schema.$dynamicRef", "is not done here"),
        (properties(a={"pattern": "(?=x)"}), "output_schema.properties.a.pattern", "is no pattern"),
        (properties(a={"anyOf": [{"pattern": "(?!x)"}]}), "output_schema.properties.a.anyOf[0].pattern", "is no pattern"),
        ({"patternProperties": {"x": {}}}, "output_schema.patternProperties", "names properties by patterns"),
        ({"properties": 5}, "output_schema.properties", "is no JSON Schema"),
        ({"const": 2**60}, "output_schema", "cannot be written as JSON"),
    ],
)
def test_what_is_no_schema_is_refused_with_its_place(schema, place, what):
    reader = task("b", "a", inputs={"x": {"$output": "a.x"}}, condition="outputs.a.x == 1")
    refusal = refused(reader, task("a", output_schema=schema))
    assert refusal.where == f"task a, {place}"
    assert what in refusal.message
    assert refused(task("a", input_schema=schema)).where == f"task a, {place.replace('output', 'input')}"


def test_names_of_fields_and_constants_are_no_words_of_a_schema():
    fields = {"$ref": TEXT, "pattern": TEXT, "patternProperties": TEXT}
    TaskGraph(tasks=(task("a", output_schema={"properties": fields, "const": {"$ref": "x", "pattern": "("}}),)).check()


@pytest.mark.parametrize(
    ("inputs", "asks", "where", "what", "hint"),
    [
        (
            {"p": {"$output": "a.ports"}},
            {},
            "inputs.p",
            "'a' does not give",
            "task a, output_schema: it gives port, name, files",
        ),
        ({"p": [{"q": {"$output": "a.x"}}]}, {}, "inputs.p[0].q", "'a' does not give", "task a, output_schema"),
        (
            {"p": {"$output": "a.port"}},
            properties(p=TEXT),
            "input_schema.properties.p",
            "a.port is integer, and string is asked for",
            "see task a, output_schema.properties.port",
        ),
        (
            {"p": {"$output": "a.files"}},
            properties(p={"type": "array", "items": TEXT}),
            "input_schema.properties.p",
            "a.files holds items of which each is object, and string is asked for",
            "see task a, output_schema.properties.files",
        ),
        (
            {"p": {"$output": "a.files"}},
            properties(p={"type": "array", "items": {"type": "object", "required": ["size"]}}),
            "input_schema.properties.p",
            "a.files holds items of which each has no size, which is asked for",
            "see task a",
        ),
        (
            {"p": {"$output": "a.name"}},
            properties(p={"enum": [1, None]}),
            "input_schema.properties.p",
            "null is asked",
            "task a",
        ),
        ({"p": 3}, properties(p=TEXT), "inputs.p", "3 is not of type 'string'", "see input_schema.properties.p"),
        ({}, {"required": ["p"]}, "inputs", "has no input 'p'", "input_schema requires it"),
    ],
)
def test_an_edge_that_cannot_hold_is_refused_with_both_places(inputs, asks, where, what, hint):
    refusal = refused(task("a", output_schema=GIVES), task("b", "a", inputs=inputs, input_schema=asks))
    assert refusal.where == f"task b, {where}"
    assert what in refusal.message
    assert hint in refusal.hint


@pytest.mark.parametrize(
    ("gives", "asks"),
    [
        (WHOLE, NUMBER),
        (NUMBER, WHOLE),
        ({}, TEXT),
        ({"type": ["string", "null"]}, TEXT),
        ({"anyOf": [WHOLE]}, TEXT),
        ({"$ref": "#/$defs/x"}, TEXT),
        (properties(a=TEXT), {"type": "object", "required": ["a"]}),
        ({"type": "object"}, {"type": "object", "required": ["a"]}),
    ],
)
def test_an_edge_that_may_hold_is_accepted(gives, asks):
    producer = task("a", output_schema=properties(x=gives) | {"$defs": {"x": WHOLE}})
    TaskGraph(tasks=(producer, task("b", "a", inputs={"p": {"$output": "a.x"}}, input_schema=properties(p=asks)))).check()


def test_fields_that_a_schema_leaves_open_may_be_referred_to():
    for open_ in ({"type": "object"}, properties(x=TEXT) | {"additionalProperties": True}, {"anyOf": [properties(x=TEXT)]}):
        TaskGraph(tasks=(task("a", output_schema=open_), task("b", "a", inputs={"p": {"$output": "a.y"}}))).check()


def test_conditions_and_lists_are_held_to_what_is_given():
    a = task("a", output_schema=GIVES)
    assert "refers to 'x'" in refused(a, task("b", "a", condition="outputs.a.x > 1")).message
    assert refused(a, task("b", "a", each=Each(items={"$output": "a.x"}))).where == "task b, each.items"
    assert "a.name is string, and array" in refused(a, task("b", "a", each=Each(items={"$output": "a.name"}))).message
    fan = Each(items={"$output": "a.files"})
    assert "the items do not have" in refused(a, task("b", "a", each=fan, inputs={"p": {"$item": "size"}})).message
    wrong = task("b", "a", each=fan, inputs={"p": {"$item": "path"}}, input_schema=properties(p=WHOLE))
    assert refused(a, wrong).where == "task b, input_schema.properties.p"
    each = task(
        "b", "a", each=fan, inputs={"p": {"$item": "path"}}, input_schema=properties(p=TEXT), output_schema=properties(n=WHOLE)
    )
    TaskGraph(tasks=(a, each, task("c", "b", inputs={"all": {"$output": "b.items"}}))).check()
    assert "refers to 'n'" in refused(a, each, task("c", "b", inputs={"n": {"$output": "b.n"}})).message
    whole = properties(all={"type": "array", "items": TEXT})
    assert (
        "each is object" in refused(a, each, task("c", "b", inputs={"all": {"$output": "b.items"}}, input_schema=whole)).message
    )


def test_what_a_task_for_each_item_gives_is_known_without_a_schema():
    fan = task("a", each=Each(items=[1]))
    assert "it gives items, failures" in refused(fan, task("b", "a", condition="outputs.a.n > 1")).hint
    assert refused(fan, task("b", "a", inputs={"n": {"$output": "a.n"}})).where == "task b, inputs.n"
    TaskGraph(tasks=(fan, task("b", "a", condition="has(outputs.a.failures) && outputs.a.items[0].x == 1"))).check()


def test_a_result_that_is_not_what_was_promised_fails_the_task_for_good():
    story = Story(task("a", output_schema=properties(by=WHOLE)), task("b", "a")).start()
    story.complete("a")
    assert story.state.status is m.RunStatus.FAILED
    assert story.state.error == {
        "kind": "invalid",
        "code": "result_invalid",
        "message": "the result is not what output_schema says: 'a' is not of type 'integer'",
        "where": "task a, result $.by",
        "task": "a",
    }


def test_each_instance_is_held_to_the_promise():
    story = Story(task("a", each=Each(items=[1, 2]), output_schema=properties(by={"const": "a[0]"}))).start()
    story.complete("a[0]", "a[1]")
    assert story.statuses() == {"a": "failed", "a[0]": "completed", "a[1]": "failed"}


@pytest.mark.parametrize(
    ("schema", "value", "place"),
    [
        ({"uniqueItems": True}, [{"a": 1}, {"a": 1}], "$"),
        (properties(a={"pattern": "^(a+)+$"}), {"a": "a" * 50 + "b"}, "$.a"),
        ({"$ref": "#/$defs/nowhere"}, 1, "$"),
        ({"$ref": "#"}, 1, "$"),
    ],
)
def test_a_schema_answers_in_bounded_time_whatever_it_says(schema, value, place):
    assert schemas.violation(schema, value)[0] == place


def test_a_schema_whose_parts_refer_to_each_other_twice_is_not_followed_for_ever():
    parts: dict[str, Any] = {f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(30)}
    where, what = schemas.violation({"$ref": "#/$defs/a0", "$defs": parts | {"a30": {}}}, {})
    assert (where, what) == ("$", "the schema takes more than 50000 references to be followed")
    assert schemas.violation({"$defs": {"a": {"type": "integer"}}, "items": {"$ref": "#/$defs/a"}}, list(range(10_000))) == (
        "",
        "",
    )
