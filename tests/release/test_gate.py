"""If these fail, a policy is published without having earned it, or a refusal does not say why."""

from __future__ import annotations

from typing import Any

import pytest

from components.release import registry, stages
from components.release.config import PublishConfig
from components.release.errors import GateRefused
from components.store.errors import ConfigurationError, OrreryError
from components.store.records import load_record
from data_contracts.base import canonical_json
from data_contracts.release import Decision


def decision(store: Any, record: Any) -> Decision:
    return Decision.model_validate_json(store.read(f"{record.prefix}/decision.json"))


def test_a_good_policy_passes_with_every_rule_explained(store: Any, upstream: Any, release: Any) -> None:
    record = release.gate(upstream.inputs(successes=18))
    judged = decision(store, record)
    assert judged.passed
    assert record.metrics["passed"] is True
    assert [r.name for r in judged.rules] == [
        "success", "margin-over-mean-action", "not-worse-than-production", "latency-p95",
    ]  # fmt: skip
    assert all(r.sentence.endswith(".") for r in judged.rules)
    assert record.metrics["latency_p95_s"] > 0


@pytest.mark.parametrize(
    ("successes", "rules", "failed"),
    [
        (2, {}, {"margin-over-mean-action"}),
        (18, {"min_success": 0.9}, {"success"}),
        (18, {"max_latency_p95_s": 1e-6}, {"latency-p95"}),
        (2, {"min_success": 0.5, "max_latency_p95_s": 1e-6}, {"success", "margin-over-mean-action", "latency-p95"}),
    ],
)
def test_a_refusal_names_each_broken_rule(
    store: Any, upstream: Any, release: Any, successes: int, rules: dict[str, float], failed: set[str]
) -> None:
    record = release.gate(upstream.inputs(successes), **rules)
    judged = decision(store, record)
    assert {r.name for r in judged.failures} == failed
    assert record.metrics["passed"] is False
    report = store.read(f"{record.prefix}/report.md").decode()
    assert all(rule.sentence in report.split("Refused because:")[1] for rule in judged.failures)


def test_a_worse_policy_than_productions_is_refused(store: Any, upstream: Any, release: Any) -> None:
    best = release.publish(upstream.inputs(successes=20))
    registry.promote(store, "press", best.version, "production")
    worse = release.gate(upstream.inputs(successes=12, seed=1))
    assert {r.name for r in decision(store, worse).failures} == {"not-worse-than-production", "drop-from-production"}
    equal = release.gate(upstream.inputs(successes=19, seed=2))
    assert decision(store, equal).passed


def test_a_model_is_not_compared_with_itself(store: Any, upstream: Any, release: Any) -> None:
    """Else the second run of the same pipeline would judge and publish again, under other versions."""
    inputs = upstream.inputs()
    before = release.gate(inputs)
    registry.promote(store, "press", release.publish(inputs, before).version, "production")
    assert release.gate(inputs).version == before.version


def test_without_common_tasks_there_is_no_comparison_and_no_pass(store: Any, upstream: Any, release: Any) -> None:
    registry.promote(store, "press", release.publish(upstream.inputs()).version, "production")
    model = upstream.model(1)
    inputs = upstream.inputs(seed=1) | {
        "evaluation": upstream.evaluation(model, 18, task="wipe"),
        "mean_action": upstream.evaluation(model, 0, arm="mean-action", task="wipe"),
    }
    refused = decision(store, release.gate(inputs)).failures
    assert "evaluated on press-1, the candidate on wipe-1" in refused[0].sentence


def test_evaluations_that_do_not_belong_are_refused(upstream: Any, release: Any) -> None:
    inputs = upstream.inputs()
    other = upstream.evaluation(upstream.model(7), 20)
    with pytest.raises(ConfigurationError, match="did not evaluate"):
        release.gate(inputs | {"evaluation": other})
    with pytest.raises(ConfigurationError, match=r"was made with .* give the gate that codec"):
        release.gate(inputs | {"codec": upstream.codec.model_copy(update={"version": "f" * 16})})
    with pytest.raises(ConfigurationError, match="different scenes"):
        release.gate(inputs | {"mean_action": upstream.mean_action(episodes=19)})
    with pytest.raises(ConfigurationError, match="arm 'policy'"):
        release.gate(inputs | {"mean_action": inputs["evaluation"]})


def test_publishing_needs_a_gate_that_passed(store: Any, upstream: Any, release: Any) -> None:
    inputs = upstream.inputs(successes=2)
    with pytest.raises(GateRefused, match="required more than") as refused:
        release.publish(inputs)
    assert refused.value.exit_code == 1
    assert not list(store.list("models/press/"))


def test_publishing_needs_a_gate_on_this_very_model(store: Any, upstream: Any, release: Any) -> None:
    good, other = upstream.inputs(18, seed=0), upstream.inputs(18, seed=1)
    passed = release.gate(good)
    with pytest.raises(ConfigurationError, match="decided on press from"):
        release.publish(other, passed)
    with pytest.raises(ConfigurationError, match="not a gate's decision"):
        release.publish(good, good["evaluation"])
    with pytest.raises(ConfigurationError, match="did not see"):
        release.publish(good | {"evaluation": upstream.evaluation(good["model"], 19)}, passed)
    with pytest.raises(ConfigurationError, match="did not see"):
        release.publish(good | {"codec": upstream.codec.model_copy(update={"version": "f" * 16})}, passed)
    rest = {name: record for name, record in good.items() if name != "mean_action"}
    with pytest.raises(ConfigurationError, match="not on wipe"):
        stages.publish(store, PublishConfig(policy="wipe"), 0, **rest, gate=passed)
    with pytest.raises(TypeError):
        stages.publish(store, PublishConfig(policy="press"), 0, **rest)
    assert not [s for s in store.list("models") if "/press/" in s.key or "/wipe/" in s.key]


def test_a_forged_record_does_not_enter_a_channel(store: Any, upstream: Any, release: Any) -> None:
    """Somebody with write access copies a published record without its gate: promote looks for the gate."""
    record = release.publish(upstream.inputs())
    inputs = {name: ref for name, ref in record.inputs.items() if name != "gate"}
    forged = record.model_copy(update={"version": "f" * 16, "inputs": inputs})
    store.create(f"{forged.prefix}/record.json", canonical_json(forged).encode())
    assert load_record(store, forged.prefix).version == "f" * 16
    with pytest.raises(OrreryError, match="without a gate"):
        registry.promote(store, "press", "f" * 16, "candidate")
