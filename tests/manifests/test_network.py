"""If these fail, pods are cut off from what they need, or talk to what they need not."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

Document = dict[str, Any]

KFP = {"pipelines.kubeflow.org/v2_component": "true"}
"""The label that KFP puts on every pod of a run; none of these manifests makes such a pod."""


def selects(selector: Document, pod: Document) -> bool:
    return selector.get("matchLabels", {}).items() <= pod["metadata"]["labels"].items()


def rules(policy: Document) -> Iterator[tuple[Document, str]]:
    yield from ((rule, "from") for rule in policy.get("ingress", ()))
    yield from ((rule, "to") for rule in policy.get("egress", ()))


def test_nothing_talks_unless_a_policy_says_so(policies: dict[str, Document]) -> None:
    assert policies["default-deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for name, policy in policies.items():
        if name == "default-deny":
            continue
        assert policy["podSelector"].get("matchLabels") or name == "names", f"{name} opens every pod"
        for rule, peers in rules(policy):
            assert rule.get(peers), f"{name} lets anybody in or out"
            assert all(rule[peers]), f"{name} lets anybody in or out"
            assert rule["ports"], f"{name} opens every port"
            for peer in rule[peers]:
                if "ipBlock" in peer:
                    assert ip_network(peer["ipBlock"]["cidr"]).is_private, f"{name} lets pods out of the cluster"


def test_policies_open_what_the_pods_need(policies: dict[str, Document], pods: dict[str, Document]) -> None:
    """Breaks if a store client was cut off from MinIO, or a policy was written for pods that do not exist."""
    for name, policy in policies.items():
        if policy["podSelector"].get("matchLabels") == KFP:
            continue
        chosen = [p for p in pods.values() if selects(policy["podSelector"], p)]
        assert chosen or name in ("training", "webhook"), f"{name} selects no pod"
        served = {p["containerPort"] for pod in chosen for c in pod["spec"]["containers"] for p in c.get("ports", ())}
        opened = {p["port"] for rule in policy.get("ingress", ()) for p in rule["ports"] if "endPort" not in p}
        assert opened <= served, f"{name} opens ports that nobody listens on"
    for name, pod in pods.items():
        sources = [s["configMapRef"]["name"] for c in pod["spec"]["containers"] for s in c.get("envFrom", ())]
        assert ("store" in sources) == selects(policies["store-clients"]["podSelector"], pod), name


def test_both_ends_of_a_connection_are_open(policies: dict[str, Document], pods: dict[str, Document]) -> None:
    """A connection needs the client's egress and the server's ingress: each pod label that one end names is served by
    a policy at the other end."""
    for name, policy in policies.items():
        for rule in policy.get("egress", ()):
            for peer in rule["to"]:
                if peer.keys() != {"podSelector"}:  # in another namespace, or no pod
                    continue
                servers = [p for p in policies.values() if p.get("ingress") and p["podSelector"] == peer["podSelector"]]
                sources = [source for p in servers for r in p["ingress"] for source in r["from"]]
                assert {"podSelector": policy["podSelector"]} in sources, f"{name} may call, but nobody may answer"
