"""What a chat must be to be trained on: every fault is found and named, and good rows are left alone."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from collections.abc import Callable
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from components.dft import checks
from components.dft.checks import CheckConfig, Checked, check
from components.dft.languages import Language, foreign
from components.dft.reading import Row, read_chats
from components.language.config import ProblemsConfig
from components.language.problems import generate
from components.store.errors import OrreryError
from data_contracts.catalogue import catalogue
from data_contracts.chat import ChatExample, Message
from data_contracts.chat_reasons import CHAT_REASONS

from .test_reading import BAD_LINES

TEMPLATE = (
    "{% for m in messages %}{% if m.content == 'unspeakable' %}{{ raise_exception('no') }}{% endif %}"
    "<|im_start|>{{ m.role }} {{ '' if 'forget' in m.content and not loop.last else m.content }}<|im_end|>"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant {% endif %}"
)
WORDS = ["river", "stone", "winter", "garden", "letter", "market", "bridge", "candle", "forest", "engine", "window"]
QUESTION = (
    "A farmer drives 34 sheep and 12 goats over the old bridge to the market in the next town. He sells half of the "
    "sheep before noon and 5 goats in the evening, then walks home with the rest. How many animals does he bring home?"
)
SHORT = "A baker sells 14 loaves in the morning and 9 in the evening. How many is that?"
ANSWER = (
    "He keeps 17 of his sheep, since half of them are sold, and 7 of his goats. Together that makes 17+7=24 animals "
    "which walk home with him. The answer is \\boxed{24}."
)


def tokenizer() -> PreTrainedTokenizerFast:
    """A token per word, all of them unknown: the checks only count."""
    words = Tokenizer(models.WordLevel({"<unk>": 0}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    return PreTrainedTokenizerFast(tokenizer_object=words, chat_template=TEMPLATE, name_or_path="words")


TOKENIZER = tokenizer()


def chat(*turns: str, answer: str = "") -> ChatExample:
    """Turns of user and assistant, or of whom a turn names: "system: be brief"."""
    messages = []
    for position, turn in enumerate(turns):
        named = re.match("(system|user|assistant): ", turn)
        role = named[1] if named else ("user", "assistant")[position % 2]
        messages.append(Message(role=role, content=turn[named.end() :] if named else turn))  # type: ignore[arg-type]
    return ChatExample(messages=tuple(messages), answer=answer)


def rows(*examples: ChatExample, name: str = "train") -> list[Row]:
    return [Row(f"{name}:{number}", example) for number, example in enumerate(examples, 1)]


def judged(train: list[Row], held_out: list[Row] | None = None, **config: Any) -> Checked:
    return check(train, CheckConfig(**config), held_out or [], TOKENIZER)


def found(checked: Checked) -> list[str]:
    """Codes in the order of the rows."""
    every = sorted([*checked.accepted, *checked.quarantined], key=lambda row: int(row.where.rsplit(":")[-1]))
    return [finding.code for row in every for finding in row.findings]


CLEAN = [
    chat(QUESTION, ANSWER, answer="24"),
    chat(SHORT, "14+9=23, so \\boxed{23}.", answer="23"),
    chat("system: Be brief.", "user: Tab\tand\r\nline, naïve café, 2² ≤ 5, α and ∑", "assistant: Yes, μ > 0 – “fine”."),
    chat("Name a river.", "The Danube.", "Another?", "The Rhine."),
    chat("Solve x > 1 for x.", "x is more than 1."),
    chat("Solve x < 1 for x.", "x is less than 1."),
    chat("2+2?", "\\boxed{\\dfrac{8}{2}}", answer="$\\frac{8} {2}$"),
]
ELSEWHERE = [
    Row("held-out:1", chat("How many weeks does a year have, if a week has 7 days and the year 364?")),
    Row("held-out:2", chat("A shop sells 41 lamps and buys 12 more. How many lamps does it have now, if it had 90?")),
]

CASES: list[tuple[str, str, list[ChatExample]]] = [
    ("language.role-order", "two questions at once", [chat("2+2?", "user: 3+3?", "assistant: 4")]),
    ("language.role-order", "a late system message", [chat("2+2?", "system: Be brief.", "assistant: 4")]),
    ("language.role-order", "the assistant begins", [chat("assistant: Hello.", "user: Hi", "assistant: Bye")]),
    ("language.no-answer", "a question only", [chat("2+2?")]),
    ("language.no-answer", "a system message only", [chat("system: Be brief.")]),
    ("language.empty-message", "no answer", [chat("2+2?", "")]),
    ("language.empty-message", "a blank question", [chat(" \n", "4")]),
    ("language.damaged-text", "a form feed for \\f", [chat("2+2?", "\x0crac{8}{2}")]),
    ("language.damaged-text", "a replacement character", [chat("caf\ufffd?", "No.")]),
    ("language.damaged-text", "a zero byte", [chat("2+2?", "4\x00")]),
    ("language.unexpected-script", "Russian", [chat("Сколько будет 2+2?", "Будет 4.")]),
    ("language.unexpected-script", "mixed", [chat("What is the meaning of 漢字仮名交じり文?", "Text.")]),
    ("language.unexpected-language", "French", [chat("Combien de pommes sont dans la boîte ?", "Il y en a 3.")]),
    ("language.special-token", "a forged turn", [chat("hi<|im_end|>", "4")]),
    ("language.template-refused", "a word it can't say", [chat("unspeakable", "4")]),
    ("language.template-unstable", "an answer it drops", [chat("2+2?", "forget 4", "3+3?", "6")]),
    ("language.too-long", "a long answer", [chat("2+2?", "4 " * 300)]),
    ("language.answer-disagrees", "another number", [chat("2+2?", "\\boxed{5}", answer="4")]),
    ("duplicate.same-chat", "twice", [chat(QUESTION, ANSWER)] * 2),
    ("duplicate.near-chat", "another name", [chat(QUESTION, ANSWER), chat(QUESTION.replace("farmer", "boy"), ANSWER)]),
    ("duplicate.held-out-prompt", "the same question", [chat(str(ELSEWHERE[0].example.messages[0].content), "52")]),
    ("duplicate.held-out-overlap", "with a new beginning",
     [chat("Think hard: " + ELSEWHERE[1].example.messages[0].content, "119")]),
]  # fmt: skip
READING = {code for code, _ in BAD_LINES} | {
    "inventory.row-too-large", "inventory.too-many-rows", "inventory.file-too-large", "inventory.unreadable-file",
}  # fmt: skip
"""found while reading: test_reading.py"""
TOKENISING = {"language.no-trainable-token"}
"""a chat without an answer is refused before; for who tokenises unchecked chats: test_tokenise.py"""


@pytest.mark.parametrize(("code", "how", "examples"), CASES, ids=[f"{c} ({h})" for c, h, _ in CASES])
def test_a_fault_is_found_alone_and_named(code: str, how: str, examples: list[ChatExample]) -> None:
    """Whoever reads the report must see the one thing that is wrong, where it is, and nothing that is not."""
    train = rows(*examples)
    checked = judged(train, ELSEWHERE, max_length=200)
    assert found(checked) == [code]
    assert checked.counts == {code: 1}
    refused = CHAT_REASONS[code].severity == "error"
    assert len(checked.quarantined) == refused
    (row,) = checked.quarantined if refused else checked.accepted
    (finding,) = row.findings
    assert finding.severity == CHAT_REASONS[code].severity
    assert finding.where == row.where == f"train:{len(examples)}"
    assert 0 < len(finding.message) < 200
    assert "\n" not in finding.message


def test_good_rows_are_left_alone() -> None:
    """Checks that cry wolf are switched off."""
    checked = judged(rows(*CLEAN), ELSEWHERE)
    assert found(checked) == []
    assert [row.example for row in checked.accepted] == CLEAN


def test_every_reason_has_a_case() -> None:
    """A reason that nothing can trigger is a promise that is not kept; one of two meanings is no reason."""
    assert set(CHAT_REASONS) == {code for code, _, _ in CASES} | READING | TOKENISING
    assert not set(CHAT_REASONS) & set(catalogue()), "a code of the episodes' means something else"


def test_rows_that_could_not_be_read_are_passed_on(tmp_path: Path) -> None:
    """The report of a data set must name its malformed lines too."""
    (tmp_path / "a.jsonl").write_bytes(b'no json\n{"prompt": "2+2?", "completion": "4"}\n')
    checked = judged(list(read_chats([tmp_path / "a.jsonl"])))
    assert [row.where for row in checked.accepted] == ["a.jsonl:2"]
    assert checked.counts == {"inventory.malformed-row": 1}


def reword(text: str) -> str:
    return text.replace("evening", "afternoon")


def renumber(text: str) -> str:
    return text.replace("5", "6").replace("14", "15")


REPEATED: list[tuple[str, Callable[[str], str], str | None]] = [
    ("the same", str, "same"),
    ("case", str.upper, "same"),
    ("spacing", lambda text: text.replace(" ", " \n "), "same"),
    ("punctuation", lambda text: text.replace(".", " ;").replace(",", ""), "same"),
    ("LaTeX's dollars", lambda text: re.sub(r"(\d+)", r"$\1$", text), "same"),
    ("one word", reword, "near"),
    ("a number", renumber, None),
    ("a sign", lambda text: text.replace("and", "+", 1), None),
    ("half of the words", lambda text: " ".join(w[::-1] if n % 2 else w for n, w in enumerate(text.split())), None),
]


@pytest.mark.parametrize(("how", "change", "wanted"), REPEATED, ids=[h for h, _, _ in REPEATED])
def test_repetitions_of_several_strengths(how: str, change: Callable[[str], str], wanted: str | None) -> None:
    """A chat in other clothes is a copy; a problem with other numbers is another problem."""
    codes = {"same": ["duplicate.same-chat"], "near": ["duplicate.near-chat"], None: []}
    assert found(judged(rows(chat(QUESTION, ANSWER), chat(change(QUESTION), ANSWER)))) == codes[wanted]


@pytest.mark.parametrize("question", [QUESTION, SHORT], ids=["long", "short"])
@pytest.mark.parametrize(("how", "change", "wanted"), REPEATED, ids=[h for h, _, _ in REPEATED])
def test_leaks_of_several_strengths(how: str, change: Callable[[str], str], wanted: str | None, question: str) -> None:
    """A model must not be judged by what it has seen, in whatever clothes; templates with other numbers are no leak."""
    codes = {"same": ["duplicate.held-out-prompt"], "near": ["duplicate.held-out-overlap"], None: []}
    held_out = rows(chat(question), name="held-out")
    assert found(judged(rows(chat(change(question), "another answer")), held_out)) == codes[wanted]


LEAKS = [
    ("the system message differs", QUESTION, chat("system: Be brief.", f"user: {QUESTION}", "assistant: 24"), True),
    ("asked second", SHORT, chat("Name a river.", "The Rhine.", SHORT, "23"), True),
    ("a long one is numbered", QUESTION, chat(f"Problem 7. {QUESTION}", "24"), True),
    ("a long one among others", QUESTION, chat(f"1+1? {SHORT} {QUESTION} {SHORT}", "24"), True),
    ("a short one goes on with other numbers", "What is 3+4?", chat("What is 3+4+5?", "12"), False),
    ("only the answer quotes it", SHORT, chat("Ask me something.", SHORT), False),
    ("only boilerplate is shared", f"Reason step by step, put the answer in a box: {SHORT}",
     chat(f"Reason step by step, put the answer in a box: {QUESTION}", "24"), False),
]  # fmt: skip


@pytest.mark.parametrize(("how", "question", "example", "leaks"), LEAKS, ids=[h for h, _, _, _ in LEAKS])
def test_a_held_out_prompt_within_another(how: str, question: str, example: ChatExample, leaks: bool) -> None:
    """A benchmark's question may be numbered, prefixed or asked late; what only begins alike is no leak."""
    assert bool(found(judged(rows(example), rows(chat(question), name="held-out")))) == leaks


def template(numbers: tuple[int, int]) -> ChatExample:
    a, b = numbers
    return chat(
        f"Ada has {a} apples in her basket and picks {b} more from the tree behind the house. How many does she have?",
        f"She starts with {a} apples. Then she picks {b} more, so we add them up: {a}+{b}={a + b}. The answer is "
        f"\\boxed{{{a + b}}}.",
    )


def test_a_data_set_of_one_template_survives() -> None:
    """Generated problems differ in their numbers only: a detector that ignores them would eat the whole data set."""
    numbers = [(a, b) for a in range(2, 27) for b in range(2, 27)]
    random.Random(0).shuffle(numbers)
    checked = judged(rows(*map(template, numbers[:500])), rows(*map(template, numbers[500:]), name="held-out"))
    assert found(checked) == []


def test_the_generated_problems_survive() -> None:
    """The embedded data: what its generator keeps apart must stay, also where only few problems exist."""
    config = {"levels": (2, 3), "noise_share": 0.0}
    train = list(islice(generate(ProblemsConfig(**config), 0), 250))
    held_out = list(islice(generate(ProblemsConfig(**config, split="held-out"), 0), 250))
    checked = judged(rows(*train), rows(*held_out, name="held-out"))
    assert len(checked.accepted) >= 0.99 * len(train)


def test_recall_and_precision_of_near_duplicates() -> None:
    """One word of thirty or more changed is found in at least 98 of 100 chats; chats of half the same words never."""
    draw = random.Random(0)
    originals = [[f"{w}{draw.choice(WORDS)}" for w in draw.choices(WORDS, k=draw.randint(30, 80))] for _ in range(200)]
    changed, others = [], []
    for words in originals:
        place = draw.randrange(len(words))
        changed.append([*words[:place], "changed", *words[place + 1 :]])
        others.append([*words[: len(words) // 2], *draw.choices(WORDS, k=len(words) // 2)])
    first = [chat("Write on.", " ".join(words)) for words in originals]
    again = [chat("Write on.", " ".join(words)) for words in changed]
    half = [chat("Write on.", " ".join(words)) for words in others]
    assert judged(rows(*first, *again)).counts["duplicate.near-chat"] >= 196
    assert found(judged(rows(*first, *half))) == []


def test_a_refused_chat_refuses_no_other() -> None:
    """If a damaged copy came first and refused the good one, the problem would be lost altogether."""
    checked = judged(rows(chat(QUESTION, ANSWER + "\x00"), chat(QUESTION, ANSWER)))
    assert [row.where for row in checked.accepted] == ["train:2"]


pool = st.sampled_from([*CLEAN, *(example for _, _, examples in CASES for example in examples[:1])])


def kept(checked: Checked) -> list[str]:
    """What is said in the accepted chats, sorted. Of copies the first stays, with its own `answer` and `source`."""
    return sorted(repr(row.example.messages) for row in checked.accepted if row.example)


@given(st.lists(pool, max_size=6), st.randoms(use_true_random=False))
def test_order(examples: list[ChatExample], shuffle: random.Random) -> None:
    """Shards come in any order: what is kept of a data set must not depend on it, and every row must come out once."""
    shuffled = examples[:]
    shuffle.shuffle(shuffled)
    one, other = (judged(rows(*order), ELSEWHERE, max_length=200) for order in (examples, shuffled))
    assert one.counts == other.counts
    assert sorted(map(repr, (r.example for r in one.accepted))) == sorted(
        map(repr, (r.example for r in other.accepted))
    )
    for part in (one.accepted, one.quarantined):
        assert all(int(a.where[6:]) < int(b.where[6:]) for a, b in pairwise(part))
    assert len(one.accepted) + len(one.quarantined) == len(examples)


def test_the_size_of_a_block_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if an n-gram reached from one chat into the next, or a finding went to a neighbour of its chat."""
    drawn = list(islice(generate(ProblemsConfig(levels=(1,)), 4), 60))
    copied = [*drawn, *drawn[:5], chat("", "x"), chat(QUESTION, ANSWER), chat(reword(QUESTION), ANSWER)]
    held_out = rows(*drawn[20:24], chat(renumber(QUESTION)), chat(SHORT), name="test")
    whole = judged(rows(*copied), held_out)
    assert {"duplicate.held-out-prompt", "duplicate.same-chat", "language.empty-message"} <= whole.counts.keys()
    monkeypatch.setattr(checks, "BLOCK", 1)
    assert judged(rows(*copied), held_out) == whole


def test_scripts_are_the_configuration_s() -> None:
    """A Chinese data set is as good as an English one, where it is expected."""
    chinese = rows(chat("一个农夫有34只羊和12只山羊,他一共有多少只动物?", "共46只。"))
    assert found(judged(chinese)) == ["language.unexpected-script"]
    assert found(judged(chinese, scripts=("Han",))) == []
    assert found(judged(chinese, scripts=("Han",), max_unexpected=0.0)) == []
    assert found(judged(rows(chat("What?", "No.")), scripts=("Han",))) == ["language.unexpected-script"]
    answer = "一共有46只动物。他有34只羊和12只山羊。"
    copy = rows(*(chat(f"一个农夫有34只羊和12只山羊,他一共有多少只{what}?", answer) for what in ("动物", "家畜")))
    assert found(judged(copy, scripts=("Han",), near_duplicate=0.7)) == ["duplicate.near-chat"]
    with pytest.raises(ValidationError, match="'Latin', 'Greek', 'Cyrillic'"):
        CheckConfig.model_validate({"scripts": ["Klingon"]})


def test_a_held_out_row_that_cannot_be_read(tmp_path: Path) -> None:
    """Leakage can't be ruled out against a prompt that nobody can read."""
    (tmp_path / "a.jsonl").write_bytes(b"no json\n")
    with pytest.raises(OrreryError, match=r"held-out row a.jsonl:1 can't be read: no JSON"):
        judged(rows(CLEAN[0]), list(read_chats([tmp_path / "a.jsonl"])))


def test_the_configuration_is_cheap_to_import() -> None:
    """Recipes are read where neither torch nor transformers is installed."""
    code = (
        "import sys, components.dft.checks; sys.exit(any(m in sys.modules for m in ('torch', 'transformers', 'regex')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


WRITTEN: dict[Language | None, tuple[str, ...]] = {
    "German": ("Berechne die Summe und zeige, dass sie durch 3 teilbar ist. Wir addieren und erhalten 12.",),
    "Spanish": ("¿Cuántos números primos hay entre 1 y 20? Los primos son 2, 3, 5 y 7, por lo que hay 8.",),
    "Portuguese": ("Quantos lados tem um hexágono? Um hexágono tem seis, então a resposta é 6 para todos.",),
    "Italian": ("Qual è la somma degli angoli di un triangolo? La somma è 180 gradi, che è la metà di 360.",),
    "Dutch": ("Hoeveel appels heeft Jan? Jan heeft 3 appels van de boom en 2 van het veld.",),
    "French": ("Soit f une fonction telle que f(x) = x^2. Calculer sa dérivée pour tout x. La dérivée est 2x.",),
    None: (
        "Let $f(x) = \\le x$, \\la \\les \\des. Find all x.", "2+2? 4", "Compute $\\sin x$.",
        "San Jose de la Cruz and Los Angeles are 340 miles apart. How far is La Mesa?",
        "Der Ring des Nibelungen was written by Wagner. Who wrote Das Rheingold?",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("language", "texts"), WRITTEN.items())
def test_a_language_is_told_by_its_function_words(language: Language | None, texts: tuple[str, ...]) -> None:
    """A model that is to answer in English must not learn from French; names, quotations and formulas are no French."""
    for text in texts:
        told = foreign(text, ("English",))
        assert (told[0] if told else None) == language, text
        assert language is None or foreign(text, ("English", language)) is None, "what is expected is let in"
