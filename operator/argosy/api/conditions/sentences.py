"""What users read about each reason: one sentence, keyed by the reason's word.

Owns the table. The words are those of `types.Reason`; a test holds both to the same set.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

SENTENCES: Mapping[str, str] = MappingProxyType(
    {
        "Accepted": "The object is valid and in use.",
        "Conflicted": "{field} is claimed by {winner} already, which is older; change it here or there.",
        "UnknownGpu": "spec.gpu: {gpu} is not in the catalogue; use one of {known}.",
        "InvalidSpec": "{problem}; correct the field and apply the object again.",
        "ResolvedRefs": "Everything the object refers to was found.",
        "ModelNotFound": (
            "{field}: there is no ServedModel {name} in this namespace; create it or correct {field}."
        ),
        "ServedNameMismatch": (
            "spec.match.models: not every ServedModel of spec.models answers to {name}; add {name} to the"
            " spec.servedNames of each, or correct spec.match.models."
        ),
        "TargetNotFound": (
            "{field}: there is no WorkloadClass {name} in this namespace; create it or correct {field}."
        ),
        "ProfileNotFound": (
            "{field}: there is no key {key} in a ConfigMap {config_map} of this namespace, so Argosy's own"
            " profiles are used; create it (kubectl create configmap {config_map} --from-file={key}) or"
            " correct {field}."
        ),
        "ProfileUnusable": (
            "{field}: {problem}; Argosy's own profiles are used instead. Write the file anew with argosy"
            " perf import, or take it out of spec.profiles."
        ),
        "ProfileUnread": (
            "{field}: the ConfigMap {config_map} could not be read yet ({problem}), so Argosy's own profiles"
            " are used; check that the operator's role allows get on configmaps."
        ),
        "ProfileImplausible": (
            "{field}: by this profile of {profile}, {how}. It is used, since it is yours; if that is not"
            " meant, check that its figures are in milliseconds and that they were measured on this GPU,"
            " model, number type and shape, or take it out of spec.profiles."
        ),
        "ProfileUnused": (
            "{field}: it is of {profile}, and changes nothing: the model's variants are {variants}. Add a"
            " variant that it fits (a GPUPool, spec.parallelShapes, spec.engine.quantization), or take it"
            " out of spec.profiles."
        ),
        "Programmed": "All {connected} connected Envoys serve it.",
        "NoPlan": "No FleetPlan is applied yet, so nothing is routed; Ready says what is missing.",
        "NoEnvoy": "No Envoy is connected; start one whose bootstrap names the operator's ADS address.",
        "EnvoyPending": "{pending} of {connected} Envoys have not acknowledged version {version} yet.",
        "EnvoyRefused": (
            "Envoy {node_id} refused version {version} and keeps the one before: {message}. The object"
            " changed last is the first to look at."
        ),
        "ModeNotAuto": (
            "Fleet/default has spec.mode {mode}, so nothing is changed; set it to Auto to let Argosy act."
        ),
        "Ready": "It has what it asks for.",
        "Loading": "{ready} of {desired} replicas are ready; the others start or load weights.",
        "NoReplicasReady": "None of {desired} replicas is ready; look at the pods' events and logs.",
        "NoNodes": (
            "spec.nodeSelector: no usable node carries {selector}; add such a node or correct the selector."
        ),
        "ModelTooLarge": (
            "spec.parallelShapes: {model_id} fits no pool ({detail}); allow a larger tensorParallel, lower"
            " spec.engine.maxModelLen, or add a pool whose GPUs have more memory."
        ),
        "UnknownModel": "spec.modelId: {model_id} is not in the catalogue; use one of {known}.",
        "OutOfRange": (
            "spec.traffic.lengths: {detail}, which the performance model does not cover; shorten the lengths"
            " or allow another model or pool."
        ),
        "SloUnreachable": (
            "spec.slo: no allowed variant keeps {terms} even for a single request at a time; relax the bound,"
            " allow a larger tensorParallel, or add a faster pool."
        ),
        "CapacityShort": (
            "{unserved_percent} % of the requests have no replica: {missing}. Add nodes, or lower"
            " spec.traffic.requestsPerSecond, or raise spec.priority above that of others."
        ),
        "BudgetShort": (
            "{unserved_percent} % of the requests have no replica within Fleet's spec.budgetUsdPerHour of"
            " {budget_usd_per_hour}; raise it, or lower spec.traffic.requestsPerSecond."
        ),
        "Unplaceable": (
            "{replicas} replicas of {variant} fit no node of pool {pool}: {detail}; free or add a node with"
            " enough GPUs, or allow a smaller tensorParallel in spec.parallelShapes."
        ),
        "ReplicasAtLimit": (
            "spec.maxReplicas: all {limit} replicas are in use and more are needed; raise spec.maxReplicas."
        ),
        "ObservationStale": (
            "The last reading of {source} is {age_s} s old, so the last plan is kept; check that it can be"
            " reached."
        ),
        "NoSimulator": "The plan passed the independent check; no simulator is built in to certify it.",
        "Applied": "The plan's first step was taken.",
        "Recommended": (
            "Fleet/default has spec.mode Recommend, so the plan is only shown; set it to Auto to act on it."
        ),
        "Superseded": "Revision {revision} has taken its place.",
        "CheckFailed": "The plan failed the independent check and was not acted on: {violations}.",
        "RolledBack": "Taken back to revision {revision}: {cause}.",
    }
)
