"""From which Kubernetes on each thing works that Argosy uses: fields behind feature gates, functions of CEL.

Owns the tables. A schema has a field before it does anything: where its gate is off, the API server drops
the field without a word. So a field is in a table here if any supported version's description or Go type
speaks of its stage. The gates' settings come from the sources of each version (hack/kubernetes_schemas.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from schema_judge import VERSIONS, Staged, is_on

GATES = {
    "PodSpec.schedulingGates": "PodSchedulingReadiness",
    "TopologySpreadConstraint.matchLabelKeys": "MatchLabelKeysInPodTopologySpread",
    "PodDisruptionBudgetSpec.unhealthyPodEvictionPolicy": "PDBUnhealthyPodEvictionPolicy",
    "JSONSchemaProps.x-kubernetes-validations": "CustomResourceValidationExpressions",
}
"""Fields that are used, with the gate that each needs."""
VALUES = {
    "HorizontalPodAutoscalerSpec.minReplicas": r"[1-9]\d*",  # 0 is behind HPAScaleToZero
    "MetricSpec.type": "Resource",  # ContainerResource is behind HPAContainerMetrics
    "Toleration.operator": "Exists|Equal",  # Lt and Gt are behind TaintTolerationComparisonOperators
}
"""Fields that need no gate with these values."""
OLD = {
    "JSONSchemaProps.default",  # stable from 1.17
    "NetworkPolicySpec.egress",  # stable from 1.9
    "NetworkPolicySpec.policyTypes",  # stable from 1.9
    "CustomResourceDefinitionSpec.versions",  # the words are on the order of versions
}
"""Fields whose description was never brought up to date."""

LIBRARIES = {
    0: (
        # The language, and the first version of its strings.
        "has all exists exists_one map filter size type int double string contains startsWith endsWith"
        " matches charAt indexOf join lastIndexOf lowerAscii replace split substring trim upperAscii"
    ),
    28: "quantity isQuantity optMap optFlatMap orValue",
    29: "format quote reverse",
    30: "ip isIP cidr isCIDR",
    32: "transformList transformMap transformMapEntry",
    33: "semver isSemver",
    34: "flatten slice sort sortBy distinct range first last",
}
"""Functions by the minor version that brought them, 0 for always: `baseOpts` in k8s.io/apiserver,
pkg/cel/environment/base.go."""
INTRODUCED = {name: minor for minor, names in LIBRARIES.items() for name in names.split()}


def obstacles(staged: Iterable[Staged]) -> list[str]:
    """Why fields that objects set might do nothing in a version; empty where all of them work."""
    found = []
    for each in staged:
        if each.name in OLD or re.fullmatch(VALUES.get(each.name, ""), each.value):
            continue
        gate = GATES.get(each.name)
        if gate is None:
            found.append(
                f"Kubernetes {each.version}: {each.name} = {each.value} is in no table of"
                f" kubernetes_features: {each.words}"
            )
        elif not works(gate, each.version):
            found.append(f"Kubernetes {each.version}: {each.name}: the gate {gate} is off")
    return sorted(found)


def works(gate: str, version: str) -> bool:
    """Whether a gate is on by default in a version, or was before, and has become a part of Kubernetes."""
    settings = [is_on(gate, each) for each in VERSIONS[: VERSIONS.index(version) + 1]]
    known = [each for each in settings if each is not None]
    return bool(known) and known[-1]


def functions(expression: str) -> set[str]:
    """The functions that a CEL expression calls."""
    without_strings = re.sub(r"r?(?:'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\")", "''", expression)
    return set(re.findall(r"(\w+)\(", without_strings))


def needed_minor(expression: str) -> int:
    """The first Kubernetes 1.N that takes a new object with this expression.

    An API server refuses what the version before it could not evaluate, so that a rollback stays possible.
    Raises KeyError for a function that the table does not have.
    """
    return max((INTRODUCED[name] + 1 for name in functions(expression)), default=0)
