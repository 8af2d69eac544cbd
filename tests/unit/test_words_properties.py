"""What holds for every text: no exception, nothing left out, the same answer twice, no clause dropped."""

import unicodedata
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given
from hypothesis import strategies as st

from harness.examples import examples
from interlock.plans.words.lexicon import lexicon
from interlock.plans.words.model import Question, ServiceWords, Understood, Vocabulary, answer
from interlock.plans.words.names import Names, is_near
from interlock.plans.words.parser import LONGEST_TEXT, parse

VOCABULARY = Vocabulary(
    services=(
        ServiceWords(name="greeter", tags=("v1.2.0", "v1.1.0"), branches=("main", "staging")),
        ServiceWords(name="billing-api", tags=("v2.0.0",), branches=("main",)),
        ServiceWords(name="test", tags=("v1.0.0",)),
        ServiceWords(name="web.front_end", branches=("master",)),
    ),
    environments=("dev", "staging", "production"),
    aliases={"prod": "production"},
)
ACTIONS = ("deploy", "roll back", "restart", "stop", "test", "build", "status of", "ship", "take", "put", "revert")
SERVICES = ("greeter", "billing-api", "test", "web.front_end", "greter", "the greeter service", "it", "nobody")
VERSIONS = (
    "v1.2.0",
    "version 1.1.0",
    "branch main",
    "latest",
    "to v1.1.0",
    "to the previous version",
    "abc1234",
    "staging",
    "",
)
PLACES = ("to staging", "on production", "in prod", "stagging", "to dev then staging", "to staging and production", "")
ENDINGS = (
    "and run the smoke tests",
    "then test it",
    "using blue-green",
    ", using canary",
    "and watch it for 5 minutes",
    "then production",
    "and restart it",
    "if it works",
    "down",
    "live",
    "please",
    "",
)
STRANGE_CLAUSES = (
    "paint the fence",
    "delete the database",
    "call Bob",
    "if it rains",
    "not production",
    "drop greeter",
    "or else",
    "rm -rf",
)

quickly = examples(25, suppress_health_check=[HealthCheck.too_slow])


def phrases(*groups: tuple[str, ...]) -> st.SearchStrategy[str]:
    return st.tuples(*map(st.sampled_from, groups)).map(lambda parts: " ".join(filter(None, parts)))


SENTENCES = phrases(ACTIONS, SERVICES, VERSIONS, PLACES, ENDINGS, ENDINGS) | phrases(
    ACTIONS, VERSIONS, SERVICES, PLACES, ENDINGS
)
WORDS = sorted(
    lexicon().literals | {"greeter", "staging", "and", "then", "please", "v1.2.0", "to", "not", ",", "'s", '"', "5m", "->", "@"}
)
WORD_SALADS = st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join)


@quickly
@given(st.text(max_size=LONGEST_TEXT + 20) | WORD_SALADS | SENTENCES)
def test_any_text_is_answered_and_answered_alike_twice(text: str) -> None:
    assert parse(text, VOCABULARY) == parse(text, VOCABULARY)


@quickly
@given(SENTENCES | WORD_SALADS)
def test_every_character_of_what_was_understood_has_a_meaning(text: str) -> None:
    result = parse(text, VOCABULARY)
    marks = result.highlights if isinstance(result, Understood) else result.understood.highlights
    places = [place for mark in marks for place in range(mark.start, mark.end)]
    assert len(places) == len(set(places))
    assert all(0 <= mark.start < mark.end <= len(text) for mark in marks)
    if isinstance(result, Understood):
        silent = {place for place, sign in enumerate(text) if sign.isspace() or unicodedata.category(sign)[0] == "P"}
        assert set(range(len(text))) <= silent | set(places)


@quickly
@given(SENTENCES, st.sampled_from((" and ", ", ", "; ", " then ", " ", ". ")), st.sampled_from(STRANGE_CLAUSES), st.booleans())
def test_a_clause_outside_the_catalogue_is_never_dropped(sentence: str, joint: str, clause: str, is_first: bool) -> None:
    assert isinstance(parse(clause + joint + sentence if is_first else sentence + joint + clause, VOCABULARY), Question)


@quickly
@given(SENTENCES, st.text(st.characters(categories=("L", "N", "S")), min_size=3, max_size=12), st.integers(0, 20))
def test_a_word_that_means_nothing_is_never_dropped(sentence: str, word: str, place: int) -> None:
    # What is added has to be no word of the language, no name, nothing near to one, and of no form of a version.
    words, names = lexicon(), Names(VOCABULARY)
    assume(not words.literals.intersection(word.lower().split("-")) and not words.fillers.at([word.lower()], 0))
    assume(not names.is_version(word) and not names.known("service", word) and not names.known("environment", word))
    assume(not any(names.near(word).values()) and not word.isdigit())
    parts = sentence.split()
    extended = " ".join([*parts[:place], word, *parts[place:]])
    one, other = parse(sentence, VOCABULARY), parse(extended, VOCABULARY)
    assert isinstance(other, Question) or isinstance(one, Question) or without_marks(one) != without_marks(other)


@quickly
@given(SENTENCES)
def test_a_choice_in_its_place_leads_on(sentence: str) -> None:
    question = parse(sentence, VOCABULARY)
    if isinstance(question, Understood) or question.reason == "not_understood" or question.span is None:
        return
    for choice in question.choices:
        result = parse(answer(sentence, question, choice), VOCABULARY)
        assert isinstance(result, Understood) or (result.reason, result.text) != (question.reason, question.text)


@pytest.mark.parametrize(
    "sentence",
    [
        "deploy",
        "deploy it",
        "deploy the latest to staging and production",
        "deploy to production and staging, using canary",
        "put it live",
        "restart",
        "roll it back, then smoke test it",
        "take down on staging",
        "greeter",
        "run the tests",
        "v1.2.0 with smoke tests",
        "deploy greeter with smoke tests",
        "deploy billing-api v2.0.0 to staging then production using canary",
        "deploy greeter v1.1.0 to dev and watch it",
        "deploy web.front_end service, then test it",
    ],
)
def test_answering_with_what_is_offered_ends_in_a_plan(sentence: str) -> None:
    for _ in range(5):
        result = parse(sentence, VOCABULARY)
        if isinstance(result, Understood):
            return
        sentence = answer(sentence, result, result.choices[0])
    pytest.fail(sentence)


@quickly
@given(SENTENCES)
def test_names_in_quotation_marks_mean_the_same_or_are_asked_about(sentence: str) -> None:
    plain, quoted = parse(sentence, VOCABULARY), parse(sentence.replace("greeter", "“greeter”"), VOCABULARY)
    if isinstance(plain, Understood):
        assert isinstance(quoted, Understood)
        assert without_marks(plain) == without_marks(quoted)


@given(st.sampled_from(("greeter", "billing-api", "production", "worker1")), st.text("abcdeghnprtw0123456789-", max_size=14))
def test_a_correction_never_touches_digits_or_short_parts(known: str, said: str) -> None:
    if is_near(said, known):
        assert [sign for sign in said if sign.isdigit()] == [sign for sign in known if sign.isdigit()]
        assert said[0] == known[0]


def test_no_name_is_template_syntax() -> None:
    hostile = ("{environment}", "[a|b]", "<service>", "(x;y)", "a\\b", "..", "日本", "{service:x}", "-", "")
    vocabulary = Vocabulary(services=tuple(ServiceWords(name=name) for name in hostile), environments=("staging", "(a|b)"))
    for name in hostile:
        result: Any = parse(f'restart "{name}" on staging', vocabulary)
        assert isinstance(result, Question) or result.service == name


def without_marks(result: Understood) -> tuple[Any, ...]:
    return (result.action, result.service, result.version, result.environments, result.post_steps, result.constraints)
