"""The log of a deployment in few lines: alike is one cluster, and secrets are masked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.delivery.logs.clusters import MAX_CLUSTERS, clusters_of, mask, mask_line, template_of, templates_of


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2026-01-01T10:00:00.123Z GET /a took 12 ms", "2026-01-02T11:59:00Z GET /a took 7.5 ms"),
        ("user 'anna' is unknown", "user 'bob' is unknown"),
        ('no file "a b"', 'no file "c"'),
        ("job 7f3c9a1e55 failed", "job 00aa11bb22cc failed"),
        ("id 9d5f1e9e-31a5-4b59-8a35-5ea1cf0c21f1", "id 11111111-2222-3333-4444-555555555555"),
        ("at 0x7ffe01", "at 0xdeadbeef"),
        ("from 10.0.0.1:80", "from 192.168.1.22:9000"),
        ("[12:00:01,500] worker-1 up", "[13:10:11,007] worker-22 up"),
        (
            '127.0.0.1 - - [10/Oct/2026:13:55:36 +0000] "GET / HTTP/1.1" 500 12',
            '10.1.1.1 - - [11/Nov/2026:01:02:03 +0100] "x" 500 9',
        ),
    ],
)
def test_lines_that_say_the_same_are_one_cluster(one: str, other: str) -> None:
    [cluster] = clusters_of([one, other])
    assert (cluster.count, cluster.first_line, cluster.last_line) == (2, 1, 2)


@pytest.mark.parametrize(
    ("one", "other"),
    [("GET /a failed", "GET /b failed"), ("ValueError: x", "KeyError: x"), ("started", "stopped"), ("facade", "decade")],
)
def test_lines_that_say_something_else_are_not(one: str, other: str) -> None:
    assert len(clusters_of([one, other])) == 2


def test_errors_come_first_then_what_is_new_then_what_is_frequent() -> None:
    log = ["request 1 served"] * 50 + ["KeyError: 'a'", "TimeoutError: late", "KeyError: 'b'", ""]
    found = clusters_of(log, templates_of(["TimeoutError: late"]))
    assert [(item.example, item.count, item.is_new) for item in found] == [
        ("KeyError: 'a'", 2, True),
        ("TimeoutError: late", 1, False),
        ("request 1 served", 50, True),
    ]
    assert clusters_of(["KeyError: 'a'"])[0].is_new is None


def test_the_times_of_the_lines_are_kept() -> None:
    [cluster] = clusters_of(["2026-01-01 10:00:00 boom", "2026-01-01 10:05:00 boom"])
    assert (cluster.first_at, cluster.last_at) == ("2026-01-01 10:00:00", "2026-01-01 10:05:00")


@pytest.mark.parametrize(
    "line",
    [
        "password=geheim1",
        "DB_PASSWORD: geheim1",
        '{"api_key": "geheim1", "a": 1}',
        "Authorization: Bearer geheim1",
        "connecting to postgres://app:geheim1@db/x",
        "token='geheim1'",
        "client_secret=geheim1&grant=x",
        "export AWS_SECRET_ACCESS_KEY=geheim1",
    ],
)
def test_what_looks_like_a_secret_is_masked(line: str) -> None:
    assert "geheim1" not in mask(line)
    assert "geheim1" not in clusters_of([line])[0].example


def test_a_long_token_is_masked_and_a_path_is_not() -> None:
    assert "AKIA1234567890abcdefGHIJKLMNOPQRSTUVWXYZ" not in mask_line("key AKIA1234567890abcdefGHIJKLMNOPQRSTUVWXYZ used")
    path = "/opt/service/releases/python3/app/handlers/requests.py"
    assert path in mask_line(f"File {path}, line 3")
    cut = "x " * 240 + "password=" + "geheim1" * 10
    assert "geheim" not in mask_line(cut)


@given(st.lists(st.text(max_size=300), max_size=60))
def test_any_log_becomes_few_short_printable_lines(lines: list[str]) -> None:
    found = clusters_of(lines)
    assert len(found) <= MAX_CLUSTERS
    for cluster in found:
        assert cluster.example.isprintable()
        assert template_of(cluster.example) == cluster.template
