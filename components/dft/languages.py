"""In which language a text is written, as far as its function words tell: enough to keep another one out.

Function words are the most frequent words of every language, and few of them mean anything in another (the idea is
Ingle's, 1976; Cavnar and Trenkle's n-grams, 1994, generalise it). A text of symbols has none, and is of any language.
The languages are those of Latin script; others are told by their script.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

Language = Literal["English", "French", "German", "Spanish", "Portuguese", "Italian", "Dutch"]
LEAST_WORDS = 3
"""Fewer may be names, or quoted"""
PREVAIL = 2
"""Words of another language to each of an expected one, beyond which a text is the other's"""

_WRITTEN: dict[Language, str] = {
    "English": "the of and is are was to what how that for with we this which if find then there by from each have has "
    "it be so not can let at or an all when many much",
    "French": "le la les un une des est sont et que qui dans pour avec nous sur aux ce cette donc quel quelle combien "
    "si ou il elle chaque alors pas plus leur",
    "German": "der das und ist sind ein eine einen nicht mit von wie sich dem für auf wir wird werden dass zu jeder "
    "also wenn viele dann ergibt hat haben",
    "Spanish": "el la los las un una que es del para con como se cuántos cuántas cuál cada si entonces su por lo más "
    "tiene hay son esta este",
    "Portuguese": "os um uma que não para com em dos das são ao quantos quantas qual cada se então seu por mais tem "
    "você isso está pela pelo",
    "Italian": "il la le lo gli un una che di con non della dei delle degli sono del nel quanti quante quale ogni se "
    "allora suo più ha questo questa alla",
    "Dutch": "het een van en dat de niet op zijn voor wordt hoeveel elke dus als we er aan bij heeft naar ook",
}
_WORDS = {language: frozenset(words.split()) for language, words in _WRITTEN.items()}
_WORD = re.compile(r"\\[a-z]+|[^\W\d_]{2,}")
"""LaTeX's commands (\\le, \\sin) are no words"""


def foreign(text: str, expected: Iterable[Language]) -> tuple[Language, int, int] | None:
    """The language that `text` is in, if that is none of `expected`; and how many words say so, and how many not."""
    words = _WORD.findall(text.casefold())
    known = {language: sum(word in own for word in words) for language, own in _WORDS.items()}
    ours = max(known[language] for language in expected)
    other = max(known, key=lambda language: known[language])
    if other not in expected and known[other] >= LEAST_WORDS and known[other] > PREVAIL * ours:
        return other, known[other], ours
    return None
