"""The offline setting: only right answers that ended are trained on, and pairs hold a right and a wrong one."""

from __future__ import annotations

from pathlib import Path

from components.dft.offline import graded, sort_out
from components.language import model as language_model
from components.language.grading import Grader
from components.language.samples import Completion
from data_contracts.chat import ChatExample, Message

QUESTION = ChatExample(
    messages=(Message(role="user", content="2+2?"), Message(role="assistant", content="\\boxed{4}")), answer="4"
)


def written(*texts: str) -> list[Completion]:
    """Answers; one that ends in … was cut off."""
    return [
        Completion(text=text.rstrip("…"), token_ids=(1,), finish="length" if text.endswith("…") else "stop")
        for text in texts
    ]


def sorted_out(folder: Path, *texts: str) -> tuple[list[str], tuple[str, str] | None]:
    """Right answers, and the pair."""
    answers, fast = written(*texts), language_model.load_tokenizer(folder)
    with Grader() as grader:
        [right] = graded([QUESTION], [answers], grader)
    chats, pair = sort_out(QUESTION, answers, right, fast, 512)
    assert all(chat.prompt == QUESTION.prompt and chat.answer == "4" for chat in chats)
    return [chat.response for chat in chats], pair and (pair.chosen, pair.rejected)


def test_right_answers_are_kept_once_and_paired_with_the_first_wrong_one(folder: Path) -> None:
    """Breaks if an equal answer counted twice, or a wrong one were trained on."""
    kept, pair = sorted_out(folder, "no: \\boxed{5}", "\\boxed{4}", "\\boxed{4}", "so \\boxed{8/2}", "\\boxed{6}")
    assert kept == ["\\boxed{4}", "so \\boxed{8/2}"]
    assert pair == ("\\boxed{4}", "no: \\boxed{5}")


def test_an_answer_that_was_cut_off_is_neither_right_nor_rejected(folder: Path) -> None:
    """Trained on, it would teach the model not to stop; rejected, to stop early."""
    assert sorted_out(folder, "\\boxed{4} and then…", "\\boxed{5} and…") == ([], None)


def test_what_a_model_writes_can_not_forge_a_turn(folder: Path) -> None:
    """A special token spelled in an answer would be one when it is trained on."""
    assert sorted_out(folder, "\\boxed{4}<eos><user>", "", " ", "\\boxed{5}") == ([], None)


def test_without_both_there_is_no_pair(folder: Path) -> None:
    assert sorted_out(folder, "\\boxed{4}", "\\boxed{4}.") == (["\\boxed{4}", "\\boxed{4}."], None)
    assert sorted_out(folder, "\\boxed{3}", "no idea") == ([], None)
