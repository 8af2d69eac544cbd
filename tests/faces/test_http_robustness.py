"""Whatever is sent, the answer is an answer: a success or a problem that names itself, never a crash."""

import json
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.plane import Plane

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOSTILE_TEXTS = [
    "",
    "x",
    "../../etc/passwd",
    "plan_000000000000",
    "run:x/y",
    "'; DROP TABLE plans; --",
    "a\x00b",
    "\ud800",
    "ß" * 300,
    "deploy everything everywhere",
    "roll back x in staging to v1.0.0",
    "-" * 5000,
    "file:///etc",
    "ext::sh -c 'touch /tmp/owned'",
    "--upload-pack=touch /tmp/owned",
]
HOSTILE_NUMBERS = [0, -1, 1, 2**31, 2**63, -(2**63) - 1, 10**30, 1e308]
TEXTS = st.sampled_from(HOSTILE_TEXTS) | st.text(max_size=60)
NUMBERS = st.sampled_from(HOSTILE_NUMBERS) | st.integers(-5, 300)
ANYTHING = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
MANY = settings(
    max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def resolved(schema: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref", "")
    return document["components"]["schemas"][reference.rpartition("/")[2]] if reference else schema


def of_shape(schema: dict[str, Any], document: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values of the shape that the document gives, with contents that nobody would send in earnest."""
    schema = resolved(schema, document)
    if "anyOf" in schema:
        return st.one_of([of_shape(choice, document) for choice in schema["anyOf"]])
    if schema.get("type") == "object" and "properties" in schema:
        fields = {name: of_shape(inner, document) | ANYTHING for name, inner in schema["properties"].items()}
        required = {name: fields[name] for name in schema.get("required", ())}
        optional = {name: field for name, field in fields.items() if name not in required}
        return st.fixed_dictionaries(required, optional=optional)
    kinds = {"string": TEXTS, "integer": NUMBERS, "number": NUMBERS, "boolean": st.booleans(), "null": st.none()}
    return kinds.get(schema.get("type", ""), ANYTHING)


def as_text(value: Any) -> str:
    """As it can stand in a URL."""
    return str(value).encode("utf-8", "replace").decode()


def check(answer: httpx.Response) -> None:
    # 503 says that something outside does not answer, such as a repository's host.
    assert answer.status_code < 500 or answer.status_code == 503, (
        answer.request.method,
        answer.request.url,
        answer.request.content,
        answer.text,
    )
    if answer.status_code >= 400:
        problem = answer.json()
        assert answer.headers["content-type"] == "application/problem+json"
        assert problem["code"]
        assert problem["title"]
        assert problem["status"] == answer.status_code


@MANY
@given(data=st.data())
async def test_requests_of_the_documented_shape_with_hostile_contents(plane: Plane, data: st.DataObject) -> None:
    document = await plane.get("/openapi.json")
    operations = [(path, method) for path, methods in document["paths"].items() for method in methods]
    path, method = data.draw(st.sampled_from([operation for operation in operations if operation[0] != "/ready"]))
    operation = document["paths"][path][method]
    query: dict[str, str] = {}
    for parameter in operation.get("parameters", ()):
        name, value = parameter["name"], data.draw(of_shape(parameter["schema"], document))
        if parameter["in"] == "path":
            path = path.replace("{" + name + "}", quote(as_text(value), safe="") or "x")
        elif parameter["in"] == "query" and value is not None:
            query[name] = as_text(value)
    body: bytes | None = None
    if "requestBody" in operation:
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        body = json.dumps(data.draw(of_shape(schema, document) | ANYTHING)).encode()
    headers = {"Content-Type": "application/json"} if body is not None else {}
    check(await plane.http.request(method.upper(), path, params=query, content=body, headers=headers))


@MANY
@given(body=st.binary(max_size=80), path=st.sampled_from(["/commands/parse", "/services", "/plans/x/approve", "/graphql"]))
async def test_bodies_that_are_no_json(plane: Plane, body: bytes, path: str) -> None:
    headers = {"Content-Type": "application/json"}
    check(await plane.http.post(f"/api/v1{path}", content=body, headers=headers))


@MANY
@given(text=st.text(max_size=200) | TEXTS)
async def test_any_sentence_gets_a_plan_a_question_or_a_problem(plane: Plane, text: str) -> None:
    headers = {"Content-Type": "application/json"}
    body = json.dumps({"text": text, "preview": True})
    answer = await plane.http.post("/api/v1/commands/parse", content=body, headers=headers)
    check(answer)
    if answer.status_code == 200:
        assert answer.json()["kind"] in {"plan", "question", "status"}


async def test_deep_and_large_bodies_are_refused(plane: Plane) -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    headers = {"Content-Type": "application/json"}
    check(await plane.http.post("/api/v1/commands/parse", content=deep, headers=headers))
    answer = await plane.http.post("/api/v1/commands/parse", content=b"x" * (1024 * 1024 + 1))
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")

    async def endless() -> Any:
        for _ in range(40):
            yield b" " * 65536

    answer = await plane.http.post("/api/v1/commands/parse", content=endless())
    assert 400 <= answer.status_code < 500


@pytest.mark.parametrize("query", ["{" * 20_000, "{a" * 5_000 + "}" * 5_000, "query { __schema { types { name } } }", ""])
async def test_graphql_documents_that_are_too_much(plane: Plane, query: str) -> None:
    check(await plane.http.post("/api/v1/graphql", json={"query": query}))


async def test_unknown_fields_are_refused_by_name(plane: Plane) -> None:
    problem = await plane.post("/commands/parse", {"text": "deploy x", "enviroment": "staging"}, 422)
    assert "enviroment" in problem["title"]
