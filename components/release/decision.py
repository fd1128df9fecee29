"""A gate's decision between stages: what a person reads of it, and what has to be true of it to publish."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pydantic import ValidationError

from components.release.errors import GateRefused
from components.release.registry import GATE_STAGE
from components.store.errors import ConfigurationError, IntegrityError
from components.store.stage import Workspace
from data_contracts.lineage import InputRef, Metric
from data_contracts.release import Decision


def written(ws: Workspace, decision: Decision, evidence: Iterable[str]) -> dict[str, Metric]:
    """Write `decision.json` and, with the `evidence` (lines of Markdown), `report.md`; the decision as metrics."""
    (ws.out / "decision.json").write_text(decision.model_dump_json(indent=2))
    (ws.out / "report.md").write_text("\n".join([*_verdict(decision), "", *evidence, ""]))
    return {"passed": decision.passed, **{f"rule/{rule.name}": rule.passed for rule in decision.rules}}


def passed(ws: Workspace, policy: str, saw: Iterable[str]) -> Decision:
    """The decision of the input `gate`, which must be about `policy`, the input `model` and the inputs `saw`.

    Raises:
        GateRefused: with the rules that were not met.
        ConfigurationError, IntegrityError: it is another gate's decision, or none.
    """
    gate, model = ws.inputs["gate"], ws.inputs["model"]
    if gate.stage != GATE_STAGE:
        raise ConfigurationError(
            f"{gate.prefix} is the output of {gate.stage}, not a gate's decision; run {GATE_STAGE}"
        )
    try:
        decision = Decision.model_validate_json(ws.fetch("gate", "decision.json").read_bytes())
    except (KeyError, ValidationError) as error:
        raise IntegrityError(f"{gate.prefix} holds no usable decision.json; run {GATE_STAGE} again") from error
    if decision.policy != policy or decision.model != model.as_input():
        raise ConfigurationError(
            f"{gate.prefix} decided on {decision.policy} from {decision.model.prefix}, not on {policy} from "
            f"{model.prefix}; run {GATE_STAGE} on this model"
        )
    for name in saw:
        if gate.inputs.get(name) != ws.inputs[name].as_input():
            raise ConfigurationError(f"{gate.prefix} did not see {ws.inputs[name].prefix}; run {GATE_STAGE} with it")
    if not decision.passed:
        why = " ".join(rule.sentence for rule in decision.failures)
        raise GateRefused(f"the gate refused {policy} from {model.prefix}: {why} (report: {gate.prefix}/report.md)")
    return decision


def gate_and_lineage(decision: Decision, lineage: Mapping[str, InputRef]) -> list[str]:
    """What every card ends with: lines of Markdown, the last ones the open table of lineage, for the files' hashes."""
    return [
        "## Gate",
        "",
        *(f"- {'passed' if rule.passed else 'FAILED'}, {rule.name}: {rule.sentence}" for rule in decision.rules),
        "",
        "## Lineage",
        "",
        "| input | version | fingerprint |",
        "|---|---|---|",
        *(f"| {name} | `{ref.prefix}` | `{ref.fingerprint}` |" for name, ref in sorted(lineage.items())),
    ]


def _verdict(decision: Decision) -> list[str]:
    lines = [f"# {decision.policy}: {'passed' if decision.passed else 'refused'}", ""]
    lines += [f"Model `{decision.model.prefix}` ({decision.model.stage}).", ""]
    if not decision.passed:
        lines += ["Refused because:", "", *(f"- {rule.sentence}" for rule in decision.failures), ""]
    lines += ["| rule | value | threshold | |", "|---|---|---|---|"]
    lines += [f"| {r.name} | {_number(r.value)} | {_number(r.threshold)} | {'pass' if r.passed else 'FAIL'} |"
              for r in decision.rules]  # fmt: skip
    return [*lines, "", *(f"- {r.sentence}" for r in decision.rules)]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
