"""Publishing: a gated policy becomes `models/<policy>/<version>/`, with everything that is needed to run it."""

from __future__ import annotations

from pydantic import ValidationError

from components.release import bundle as bundles
from components.release import triton_repository
from components.release.config import PublishConfig
from components.release.errors import GateRefused
from components.release.gate import results
from components.release.registry import GATE_STAGE
from components.store.errors import ConfigurationError, IntegrityError
from components.store.stage import Workspace
from data_contracts.lineage import Metric
from data_contracts.release import Decision


def run(ws: Workspace, config: PublishConfig) -> dict[str, Metric]:
    """Write the version. Raises GateRefused, and BundleIncomplete when a part is missing."""
    decision = passed_gate(ws, config.policy)
    parts = bundles.gather(ws)
    metrics = bundles.evaluation_metrics({"policy": results(ws, "evaluation", "policy")})
    bundle = bundles.build(config.policy, parts, ws.inputs, metrics)
    bundles.write(ws.out, bundle, parts, decision, ws.version)
    triton_repository.write_repository(ws.out, bundle, ws.version)
    return metrics | {"policy": config.policy, "gate": ws.inputs["gate"].version}


def passed_gate(ws: Workspace, policy: str) -> Decision:
    """The decision of the input `gate`, which must be about this policy, this model and this evaluation."""
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
    for name in ("codec", "frames", "evaluation"):
        if gate.inputs.get(name) != ws.inputs[name].as_input():
            raise ConfigurationError(f"{gate.prefix} did not see {ws.inputs[name].prefix}; run {GATE_STAGE} with it")
    if not decision.passed:
        why = " ".join(rule.sentence for rule in decision.failures)
        raise GateRefused(f"the gate refused {policy} from {model.prefix}: {why} (report: {gate.prefix}/report.md)")
    return decision
