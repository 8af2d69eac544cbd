"""What a query in PromQL reads."""

import promql_parser
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.adapters.prometheus.selectors import age_query, selector_in, selectors_of


def test_every_selector_is_found_wherever_it_stands() -> None:
    query = """
        histogram_quantile(0.95, sum by (le) (rate(took_bucket{job="x"}[5m] offset 1h)))
          / on (a) group_left (b) topk(scalar(count(limit)), -(used or vector(0)))
          > bool max_over_time(sum(inner)[5m:1m]) unless {__name__=~"z.*"}
    """
    names = {selector.name for selector in selectors_of(query)}
    assert names == {"took_bucket", "limit", "used", "inner", ""}


def test_a_selector_is_asked_for_without_range_and_offset() -> None:
    query = 'rate(a{b="c",d=~"e.*",f!="",g!~"h"}[5m] offset 1h) + a{b="c",d=~"e.*",f!="",g!~"h"} @ 17'
    (only,) = selectors_of(query)
    assert sorted(only.promql[1:-1].split(",")) == ['__name__="a"', 'b="c"', 'd=~"e.*"', 'f!=""', 'g!~"h"']
    assert age_query([only]) == f'label_replace(time() - max(timestamp({only.promql})), "selector", "0", "", "")'


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_value_survives(value: str) -> None:
    written = 'a{b="' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"}'
    selector = selector_in(written)
    assert selector.matchers[0].value == value
    assert selector_in(selector.promql).matchers[-1].value == value
    promql_parser.parse(age_query([selector]))


@pytest.mark.parametrize("query", ["", "sum(", "a{b}", "a b", "1 +"])
def test_what_is_no_promql_is_refused(query: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        selectors_of(query)


def test_a_constant_reads_nothing() -> None:
    assert selectors_of("vector(1) + 2") == []
