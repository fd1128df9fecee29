"""Word problems: stories of an opening, events and a question, each sentence with the formula of what it does.

A story's expression grows with its sentences: `X` is the value so far, `A`, `B` and `C` are the numbers that a sentence
names. In the text, `p` is the person whom the story is about, `q` another one, and `t` the things that are counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from components.language.expressions import Expression, Number, Slot, evaluate, fill, size
from components.language.levels import Level, fits

X, A, B, C = Slot("x"), Slot("a"), Slot("b"), Slot("c")
TWO = Number(2)

TRIES = 20
"""draws of a sentence's numbers before its story is given up"""


@dataclass(frozen=True)
class Sentence:
    """A template and its effect."""

    text: str
    formula: Expression
    moves: bool = False
    """the story goes on with `q`"""
    fraction: bool = False
    """asks for a share, below 1"""


@dataclass(frozen=True)
class Theme:
    """Sentences that go together in any order of events."""

    name: str
    openings: tuple[Sentence, ...]
    events: tuple[Sentence, ...]
    questions: tuple[Sentence, ...]


@dataclass(frozen=True)
class Story:
    """A drawn word problem. `key` is what stays when names and things are exchanged: its sentences and numbers."""

    question: str
    expression: Expression
    theme: str
    key: str


NAMES = (
    "Ada",
    "Ben",
    "Cleo",
    "Dan",
    "Eva",
    "Finn",
    "Gus",
    "Hana",
    "Ivo",
    "Jan",
    "Kim",
    "Leo",
    "Mia",
    "Noa",
    "Omar",
    "Pia",
)
THINGS = ("apples", "balls", "books", "cards", "cups", "eggs", "keys", "nuts", "pens", "plums", "shells", "stamps")

THEMES = (
    Theme(
        "things",
        openings=(
            Sentence("{p} has {a} {t}.", A),
            Sentence("{p} has {a} bags of {b} {t}.", A * B),
            Sentence("{p} has {a} red and {b} blue {t}.", A + B),
            Sentence("{p} had {a} {t} and lost {b}.", A - B),
        ),
        events=(
            Sentence("{p} gets {a} more.", X + A),
            Sentence("{q} gives {p} {a} more.", X + A),
            Sentence("{p} gives {a} to {q}.", X - A),
            Sentence("{p} buys {a} boxes of {b} {t}.", X + A * B),
            Sentence("{p} gives {b} to each of {a} friends.", X - A * B),
            Sentence("{p} sells half of the {t}.", X / TWO),
            Sentence("{q} has {a} times as many as {p}.", X * A, moves=True),
            Sentence("{q} has {a} fewer than {p}.", X - A, moves=True),
        ),
        questions=(
            Sentence("How many {t} does {p} have?", X),
            Sentence("How many are left when {a} are lost?", X - A),
            Sentence("{a} friends share them equally. How many does each get?", X / A),
            Sentence("They are packed in boxes of {a}. How many are left over?", X % A),
            Sentence("{q} has {a} more. How many {t} do both have?", X * TWO + A),
            Sentence("{a} of them are old. What fraction is that?", A / X, fraction=True),
        ),
    ),
    Theme(
        "money",
        openings=(
            Sentence("{p} has {a} coins.", A),
            Sentence("{p} works {a} hours for {b} coins an hour.", A * B),
            Sentence("{p} buys {b} {t} at {c} coins each and pays with {a} coins.", A - B * C),
            Sentence("{p} gets {a} coins from {q} and spends {b}.", A - B),
        ),
        events=(
            Sentence("{p} earns {a} coins.", X + A),
            Sentence("{p} spends {a} coins.", X - A),
            Sentence("{p} saves {a} coins a day for {b} days.", X + A * B),
            Sentence("{p} buys {a} {t} at {b} coins each.", X - A * B),
            Sentence("{p} gives half of the coins to {q}.", X / TWO),
            Sentence("{q} has {a} coins more than {p}.", X + A, moves=True),
        ),
        questions=(
            Sentence("How many coins does {p} have?", X),
            Sentence("How many {t} at {a} coins each can {p} buy?", X / A),
            Sentence("{p} buys as many {t} at {a} coins as possible. How much change is left?", X % A),
            Sentence("A bike costs {a} coins. How many are missing?", A - X),
            Sentence("{a} children share the coins. How many does each get?", X / A),
        ),
    ),
    Theme(
        "ages",
        openings=(
            Sentence("{p} is {a} years old.", A),
            Sentence("{p} was {a} years old {b} years ago.", A + B),
            Sentence("{p} will be {a} years old in {b} years.", A - B),
        ),
        events=(
            Sentence("{q} is {a} years older than {p}.", X + A, moves=True),
            Sentence("{q} is {a} years younger than {p}.", X - A, moves=True),
            Sentence("{q} is {a} times as old as {p}.", X * A, moves=True),
            Sentence("{q} is half as old as {p}.", X / TWO, moves=True),
        ),
        questions=(
            Sentence("How old is {p}?", X),
            Sentence("How old will {p} be in {a} years?", X + A),
            Sentence("How old was {p} {a} years ago?", X - A),
            Sentence("{q} is {a} years older. How old are both together?", X * TWO + A),
        ),
    ),
    Theme(
        "ways",
        openings=(
            Sentence("{p} rides {a} km.", A),
            Sentence("{p} rides {a} km an hour for {b} hours.", A * B),
            Sentence("{p} rides {a} km in {b} hours. At this speed {p} rides {c} hours.", A / B * C),
        ),
        events=(
            Sentence("Then {p} goes {a} km on.", X + A),
            Sentence("Then {p} goes {a} km back.", X - A),
            Sentence("Then {p} walks on for {b} hours at {a} km an hour.", X + A * B),
            Sentence("{q} goes {a} times as far.", X * A, moves=True),
            Sentence("{q} goes half as far.", X / TWO, moves=True),
        ),
        questions=(
            Sentence("How far from home is {p}?", X),
            Sentence("The lake is {a} km from home. How far is it still?", A - X),
            Sentence("At {a} km an hour, how many hours does the way back take?", X / A),
            Sentence("{p} takes {a} hours. How many km an hour is that?", X / A),
        ),
    ),
    Theme(
        "works",
        openings=(
            Sentence("A shop has {a} {t}.", A),
            Sentence("A machine makes {a} {t} in {b} hours. It runs {c} hours.", A / B * C),
            Sentence("{a} workers make {b} {t} each.", A * B),
        ),
        events=(
            Sentence("{a} of the {t} break.", X - A),
            Sentence("A van brings {a} boxes of {b} {t}.", X + A * B),
            Sentence("{p} buys {a} boxes of {b}.", X - A * B),
            Sentence("A day later there are {a} times as many.", X * A),
            Sentence("Half of the {t} are sold.", X / TWO),
        ),
        questions=(
            Sentence("How many {t} are there?", X),
            Sentence("They are put on {a} shelves. How many are on each?", X / A),
            Sentence("Boxes hold {a} {t} each. How many stay outside?", X % A),
            Sentence("{a} of them are sold. What fraction is that?", A / X, fraction=True),
            Sentence("How many are missing to {a}?", A - X),
        ),
    ),
)


def draw_story(random: Random, level: Level) -> Story:
    """A story at `level`. Draws again until the numbers fit, which takes a few tries."""
    while True:
        theme = random.choice(THEMES)
        sentences = _plot(random, theme, random.choice(level.operations))
        story = _tell(random, theme.name, sentences, level)
        if story is not None:
            return story


def _plot(random: Random, theme: Theme, operations: int) -> list[Sentence]:
    """Opening, events and question with `operations` operations together."""
    while True:
        sentences = [random.choice(theme.openings), random.choice(theme.questions)]
        left = operations - sum(size(s.formula) for s in sentences)
        while left > 0:
            event = random.choice(theme.events)
            sentences.insert(-1, event)
            left -= size(event.formula)
        if left == 0:
            return sentences


def _tell(random: Random, theme: str, sentences: list[Sentence], level: Level) -> Story | None:
    """Fill in names, things and numbers; None if a sentence finds no numbers that fit the level."""
    people, things = random.sample(NAMES, 1 + len(sentences)), random.choice(THINGS)
    told, key = [], [theme]
    expression: Expression = Number(0)
    value = Number(0)
    for i, sentence in enumerate(sentences):
        numbers = _numbers(random, sentence, value, level)
        if numbers is None:
            return None
        told.append(sentence.text.format(p=people[0], q=people[i + 1], t=things, **numbers))
        key.append(f"{sentence.text} {' '.join(map(str, numbers.values()))}")
        expression = fill(sentence.formula, {"x": expression, **numbers})
        value = evaluate(fill(sentence.formula, {"x": value, **numbers}))
        if sentence.moves:
            people[0] = people[i + 1]
    return Story(" ".join(told), expression, theme, "|".join(key))


def _numbers(random: Random, sentence: Sentence, so_far: Number, level: Level) -> dict[str, Number] | None:
    """Numbers for a sentence of a story whose value is `so_far`; None if a few tries find none that fit the level."""
    names = [name for name in "abc" if f"{{{name}}}" in sentence.text]
    for _ in range(TRIES):
        numbers = {name: Number(random.randint(2, level.largest_number)) for name in names}
        if fits(fill(sentence.formula, {"x": so_far, **numbers}), level, sentence.fraction):
            return numbers
    return None
