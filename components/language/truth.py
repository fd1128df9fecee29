"""The true answer of a question in the style of the generator: how labels are audited without a judge.

A challenger writes its own questions, so there is no key to look up; but what it learned to write are expressions and
the generator's sentences, and those can be read back. Other questions have no known answer, and are counted as such.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from components.language.expressions import Expression, Number, Operation, evaluate, fill
from components.language.problems import ASKING
from components.language.word_problems import THEMES, Sentence, Theme

LONGEST = 2000
"""Characters of a question that are read; the generator writes a tenth of that."""
DEEPEST = 20
_TOKEN = re.compile(r"\d{1,9}|[-+*/%()]")


def true_answer(question: str) -> str | None:
    """An integer, or a fraction `a/b` in lowest terms; None if the question can't be read, or has no value."""
    if len(question) > LONGEST:
        return None
    expression = _asked(question) or _told(question)
    if expression is None:
        return None
    try:
        return str(evaluate(expression))
    except ZeroDivisionError:
        return None


def _asked(question: str) -> Expression | None:
    """The expression of `Compute 2*(3+4).` and the like."""
    for form in ASKING:
        before, after = form.split("{}")
        if question.startswith(before) and question.endswith(after):
            text = question[len(before) : len(question) - len(after)]
            if (found := _parse(text)) is not None:
                return found
    return None


def _parse(text: str) -> Expression | None:
    """Numbers, `+ - * / %` and brackets, as usual: products first, from left to right. No eval, bounded depth."""
    tokens = _TOKEN.findall(text)
    if "".join(tokens) != text:
        return None
    left = iter(tokens)
    try:
        found, rest = _sum(left, next(left, ""), 0)
    except ValueError:
        return None
    return found if rest == "" else None


def _sum(tokens: Iterator[str], token: str, depth: int) -> tuple[Expression, str]:
    """A sum that begins with `token`, and the token after it ('' at the end)."""
    value, token = _product(tokens, token, depth)
    while token in ("+", "-"):
        right, after = _product(tokens, next(tokens, ""), depth)
        value, token = Operation(token, value, right), after
    return value, token


def _product(tokens: Iterator[str], token: str, depth: int) -> tuple[Expression, str]:
    value, token = _factor(tokens, token, depth)
    while token in ("*", "/", "%"):
        right, after = _factor(tokens, next(tokens, ""), depth)
        value, token = Operation(token, value, right), after
    return value, token


def _factor(tokens: Iterator[str], token: str, depth: int) -> tuple[Expression, str]:
    if token.isdigit():
        return Number(int(token)), next(tokens, "")
    if token != "(" or depth == DEEPEST:
        raise ValueError("neither a number nor a bracket")
    value, token = _sum(tokens, next(tokens, ""), depth + 1)
    if token != ")":
        raise ValueError("a bracket does not close")
    return value, next(tokens, "")


def _told(question: str) -> Expression | None:
    """The expression of a story: an opening, any events and a question of one theme, in this order."""
    for theme in THEMES:
        if (found := _story(question, theme)) is not None:
            return found
    return None


def _story(text: str, theme: Theme) -> Expression | None:
    expression, parts = None, theme.openings
    while True:
        for sentence in parts:
            if found := _pattern(sentence.text).match(text):
                expression = _fill(sentence, expression, found)
                text = text[found.end() :].lstrip()
                break
        else:
            return None
        if not text:
            return expression if sentence in theme.questions else None
        parts = (*theme.questions, *theme.events)


def _fill(sentence: Sentence, so_far: Expression | None, found: re.Match[str]) -> Expression:
    numbers = {name: Number(int(value)) for name, value in found.groupdict().items() if name in "abc"}
    return fill(sentence.formula, numbers if so_far is None else {"x": so_far, **numbers})


@lru_cache(maxsize=256)
def _pattern(text: str) -> re.Pattern[str]:
    """A sentence with numbers for {a}, {b}, {c}, and words for people and things; a second {p} is the same person."""
    pattern = re.escape(text)
    for name in "abcpqt":
        what = r"\d{1,9}" if name in "abc" else "[A-Za-z]{1,20}"
        place = re.escape(f"{{{name}}}")
        pattern = pattern.replace(place, f"(?P<{name}>{what})", 1).replace(place, f"(?P={name})")
    return re.compile(pattern)
