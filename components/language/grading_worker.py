r"""One process that reads untrusted answers with math-verify: `-m components.language.grading_worker CPU MEMORY`.

JSON lines, one reply to each request, in order. `["read", text]` is answered by `{"number": form}` if the text is a
rational number, `{"form": form}` if it is other mathematics, `{}` if it is none. Equal forms mean equal answers,
unequal numbers unequal ones. Where they have a value at a fixed point, `"at": [real, imaginary]` is added; answers that
differ there are unequal. `["equal", text, text]` is answered by `{"equal": true}` or `{"equal": false}`. A first line,
`{}`, says that the process is ready.

Text is parsed as LaTeX by a grammar, never by `sympify` or `parse_expr`, which call `eval`. math-verify's own time-outs
are signals that Python code handles between two bytecodes, so a loop inside a C function outlives them; they are off.
Here the kernel ends the process: CPU seconds of processor time per request (SIGPROF), MEMORY bytes of address space.
"""

from __future__ import annotations

import cmath
import contextlib
import ctypes
import hashlib
import json
import math
import mmap
import os
import resource
import signal
import sys
from collections.abc import Mapping
from fractions import Fraction
from functools import lru_cache

from latex2sympy2_extended import NormalizationConfig, latex2sympy, normalize_latex
from math_verify import verify
from math_verify.grader import should_treat_as_complex
from sympy import Basic, Expr, FiniteSet, Float, MatrixBase, Rational, Symbol, UnevaluatedExpr, nan, srepr, zoo

# Units are dropped before (`boxed.bare`), where it is certain that they are units; math-verify would take the t of 3t.
_NORMALIZATION = NormalizationConfig(units=False, malformed_operators=True, nits=True, boxed="none")
_PERCENT = UnevaluatedExpr(Rational(1, 100))
_WRITTEN_OUT_BITS = 4096  # larger numbers are named by a hash: Python refuses to print very large ones
_ROOM_BYTES = 32 << 20  # with less left, an answer that was not understood may only have lacked memory
_PR_SET_PDEATHSIG = 1

Reply = Mapping[str, str | bool | list[float]]


def main(cpu_seconds: float, memory_bytes: int) -> None:
    replies = _confine(memory_bytes)
    equal("x+1", "1+2x")  # the first answer must not pay for loading the grammar
    _send(replies, {})
    for line in sys.stdin.buffer:
        signal.setitimer(signal.ITIMER_PROF, cpu_seconds)  # SIGPROF has no handler: the kernel ends the process
        reply = _answer(json.loads(line))
        signal.setitimer(signal.ITIMER_PROF, 0)
        _send(replies, reply)


def _confine(memory_bytes: int) -> int:
    """Take this process's limits; the file descriptor for replies. What libraries print goes where errors go."""
    replies = os.dup(1)
    os.dup2(2, 1)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # a hanging worker does not see its input close
    for limit, value in ((resource.RLIMIT_AS, memory_bytes), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(limit, (value, value))
    return replies


def _send(replies: int, reply: Reply) -> None:
    os.write(replies, json.dumps(reply).encode() + b"\n")


def _answer(request: list[str]) -> Reply:
    kind, *texts = request
    reply: Reply = {}
    # The parser and sympy raise anything at text that is not mathematics, and hide that memory was short.
    with contextlib.suppress(Exception):
        reply = read(*texts) if kind == "read" else {"equal": equal(*texts)}
    return reply if _has_room() else {"failed": "memory"}


def _has_room() -> bool:
    try:
        mmap.mmap(-1, _ROOM_BYTES).close()
    except OSError:
        return False
    return True


def read(text: str) -> Reply:
    """What kind of mathematics `text` is, and a form that equal texts may share."""
    value = parse(text, not should_treat_as_complex(text))
    if isinstance(value, Expr):
        value = value.doit()
    if value.has(nan, zoo):
        return {}
    if isinstance(value, Rational):
        p, q = int(value.p), int(value.q)
        form = {"number": str(Fraction(p, q)) if (p * q).bit_length() <= _WRITTEN_OUT_BITS else _hash(f"{p:x}/{q:x}")}
    else:
        form = {"form": _hash(srepr(value))}
    at = _at_a_point(value)
    return form if at is None else form | {"at": at}


def _at_a_point(value: Basic | MatrixBase) -> list[float] | None:
    r"""The value where each symbol is a number in (1, 2) that its name picks, to 15 digits; None where there is none.

    Of a finite set it is the sum of its elements, as math-verify takes a set of one element for the element. A symbol
    alone has none: to math-verify, \text{abc} is equal to the product of a, b and c.
    """
    if isinstance(value, FiniteSet):
        values = [_at_a_point(element) for element in value.args]
        return None if None in values else [math.fsum(parts) for parts in zip(*filter(None, values), strict=True)]
    if not isinstance(value, Expr) or isinstance(value, Symbol):
        return None
    point = {symbol: 1 + int(_hash(symbol.name)[:12], 16) / 16**12 for symbol in value.free_symbols}
    try:
        number = complex(value.evalf(15, subs=point))
    except (ArithmeticError, AttributeError, TypeError, ValueError):  # too large, a matrix's symbol, no number
        return None
    return [number.real, number.imag] if cmath.isfinite(number) else None


def equal(a: str, b: str) -> bool:
    """Equality by math-verify, in either direction: its `verify(gold, target)` is not symmetric, this is.

    It bends an equation or a relation to the other side's form (x = 5 and 5; 1 < x < 2 and (1, 2)) by rules that
    depend on which side is the gold one, so that one order may find what the other does not.
    """
    real = not (should_treat_as_complex(a) or should_treat_as_complex(b))
    x, y = parse(a, real), parse(b, real)
    return bool(verify(x, y, timeout_seconds=None) or verify(y, x, timeout_seconds=None))


@lru_cache(maxsize=1024)
def parse(text: str, real: bool) -> Basic | MatrixBase:
    """`text` as an unevaluated expression, its symbols real numbers or not; decimals and percent are exact fractions.

    Raises:
        Exception: of any type, when it is not mathematics that the grammar knows.
    """
    latex = normalize_latex(text, _NORMALIZATION)
    expression = latex2sympy(latex, is_real=real, convert_degrees=False, normalization_config=None)
    exact = {number: Rational(str(number)) for number in expression.atoms(Float)}
    exact |= {percent: percent.args[0] for percent in expression.atoms(UnevaluatedExpr) if percent == _PERCENT}
    return expression.xreplace(exact) if exact else expression


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
