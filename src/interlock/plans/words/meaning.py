"""The readings of the clauses put together into one meaning, and what is doubtful or missing in it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from interlock.plans.words.clauses import Clause, Filled, Reading
from interlock.plans.words.doubts import Doubt, Span, all_of, one_of, quote, spell
from interlock.plans.words.lexicon import MEANINGFUL_SLOTS, VERSION_SLOTS, Lexicon
from interlock.plans.words.model import Action, Constraints, Correction, Draft, PostStep, Strategy, VersionWords
from interlock.plans.words.names import Names, resolve
from interlock.plans.words.rules import ACTIONS, LONGEST_WATCH_S, RULES, WITHOUT_ORDER, Part
from interlock.plans.words.tagging import Tagged


@dataclass(frozen=True, slots=True)
class SaidEnvironment:
    """An environment where it was said; ``follows`` says that "then" stood before it."""

    name: str
    word: Tagged
    follows: bool


class Meaning:
    """Takes the clauses one by one; `finish` completes it. Both raise `Doubt`; what was taken before it stays."""

    def __init__(self, text: str, names: Names, lexicon: Lexicon) -> None:
        self._text, self._names, self._lexicon = text, names, lexicon
        self.action: Action | None = None
        self.service: str | None = None
        self.readings: list[tuple[Clause, Reading]] = []
        self._action_spans: list[Span] = []
        self._version: VersionWords | None = None
        self._version_said: tuple[str, Tagged] | None = None
        self._environments: list[SaidEnvironment] = []
        self._only_environment: str | None = None
        self._source: str | None = None
        self._steps: list[PostStep] = []
        self._step_environments: list[SaidEnvironment] = []
        self._strategy: Strategy | None = None
        self._watch_s: int | None = None
        self._said: dict[Part, Span] = {}

    def add(self, clause: Clause, reading: Reading) -> None:
        """Take one clause more."""
        if reading.kind == "unclear":
            raise _unclear(clause, reading)
        if reading.kind in ACTIONS:
            self._begin(clause, reading)
        elif reading.kind != "constraints" and self.action is None:
            message = f"{self._quoted(clause.span)} stands before what is to be done. Say first what to do."
            raise Doubt(message, "not_understood", clause.span)
        self.readings.append((clause, reading))
        takers = self._takers()
        for filled in reading.filled:
            if filled.slot in takers:
                takers[filled.slot](clause, reading, filled)

    def finish(self) -> None:
        """Fill in what can only be one, and raise `Doubt` for the first thing that is missing or cannot be."""
        if self.action is None:
            verbs = "deploy, promote, roll back, drill, restart, stop, test, build or status"
            raise Doubt(f"What is to be done? Say {verbs}.", "missing")
        rule = RULES[self.action]
        for part, span in self._said.items():
            if part not in rule.takes:
                raise Doubt(f"{self._quoted(span)} does not go with {self.action}. Leave it out?", "not_understood", span)
        for part in rule.needs:
            self._need(part)
        self._resolve_version()
        self._check_step_environments()
        self._check_order()

    def draft(self) -> Draft:
        """What has been taken so far, without highlights."""
        return Draft(
            action=self.action,
            service=self.service,
            version=self._version,
            environments=self.environments,
            source=self._source,
            post_steps=tuple(self._steps),
            constraints=Constraints(strategy=self._strategy, watch_s=self._watch_s),
            corrections=self._corrections(),
        )

    @property
    def environments(self) -> tuple[str, ...]:
        """Those said, in their order; else the only one there is, once `finish` has found that it is needed."""
        said = tuple(environment.name for environment in self._environments)
        return said or ((self._only_environment,) if self._only_environment else ())

    def _corrections(self) -> tuple[Correction, ...]:
        read = [(clause.words[filled.first], filled.slot) for clause, reading in self.readings for filled in reading.filled]
        kinds = {"source": "environment"}
        said = [(word.correction, kinds.get(slot, slot) in dict(word.names)) for word, slot in read]
        return tuple(dict.fromkeys(correction for correction, is_name in said if correction and is_name))

    # Taking: one method for each slot of the templates.

    def _takers(self) -> dict[str, Callable[[Clause, Reading, Filled], None]]:
        return {
            **dict.fromkeys(VERSION_SLOTS, self._take_version),
            **dict.fromkeys(("smoke_tests", "tests"), self._take_step),
            "service": self._take_service,
            "environment": self._take_environment,
            "source": self._take_source,
            "strategy": self._take_strategy,
            "unit": self._take_watch,
        }

    def _begin(self, clause: Clause, reading: Reading) -> None:
        if self.action is not None:
            message = f"{self._quoted(clause.span)} is a second thing to do, and one request does one. Ask for it by itself."
            raise Doubt(message, "not_understood", clause.span)
        self.action = cast("Action", reading.kind)
        self._action_spans = [clause.span_of(filled) for filled in reading.filled if filled.slot not in MEANINGFUL_SLOTS]

    def _take_service(self, clause: Clause, _: Reading, filled: Filled) -> None:
        word = clause.words[filled.first]
        name = word.name("service")
        if self.service not in (None, name):
            message = f"One request is about one service, and this names {all_of([str(self.service), name])}. Which one?"
            raise Doubt(message, "ambiguous", word.span)
        self.service = name

    def _take_version(self, clause: Clause, _: Reading, filled: Filled) -> None:
        word = clause.words[filled.last]
        if filled.slot == "version" and "environment" in word.lists:
            choices = [f"{kind} {spell(word.token.text, self._lexicon)}" for kind in ("branch", "tag")]
            raise Doubt(
                f"{self._quoted(word.span)} is an environment too. Is it {one_of(choices)}?", "ambiguous", word.span, choices
            )
        if self._version_said is not None:
            named = all_of([self._version_said[1].token.text, word.token.text])
            raise Doubt(f"One request is about one version, and this names {named}. Which one?", "ambiguous", word.span)
        self._version_said = (filled.slot, word)

    def _take_environment(self, clause: Clause, reading: Reading, filled: Filled) -> None:
        word = clause.words[filled.first]
        said = SaidEnvironment(word.name("environment"), word, clause.follows)
        if reading.kind == "steps":
            self._step_environments.append(said)
            return
        if reading.kind in ACTIONS and self._environments:
            raise Doubt(f"Two environments are named; is it {self._quoted(word.span)}?", "ambiguous", word.span)
        if said.name in (*self.environments, self._source):
            raise Doubt(f"{self._quoted(word.span)} is named twice. Where else?", "ambiguous", word.span)
        if between := self._said_behind_environments():
            message = f"{self._quoted(between)} holds for every environment. Say it after {self._quoted(word.span)}."
            raise Doubt(message, "ambiguous", between)
        self._environments.append(said)
        self._said.setdefault("environment", word.span)

    def _take_source(self, clause: Clause, _: Reading, filled: Filled) -> None:
        word = clause.words[filled.first]
        self._source = word.name("environment")
        if any(said.name == self._source for said in self._environments):
            raise Doubt(f"{self._quoted(word.span)} is where it goes. Where does it come from?", "ambiguous", word.span)

    def _said_behind_environments(self) -> Span | None:
        """Where something stands that is to be done or heeded after the environments named so far."""
        parts: tuple[Part, ...] = ("strategy", "watch", "smoke_tests", "tests")
        spans = [self._said[part] for part in parts if part in self._said]
        return next((span for span in spans if self._environments and span > self._environments[0].word.span), None)

    def _take_strategy(self, clause: Clause, reading: Reading, filled: Filled) -> None:
        span = clause.span_of(filled)
        if self._strategy not in (None, filled.value):
            raise Doubt(f"Is it to be {one_of([str(self._strategy), str(filled.value)])}?", "ambiguous", span)
        if reading.kind == "onward" and clause.follows:
            start, end = self._environments[-1].word.span
            message = f"Is {quote(str(filled.value))} for every environment? A comma before it says so."
            raise Doubt(message, "ambiguous", (start, span[1]), [f"{self._text[start:end]}, using {filled.value}"])
        self._strategy = cast("Strategy", filled.value)
        self._said["strategy"] = span

    def _take_step(self, clause: Clause, reading: Reading, filled: Filled) -> None:
        step = cast("PostStep", filled.slot)
        if step in self._steps:
            raise Doubt(f"{self._quoted(clause.span)} was said before. Once more?", "ambiguous", clause.span)
        self._steps.append(step)
        self._said[step] = clause.span if reading.kind == "steps" else clause.span_of(filled)

    def _take_watch(self, clause: Clause, reading: Reading, filled: Filled) -> None:
        watch_s = int(filled.value) * self._count(clause, reading)
        if self._watch_s not in (None, watch_s):
            raise Doubt("Two times to watch are named. How long is it to be?", "ambiguous", clause.span)
        if not 0 < watch_s <= LONGEST_WATCH_S:
            raise Doubt("A release is watched for 1 second to 24 hours. How long is it to be?", "not_understood", clause.span)
        self._watch_s = watch_s
        self._said["watch"] = clause.span

    def _count(self, clause: Clause, reading: Reading) -> int:
        number = next((filled for filled in reading.filled if filled.slot == "number"), None)
        if number is None:
            return 1
        return number.value if isinstance(number.value, int) else int(clause.words[number.first].token.text)

    def _quoted(self, span: Span) -> str:
        return quote(self._text[slice(*span)])

    # Finishing: what was not said, and what does not go together.

    def _need(self, part: Part) -> None:
        if part == "service" and self.service is None:
            self.service = self._only("service", tuple(self._names.services), self._place_of_service(), "")
        elif part == "version" and self._version_said is None:
            choices = self._version_choices()
            raise Doubt(
                f"Which version of {quote(str(self.service))}? {one_of(choices)}?", "missing", self._behind_action(), choices
            )
        elif part == "environment" and not self._environments:
            preposition = "to " if self.action in {"deploy", "promote"} else "on "
            names = tuple(name for name in self._names.environments if name != self._source)
            self._only_environment = self._only("environment", names, self._place_of_environment(), preposition)

    def _only(self, kind: str, names: tuple[str, ...], place: Span, preposition: str) -> str:
        if len(names) == 1:
            return names[0]
        message = f"Which {kind}? {one_of(names)}?" if names else f"Which {kind}? None is known yet."
        raise Doubt(message, "missing", place, (preposition + spell(name, self._lexicon) for name in names))

    def _version_choices(self) -> tuple[str, ...]:
        service = self._names.services[str(self.service)]
        tags = tuple(spell(tag, self._lexicon) for tag in service.tags[:5])
        branches = tuple(f"branch {spell(branch, self._lexicon)}" for branch in service.branches[:3])
        return (*(tags or branches), "latest")

    def _behind_action(self) -> Span:
        end = self._action_spans[0][1]
        return end, end

    def _place_of_service(self) -> Span:
        """The word that stands for a service that was never named, or the place behind the action."""
        clause, reading = self._action_reading()
        pronouns = [clause.span_of(filled) for filled in reading.filled if filled.slot == "pronoun"]
        return pronouns[0] if pronouns else self._behind_action()

    def _action_reading(self) -> tuple[Clause, Reading]:
        return next(one for one in self.readings if one[1].kind in ACTIONS)

    def _place_of_environment(self) -> Span:
        """The end of the action's clause, or the place behind its action words where more than names follows these."""
        clause, reading = self._action_reading()
        is_plain = all(filled.slot not in ("smoke_tests", "tests") for filled in reading.filled)
        end = clause.span[1] if is_plain else self._action_spans[-1][1]
        return end, end

    def _resolve_version(self) -> None:
        if self._version_said is None:
            return
        slot, word = self._version_said
        found = resolve(slot, word.token.text, self._names.services.get(self.service or ""))
        if len(found) > 1:
            choices = [f"{version.kind} {spell(version.name, self._lexicon)}" for version in found]
            raise Doubt(
                f"{self._quoted(word.span)} is several versions. Is it {one_of(choices)}?", "ambiguous", word.span, choices
            )
        self._version = found[0]

    def _check_step_environments(self) -> None:
        for said in self._step_environments:
            if self.environments != (said.name,):
                message = f"What follows is done wherever the {self.action} is, not only on {self._quoted(said.word.span)}."
                raise Doubt(f"{message} Leave the place out?", "not_understood", said.word.span)

    def _check_order(self) -> None:
        """Every two neighbours are joined by "then", or stand in promotion order anyway."""
        rank = self._names.environments.index
        pairs = zip(self._environments, self._environments[1:], strict=False)
        if self.action in WITHOUT_ORDER or all(two.follows or rank(one.name) < rank(two.name) for one, two in pairs):
            return
        promoted = sorted(self.environments, key=rank)
        choices = [", then ".join(spell(name, self._lexicon) for name in order) for order in (promoted, self.environments)]
        span = self._environments[0].word.token.start, self._environments[-1].word.token.end
        raise Doubt("In which order? Say “then” between the environments.", "ambiguous", span, choices)


def _unclear(clause: Clause, reading: Reading) -> Doubt:
    choices = reading.note.get("choices", ())
    place = (clause.span[1], clause.span[1]) if choices else clause.span
    return Doubt(reading.note["question"], reading.note["reason"], place, choices)
