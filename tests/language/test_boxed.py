r"""Boxes and canonical forms: an answer cut short or a number misread here is a wrong reward, silently."""

from __future__ import annotations

import time
from collections.abc import Callable
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.language.boxed import LONGEST_CANONICAL, boxed_answer, canonical

BOXED = [
    ("", None),
    ("The answer is 5.", None),
    (r"so \boxed{128}.", "128"),
    (r"\boxed{4} and then \boxed{\frac{1}{\sqrt{2}}}, QED", r"\frac{1}{\sqrt{2}}"),
    (r"\boxed{\text{no solution}}", r"\text{no solution}"),
    (r"\boxed {7}", "7"),
    (r"\fbox{ 7 }", "7"),
    (r"\boxed{3} \fbox{7}", "7"),
    (r"\boxed{\boxed{128}}", "128"),
    (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
    (r"\boxed{\left\{ x \right.}", r"\left\{ x \right."),
    (r"\boxed{a \\}", r"a \\"),
    (r"}} \boxed{7} {{", "7"),
    (r"\boxed{}", None),
    (r"\boxed{  }", None),
    (r"\boxed 7", None),
    (r"\boxed{7", None),
    (r"\boxed{{7}", None),
    (r"first \boxed{4}, but finally \boxed{5", None),
    (r"\framebox{7} \boxedin{7}", None),
]


@pytest.mark.parametrize(("text", "answer"), BOXED)
def test_the_last_box_is_the_answer(text: str, answer: str | None) -> None:
    """The public code of R-Zero took the last character of it, and a missing box for the text "None"."""
    assert boxed_answer(text) == answer


balanced = st.recursive(
    st.text("ab0 ,^\n", max_size=5) | st.sampled_from([r"\{", r"\}", r"\\", r"\frac"]),
    lambda inner: st.builds("{{{}}}{}".format, inner, inner),
)


@given(before=st.text(max_size=20), content=balanced, after=st.text(max_size=20).filter(lambda t: "box" not in t))
def test_what_is_boxed_comes_back_whole(before: str, content: str, after: str) -> None:
    """Whatever stands around it, also braces that match nothing."""
    assert boxed_answer(f"{before} \\boxed{{{content}}}{after}") == (content.strip() or None)


@pytest.mark.parametrize(
    "text",
    [
        r"\boxed{" * 10**6,
        r"\boxed" + " " * 10**7,
        r"\boxed{" + "{" * 10**6 + "}" * 10**6 + "}",
        r"\boxed{" + "\\" * 10**6,
        r"\boxed{" + "\0" * 10**7 + "}",
    ],
    ids=["boxes", "spaces", "nested", "backslashes", "NUL"],
)
def test_megabytes_take_a_moment(text: str) -> None:
    """Anything worse than linear takes hours on these."""
    started = time.process_time()
    boxed_answer(text)
    canonical(text)
    assert time.process_time() - started < 20


FORMS = [
    ("5", "5"), ("007", "7"), ("-0", "0"), ("+5", "5"), ("- 5", "-5"), ("−5", "-5"), ("(5)", "5"), ("{5}", "5"),
    ("$5$", "5"), (r"\(5\)", "5"), (r"\[5\]", "5"), ("$$5$$", "5"), (r"\text{5}", "5"), (r"\mathbf{5}", "5"),
    (r"\boxed{5}", "5"), ("5.", "5"), (r"\$5", "5"), ("$5", "5"), (r"5\,", "5"),
    ("1,234", "1234"), ("1{,}234,567", "1234567"), (r"1,\!234", "1234"), (r"10\,000", "10000"),
    ("0.50", "1/2"), (".5", "1/2"), ("1.50", "3/2"), ("3/2", "3/2"), ("6 / 4", "3/2"), (r"\frac{6}{4}", "3/2"),
    (r"\dfrac32", "3/2"), (r"-\frac{3}{2}", "-3/2"), (r"\frac{-3}{2}", "-3/2"), (r"\frac{-3}{-2}", "3/2"),
    (r"1\frac{1}{2}", "3/2"), ("1 1/2", "3/2"), (r"-1\frac12", "-3/2"), ("0.333", "333/1000"),
    ("50%", "1/2"), (r"50\%", "1/2"), (r"12.5 \%", "1/8"), ("12 percent", "3/25"), (r"\text{50%}", "1/2"),
    ("1.5e3", "1500"), (r"1.5 \times 10^{3}", "1500"), ("2 × 10^{-2}", "1/50"),
    (r"5\text{ cm}", "5"), (r"5 \text{ cm}^2", "5"), (r"5\,\mathrm{kg}", "5"), ("5 dollars", "5"),
    ("5 miles per hour", "5"), (r"90^\circ", "90"), (r"90^{\circ}", "90"), ("90°", "90"), (r"\text{5 days}", "5"),
    (r"\text{no solution}", r"\text{no solution}"), ("No  solution.", r"\text{no solution}"),
    ("Evelyn", r"\text{evelyn}"), ("yes", r"\text{yes}"), (r"\text{two days}", r"\text{two days}"),
]  # fmt: skip
UNSURE = [
    "", " ", ".", "-", "--5", "+-5", "5%%", "1 2", "1/2/3", "3/0", r"\frac{3}{0}", "3 5/2", "1,23", "0,5", "0,123",
    "(1,234)", "5,6", "$5$ and $6$", "1.2.3", "3.14...", "x", "x=5", "5m", "5 cm", "3t", "ab", "A", "(A)", "infinity",
    "٣", "½", "1e999", "10**10**10", "5\0", "5\ud800",
    "9" * (LONGEST_CANONICAL + 1), "0." + "1" * (LONGEST_CANONICAL - 2),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "form"), FORMS)
def test_canonical_form(answer: str, form: str) -> None:
    """A form that is not the value's own makes equal answers differ, or different ones equal."""
    assert canonical(answer) == form


@pytest.mark.parametrize("answer", UNSURE)
def test_what_may_mean_two_things_has_no_form(answer: str) -> None:
    """`5m` may be 5 times m, (1,234) may be a pair: a form here would decide what only the grammar may."""
    assert canonical(answer) is None


def decimal(x: Fraction, point: str = "{}.{:03d}") -> str:
    """All digits of a number whose denominator divides 1000."""
    whole, rest = divmod(int(abs(x) * 1000), 1000)
    return ("-" if x < 0 else "") + point.format(whole, rest)


Notation = Callable[[Fraction], str]
NOTATIONS: list[Notation] = [
    lambda x: f"{x.numerator * 3}/{x.denominator * 3}",
    lambda x: rf"\frac{{{x.numerator}}}{{{x.denominator}}}",
    lambda x: rf"-\dfrac{{{-x.numerator * 2}}}{{{x.denominator * 2}}}",
    lambda x: rf"\frac{{{-x.numerator}}}{{{-x.denominator}}}",
    decimal,
    lambda x: decimal(x, "00{}.{:03d}00"),
    lambda x: decimal(x, "{:,}.{:03d}"),
    lambda x: f"$ {decimal(x)} $",
    lambda x: decimal(x, r"{}{:03d} \times 10^{{-3}}"),
    lambda x: rf"{x.numerator * 100}/{x.denominator}\%",
    lambda x: rf"\text{{{decimal(x)}}}",
    lambda x: rf"{x}\text{{ cm}}",
]
rationals = st.builds(Fraction, st.integers(-(10**7), 10**7), st.sampled_from([1, 2, 4, 5, 8, 10, 25, 40, 125, 1000]))
notations = st.sampled_from(NOTATIONS)


@given(rationals, rationals, notations, notations)
def test_forms_agree_exactly_when_the_numbers_do(x: Fraction, y: Fraction, write: Notation, rewrite: Notation) -> None:
    """Both directions: another notation must not lose a vote, another number must not gain one."""
    assert canonical(write(x)) == canonical(rewrite(x)) == str(x)
    assert (canonical(write(x)) == canonical(rewrite(y))) == (x == y)


pieces = st.sampled_from(
    [*"0123456789.,+-/%$ {}()xeE\\", r"\frac", r"\text{", r"\boxed{", r"\%", r"\$", r"\circ", "^", "cm", "no", "\0"]
)


@given(st.lists(pieces, max_size=12).map("".join) | st.text(max_size=30))
def test_any_text_has_a_stable_form(answer: str) -> None:
    """Forms are compared with forms: one that changed when taken again would differ from itself."""
    form = canonical(answer)
    assert form is None or canonical(form) == form
    boxed_answer(answer)
