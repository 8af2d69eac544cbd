"""GraphQL over the same services as REST: the schema is `schema.graphql`, each resolver one call of a use case."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graphql import (
    DocumentNode,
    ExecutionResult,
    FieldNode,
    GraphQLError,
    GraphQLObjectType,
    GraphQLSchema,
    Node,
    Visitor,
    build_schema,
    execute,  # pyright: ignore[reportUnknownVariableType]
    parse,
    validate,
    visit,
)

from interlock.core.errors import InterlockError, NotFound
from interlock.core.scope import Scope
from interlock.faces.http.services import Services
from interlock.faces.http.shapes import plain, run_body

MAX_DEPTH = 6
MAX_FIELDS = 200
MAX_TOKENS = 2000
MAX_FIRST = 200


@dataclass(frozen=True, slots=True)
class Asking:
    """Who asks, and what answers: the context of every resolver."""

    services: Services
    scope: Scope


Resolver = Callable[..., Awaitable[Any]]
_resolvers: dict[tuple[str, str], Resolver] = {}


def _resolves(kind: str, field: str) -> Callable[[Resolver], Resolver]:
    def register(resolver: Resolver) -> Resolver:
        _resolvers[kind, field] = resolver
        return resolver

    return register


async def query(asking: Asking, text: str, variables: dict[str, Any], operation: str | None) -> dict[str, Any]:
    """The answer as GraphQL over HTTP puts it: ``data`` and ``errors``. Costly queries are refused before they run."""
    try:
        document = parse(text, max_tokens=MAX_TOKENS)
    except GraphQLError as error:
        return {"errors": [error.formatted]}
    if faults := [*validate(SCHEMA, document), *_too_costly(document)]:
        return {"errors": [fault.formatted for fault in faults]}
    outcome = execute(SCHEMA, document, context_value=asking, variable_values=variables, operation_name=operation)
    result = outcome if isinstance(outcome, ExecutionResult) else await outcome
    answer: dict[str, Any] = {"data": result.data}
    if result.errors:
        answer["errors"] = [error.formatted for error in result.errors]
    return answer


class _Cost(Visitor):
    def __init__(self) -> None:
        super().__init__()
        self.depth = self.deepest = self.fields = 0

    def enter_field(self, node: FieldNode, *_: Any) -> None:
        self.fields += 1
        self.depth += 1
        self.deepest = max(self.deepest, self.depth)

    def leave_field(self, node: FieldNode, *_: Any) -> None:
        self.depth -= 1

    def enter_fragment_spread(self, node: Node, *_: Any) -> None:
        # A fragment hides its depth, and fragments in fragments multiply: none are needed to ask what the schema offers.
        self.fields = MAX_FIELDS + 1


def _too_costly(document: DocumentNode) -> list[GraphQLError]:
    cost = _Cost()
    visit(document, cost)
    if cost.deepest > MAX_DEPTH or cost.fields > MAX_FIELDS:
        return [GraphQLError(f"the query is too costly: at most {MAX_FIELDS} fields, {MAX_DEPTH} deep, no fragment spreads")]
    return []


def _first(first: int) -> int:
    if not 1 <= first <= MAX_FIRST:
        raise GraphQLError(f"first has to be between 1 and {MAX_FIRST}")
    return first


@_resolves("Query", "services")
async def _services(_root: Any, asking: Asking, name: str | None = None) -> Any:
    return [plain(item) for item in await asking.services.delivery.services(asking.scope) if name in {None, item.name}]


@_resolves("Query", "plans")
async def _plans(_root: Any, asking: Asking, service: str | None = None, state: str | None = None, first: int = 50) -> Any:
    await asking.services.delivery.check_known(asking.scope, service)
    page = await asking.services.plans.listing(asking.scope, service=service, state=state, limit=_first(first))
    return [plain(plan) for _, plan in page]


@_resolves("Query", "plan")
async def _plan(_root: Any, asking: Asking, id: str) -> Any:  # noqa: A002 - the argument's name in the schema
    try:
        plan, _ = await asking.services.plans.get(asking.scope, id)
    except NotFound:
        return None
    return plain(plan)


@_resolves("Query", "runs")
async def _runs(_root: Any, asking: Asking, plan: str | None = None, first: int = 50) -> Any:
    page = await asking.services.runs.listing(asking.scope, plan_id=plan, limit=_first(first))
    return [plain(item) for item in page]


@_resolves("Query", "run")
async def _run(_root: Any, asking: Asking, id: str) -> Any:  # noqa: A002
    try:
        return run_body(await asking.services.runs.get(asking.scope, id))
    except NotFound:
        return None


@_resolves("Query", "releases")
async def _releases(_root: Any, asking: Asking, service: str | None = None, first: int = 50) -> Any:
    await asking.services.delivery.check_known(asking.scope, service)
    return [plain(item) for item in await asking.services.delivery.releases(asking.scope, service, _first(first))]


@_resolves("Query", "deployments")
async def _deployments(
    _root: Any, asking: Asking, service: str | None = None, environment: str | None = None, first: int = 50
) -> Any:
    await asking.services.delivery.check_known(asking.scope, service, environment)
    found = await asking.services.delivery.deployments(asking.scope, service, environment, _first(first))
    return [plain(item) for item in found]


@_resolves("Query", "incidents")
async def _incidents(_root: Any, asking: Asking, state: str | None = None, first: int = 50) -> Any:
    return [plain(item) for item in await asking.services.incidents.listing(asking.scope, state, _first(first))]


@_resolves("Query", "inbox")
async def _inbox(_root: Any, asking: Asking, state: str | None = "open", first: int = 50) -> Any:
    return [plain(item) for item in await asking.services.inbox.listing(asking.scope, state, _first(first))]


@_resolves("Service", "releases")
async def _service_releases(service: dict[str, Any], asking: Asking, first: int = 50) -> Any:
    return await _releases(None, asking, service["name"], first)


@_resolves("Service", "deployments")
async def _service_deployments(service: dict[str, Any], asking: Asking, environment: str | None = None, first: int = 50) -> Any:
    return await _deployments(None, asking, service["name"], environment, first)


@_resolves("Service", "plans")
async def _service_plans(service: dict[str, Any], asking: Asking, state: str | None = None, first: int = 50) -> Any:
    return await _plans(None, asking, service["name"], state, first)


@_resolves("Plan", "runs")
async def _plan_runs(plan: dict[str, Any], asking: Asking) -> Any:
    return await _runs(None, asking, plan["plan_id"])


def _run_part(name: str) -> Resolver:
    async def resolve(run: dict[str, Any], asking: Asking) -> Any:
        """From the run itself where it was loaded whole; a line of the list has no more than its summary."""
        if name not in run:
            run.update(run_body(await asking.services.runs.get(asking.scope, run["run_id"])))
        return run[name]

    return resolve


for _part in ("progress", "paused", "error", "summary", "tasks"):
    _resolves("Run", _part)(_run_part(_part))


def _joined() -> GraphQLSchema:
    schema = build_schema((Path(__file__).parent / "schema.graphql").read_text())
    for (kind, field), resolver in _resolvers.items():
        owner = schema.type_map[kind]
        if isinstance(owner, GraphQLObjectType):
            owner.fields[field].resolve = _with_context(resolver)
    return schema


def _with_context(resolver: Resolver) -> Resolver:
    async def resolve(root: Any, info: Any, **arguments: Any) -> Any:
        try:
            return await resolver(root, info.context, **arguments)
        except InterlockError as error:
            raise GraphQLError(str(error), extensions={"code": error.code}) from error

    return resolve


SCHEMA = _joined()
