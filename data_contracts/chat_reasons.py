"""Reasons why a chat is not trained on, or is pointed out: for language data what `catalogue` is for episodes.

The areas are shared with the episodes' reasons, the codes are not: a code means one thing in the whole store.
"""

from __future__ import annotations

from data_contracts.reasons import Finding, Reason, Severity


def _reason(code: str, severity: Severity, meaning: str, mend: str) -> Reason:
    return Reason(code=code, severity=severity, meaning=meaning, mend=mend)


CHAT_REASONS = {
    reason.code: reason
    for reason in (
        _reason(
            "inventory.unreadable-file", "error",
            "A file of chats can't be read to its end: it is damaged, or not what its name says.",
            "Write it again from the source.",
        ),
        _reason(
            "inventory.file-too-large", "error",
            "A file is larger than any that is read. It was not opened.",
            "Split it into shards, or raise max_file_bytes.",
        ),
        _reason(
            "inventory.too-many-rows", "error",
            "There are more rows than are read. The rest was left out.",
            "Train on fewer, or raise max_rows.",
        ),
        _reason(
            "inventory.row-too-large", "error",
            "A row takes more bytes than any that is read. It was skipped.",
            "See whether lines end where they should; raise max_row_bytes if so.",
        ),
        _reason(
            "inventory.malformed-row", "error",
            "A line is no JSON, is nested too deeply or is not UTF-8.",
            "Write one JSON object a line.",
        ),
        _reason(
            "inventory.unknown-form", "error",
            "A row is in none of the forms that are read, or a field holds another type than its form has.",
            "Write messages, prompt and completion, or problem and solution.",
        ),
        _reason(
            "language.role-order", "error",
            "The turns are not: at most one system message, then user and assistant in turn.",
            "Correct the roles.",
        ),
        _reason(
            "language.no-answer", "error",
            "The chat does not end with the assistant's turn, so there is nothing to learn from it.",
            "Complete it, or leave it out.",
        ),
        _reason(
            "language.empty-message", "error",
            "A message has no text, or only white space.",
            "Complete it, or leave the chat out.",
        ),
        _reason(
            "language.damaged-text", "error",
            "The text holds control or replacement characters: it was decoded wrongly, or a LaTeX command lost its "
            "backslash to an escape (\\frac became a form feed and rac).",
            "Export the text again with the right encoding and escapes.",
        ),
        _reason(
            "language.unexpected-script", "error",
            "Too many letters are of a script that the configuration does not expect.",
            "Leave the chat out, or add the script to check.scripts.",
        ),
        _reason(
            "language.unexpected-language", "error",
            "The function words are those of a language that the configuration does not expect.",
            "Leave the chat out, or add the language to check.languages.",
        ),
        _reason(
            "language.special-token", "error",
            "A message spells out a special token of the tokenizer: it would end a turn or forge one.",
            "Remove the token from the text.",
        ),
        _reason(
            "language.template-refused", "error",
            "The tokenizer's chat template refuses the chat.",
            "See what the template asks for; some know no system message.",
        ),
        _reason(
            "language.template-unstable", "error",
            "The chat template renders the chat's first messages otherwise than within the whole chat, so what the "
            "assistant said can't be told from the rest.",
            "Train on single exchanges, or choose a template that keeps earlier turns as they are.",
        ),
        _reason(
            "language.too-long", "error",
            "The chat has more tokens than are trained on. It is not cut: its end would be lost.",
            "Leave it out, or raise check.max_length.",
        ),
        _reason(
            "language.no-trainable-token", "error",
            "Nothing in the chat is the assistant's, so nothing would be learned.",
            "Add the assistant's turn, or leave the chat out.",
        ),
        _reason(
            "language.answer-disagrees", "info",
            "The response's boxed answer is written otherwise than the row's answer: wrong, or equal in other words.",
            "Have the answer checked by the grader before it is trusted.",
        ),
        _reason(
            "duplicate.same-chat", "error",
            "The chat repeats an earlier one, but for case, spacing and punctuation.",
            "Leave it out.",
        ),
        _reason(
            "duplicate.near-chat", "error",
            "The chat repeats an earlier one with the same numbers and few other words.",
            "Leave it out.",
        ),
        _reason(
            "duplicate.held-out-prompt", "error",
            "The prompt is one that the model is judged by, but for case, spacing and punctuation.",
            "Leave it out.",
        ),
        _reason(
            "duplicate.held-out-overlap", "error",
            "The prompt holds most of the word n-grams of a prompt that the model is judged by, and its numbers.",
            "Leave it out.",
        ),
    )
}  # fmt: skip
"""Every reason by its code."""


def chat_finding(code: str, message: str, where: str = "") -> Finding:
    """A finding of a catalogued reason, with its severity. Raises KeyError for a code that is not there."""
    return Finding(code=code, severity=CHAT_REASONS[code].severity, message=message, where=where)
