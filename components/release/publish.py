"""Publishing: a gated policy becomes `models/<policy>/<version>/`, with everything that is needed to run it."""

from __future__ import annotations

from components.release import bundle as bundles
from components.release import triton_repository
from components.release.config import PublishConfig
from components.release.decision import passed
from components.release.gate import results
from components.store.stage import Workspace
from data_contracts.lineage import Metric


def run(ws: Workspace, config: PublishConfig) -> dict[str, Metric]:
    """Write the version. Raises GateRefused, and BundleIncomplete when a part is missing."""
    decision = passed(ws, config.policy, saw=("codec", "frames", "evaluation"))
    parts = bundles.gather(ws)
    metrics = bundles.evaluation_metrics({"policy": results(ws, "evaluation", "policy")})
    bundle = bundles.build(config.policy, parts, ws.inputs, metrics)
    bundles.write(ws.out, bundle, parts, decision, ws.version)
    triton_repository.write_repository(ws.out, bundle, ws.version)
    return metrics | {"policy": config.policy, "gate": ws.inputs["gate"].version}
