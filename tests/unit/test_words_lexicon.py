"""The data file of plain words: what is added to it works, or is found out here."""

import pytest

from interlock.plans.words.clauses import NAME_LISTS
from interlock.plans.words.lexicon import lexicon
from interlock.plans.words.model import ServiceWords, Understood, Vocabulary
from interlock.plans.words.parser import parse
from interlock.plans.words.rules import ACTIONS

VOCABULARY = Vocabulary(services=(ServiceWords(name="greeter", tags=("v1.2.0",)),), environments=("staging",))
PHRASES = [(action, value.text_in.text) for action in sorted(ACTIONS) for value in lexicon().intents.slot_lists[action].values]


@pytest.mark.parametrize(("action", "phrase"), PHRASES)
def test_every_phrase_of_an_action_says_that_action(action: str, phrase: str) -> None:
    rest = {"deploy": "greeter v1.2.0 to staging", "rollback": "greeter to v1.2.0", "status": "of greeter"}.get(
        action, "greeter"
    )
    result = parse(f"{phrase} {rest}", VOCABULARY)
    assert isinstance(result, Understood), result
    assert (result.action, result.service) == (action, "greeter")


def test_templates_refer_to_lists_and_rules_that_exist() -> None:
    intents = lexicon().intents
    sentences = [sentence for intent in intents.intents.values() for block in intent.data for sentence in block.sentences]
    used = {name for sentence in sentences for name in sentence.list_names(intents.expansion_rules)}
    assert used <= intents.slot_lists.keys() | set(NAME_LISTS)
    assert intents.slot_lists.keys() <= used


def test_what_turns_the_meaning_round_is_no_word_of_a_template() -> None:
    words = lexicon()
    assert not words.refused.keys() & words.literals
    assert not any(words.fillers.at([word], 0) for word in words.refused)
