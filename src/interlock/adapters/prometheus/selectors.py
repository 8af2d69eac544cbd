"""What a query in PromQL reads, and how its age is asked for. Pure."""

from typing import Any, NamedTuple, cast

import promql_parser

MAX_SELECTORS = 10
_OPERATORS = {"Equal": "=", "NotEqual": "!=", "Re": "=~", "NotRe": "!~"}


class Matcher(NamedTuple):
    """One condition on a label: ``operator`` is ``=``, ``!=``, ``=~`` or ``!~``."""

    label: str
    operator: str
    value: str


class Selector(NamedTuple):
    """A metric with conditions on its labels."""

    name: str
    matchers: tuple[Matcher, ...]

    @property
    def promql(self) -> str:
        """The selector as PromQL writes it, without a range, an offset or a time."""
        named = (Matcher("__name__", "=", self.name),) if self.name else ()
        return "{" + ",".join(f"{label}{operator}{quoted(value)}" for label, operator, value in named + self.matchers) + "}"


def quoted(text: str) -> str:
    """``text`` as a string of PromQL, in double quotes."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def selectors_of(promql: str) -> list[Selector]:
    """Every selector in the query, once each. Raises ValueError where it is no PromQL."""
    found: dict[Selector, None] = {}
    waiting: list[Any] = [promql_parser.parse(promql)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, promql_parser.VectorSelector):
            found[_selector(node)] = None
        members = [getattr(node, name, None) for name in ("expr", "param", "lhs", "rhs", "vector_selector")]
        members += cast("list[Any]", getattr(node, "args", None) or [])
        waiting += [member for member in members if member is not None]
    return list(found)


def age_query(selectors: list[Selector]) -> str:
    """Gives, for each selector that has any sample now, the seconds since its newest one."""
    ages = (f"time() - max(timestamp({selector.promql}))" for selector in selectors[:MAX_SELECTORS])
    return " or ".join(f'label_replace({age}, "selector", "{number}", "", "")' for number, age in enumerate(ages))


def selector_in(promql: str) -> Selector:
    """The one selector that the query is, without a range or an offset. Raises ValueError."""
    node = promql_parser.parse(promql)
    if not isinstance(node, promql_parser.VectorSelector) or node.offset or node.at:
        raise ValueError("it is not the name of a metric, with conditions on its labels in braces")
    return _selector(node)


def _selector(node: Any) -> Selector:
    matchers = tuple(
        Matcher(matcher.name, _OPERATORS[str(matcher.op).rpartition(".")[2]], matcher.value)
        for matcher in node.matchers.matchers
    )
    if node.matchers.or_matchers:
        raise ValueError("conditions joined by 'or' are not supported")
    return Selector(node.name or "", matchers)
