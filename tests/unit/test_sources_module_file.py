"""The module file: every problem at its place, hostile files, and the recipe of a sound one."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from harness.examples import examples
from interlock.core.errors import Invalid
from interlock.sources.model import (
    CANARY_STEPS,
    AnalysisPolicy,
    CanaryStep,
    Check,
    HealthCheck,
    Migration,
    Problem,
    Resources,
    WatchPolicy,
)
from interlock.sources.module_file import check_module, parse_module
from interlock.sources.module_schema import module_schema

SOUND = "name: billing\nmodule_type: api\nstart: python3 -m app --port {port}\n"


def _documented_example(number: int = 0) -> str:
    text = (Path(__file__).parents[2] / "docs" / "ai-module.md").read_text(encoding="utf-8")
    return re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)[number]


def test_documented_example_is_sound_and_complete() -> None:
    example = _documented_example()
    assert check_module(example) == []
    recipe = parse_module(example)
    assert recipe.install[0].argv[1] == (".venv/bin/python", "-m", "pip", "install", "-r", "requirements.txt")
    assert recipe.build[1].argv == ((".venv/bin/python", "tools/render.py", "--title", "Billing & more"),)
    assert recipe.takes_port
    assert recipe.health == HealthCheck(path="/health", interval_s=1, timeout_s=2, healthy_after=2, start_timeout_s=60)
    assert recipe.env == {"LOG_LEVEL": "info", "WORKERS": "2"}
    assert recipe.watch == WatchPolicy(
        window_s=300, interval_s=5, min_requests=20, error_rate=0.05, p95_ms=500, health_failures=3, restarts=2
    )
    assert recipe.resources == Resources(cpu=0.5, memory_mb=512, pids=200)
    documented = {line.split("`")[1].split(".")[0] for line in _field_rows()}
    assert documented | {"health_check"} == set(module_schema()["properties"])


def test_documented_roll_out_says_its_steps_and_its_checks() -> None:
    recipe = parse_module(SOUND + _documented_example(1))
    assert recipe.strategy == "canary"
    assert recipe.steps == (CanaryStep(percent=10, bake_s=30), CanaryStep(percent=50, bake_s=60))
    assert recipe.analysis == AnalysisPolicy(
        min_requests=50,
        checks=(
            Check(name="errors", signal="error_rate", max=0.02, max_increase=0.01),
            Check(name="latency", signal="p95_ms", max=500, max_ratio=1.5),
            Check(name="saturation", signal="promql", query='sum(rate(errors_total{service="{service}"}[1m]))', max=1),
            Check(name="queue", signal="metric", query="queue_depth", max=100),
            Check(name="tracebacks", signal="log_pattern", query="Traceback|ERROR", max=5),
        ),
    )


def test_a_migration_says_its_way_back_or_that_there_is_none() -> None:
    first, second = parse_module(SOUND + _documented_example(2)).migrate
    assert first.command.argv == ((".venv/bin/python", "manage.py", "migrate"),)
    assert first.undo is not None
    assert first.undo.argv == ((".venv/bin/python", "manage.py", "migrate", "shop", "0041"),)
    assert second == Migration(command=second.command, one_way='drops the column "legacy"')


def test_a_container_says_its_dockerfile_and_where_it_writes() -> None:
    container = "target: container, dockerfile: deploy/Dockerfile, writable: [/var/cache/app]"
    recipe = parse_module(f"{SOUND}deploy: {{{container}, drain: 1m, all_or_nothing: true}}")
    assert (recipe.target, recipe.dockerfile, recipe.writable) == ("container", "deploy/Dockerfile", ("/var/cache/app",))
    assert (recipe.drain_s, recipe.all_or_nothing) == (60, True)


def _field_rows() -> list[str]:
    text = (Path(__file__).parents[2] / "docs" / "ai-module.md").read_text(encoding="utf-8")
    return [line for line in text.split("### Commands")[0].split("\n") if line.startswith("| `")]


def test_published_schema_is_a_schema_and_describes_every_field() -> None:
    schema = module_schema()
    Draft202012Validator.check_schema(schema)
    assert schema["additionalProperties"] is False
    for field, described in schema["properties"].items():
        assert described["description"], field
        for example in described["examples"]:
            text = json.dumps({"name": "x", "module_type": "ml_model"} | {field: example})
            problems = [problem for problem in check_module(text) if problem.path.startswith(field)]
            # These two are about what stands beside them.
            assert not problems or (field, example) == ("module_type", "api"), (field, problems)


def test_smallest_file_takes_the_defaults() -> None:
    recipe = parse_module(SOUND)
    assert (recipe.replicas, recipe.strategy, recipe.rollback, recipe.health) == (1, None, "automatic", None)
    assert recipe.watch == WatchPolicy()
    assert (recipe.target, recipe.drain_s, recipe.all_or_nothing, recipe.migrate) == ("process", 10, False, ())
    assert (recipe.steps, recipe.analysis) == (CANARY_STEPS, AnalysisPolicy())
    assert recipe.start is not None
    assert (recipe.start.file, recipe.start.line) == ("ai-module.yaml", 3)


def test_health_by_its_path_alone() -> None:
    for field in ("health", "health_check"):
        assert parse_module(f"{SOUND}{field}: /health\n").health == HealthCheck(path="/health")


@pytest.mark.parametrize(
    ("written", "seconds"), [("5s", 5), ("2m", 120), ("500ms", 0.5), ("1h", 3600), ("1.5s", 1.5), ("30", 30), ("0.2", 0.2)]
)
def test_durations(written: str, seconds: float) -> None:
    assert parse_module(f"{SOUND}watch: {{window: {written}}}").watch.window_s == pytest.approx(seconds)


@pytest.mark.parametrize(("written", "share"), [("5%", 0.05), ("0.05", 0.05), ("100%", 1), ("0", 0), ("0.5 %", 0.005)])
def test_shares(written: str, share: float) -> None:
    assert parse_module(f"{SOUND}watch: {{error_rate: {written}}}").watch.error_rate == pytest.approx(share)


def test_variables_are_taken_as_written() -> None:
    recipe = parse_module(f'{SOUND}env: {{A: 010, B: 0x1F, C: "yes", D: on, E: "", F: {"9" * 18}}}')
    assert recipe.env == {"A": "010", "B": "0x1F", "C": "yes", "D": "on", "E": "", "F": "9" * 18}


def test_service_that_reads_its_port_from_the_environment() -> None:
    recipe = parse_module("name: x\nmodule_type: api\nstart: ./serve\ntakes_port: true\n")
    assert recipe.takes_port
    assert recipe.start is not None
    assert not recipe.start.takes_port


def _only(problems: list[Problem]) -> Problem:
    assert len(problems) == 1, [str(problem) for problem in problems]
    return problems[0]


@pytest.mark.parametrize(
    ("line", "column", "path", "message", "hint"),
    [
        ("versoin: '1'", 1, "versoin", "unknown field 'versoin'", "did you mean version?"),
        ("zzz: 1", 1, "zzz", "unknown field", "known here: name, version"),
        ("version: 1.10", 10, "version", "1.1 is not a version", '"1.10"'),
        ("port: 70000", 7, "port", "70000 is not a port, 1 to 65535", ""),
        ("port: '80'", 7, "port", "'80' is not a port", ""),
        ("port: true", 7, "port", "true is not a port", ""),
        ("replicas: 99999999999999999999999999", 11, "replicas", "no number that can be used", "finite"),
        ("replicas: 1e400", 11, "replicas", "no number that can be used", "finite"),
        ("resources: {cpu: .inf}", 18, "resources.cpu", "no number that can be used", "finite"),
        ("resources: {memory: 512}", 13, "resources.memory", "unknown field 'memory'", "memory_mb"),
        ("health: health", 9, "health", "'health' is not a path", "/health"),
        ("health: {path: health}", 16, "health.path", "beginning with /", "/health"),
        ("health: {path: /a/../b}", 16, "health.path", "'..'", "root"),
        ("health: /a/%2e%2E/b", 9, "health", "'..'", "root"),
        ("health: {path: /h, intervall: 1}", 20, "health.intervall", "unknown field", "did you mean interval?"),
        ("health: {interval: 1}", 9, "health", "the field path is missing", "path: /health"),
        ("health: {path: /h, timeout: 5 seconds}", 29, "health.timeout", "'5 seconds' is not a duration", "5s or 2m"),
        ("watch: {window: 25h}", 17, "watch.window", "between 0 and 24 hours", "5s"),
        ("watch: {window: 0}", 17, "watch.window", "0 is not a duration", "5s"),
        ("watch: {window: 0s}", 17, "watch.window", "between 0 and 24 hours", "5s"),
        ("watch: {error_rate: 5}", 21, "watch.error_rate", "5 is not a share", "5%"),
        ("watch: {error_rate: 101%}", 21, "watch.error_rate", "is not a share", "5%"),
        ("deploy: {strategy: bluegreen}", 20, "deploy.strategy", "'bluegreen' is not a deployment", "did you mean blue-green?"),
        ("deploy: blue-green", 9, "deploy", "is not a mapping with strategy", "strategy"),
        ("deploy: {target: vm}", 18, "deploy.target", "'vm' is not a target", "one of process, container"),
        ("deploy: {dockerfile: Dockerfile}", 10, "deploy.dockerfile", "is for containers", "target: container"),
        ("deploy: {target: container, dockerfile: a/../b}", 41, "deploy.dockerfile", "'..'", "root"),
        ("deploy: {target: container, dockerfile: /b}", 41, "deploy.dockerfile", "is not a path below", "Dockerfile"),
        ("deploy: {writable: [/a]}", 10, "deploy.writable", "is for containers", "target: container"),
        ("deploy: {target: container, writable: [a]}", 40, "deploy.writable[0]", "is not an absolute folder", "/var/cache"),
        ("deploy: {target: container, writable: [/a/../b]}", 40, "deploy.writable[0]", "cannot be made writable", "own"),
        ("deploy: {target: container, writable: [/proc/x]}", 40, "deploy.writable[0]", "cannot be made writable", "own"),
        ("deploy: {drain: 0s}", 17, "deploy.drain", "between 0 and 24 hours", "5s"),
        ("deploy: {all_or_nothing: 1}", 26, "deploy.all_or_nothing", "1 is not true or false", "true"),
        ("deploy: {steps: []}", 17, "deploy.steps", "a list is not a list of steps", "percent"),
        ("deploy: {steps: [{percent: 10}]}", 18, "deploy.steps[0]", "the field bake is missing", "30s"),
        ("deploy: {steps: [{percent: 100, bake: 1s}]}", 28, "deploy.steps[0].percent", "100 is not a whole percentage", "10"),
        ("deploy: {steps: [{percent: 10%, bake: 1s}]}", 28, "deploy.steps[0].percent", "'10%' is not a whole", "10"),
        ("deploy: {strategy: rolling, steps: [{percent: 5, bake: 1}]}", 29, "deploy.steps", "rolling has no steps", "canary"),
        (
            "deploy: {steps: [{percent: 9, bake: 1}, {percent: 9, bake: 1}]}",
            51, "deploy.steps[1].percent", "9 % does not rise", "order",
        ),
        ("deploy: {analysis: {checks: [{name: a}]}}", 30, "deploy.analysis.checks[0]", "exactly one of error_rate", "one"),
        (
            "deploy: {analysis: {checks: [{name: a, metric: b, promql: c, max: 1}]}}",
            30, "deploy.analysis.checks[0]", "exactly one of", "one",
        ),
        ("deploy: {analysis: {checks: [{metric: b, max: 1}]}}", 30, "deploy.analysis.checks[0]", "name is missing", "errors"),
        ("deploy: {analysis: {checks: [{name: a, metric: b}]}}", 30, "deploy.analysis.checks[0]", "without a bound", "max"),
        (
            "deploy: {analysis: {checks: [{name: a, metric: b, max: 1}, {name: a, metric: c, max: 1}]}}",
            67, "deploy.analysis.checks[1].name", "two checks are named 'a'", "its own",
        ),
        (
            "deploy: {analysis: {checks: [{name: a, metric: b, min: 2, max: 1}]}}",
            56, "deploy.analysis.checks[0].min", "min 2 is above max 1", "exchange",
        ),
        (
            "deploy: {analysis: {checks: [{name: a, error_rate: {max: 2}}]}}",
            58, "deploy.analysis.checks[0].error_rate.max", "2 is not a share", "5%",
        ),
        (
            "deploy: {analysis: {checks: [{name: a, p95_ms: {}}]}}",
            48, "deploy.analysis.checks[0].p95_ms", "without a bound", "max_ratio",
        ),
        (
            "deploy: {analysis: {checks: [{name: a, p95_ms: {max: 5}, max: 5}]}}",
            58, "deploy.analysis.checks[0].max", "max stands below p95_ms", "p95_ms: {max: ...}",
        ),
        (
            "deploy: {analysis: {checks: [{name: a, p95_ms: {max_ratio: 0.5}}]}}",
            60, "deploy.analysis.checks[0].p95_ms.max_ratio", "0.5 is not a ratio", "1.5",
        ),
        (
            "deploy: {analysis: {checks: [{name: a, metric: 'b{c}', max: 1}]}}",
            48, "deploy.analysis.checks[0].metric", "is not the name of a metric", "queue_depth",
        ),
        (
            "deploy: {analysis: {checks: [{name: a, promql: 'x{a=\"{team}\"}', max: 1}]}}",
            48, "deploy.analysis.checks[0].promql", "{team} stands for nothing", "{deployment}",
        ),
        (
            "deploy: {analysis: {checks: [{name: a, promql: 'x{a=\"{service}\"}', max_ratio: 2}]}}",
            48, "deploy.analysis.checks[0].promql", "asks the same", "{release}",
        ),
        (
            "deploy: {analysis: {checks: [{name: a, log_pattern: '(a', max: 1}]}}",
            53, "deploy.analysis.checks[0].log_pattern", "is no pattern", "RE2",
        ),
        (
            "deploy: {analysis: {checks: [{name: a, log_pattern: '(a)\\1', max: 1}]}}",
            53, "deploy.analysis.checks[0].log_pattern", "is no pattern", "back-references",
        ),
        ("migrate: [{run: a}]", 11, "migrate[0]", "either an undo or a reason", "exactly one"),
        ("migrate: [{run: a, undo: b, one_way: c}]", 11, "migrate[0]", "either an undo or a reason", "exactly one"),
        ("migrate: [{undo: b}]", 11, "migrate[0]", "the field run is missing", "manage.py"),
        ("migrate: [{run: a; b, undo: c}]", 18, "migrate[0].run", "semicolon", "&&"),
        ("migrate: [{run: a, undo: 'b {port}'}]", 26, "migrate[0].undo", "{port} in migrate", "only the start"),
        ("migrate: [{run: a, one_way: ''}]", 29, "migrate[0].one_way", "is not a text of 1 to 300", "legacy"),
        ("migrate: a", 10, "migrate", "'a' is not a list of migrations", "run"),
        ("rollback: {policy: never}", 20, "rollback.policy", "'never' is not a rollback policy", "one of automatic, propose"),
        ("env: {PORT: 1}", 7, "env.PORT", "PORT is set by Interlock", "remove"),
        ("env: {DEBUG: true}", 14, "env.DEBUG", "the value is not a text or a whole number", "quotes"),
        ("env: {A-B: x}", 7, "env.A-B", "'A-B' is not a variable's name", ""),
        ('env: {A: "x\\0y"}', 10, "env.A", "U+0000", "remove"),
        ('description: "\\ud800"', 14, "description", "U+D800", "remove"),
        ("secrets: {TOKEN: 's3cr3t!'}", 18, "secrets.TOKEN", "the value is not the name of a secret", "billing/database-url"),
        ("secrets: {TOKEN: ../../x}", 18, "secrets.TOKEN", "the value is not the name of a secret", ""),
        ("dependencies: [a, b, a]", 15, "dependencies", "an item is given twice", "remove"),
        ("dependencies: [billing]", 16, "dependencies[0]", "cannot depend on itself", "remove"),
        ("dependencies: accounts", 15, "dependencies", "'accounts' is not a list of services' names", "accounts"),
        ("install: a; b", 11, "install", "semicolon", "&&"),
        ("install: 'a | b'", 13, "install", "pipe", ""),
        ("install: [a b, 'c $X']", 19, "install[1]", "variable", ""),
        ("install: [npm, ci]", 10, "install", "one command or several", "'npm ci'"),
        ("install: [[npm, 1]]", 17, "install[0][1]", "1 is not a text", '"1"'),
        ("install: [[/bin/sh, x]]", 11, "install[0]", "cannot be run", "search path"),
        ("test: pytest --port {port}", 7, "test", "{port} in test", "only the start command"),
        ("build: ''", 8, "build", "is not a command line", ""),
        ("build: {a: b}", 8, "build", "a mapping is not a command line", ""),
        ("smoke_tests: [{name: a}]", 15, "smoke_tests[0]", "either a path or a command", "exactly one"),
        ("smoke_tests: [{name: a, path: /, command: b}]", 15, "smoke_tests[0]", "either a path or a command", "exactly one"),
        ("smoke_tests: [{path: /}]", 15, "smoke_tests[0]", "the field name is missing", "front page"),
        ("smoke_tests: [{name: a, path: /../x}]", 31, "smoke_tests[0].path", "'..'", "root"),
        ("smoke_tests: [{name: a, command: b, expect_status: 200}]", 37, "smoke_tests[0].expect_status", "no HTTP", "remove"),
        ("smoke_tests: [{name: a, path: /}, {name: a, path: /b}]", 42, "smoke_tests[1].name", "named 'a'", "its own name"),
        ("takes_port: false", 13, "takes_port", "holds {port}", "remove"),
        ("name: other", 1, "name", "'name' is given twice, first in line 1", "remove"),
        ("description: !!python/object/apply:os.system [id]", 14, "description", "the tag tag:yaml.org,2002:python", "plain"),
        ("1: x", 1, "1", "a name that is no text", "quotes"),
        ("? [a]\n: b", 3, "?", "a name that is no text", "quotes"),
        ("<<: {port: 80}", 1, "<<", "unknown field '<<'", ""),
    ],
)  # fmt: skip
def test_each_problem_has_its_place_and_a_way_out(line: str, column: int, path: str, message: str, hint: str) -> None:
    problem = _only(check_module(f"{SOUND}{line}\n"))
    assert (problem.line, problem.column, problem.path) == (4, column, path)
    assert message in problem.message
    assert hint in problem.hint


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("install: |\n  pytest > x\n", 5, 10),
        ("install: >-\n  a b\n  && c | d\n", 4, 10),
        ('install: "a\\u0020| b"\n', 4, 10),
        ("install:\n  - a b\n  - c d; e\n", 6, 8),
        ("install:\n- - python\n  - ''\n- 'x && y < z'\n", 7, 11),
    ],
)
def test_place_inside_of_a_command(text: str, line: int, column: int) -> None:
    problem = _only(check_module(SOUND + text))
    assert (problem.line, problem.column) == (line, column)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 1, "empty"),
        ("# nothing\n", 1, "empty"),
        ("- a\n", 1, "not a mapping of fields"),
        ("text", 1, "not a mapping of fields"),
        ("name: [a\n", 2, "not readable as YAML"),
        ("name: a: b\n", 1, "not readable as YAML"),
        ("name:\n\tb: c\n", 2, "not readable as YAML"),
        ("name: a\n---\nname: b\n", 2, "second document"),
        ("%YAML 1.1\n---\nname: a\n", 2, "directive"),
        ("%TAG ! tag:example.org,2000:\n---\nname: a\n", 2, "directive"),
        ("a: &x [*x]\n", 1, "stands for nothing"),
        ("a: *y\n", 1, "stands for nothing"),
        ("name: a\0b", 1, "U+0000"),
        ("name: a\n\x1b", 2, "U+001B"),
        (b"name: a\nx: \xff\xfe", 2, "not encoded in UTF-8"),
        ("name: a".encode("utf-16"), 1, "not encoded in UTF-8"),
        ("a: " + "[" * 30 + "]" * 30, 1, "nested deeper"),
        ("{a: " * 100, 1, "nested deeper"),
        ("- " * 100_000, 1, "nested deeper"),
        ("a: [" + "1," * 6000 + "]", 1, "more than 5000 values"),
        ("a: '" + "x" * 300_000 + "'", 1, "larger than 256 KiB"),
        ("a: &a [x]\n" + "b: *a\n" * 20, 18, "more than 16 aliases"),
        ("a: &a [" + "x," * 600 + "]\nb: [" + "*a," * 10 + "]", 2, "more than 5000 values"),
        ("".join(f"k{i}: &k{i} [{f'*k{i - 1},' * 2 if i else 'x'}]\n" for i in range(20)), 10, "more than 16 aliases"),
    ],
)
def test_hostile_files_are_refused_with_a_place(text: str | bytes, line: int, message: str) -> None:
    problems = check_module(text)
    assert message in problems[0].message
    assert problems[0].line == line
    with pytest.raises(Invalid):
        parse_module(text)


def test_all_problems_are_reported_at_once_in_their_order() -> None:
    text = """\
name: Billing
module_type: apis
start: a | b
install: x; y
health: {path: nope, timeout: 25h}
smoke_tests:
  - {name: one, path: /../x, extra: 1}
  - {name: one, command: c > d}
env: {PORT: 1, A: [x]}
start: again
"""
    problems = check_module(text, "my.yaml")
    places = [(problem.line, problem.column) for problem in problems]
    assert places == sorted(places)
    assert [problem.path for problem in problems] == [
        "name", "module_type", "start", "install", "health.path", "health.timeout", "smoke_tests[0].path",
        "smoke_tests[0].extra", "smoke_tests[1].name", "smoke_tests[1].command", "env.PORT", "env.A", "start",
    ]  # fmt: skip
    with pytest.raises(Invalid) as caught:
        parse_module(text, "my.yaml")
    assert caught.value.code == "module_file"
    assert caught.value.where == "my.yaml:1:7"
    assert len(caught.value.details["problems"]) == len(problems)
    assert json.dumps(caught.value.as_dict())


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ("name: x\nmodule_type: web_app\n", "module_type", "needs a start command"),
        ("name: x\nmodule_type: api\nstart: ./serve\n", "start", "on which port"),
        ("name: x\n", "", "the field module_type is missing"),
        (
            "name: x\nmodule_type: api\nstart: ./s\nport: 1\ndeploy: {strategy: canary}\n",
            "deploy.strategy",
            "canary needs a serv",
        ),
        ("name: x\nmodule_type: api\nstart: ./s\nport: 1\ndeploy: {strategy: rolling}\n", "deploy.strategy", "rolling needs"),
        (SOUND + "health: /\nhealth_check: /\n", "health_check", "the same field"),
        (SOUND + "env: {A: x}\nsecrets: {A: b}\n", "env.A", "under env and under secrets"),
    ],
)
def test_what_fields_have_to_say_together(text: str, path: str, message: str) -> None:
    problem = _only(check_module(text))
    assert problem.path == path
    assert message in problem.message


def test_values_of_variables_and_secrets_are_never_repeated() -> None:
    text = (
        f"{SOUND}env: {{A: [hunter2], B: {{hunter2: 1}}, C: 'hunter2\0'}}\nsecrets: {{D: 'hunter2!', E: [hunter2]}}\n".replace(
            "\0", ""
        )
    )
    assert "hunter2" not in "".join(str(problem) for problem in check_module(text))


def test_aliases_within_bounds_stand_for_their_values() -> None:
    recipe = parse_module("name: &n billing\nmodule_type: ml_model\ndescription: *n\nenv: {A: *n}\n")
    assert (recipe.description, recipe.env) == ("billing", {"A": "billing"})


_NAMES = [*module_schema()["properties"], "path", "window", "command", "strategy", "policy", "cpu", "interval", "error_rate"]
_NAMES += ["steps", "percent", "bake", "analysis", "checks", "metric", "promql", "log_pattern", "max", "run", "undo"]
_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=10)
    | st.sampled_from(["5s", "9h", "a && b", "{port}", "/x", "5%", "..", "api", "blue-green"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_NAMES), inner, max_size=3),
    max_leaves=8,
)


@examples(200)
@given(st.dictionaries(st.sampled_from(_NAMES), _VALUES, max_size=6))
def test_any_data_is_read_or_refused(data: dict[str, object]) -> None:
    text = json.dumps(data)
    problems = check_module(text)
    if not problems:
        assert parse_module(text).name == data["name"]
    assert all(problem.line == 1 and problem.column >= 1 for problem in problems)


@examples(300)
@given(st.binary(max_size=80) | st.text(max_size=80) | st.text("abn: -[]{}&*!|>'\"%@`#,?\n\t\\x0u~<=", max_size=60))
def test_any_bytes_are_read_or_refused(content: bytes | str) -> None:
    for problem in check_module(content):
        assert str(problem)
