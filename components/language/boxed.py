r"""What a model put into \boxed{…}, and the canonical form of the answers that need no computer algebra.

A canonical form stands for one value: two answers that have one are equal if and only if the forms are the same text.
So the rules here say what counts as equal:

- A number is the rational that is written: 0.50, 1/2, \frac12 and 50\% are 1/2. Nothing is rounded: 0.333 is not 1/3,
  nor is 0.333333, and 50\% is not 50. With a tolerance, a = b and b = c would not make a = c.
- A unit is dropped where it can't be anything else: in \text{…} (or \mathrm and the like), or as a name of four letters
  or more after a number. In `5m` the m may be a variable, so it stays. The question names the unit: 5\text{ cm} is 5.
- Words are equal to the same words, in any case; `no solution` is never a product of variables.
"""

from __future__ import annotations

import re
from collections import deque
from fractions import Fraction

LONGEST_CANONICAL = 200
"""characters; a longer answer has no canonical form, so no number of absurd size is ever made here"""

_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_WRAPPERS = 8  # unwrapped at most; nobody honest nests more


def boxed_answer(text: str) -> str | None:
    r"""The content of the last \boxed{…} or \fbox{…}, stripped; None if there is none, it is blank or never closed.

    The last one to open decides, also within another box, and also when the text ends before it closes: an earlier
    box is not the final answer. Braces are matched, escaped ones (`\{`) are text. Time is linear in the text.
    """
    last = deque(_BOX.finditer(text), maxlen=1)
    if not last:
        return None
    start = last[0].end()
    end = _closing(text, start)
    return None if end is None else text[start:end].strip() or None


def depth(text: str) -> int:
    """The deepest nesting of braces, brackets and parentheses, matched or not."""
    level = deepest = 0
    for character in text:
        if character in "([{":
            level += 1
            deepest = max(deepest, level)
        elif character in ")]}":
            level -= 1
    return deepest


def _closing(text: str, start: int) -> int | None:
    """Where the brace closes that opened just before `start`."""
    level = 1
    for token in _BRACE.finditer(text, start):
        level += {"{": 1, "}": -1}.get(token[0], 0)
        if level == 0:
            return token.start()
    return None


# ---- from an answer to its bare text ---------------------------------------------------------------------------------

_TEXT = r"\\(?:text|textrm|textbf|textit|textnormal|mathrm|mathbf|mathit|mathsf|mbox)"
_WRAPPER = re.compile(rf"(?:{_TEXT}|\\boxed|\\fbox|\\displaystyle)?\s*\{{")
_DELIMITERS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"))
_THOUSANDS = re.compile(r"(?<=[0-9])(?:\{,\}|,\\!|\\,)(?=[0-9]{3}(?![0-9]))")
_SPACES = re.compile(r"(?:(?<!\\)\\(?:[,;:! ]|q?quad(?![a-zA-Z]))|[\s~])+")
_TYPED = str.maketrans(
    {"−": "-", "–": "-", "×": r"\times ", "·": r"\cdot ", "÷": "/", "°": r"^\circ ", "π": r"\pi ", "∞": r"\infty ",
     "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "∪": r"\cup "}
)  # fmt: skip

_SHORT_UNITS = (
    r"[kcm]?m|k?g|mg|lb|oz|in|ft|yd|mi|s|sec|m?L|ml|h|hr|min|mph|cm\s?/\s?s|k?m\s?/\s?[sh]|deg|sq|pts?|rad|"
    r"USD|[kM]?W|[kM]?Hz|N|J|V|A|Pa|mol|K"
)
_LONG_UNITS = (
    r"(?:(?:square|cubic|sq\.?|cu\.?)\s)?(?:(?:milli|centi|kilo)?met(?:er|re)|(?:kilo|milli)?gram|inche?|foot|feet|yard|"
    r"mile|pound|ounce|second|minute|hour|day|week|month|year|degree|radian|dollar|cent|euro|point|unit|lit(?:er|re)|"
    r"gallon|acre)s?(?:\sper\s[a-z]+)?"
)
_UNIT = re.compile(
    rf"(?<=\S)\s*{_TEXT}\s*\{{\s*(?:{_SHORT_UNITS}|{_LONG_UNITS})\.?\s*\}}(?:\s*\^\s*\{{?[23]\}}?)?$"
    rf"|(?<=[0-9}})])\s*(?:{_LONG_UNITS})$"
    r"|(?<=[0-9}])\s*\^\s*(?:\\circ|\{\s*\\circ\s*\})$"
)


def bare(answer: str) -> str:
    r"""`answer` without what does not change its value: $…$, \text{…} around all of it, spacing, a unit, a full stop.

    For short texts only: the caller bounds the length.
    """
    text = _SPACES.sub(" ", _THOUSANDS.sub(",", answer.translate(_TYPED))).strip()
    for _ in range(_WRAPPERS):
        inner = _unwrapped(text)
        if inner == text:
            break
        text = inner
    return _UNIT.sub("", text) or text


def _unwrapped(text: str) -> str:
    """`text` without one layer around it."""
    for left, right in _DELIMITERS:
        if text.startswith(left) and text.endswith(right) and len(text) > len(left) + len(right):
            inner = text[len(left) : -len(right)]
            if left not in inner and right not in inner:
                return inner.strip()
    opening = _WRAPPER.match(text)
    if opening and _closing(text, opening.end()) == len(text) - 1:
        return text[opening.end() : -1].strip()
    if text.endswith(".") and not text.endswith(".."):
        return text[:-1].rstrip()
    return text.removeprefix(r"\$").removeprefix("$" if text.count("$") == 1 else "").lstrip()


# ---- the canonical form ----------------------------------------------------------------------------------------------

_NUMBER = r"(?:[1-9][0-9]{0,2}(?:,[0-9]{3})+(?:\.[0-9]*)?|[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
_SIGNED = rf"[+-]?\s?{_NUMBER}"
_DECIMAL = re.compile(
    rf"({_NUMBER})(?:(?:[eE]|\s?(?:\\times|\\cdot|\*)\s?10\s?\^\s?)(?:\{{\s?)?([+-]?[0-9]{{1,2}})(?:\s?\}})?)?"
)
_FRACTION = re.compile(
    rf"({_NUMBER})\s?/\s?({_NUMBER})"
    rf"|\\[dtc]?frac\s?\{{\s?({_SIGNED})\s?\}}\s?\{{\s?({_SIGNED})\s?\}}"
    r"|\\[dtc]?frac\s?([0-9])\s?([0-9])"
)
_MIXED = re.compile(
    r"([0-9]+)(?:\s?\\[dtc]?frac\s?\{([0-9]+)\}\s?\{([0-9]+)\}|\s?\\[dtc]?frac([0-9])([0-9])|\s([0-9]+)/([0-9]+))"
)
_PERCENT = re.compile(r"\s?(?:\\?%|\bpercent)$")
_WORDS = re.compile(r"yes|no|[A-Za-z]{4,}|[A-Za-z]{2,}(?: [A-Za-z]{2,})+")


def canonical(answer: str) -> str | None:
    r"""The one text of the answer's value: `5`, `-3/2` (lowest terms) or `\text{no solution}`; None when not sure.

    Two answers with canonical forms are equal if and only if these are the same. A form is its own canonical form.
    """
    if len(answer) > LONGEST_CANONICAL:
        return None
    if answer.isascii() and answer.isdigit():
        return answer.lstrip("0") or "0"
    text = bare(answer)
    value = _rational(text)
    if value is not None:
        form = str(value)
        return form if len(form) <= LONGEST_CANONICAL else None
    words = text.lower()
    if _WORDS.fullmatch(words) and words != "infinity":
        return rf"\text{{{words}}}"
    return None


def _rational(text: str) -> Fraction | None:
    """The rational number that `text` writes."""
    if text[:1] == "(" and text[-1:] == ")" and "," not in text:  # with a comma it may be a pair
        text = text[1:-1].strip()
    unsigned = _PERCENT.sub("", text)
    percent = unsigned != text
    negative = unsigned[:1] == "-"
    if negative or unsigned[:1] == "+":
        unsigned = unsigned[1:].lstrip()
    value = _unsigned(unsigned)
    if value is not None and percent:
        value /= 100
    return -value if value is not None and negative else value


def _unsigned(text: str) -> Fraction | None:
    if found := _DECIMAL.fullmatch(text):
        return _plain(found[1]) * (Fraction(10) ** int(found[2]) if found[2] else 1)
    if found := _FRACTION.fullmatch(text):
        above, below = (_plain(part) for part in found.groups() if part is not None)
        return above / below if below else None
    if found := _MIXED.fullmatch(text):
        whole, above, below = (_plain(part) for part in found.groups() if part is not None)
        return whole + above / below if above < below else None
    return None


def _plain(number: str) -> Fraction:
    digits = number.replace(",", "").replace(" ", "").rstrip(".")
    return Fraction(int(digits) if digits.lstrip("+-").isdigit() else digits)
