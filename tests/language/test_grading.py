"""Verdicts on untrusted answers: right, the same in both orders, and there in time whatever the answer is."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from math_verify import verify

from components.language import grading_worker
from components.language.grading import Grader, GradingConfig, Groups
from components.store.errors import OrreryError

EQUAL = [
    ("1/2", r"\frac{1}{2}"), (r"\frac{1}{2}", "0.5"), ("1.50", "3/2"), ("1,234", "1234"), ("50%", "0.5"),
    (r"\frac{\sqrt2}{2}", r"\frac{1}{\sqrt{2}}"), (r"\sqrt{16}", "4"), ("2^{10}", "1024"), ("5!", "120"),
    ("10^{-3}", "0.001"), (r"2\pi", r"\pi \cdot 2"), (r"3\sqrt{2}", r"\sqrt{18}"), (r"\binom{5}{2}", "10"),
    ("x+1", "1+x"), ("(x+1)^2", "x^2+2x+1"), ("xy", "yx"), ("y=2x+3", "y = 3+2x"), (r"\sin^2 x+\cos^2 x", "1"),
    (r"\{1,2\}", r"\{2,1\}"), ("1,2", r"\{2, 1\}"), (r"\pm 2", "-2, 2"), ("3 and 5", "5,3"), (r"\emptyset", r"\{\}"),
    (r"\{\frac12, 1\}", r"\{1, 0.5\}"), ("(1,2)", r"\left(1, 2\right)"), (r"(\frac{1}{2}, 3)", "(0.5,3)"),
    (r"[0,\infty)", r"x \ge 0"), ("1<x<3", "(1,3)"), ("x<3", "3>x"), ("x=5", "5"), (r"x \in [0,1)", "[0,1)"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}"), (r"\infty", "infinity"),
    (r"\text{no solution}", "No solution"), ("Evelyn", r"\text{Evelyn}"), ("A", "(A)"), (r"\textbf{(A)}", "a"),
    (r"5\text{ cm}", "5"), (r"2\pi\text{ cm}", r"2\pi"), (r"x+50\%", "x+0.5"),
    ("(x+1)^2-x^2-2x-1", "0"), (r"\sqrt{2}+\sqrt{3}", r"\sqrt{5+2\sqrt{6}}"), ("(x+1)^9", r"(x+1)^8 \cdot (x+1)"),
    ("2π", r"2\pi"), ("x ≥ 0", r"[0, ∞)"),
]  # fmt: skip
DIFFERENT = [
    ("1/3", "0.333"), ("1/3", "0.333333"), (r"\{1/3, 1\}", r"\{0.333333, 1\}"), (r"\frac{\pi}{4}", "0.785398"),
    ("50%", "50"), (r"x+50\%", "x+50"), ("1,234", "(1,234)"), ("128", "8"), ("5", "-5"), (r"\sqrt{2}", "2"),
    ("x+1", "x-1"), ("x+1", "y+1"), ("x^2", "2x"), ("5m", "5"), ("3t", "3"), ("x=5", "x=6"), ("x=5", "y=5"),
    ("(1,2)", "(2,1)"), ("(1,2)", "[1,2]"), (r"\{1,2\}", r"\{1,2,3\}"), ("[0,1)", "[0,1]"), ("x<3", "x>3"),
    ("A", "B"), ("no", "on"), ("yes", "no"), ("Listen", "Silent"), (r"\text{two}", "2"), (r"\frac{1}{0}", "5"),
    (r"\sqrt{2}", "1.41421356237309"), ("10^{40}+1", "10^{40}"), (r"\{1, 4\}", r"\{2, 3\}"),
]  # fmt: skip
HOSTILE = {
    "10**10**10": {"not-mathematics"},
    "9^{9^{9^9}}": {"time", "memory"},
    "1" * 1000: {"different"},
    "1" * 10**7: {"too-long"},
    " " * 900 + "7": {"different"},
    " " * 10**6 + "7": {"too-long"},
    "{" * 10_000 + "7" + "}" * 10_000: {"too-long"},
    "(" * 10_000 + "7" + ")" * 10_000: {"too-long"},
    "(" * 40 + "x" + ")" * 40: {"too-deep"},
    r"\frac{" * 100: {"too-deep"},
    r"\text{" * 15 + "x" + "}" * 15: {"not-mathematics"},
    "__import__('os').system('touch {}')": {"not-mathematics"},
    "print(open('/etc/passwd').read())": {"not-mathematics", "different"},
    "7\0": {"not-mathematics"},
    "\ud800": {"not-mathematics"},
    "\U0001f600" * 900: {"not-mathematics"},
    "and " * 200: {"not-mathematics"},
    ", " * 400: {"not-mathematics"},
    "\\" * 999: {"not-mathematics"},
    "": {"no-answer"},
}


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    """One for the whole file: a worker takes more than a second to start. By the clock it has long."""
    with Grader(GradingConfig(cpu_seconds=2, wall_seconds=250, memory_mb=512)) as shared:
        yield shared


def processes() -> dict[int, tuple[int, str]]:
    """Parent and state of every process that lives, by its id."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            state, parent = stat.read_text().rsplit(")", 1)[1].split()[:2]
            if state != "Z":
                found[int(stat.parent.name)] = (int(parent), state)
    return found


def workers(parent: int = os.getpid()) -> set[int]:
    """The grading workers of a process."""
    named = {pid for pid, (its_parent, _) in processes().items() if its_parent == parent}
    return {pid for pid in named if b"grading_worker" in Path(f"/proc/{pid}/cmdline").read_bytes()}


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_equal_answers(grader: Grader) -> None:
    """Each pair that is missed is a right answer that earns nothing."""
    verdicts = grader.equal_all(EQUAL)
    assert [pair for pair, verdict in zip(EQUAL, verdicts, strict=True) if not verdict] == []
    assert {verdict.reason for verdict in verdicts} == {"equal"}


def test_different_answers(grader: Grader) -> None:
    """Each pair that passes is a reward for a wrong answer."""
    verdicts = grader.equal_all(DIFFERENT)
    assert [pair for pair, verdict in zip(DIFFERENT, verdicts, strict=True) if verdict] == []
    assert {verdict.reason for verdict in verdicts} == {"different", "not-mathematics"}


BENT = [
    "5",
    "x=5",
    "y=5",
    "0.5",
    r"50\%",
    r"x \ge 0",
    r"[0,\infty)",
    "1<x<3",
    "(1,3)",
    "1,3",
    r"\{3,1\}",
    "x+1",
    "1+x",
    "A",
]
"""answers of different kinds, some of which math-verify bends to each other's form"""


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(BENT), st.sampled_from(BENT))
@example(r"x \ge 0", r"[0,\infty)")
@example("x=5", "5")
def test_the_order_of_a_pair_does_not_matter(a: str, b: str) -> None:
    """A label must not depend on who came first."""
    assert grading_worker.equal(a, b) == grading_worker.equal(b, a)
    assert grading_worker.equal(a, a)


def test_math_verify_itself_minds_the_order() -> None:
    """The reason for asking it in both directions; should it ever become symmetric, one is enough."""
    relation, interval = (grading_worker.parse(text, True) for text in (r"x \ge 0", r"[0,\infty)"))
    assert verify(relation, interval, timeout_seconds=None)
    assert not verify(interval, relation, timeout_seconds=None)


def test_a_response_is_right_by_its_last_box(grader: Grader) -> None:
    """A missing box must be wrong, not guessed; and the whole answer counts, not its last character."""
    cases = [
        (r"It is \boxed{\frac12}.", "0.5", "equal"),
        (r"It is \boxed{128}.", "8", "different"),
        (r"\boxed{8}, no, \boxed{128}", "128", "equal"),
        (r"\boxed{128}, no, \boxed{8}", "128", "different"),
        (r"\boxed{\text{no}}", "No", "equal"),
        ("It is 128.", "128", "no-answer"),
        (r"It is \boxed{128", "128", "no-answer"),
        (r"\boxed{}", "", "no-answer"),
        ("None", "None", "no-answer"),
        (r"\boxed{5}", r"$\boxed{5}$", "equal"),
    ]
    before = Counter(grader.reasons)
    verdicts = grader.correct_all([(response, truth) for response, truth, _ in cases])
    assert [verdict.reason for verdict in verdicts] == [reason for *_, reason in cases]
    assert [bool(verdict) for verdict in verdicts] == [reason == "equal" for *_, reason in cases]
    assert grader.reasons - before == Counter(reason for *_, reason in cases)
    assert grader.correct(r"\boxed{1+x}", "x+1")


def test_hostile_answers_are_different_and_harm_nobody(grader: Grader, tmp_path: Path) -> None:
    """One of them in a batch of thousands must not stop, crash or own the run, nor cost the answers beside it."""
    assert grader.equal("y+1", "1+y")  # the workers are up
    texts = [text.replace("{}", str(tmp_path / "owned")) if "touch" in text else text for text in HOSTILE]
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    mixed = [pair for n, text in enumerate(texts) for pair in ((text, "5"), (f"y+{n}", f"{n}+y"))]
    verdicts = grader.equal_all(mixed)
    wrong = [
        (text[:40], verdict.reason)
        for (text, allowed), verdict in zip(HOSTILE.items(), verdicts[::2], strict=True)
        if verdict.equal or verdict.reason not in allowed
    ]
    assert wrong == []
    assert all(verdicts[1::2])
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 20
    assert list(tmp_path.iterdir()) == []
    # What has killed a worker once is not asked again, in no pair.
    running = workers()
    deadly = "9^{9^{9^9}}"
    assert grader.groups([[deadly, "y+1", deadly, "y+2", "1+y"]])[0].labels == (0, 1, 0, 2, 1)
    assert running <= workers(), "none died; one may have been starting"
    assert grader.equal(deadly, deadly)


def test_workers_are_confined(grader: Grader) -> None:
    """Without the limits one answer takes the machine's memory or fills its disk."""
    grader.equal("y+1", "1+y")
    limits = {resource.RLIMIT_AS: (512 << 20, 512 << 20), resource.RLIMIT_FSIZE: (0, 0)}
    # One that is only starting takes its limits before it takes a request.
    wait_until(lambda: all(resource.prlimit(pid, kind) == limit for pid in workers() for kind, limit in limits.items()))


def test_a_killed_worker_loses_no_verdict(grader: Grader) -> None:
    """The kernel's out-of-memory killer takes any process; that is not the fault of the answer in it."""
    assert all(grader.equal_all([(f"z+{n}", f"{n}+z") for n in range(8)]))
    victim, *_ = workers()
    os.kill(victim, signal.SIGSTOP)  # it takes a request, and is killed while it holds it
    killer = threading.Timer(1.0, os.kill, (victim, signal.SIGKILL))
    killer.start()
    verdicts = grader.equal_all([(f"x-{n}", f"-{n}+{'xy'[n % 2]}") for n in range(1, 11)])
    killer.join()
    assert [bool(verdict) for verdict in verdicts] == [n % 2 == 0 for n in range(1, 11)]
    assert victim not in workers()


def test_a_full_worker_loses_no_verdict(grader: Grader) -> None:
    """sympy's caches grow with what a worker has seen; that is not the fault of the answer that finds no room."""
    assert all(grader.equal_all([(f"u+{n}", f"{n}+u") for n in range(8)]))
    full = workers()
    for pid in full:
        resource.prlimit(pid, resource.RLIMIT_AS, (1 << 20, 512 << 20))
    verdicts = grader.equal_all([(f"v-{n}", f"-{n}+{'vw'[n % 2]}") for n in range(1, 11)])
    assert [bool(verdict) for verdict in verdicts] == [n % 2 == 0 for n in range(1, 11)]
    assert full - workers(), "the limit was not felt"


def test_a_worker_that_waits_forever_is_given_up() -> None:
    """Time by the clock: a process that uses no processor time is not ended by its limit on that."""
    others = workers()
    with Grader(GradingConfig(workers=1, wall_seconds=5)) as impatient:
        assert any(impatient.equal(f"x+{n}", f"{n}+x") for n in range(10))  # on a busy machine not at once
        (worker,) = workers() - others
        os.kill(worker, signal.SIGSTOP)
        assert impatient.equal("x^2", r"x \cdot x").reason == "time"
    assert workers() == others


def test_workers_die_with_their_parent() -> None:
    """A killed run must not leave processes that spin on a hostile answer."""
    program = (
        "from components.language.grading import Grader, GradingConfig\n"
        "grader = Grader(GradingConfig(workers=1, cpu_seconds=500, wall_seconds=500))\n"
        "print(grader.equal('x+1', '1+x'), flush=True)\n"
        "grader.equal('9^{9^{9^9}}', '5')\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        assert parent.stdout.readline() == "Verdict(equal=True, reason='equal')\n"
        (worker,) = workers(parent.pid)
        wait_until(lambda: processes()[worker][1] == "R")
        parent.kill()
    wait_until(lambda: worker not in processes())


def test_workers_that_cannot_start_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without math-verify must stop the run, not call every answer wrong."""
    program = shutil.which("false")
    monkeypatch.setattr(sys, "executable", program)
    with Grader() as grader:
        for _ in range(2):
            with pytest.raises(OrreryError, match=r"exit code 1.*is math-verify installed.*memory_mb"):
                grader.equal("x+1", "1+x")
        assert grader.equal("0.5", "1/2")


def test_numbers_and_words_start_no_process() -> None:
    """Most answers are numbers: at 80,000 answers an iteration, the workers must hear of none of them."""
    others = workers()
    with Grader() as fresh:
        found = fresh.groups([["1/2", "0.5", "yes", "Yes", None], ["3", "4", r"\text{3}", "5", "4"]])
        assert found == [Groups((0, 0, 1, 1, None), "1/2", 0.4), Groups((0, 1, 0, 2, 1), "3", 0.4)]
        assert fresh.correct(r"\boxed{0.5}", "1/2")
        assert workers() == others


def test_what_has_no_answer_never_votes(grader: Grader) -> None:
    """In the public code no box was a class of its own: a question that derails the solver looked uncertain."""
    found = grader.groups([[None, None, None, "7", None], [None, ""], [], [" ", "x" * 2000, "x+1", "1+x"]])
    assert found == [
        Groups((None, None, None, 0, None), "7", 0.2),
        Groups((None, None), None, 0.0),
        Groups((), None, 0.0),
        Groups((None, None, 0, 0), "x+1", 0.5),
    ]


ALIKE = [["1/2", "0.5", r"\frac{1}{2}", r"50\%"], ["2", "2.0"], ["x+1", "1+x"], ["1-x", "-x+1"], ["yes", "Yes"], ["??"]]
sampled = st.lists(st.none() | st.sampled_from([(c, a) for c, alike in enumerate(ALIKE) for a in alike]), max_size=10)


@settings(max_examples=60, deadline=None)
@given(sampled, st.randoms(use_true_random=False))
def test_groups_are_the_classes_in_any_order(
    grader: Grader, samples: list[tuple[int, str] | None], random: Random
) -> None:
    """Every answer in exactly one group, the share out of all samples, and both whatever the order of arrival."""
    random.shuffle(samples)
    (found,) = grader.groups([[sample and sample[1] for sample in samples]])
    classes = [sample[0] for sample in samples if sample]
    labels = [label for label in found.labels if label is not None]
    arrival = list(dict.fromkeys(classes))
    assert [label is None for label in found.labels] == [sample is None for sample in samples]
    assert labels == [arrival.index(c) for c in classes]
    if classes:
        votes = Counter(classes)
        assert found.share == max(votes.values()) / len(samples)
        winner = next(c for c in arrival if votes[c] == max(votes.values()))
        assert found.majority == next(sample[1] for sample in samples if sample and sample[0] == winner)
    else:
        assert (found.majority, found.share) == (None, 0.0)
