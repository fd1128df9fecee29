"""Release: the gate's decision with its reasons, and what the real server answered."""

from __future__ import annotations

from components.telemetry.report import Block, Cell, Facts, Row, Section, Table, Verdict
from data_contracts.release import CheckResult, Decision
from pipelines.report.reading import Reader


def sections(reader: Reader) -> list[Section]:
    return [*_gate(reader), *_check(reader)]


def facts(reader: Reader) -> list[tuple[str, str]]:
    return [("Gate", "passed" if d.passed else "refused") for d in _decisions(reader)][:1]


def _decisions(reader: Reader) -> list[Decision]:
    found = [reader.parse(record, "decision.json", Decision) for record in reader.holding("decision.json")]
    return [decision for decision in found if decision is not None]


def _gate(reader: Reader) -> list[Section]:
    sections = []
    for decision in _decisions(reader):
        rows: list[Row] = [
            [rule.name, _number(rule.value), _number(rule.threshold),
             Cell("passed" if rule.passed else "not passed", "good" if rule.passed else "bad"), rule.sentence]
            for rule in decision.rules
        ]  # fmt: skip
        headline = f"{decision.policy}: passed, may be published" if decision.passed else f"{decision.policy}: refused"
        blocks: list[Block] = [
            Verdict(headline, "good" if decision.passed else "bad", [rule.sentence for rule in decision.failures]),
            Table(["Rule", "Value", "Threshold", "Result", "In words"], rows),
        ]
        sections.append(Section("Gate", blocks))
    return sections


def _check(reader: Reader) -> list[Section]:
    sections = []
    for record in reader.holding("result.json"):
        result = reader.parse(record, "result.json", CheckResult) if record.stage == "release.check" else None
        if result is None:
            continue
        rows: list[Row] = [
            [
                protocol,
                str(seen.requests),
                *(f"{1000 * seconds:.0f} ms" for seconds in (seen.p50, seen.p95, seen.p99)),
                f"{result.max_difference.get(protocol, float('nan')):.2g}",
            ]
            for protocol, seen in result.latency.items()
        ]  # fmt: skip
        blocks: list[Block] = [
            Facts(
                [
                    ("Policy", result.policy),
                    ("Version", result.version),
                    ("Answer", f"{result.actions[0]} actions of {result.actions[1]} values"),
                    ("Ready after", f"{result.ready_seconds:.0f} s"),
                ]
            ),
            Table(["Protocol", "Requests", "p50", "p95", "p99", "Largest difference"], rows),
        ]
        lead = "A real Triton server answered; its actions are compared with the same policy in this process."
        sections.append(Section("Serving", blocks, lead=lead))
    return sections


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
