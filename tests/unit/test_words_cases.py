"""Sentences with what they mean, from `words_cases.yaml`."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from ruamel.yaml import YAML

from interlock.plans.words.model import Question, Understood, Vocabulary
from interlock.plans.words.parser import LONGEST_TEXT, parse

CASES: dict[str, Any] = YAML(typ="safe").load(Path(__file__).with_name("words_cases.yaml"))
VOCABULARIES = {name: msgspec.convert(data, Vocabulary) for name, data in CASES.pop("vocabularies").items()}


@pytest.mark.parametrize(
    ("vocabulary", "case"),
    [pytest.param(name, case, id=repr(case["said"])[:90]) for name, cases in CASES.items() for case in cases],
)
def test_a_sentence_is_understood_exactly_or_asked_about(vocabulary: str, case: dict[str, Any]) -> None:
    result = parse(case["said"], VOCABULARIES[vocabulary])
    if "means" in case:
        assert isinstance(result, Understood), result
        assert summary(result) == case["means"]
        return
    assert isinstance(result, Question), result
    assert result.reason == case["asks"], result
    if "about" in case:
        assert result.span is not None
        assert case["said"][slice(*result.span)] == case["about"]
    assert case.get("says", "") in result.text
    assert list(result.choices) == case.get("choices", list(result.choices))


def test_a_long_text_is_refused_by_its_length() -> None:
    result = parse("deploy greeter v1.2.0 to staging " * 3000, VOCABULARIES["shop"])
    assert isinstance(result, Question)
    assert str(LONGEST_TEXT) in result.text


def test_highlights_say_what_every_word_became() -> None:
    said = "please roll out version 1.2.0 of greeter to stagging, then prod, and watch it for 5m using blue-green"
    result = parse(said, VOCABULARIES["shop"])
    assert isinstance(result, Understood)
    shown = [(said[mark.start : mark.end], mark.role, mark.meaning) for mark in result.highlights]
    assert [entry for entry in shown if entry[1] not in ("grammar", "connector")] == [
        ("please", "filler", ""),
        ("roll out", "action", "deploy"),
        ("1.2.0", "version", "tag v1.2.0"),
        ("greeter", "service", "greeter"),
        ("stagging", "environment", "staging"),
        ("prod", "environment", "production"),
        ("watch", "constraint", "watch 300 s"),
        ("it", "service", "greeter"),
        ("5", "constraint", "watch 300 s"),
        ("m", "constraint", "watch 300 s"),
        ("blue-green", "constraint", "strategy blue-green"),
    ]


def test_a_question_tells_what_was_understood_before_it() -> None:
    result = parse("deploy greeter v1.2.0 to staging and delete the database", VOCABULARIES["shop"])
    assert isinstance(result, Question)
    draft = result.understood
    assert (draft.action, draft.service, draft.environments) == ("deploy", "greeter", ("staging",))
    assert draft.highlights
    assert all(mark.end <= len("deploy greeter v1.2.0 to staging and delete the") for mark in draft.highlights)


def summary(result: Understood) -> dict[str, Any]:
    """Everything that was understood, as the cases write it."""
    version = result.version and f"{result.version.kind} {result.version.name}".rstrip()
    fields = {
        "action": result.action,
        "service": result.service,
        "version": version,
        "source": result.source,
        "environments": list(result.environments),
        "post_steps": list(result.post_steps),
        "strategy": result.constraints.strategy,
        "watch_s": result.constraints.watch_s,
        "corrections": {correction.said: correction.read_as for correction in result.corrections},
    }
    return {name: value for name, value in fields.items() if value}
