"""Plain words without a model: one sentence becomes a typed intent, or a question. Pure, deterministic, never a guess."""

from collections.abc import Iterator, Sequence

import msgspec

from interlock.plans.words import doubts
from interlock.plans.words.clauses import Clause, Reading, read, split
from interlock.plans.words.doubts import Doubt
from interlock.plans.words.highlights import first_uncovered, highlights
from interlock.plans.words.lexicon import MEANINGFUL_SLOTS, VERSION_SLOTS, Lexicon, lexicon
from interlock.plans.words.meaning import Meaning
from interlock.plans.words.model import Question, Understood, Vocabulary
from interlock.plans.words.names import Names
from interlock.plans.words.rules import ACTIONS
from interlock.plans.words.tagging import grant, tag
from interlock.plans.words.tokens import first_unreadable, scan

LONGEST_TEXT = 500
_LONGEST_CLAUSE = 20
"""No template covers more words; only a longer beginning of a clause need not be tried."""

_QUALIFIERS = frozenset({"service", "environment", "version", "tag", "branch", "commit"})
_AFTER_ACTION = (frozenset({"onward", "steps", "constraints"}), ACTIONS, frozenset({"unclear"}))
_BEFORE_ACTION = (ACTIONS | {"constraints"}, frozenset({"unclear"}), frozenset({"onward", "steps"}))


def parse(text: str, vocabulary: Vocabulary) -> Understood | Question:
    """What ``text`` asks for, in the words of ``vocabulary``.

    `Understood` only where every word is covered by a meaning; else a `Question` about the first thing that is not. Typing
    errors in names of services and environments are corrected where exactly one name is near, and told. Raises for no text.
    """
    if (unreadable := _unreadable(text)) is not None:
        return unreadable
    return _Parser(text, vocabulary, lexicon()).parse()


def _unreadable(text: str) -> Question | None:
    if len(text) > LONGEST_TEXT:
        message = f"The request has {len(text)} characters; at most {LONGEST_TEXT} can be read. Can you say it shorter?"
        return Question(text=message, reason="not_understood")
    if (place := first_unreadable(text)) is not None:
        message = f"Character {place + 1} cannot be read (code point {ord(text[place])}). Can you leave it out?"
        return Question(text=message, reason="not_understood", span=(place, place + 1))
    if not any(map(str.isalnum, text)):
        return Question(
            text="What is to be done? For example: deploy a service at a version to an environment.", reason="missing"
        )
    return None


class _Parser:
    def __init__(self, text: str, vocabulary: Vocabulary, words: Lexicon) -> None:
        self._text, self._words = text, words
        self._names = Names(vocabulary)
        self._tagged = tag(scan(text), self._names, words)
        self._clauses, self._dangling = split(self._tagged)
        self._meaning = Meaning(text, self._names, words)

    def parse(self) -> Understood | Question:
        found = list(self._doubts())
        draft = self._meaning.draft()
        spans = highlights(self._tagged, self._meaning.readings, draft)
        if not found and (bare := first_uncovered(self._text, spans)) is not None:
            found.append(Doubt(f"I did not understand {doubts.quote(self._text[slice(*bare)])}.", "not_understood", bare))
        understood = msgspec.structs.replace(draft, highlights=spans)
        if not found:
            return msgspec.convert(understood, Understood, from_attributes=True)
        first = found[0]
        return Question(text=first.text, reason=first.reason, span=first.span, choices=first.choices, understood=understood)

    def _doubts(self) -> Iterator[Doubt]:
        """Everything doubtful: words that turn the meaning round, then unknown words, then clauses, then the whole."""
        clause_doubts = list(self._take_clauses())
        yield from (doubts.refused(word, self._words) for word in self._tagged if word.kind == "refused")
        yield from (self._unknown(clause) for clause in self._clauses if _has_unknown(clause))
        yield from clause_doubts
        if self._dangling is not None:
            yield doubts.dangling(self._dangling)
        try:
            self._meaning.finish()
        except Doubt as doubt:
            yield doubt

    def _take_clauses(self) -> Iterator[Doubt]:
        for clause in self._clauses:
            if all(word.kind == "word" for word in clause.words):
                try:
                    self._meaning.add(clause, self._choose(clause))
                except Doubt as doubt:
                    yield doubt

    def _choose(self, clause: Clause) -> Reading:
        action = self._meaning.action
        readings = [one for one in read(clause.words, self._words) if action in one.note.get("action", [action])]
        for kinds in _AFTER_ACTION if action else _BEFORE_ACTION:
            meanings = {_essence(one): one for one in readings if one.kind in kinds}
            meanings = {key: one for key, one in meanings.items() if not _repeats(one)} or meanings
            if len(meanings) > 1:
                raise self._ambiguous(clause, list(meanings.values()))
            if meanings:
                return meanings.popitem()[1]
        raise self._not_understood(clause)

    def _not_understood(self, clause: Clause) -> Doubt:
        services = {word.name("service"): word for word in clause.words if word.lists == frozenset({"service"})}
        if self._meaning.service:
            services = {self._meaning.service: clause.words[0], **services}
        if len(services) > 1:
            message = f"One request is about one service, and this names {doubts.all_of(list(services))}. Which one?"
            return Doubt(message, "ambiguous", list(services.values())[-1].span)
        if self._meaning.action is None and (verbs := self._fitting_verbs(clause)):
            return doubts.no_action(clause, verbs)
        lengths = range(min(len(clause.words) - 1, _LONGEST_CLAUSE), 0, -1)
        understood = next((length for length in lengths if read(clause.words[:length], self._words)), 0)
        return doubts.clause_not_understood(self._text, clause, understood)

    def _fitting_verbs(self, clause: Clause) -> list[str]:
        """The action words, one for each action, that would make a clause of these words."""
        verbs: dict[str, str] = {}
        for verb in self._words.plain_verbs:
            for reading in read((*tag(scan(verb), self._names, self._words), *clause.words), self._words):
                verbs.setdefault(reading.kind, verb)
        return list(dict.fromkeys(verbs.values()))

    def _ambiguous(self, clause: Clause, readings: Sequence[Reading]) -> Doubt:
        slots = [{filled.first: filled.slot for filled in one.filled if filled.slot in MEANINGFUL_SLOTS} for one in readings]
        place = next((n for n in range(len(clause.words)) if len({by_place.get(n) for by_place in slots}) > 1), 0)
        word = clause.words[place]
        name = doubts.spell(word.token.text, self._words)
        kinds = dict.fromkeys(slot for by_place in slots if (slot := by_place.get(place)) is not None)
        choices = [f"{kind} {name}" for kind in kinds if kind in _QUALIFIERS]
        hint = f"Is it {doubts.one_of(choices)}?" if choices else "Put names in quotation marks."
        return Doubt(f"{doubts.quote(word.token.text)} can mean several things here. {hint}", "ambiguous", word.span, choices)

    def _unknown(self, clause: Clause) -> Doubt:
        places = [place for place, word in enumerate(clause.words) if word.kind == "unknown"]
        word = clause.words[places[0]]
        if len(places) > 1 or word.token.kind == "sign" or word.is_ambiguous:
            return doubts.unknown(self._text, clause.words)
        match self._place_of(clause, places[0]):
            case "service":
                known = tuple(self._names.services)
                return doubts.unknown_name(word, "service", known, self._names.similar(word.token.text, known), self._words)
            case "environment":
                known = self._names.environments
                return doubts.unknown_name(word, "environment", known, self._names.similar(word.token.text, known), self._words)
            case "version":
                service = self._names.services.get(self._named_service(clause) or "")
                versions = (*service.tags, *service.branches) if service else ()
                return doubts.unknown_version(word, service, self._names.similar(word.token.text, versions), self._words)
            case _:
                return doubts.unknown(self._text, clause.words)

    def _place_of(self, clause: Clause, place: int) -> str | None:
        """The kind of name that would make sense in that place, if only one word is unknown."""
        for name_list in ("service", "environment", "version"):
            granted = grant(clause.words[place], place, name_list)
            readings = read((*clause.words[:place], granted, *clause.words[place + 1 :]), self._words)
            if any(one.kind != "unclear" and not _repeats(one) for one in readings):
                return name_list
        return None

    def _named_service(self, clause: Clause) -> str | None:
        named = [word.name("service") for word in clause.words if "service" in word.lists]
        return named[0] if len(named) == 1 else None


def _has_unknown(clause: Clause) -> bool:
    return any(word.kind == "unknown" for word in clause.words)


def _repeats(reading: Reading) -> bool:
    """Whether a clause names two of what there can be one of: a worse reading than one that does not."""
    slots = ["version" if filled.slot in VERSION_SLOTS else filled.slot for filled in reading.filled]
    return any(slots.count(slot) > 1 for slot in ("service", "environment", "version", "strategy"))


def _essence(reading: Reading) -> tuple[object, ...]:
    """What makes two readings differ in meaning: not which list the words of the action were found in."""
    return reading.kind, *(filled for filled in reading.filled if filled.slot in MEANINGFUL_SLOTS)
