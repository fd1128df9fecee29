"""Language models: the arms side by side on every set, and what each training did to its tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from components.dft.checks import MOSTLY_BARE
from components.telemetry.charts import Curve, Interval, curves, intervals
from components.telemetry.report import Block, Cell, Details, Figure, Row, Section, Table, Verdict
from data_contracts.lineage import StageRecord
from data_contracts.scores import Scores, SetScores, Share, TokenAnalysis
from pipelines.report.reading import Reader
from pipelines.report.token_classes import tables

_ARMS = {
    "base": "Base", "adopt-model": "Base", "sft": "SFT", "dft": "DFT", "iw-sft": "iw-SFT", "asft": "ASFT",
    "eaft": "EAFT",
    "offline-sft": "RFT", "offline-dft": "DFT, own answers", "offline-iw-sft": "iw-SFT, own answers", "dpo": "DPO",
    "grpo": "GRPO", "ppo": "PPO-style",
    "sequence": "Weight of the sequence", "geometric": "Geometric mean",
}  # fmt: skip
FALLING_SHOWN = 12


def sections(reader: Reader) -> list[Section]:
    return [*_bare_answers(reader), *_scores(reader), *_tokens(reader)]


def _bare_answers(reader: Reader) -> list[Section]:
    """A warning where the training data is of the kind on which DFT is known to lose."""
    for _, record in reader.versions:
        share = record.metrics.get("bare_answers")
        if isinstance(share, float) and share > MOSTLY_BARE:
            why = (
                f"{100 * share:.0f} % of the training chats hold an answer and no way to it. The tokens of an unknown "
                "fact are improbable, and DFT's weight leaves them so: on Natural Questions its paper saw it lose."
            )
            return [Section("Training data", [Verdict("SFT may suit this data better than DFT", "warn", [why])])]
    return []


def _scores(reader: Reader) -> list[Section]:
    found = [
        (_arm(record, "dft.evaluate-"), scores)
        for record in reader.holding("scores.json")
        if (scores := reader.parse(record, "scores.json", Scores)) is not None
    ]
    if not found:
        return []
    names = list(dict.fromkeys(name for _, scores in found for name in scores.sets))
    blocks: list[Block] = []
    for name in names:
        shown: list[tuple[str, Callable[[SetScores], Share]]] = [
            ("greedy, right % (95 % Wilson interval)", lambda s: s.greedy),
            ("avg@n, right % (95 % interval over problems)", lambda s: s.mean),
        ]
        for label, of in shown:
            rows = [
                Interval(arm, share.value, share.low, share.high)
                for arm, scores in found
                if name in scores.sets
                for share in [of(scores.sets[name])]
            ]
            blocks.append(Figure(intervals(rows, label), caption=_problems(name, [scores for _, scores in found])))
    blocks.append(_table(found, names))
    lead = "Every sample counts, and an answer without a box is wrong. All arms see the same problems."
    return [Section("Fine-tuning, judged", blocks, lead=lead)]


def _problems(name: str, found: list[Scores]) -> str:
    """A set by name, size and the hash of its file."""
    counts = {
        f"{s.sets[name].problems} problems, SHA-256 {s.files.get(name, 'unknown')}" for s in found if name in s.sets
    }
    return f"{name}: {'; and '.join(sorted(counts))}"


def _table(found: list[tuple[str, Scores]], names: list[str]) -> Table:
    rows: list[Row] = []
    for arm, scores in found:
        for name in names:
            if (s := scores.sets.get(name)) is not None:
                passes = ", ".join(f"@{k} {100 * share:.0f}" for k, share in s.pass_at.items())
                rows.append(
                    [
                        arm, name, _percent(s.greedy), _percent(s.mean), passes, f"{100 * s.unboxed:.0f} %",
                        f"{100 * s.cut:.0f} %", f"{s.tokens:.0f}",
                    ]
                )  # fmt: skip
    columns = ["Model", "Set", "Greedy", "avg@n", "pass, %", "No box", "Cut off", "Tokens"]
    return Table(columns, rows, caption="Shares with their 95 % intervals; samples at temperature 1.")


def _percent(share: Share) -> str:
    return f"{100 * share.value:.1f} % ({100 * share.low:.0f}–{100 * share.high:.0f})"


def _tokens(reader: Reader) -> list[Section]:
    found = [
        (_arm(record, "dft.analyse-"), analysis)
        for record in reader.holding("tokens.json")
        if (analysis := reader.parse(record, "tokens.json", TokenAnalysis)) is not None
    ]
    if not found:
        return []
    first = found[0][1]
    lines = [histogram("Base", first.bins, first.before)]
    lines += [histogram(arm, analysis.bins, analysis.after) for arm, analysis in found]
    rows: list[Row] = [
        [
            arm, f"{a.bimodality_before:.3f}", f"{a.bimodality_after:.3f}", f"{100 * a.low_after:.1f} %",
            f"{100 * a.high_after:.1f} %", f"{a.entropy_before:.3f} → {a.entropy_after:.3f}", f"{a.distance:.4f}",
        ]
        for arm, a in found
    ]  # fmt: skip
    columns = ["Arm", "Bimodality before", "after", "p < 0.1", "p > 0.9", "Entropy, nats", "Distance"]
    blocks: list[Block] = [
        Figure(
            curves(lines, "probability of the token", "share of tokens", log_y=True),
            caption=f"Probabilities of the {first.tokens} trained tokens of the analysed chats.",
        ),
        Table(columns, rows, caption="Sarle's bimodality coefficient; distance: the weights' change over their size."),
        *tables({arm: analysis.classes for arm, analysis in found}),
        *(_falling(arm, analysis) for arm, analysis in found),
    ]
    return [Section("What the trainings did to their tokens", blocks)]


def histogram(label: str, bins: Sequence[float], counts: Sequence[int], dashed: bool = False) -> Curve:
    """Shares of all tokens over the middles of their bins; an empty bin as half a token, for a logarithmic axis."""
    total = max(1, sum(counts))
    middles = [(low + high) / 2 for low, high in pairwise(bins)]
    return Curve(label, middles, [max(n, 0.5) / total for n in counts], dashed)


def _falling(arm: str, analysis: TokenAnalysis) -> Details:
    rows: list[Row] = [
        [Cell(repr(token)[1:-1], code=True), f"{change:+.2f}", str(count)]
        for token, change, count in analysis.falling[:FALLING_SHOWN]
    ]
    table = Table(["Token", "Mean change of log p", "Seen"], rows)
    return Details(f"{arm}: the tokens whose probability fell most", [table])


def _arm(record: StageRecord, prefix: str) -> str:
    name = record.stage.removeprefix(prefix).removeprefix("r_zero.")
    return _ARMS.get(name, name)
