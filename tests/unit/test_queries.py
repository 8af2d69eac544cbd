"""Filling names into the templates of queries."""

import re

import pytest
import re2
from hypothesis import given
from hypothesis import strategies as st

from interlock.core.errors import Invalid
from interlock.delivery.judging.queries import filled

VALUES = {"service": "shop.api", "environment": "staging", "release": "v1.2.0", "deployment": "dep_1"}
# Python writes these escapes as Go does.
ESCAPES = {"\\\\": "\\", '\\"': '"', "\\'": "'", "\\n": "\n"}


def unquoted(literal: str) -> str:
    """What a string of PromQL in double or single quotes means."""
    return re.sub(r"\\.", lambda found: ESCAPES[found[0]], literal[1:-1])


def test_the_braces_of_promql_stay() -> None:
    query = 'sum(rate(http_requests_total{job="x", code=~"5.{2}"}[5m])) by (le) > {__name__=~"a{1,2}", b!=""}'
    assert filled(query, VALUES) == query
    template = 'rate(errors{service="{service}",env="{environment}"}[1m]) / rate(all{{release}_x="1"}[1m])'
    expected = 'rate(errors{service="shop.api",env="staging"}[1m]) / rate(all{v1_x="1"}[1m])'
    assert filled(template, VALUES | {"release": "v1"}) == expected


def test_what_only_looks_like_a_placeholder_stays() -> None:
    for query in ('a{path="/users/{id}"}', 'a{path="{ service }"}', 'a{path="{{{{"}', "a # of {service}\n"):
        assert filled(query, {}) == query


def test_inside_of_a_pattern_a_name_means_itself() -> None:
    assert filled('up{job=~"{service}-.*"}', VALUES) == 'up{job=~"shop\\\\.api-.*"}'
    assert filled('up{job !~ "{service}"}', VALUES) == 'up{job !~ "shop\\\\.api"}'
    assert filled("up{job=~`{service}`}", VALUES) == "up{job=~`shop\\.api`}"
    assert filled('up{job="{service}"}', VALUES) == 'up{job="shop.api"}'


def test_outside_of_strings_only_a_name_can_stand() -> None:
    assert filled("{environment}_requests_total", VALUES) == "staging_requests_total"
    for template in ("{service}_requests_total", "up or {service}", "up{job={service}}"):
        with pytest.raises(Invalid) as refused:
            filled(template, VALUES)
        assert refused.value.code == "query_template"
        assert 'job="{service}"' in refused.value.hint
    with pytest.raises(Invalid):
        filled("up{job=`{service}`}", {"service": "a`b"})
    with pytest.raises(Invalid, match="there is no release"):
        filled('up{v="{release}"}', {"service": "a"})


@given(st.text(), st.sampled_from("\"'"))
def test_no_value_leaves_its_string(value: str, quote: str) -> None:
    head, tail = f"up{{job={quote}", f"{quote}}} > 1"
    written = filled(head + "{service}" + tail, {"service": value})
    assert written.startswith(head)
    assert written.endswith(tail)
    literal = quote + written[len(head) : len(written) - len(tail)] + quote
    assert re.fullmatch(r"\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'", literal)
    assert unquoted(literal) == value


@given(st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"])))
def test_no_value_matches_another(value: str, other: str) -> None:
    written = filled('up{job=~"{service}"}', {"service": value})
    pattern = unquoted(written.removeprefix("up{job=~").removesuffix("}"))
    assert re2.fullmatch(pattern, value)
    assert bool(re2.fullmatch(pattern, other)) is (value == other)


@given(st.text("{}servic\"'`\\#=~ \n", max_size=30))
def test_any_template_is_filled_or_refused(template: str) -> None:
    has_placeholder = any("{" + name + "}" in template for name in VALUES)
    try:
        written = filled(template, VALUES)
    except Invalid:
        assert has_placeholder
    else:
        assert has_placeholder or written == template
