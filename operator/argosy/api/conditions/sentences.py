"""What users read about each reason: one sentence, keyed by the reason's word.

Owns the table. A sentence names the field, the value found, the value needed and the remedy, in that
order; the object is the one whose condition it stands in. Input: the parts in braces, by name, as
`Reason.sentence` takes them. The words are those of `types.Reason`; a test holds both to the same set.

Parts that occur in several sentences, or are sentences themselves (each without its full stop):

    field       path of the field at fault, such as `spec.models` or `spec.profiles[0]`
    problem     what is wrong, as the reader of that field or file describes it
    shortfall   a plan's `Shortfall.message`: the cell, the rate missing, the resource that is short
    detail      the figures of one variant: what it needs, and what there is
    violations  what the independent check found, joined by `; `
    source      what is read: a scraped endpoint, Prometheus, an Envoy
    age_s       seconds since the last successful reading
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_OF_THE_OBJECT = {
    "Accepted": "The object is valid and in use.",
    "Conflicted": (
        "{field}: {winner} claims the same and takes precedence because it is older; change {field} of either"
        " object."
    ),
    "UnknownGpu": "spec.gpu: {problem}.",
    "GpuContradicted": "spec.gpu: {problem}.",
    "GpuMismatch": (
        "spec.gpu: {gpu} is not the GPU of every node: {found}, so no new replica is planned there; {remedy}."
    ),
    "InvalidSpec": (
        "The object cannot be read, so no decision uses it: {problem}. Correct it and apply it again."
    ),
    "FlagUnjudged": (
        "The object is in use. spec.engine.args: {flags} is no flag of vLLM {first} to {last}, and the tag of"
        " spec.engine.image ({image}) names none of these versions, so whether engines start with it is not"
        " known; state the version in spec.engine.version, or correct the argument."
    ),
    "VersionContradicted": (
        "The object is in use. spec.engine.version is {version}, and the tag of spec.engine.image ({image})"
        " names {named}. Plans take its engines for vLLM {version}; correct spec.engine.version, or remove"
        " it to use the tag's."
    ),
}

_OF_REFERENCES = {
    "ResolvedRefs": "Everything that the object refers to was found.",
    "ModelNotFound": (
        "{field}: there is no ServedModel {name} in this namespace; create it or correct {field}."
    ),
    "ServedNameMismatch": (
        "spec.match.models: {name} is not a name of every ServedModel in spec.models; add {name} to"
        " spec.servedNames of each (a LoRA adapter to spec.adapters), or correct spec.match.models."
    ),
    "ServedNameUnknown": (
        "spec.match.models: {name} is a name of no ServedModel in spec.models and of none of their adapters,"
        " so its requests are answered with 404, and the class serves its other names; take {name} out of"
        " spec.match.models, or add it to spec.adapters or spec.servedNames of the ServedModel."
    ),
    "TargetNotFound": (
        "{field}: there is no WorkloadClass {name} in this namespace; create it or correct {field}."
    ),
    "MirrorUnserved": (
        "{field}: a model of WorkloadClass {mirror} does not serve {name}, which requests of WorkloadClass"
        " {copied} name, so its engines would refuse the copies and none are made; add {name} to"
        " spec.servedNames of each of its ServedModels."
    ),
    "ProfileNotFound": (
        "{field}: there is no key {key} in a ConfigMap {config_map} of this namespace, so Argosy's own"
        " profiles are used; create it (kubectl create configmap {config_map} --from-file={key}) or"
        " correct {field}."
    ),
    "ProfileUnusable": (
        "{field}: {problem}, so Argosy's own profiles are used instead. Write the file again with argosy"
        " perf import, or remove it from spec.profiles."
    ),
    "ProfileUnread": (
        "{field}: the ConfigMap {config_map} could not be fetched yet ({problem}), so Argosy's own profiles"
        " are used; check that the operator's role allows get on configmaps."
    ),
    "ProfileImplausible": (
        "{field}: by this profile of {profile}, {how}. Plans use it as it is; check that its figures are in"
        " milliseconds and were measured on this GPU, model, number type and parallel shape, or remove it"
        " from spec.profiles."
    ),
    "ProfileUnused": (
        "{field}: the profile is of {profile} and has no effect: the model's variants are {variants}. Add a"
        " variant that it fits (a GPUPool, spec.parallelShapes, spec.engine.quantization), or remove it from"
        " spec.profiles."
    ),
}

_OF_ROUTES = {
    "Programmed": "Every connected Envoy serves it ({connected}).",
    "NoPlan": (
        "No FleetPlan is applied yet, so Envoy routes nothing; the condition Ready names what is missing."
    ),
    "PlanGone": (
        "No FleetPlan is applied any more: Envoys keep the routes to the replicas that run, and the next"
        " decision applies a new plan. If it does not, look at the condition Ready and at the operator's log."
    ),
    "NoEnvoy": "No Envoy is connected; start one whose bootstrap names the operator's ADS address.",
    "EnvoyAhead": (
        "Envoy {node_id} has routes of FleetPlan revision {revision}, later than any that the API server has"
        " (the latest is {latest}), and keeps them: from {served_at} on it is served the applied plan, as"
        " soon as the FleetPlans could be listed. Nothing needs to be done; if it belongs to another cluster,"
        " correct the ADS address in its bootstrap."
    ),
    "EnvoyPending": "{pending} of {connected} Envoys have not acknowledged version {version} yet.",
    "EnvoyLate": (
        "{pending} of {connected} Envoys have not acknowledged version {version} for more than {limit_s} s,"
        " and route by an earlier one; Envoy {node_id} is the first: look at its log, and restart it if it"
        " does not answer."
    ),
    "EnvoyRefused": (
        "Envoy {node_id} refused version {version} and keeps the previous one: {message}. Check the object"
        " that changed last."
    ),
    "EnvoyCannotListen": (
        "Envoy {node_id} cannot listen on {address}: {problem}. End the process of its machine that has the"
        " port, such as a second Envoy, or set Fleet/default's spec.gateway to an address and port that"
        " Envoy may use; it tries again by itself, at most five minutes later."
    ),
    "EnvoysShareId": (
        "{count} Envoys are connected with the node id {node_id}, so their states cannot be told apart here;"
        " give each a node id of its own (argosy envoy bootstrap does)."
    ),
    "ModeNotAuto": (
        "Fleet/default has spec.mode {mode}, so Argosy acts on no plan; set spec.mode to Auto to let it act."
    ),
}

_OF_REPLICAS = {
    "Ready": "It has what it asks for.",
    "Loading": "{ready} of {desired} replicas serve; the others are starting or loading weights.",
    "Exchanging": "{ready} of {desired} planned replicas get requests; {others} until all do.",
    "Interrupted": (
        "No replica has taken requests since {since}{late}: the last former one made room for its successor,"
        " as spec.exchange BriefOutage of ServedModel {model} {allows}. {loading} of {desired} planned"
        " replicas have a node{remedy}."
    ),
    "ExchangeWaits": (
        "{unplaced}. The last replica of the former plan serves until then: spec.exchange of ServedModel"
        " {model} is Wait. Add a node with enough GPUs, or set spec.exchange to BriefOutage, which refuses"
        " requests while the new replica loads."
    ),
    "ExchangeQueued": (
        "It waits for the exchange of {classes}, which goes first in GPUPool {pool}; the last replica of the"
        " former plan serves until its successor does."
    ),
    "NotRouted": (
        "{ready} of {desired} replicas get requests; pod {pod} is ready and {why}. Check that Envoy and its"
        " connection to the operator (status.envoys of Fleet/default)."
    ),
    "EnginePortMissing": (
        "{ready} of {desired} replicas get requests; no container of pod {pod} has a container port named"
        " http (it has the containers {containers}), so that Envoy cannot reach its engine. Name the"
        " engine's port http: something changes pods as they are created, such as a mutating webhook."
    ),
    "PodsRefused": (
        "{ready} of {desired} replicas are ready; {refuser} refuses {what}: {problem}. {remedy}."
    ),
    "PodsUnschedulable": (
        "{ready} of {desired} replicas are ready; the scheduler finds no node for {what}: {problem}."
        " {remedy}."
    ),
    "PodTemplateRefused": (
        "spec.engine of ServedModel {model} makes no pod for GPUPool {pool}: {fault}; correct it there and"
        " apply it again."
    ),
    "PodsGated": "{ready} of {desired} replicas serve; {waiting}.",
    "DeploymentHeld": (
        "{ready} of {desired} replicas get requests; the deletion of Deployment {deployment} was requested at"
        " {since}, and {holder}. It is made again under the same name once it is gone."
    ),
    "NamespaceEnding": (
        "Namespace {namespace} is being deleted since {since}: nothing is made in it any more, and its"
        " replicas end with it. Apply what is still needed to another namespace."
    ),
    "NoReplicasReady": "None of {desired} replicas is ready; check the events and logs of the pods.",
    "NotAnswering": (
        "{ready} of {desired} replicas answer in time; {count} whose pods are ready do not, such as pod"
        " {pod}: Envoy sends them no requests. They count as capacity until they have answered nothing for"
        " {silent_s} s, then as lost, and spec.mode Auto of Fleet/default replaces them; check their load and"
        " logs, and their nodes."
    ),
    "EngineSilent": (
        "{ready} of {desired} replicas serve; {silent} fallen silent, such as pod {pod} on node {node},"
        " whose engine has answered no scrape, health check or request since {since}. Envoy sends silent"
        " engines no requests; {consequence}. Look at node {node} (kubectl describe node)."
    ),
    "SilenceInDoubt": (
        "{count} engines stopped answering at the same moment, such as that of pod {pod}. That is more often"
        " a fault of the network than so many dead engines, so Argosy keeps the last plan until they answer"
        " or {until_s} s have passed; check the network between the operator, Envoy and the nodes."
    ),
    "NoNodes": (
        "spec.nodeSelector: no usable node carries {selector}; add such a node, correct spec.nodeSelector, or"
        " set spec.nodes.max where an autoscaler brings nodes."
    ),
    "NodesShared": (
        "{nodes}: spec.nodeSelector of GPUPool {older} and of GPUPool {younger} select them; they belong to"
        " {older}, which {why}, and count there alone{replicas}. Change spec.nodeSelector of either pool,"
        " or the labels of the nodes."
    ),
    "NodesNotReady": (
        "spec.nodeSelector: {number} nodes match {selector} and none is Ready; check their kubelets and the"
        " events of the nodes."
    ),
    "NodesClosed": (
        "pool {pool}: no node takes new replicas: {nodes}. Mend one of these, or add a node to GPUPool"
        " {pool}."
    ),
    "NodesLeaving": (
        "It is served, and {nodes}; no other node has room for the successors of {replicas}: add a node to"
        " GPUPool {pool}."
    ),
    "NodesToCome": (
        "{ready} of {desired} replicas get requests; {waiting} since {since} for nodes of GPUPool {pool} that"
        " do not exist yet: an autoscaler brings one in about {delay_s} s. If none has come by {until}, other"
        " hardware is tried."
    ),
    "NodesMayCome": (
        "No node takes new replicas now; up to {most} come where replicas wait for them (spec.nodes.max is"
        " {max}), each in about {delay_s} s."
    ),
    "NodesNotComing": (
        "pool {pool}: replicas waited for {waited_s} s and no node came for them (spec.nodes.max is {max},"
        " {number} exist{closed}); until {until} none is asked for, and other hardware is used where there is"
        " any. Look at the autoscaler's log and at the events of the pods: a quota, a zone without such"
        " machines, or a node group whose labels or taints are not those of spec.nodeSelector and"
        " spec.tolerations."
    ),
    "ModelTooLarge": (
        "spec.parallelShapes: {model_id} fits no pool ({detail}); allow a tensorParallel that would fit if"
        " one is named, lower spec.engine.maxModelLen, or add a GPUPool whose GPUs have more memory."
    ),
    "UnknownModel": (
        "spec.modelId: {problem}. Correct spec.modelId, or describe the model in spec.architecture."
    ),
    "OutOfRange": "{field}: {problem}. Change {field}, or allow another model or GPUPool.",
    "SloUnreachable": (
        "spec.slo: no allowed variant keeps {terms} even for a single request at a time; raise that bound,"
        " allow a larger tensorParallel, or add a GPUPool with faster GPUs."
    ),
    "SloMissed": (
        "{field}: at most {share} of the requests of the last five minutes kept {bound_ms} ms{refused};"
        " {needed} are to keep it. A higher spec.robustnessMargin of Fleet/default plans more replicas; if"
        " engines wait for nothing (status.observed.waitingRequests), look at their logs."
    ),
    "CapacityShort": (
        "{shortfall}. The demand is spec.traffic.requestsPerSecond; a higher spec.priority is served before"
        " lower ones."
    ),
    "BudgetShort": (
        "{shortfall}. The budget is spec.budgetUsdPerHour of Fleet/default; the demand is"
        " spec.traffic.requestsPerSecond."
    ),
    "Unplaceable": (
        "{replicas} replicas of {variant} fit on no node of pool {pool}: {detail}; free or add a node with"
        " enough GPUs, or allow a smaller tensorParallel in spec.parallelShapes."
    ),
    "PlanningHeld": "{shortfall}; argosy resume lets planning go on.",
    "ReplicasAutoscaled": "{shortfall}.",
    "QuotaShort": "{shortfall}.",
    "ReplicasRefused": "{shortfall}.",
    "OthersServe": (
        "It has what it asks for, on other hardware than planned at first: {refuser} refuses replicas of"
        " {variant} ({problem}). {remedy}; they are tried again at {until}, or once it changes."
    ),
    "ReplicasAtLimit": "{shortfall}. The limit is spec.maxReplicas of the ServedModel.",
    "ObservationStale": (
        "The last reading of {source} is {age_s} s old, so Argosy keeps the last plan; check that {source}"
        " can be reached."
    ),
    "PictureIncomplete": "Argosy keeps the last plan and removes nothing: {problem}.",
    "StateRestored": (
        "The API server was restored to an earlier state ({problem}); Argosy decides anew on what it has now:"
        " apply again what was changed since the backup."
    ),
    "OwnerNotSeen": (
        "{missing} is named by what runs for it and is not seen, so its replicas are kept as they are; apply"
        " it again, or apply and then delete it to let them go."
    ),
    "WatchFails": (
        "No watch reports changes of {kinds}, so listings find them some seconds late: {problem}."
    ),
    "ClockOff": "No process of the operator leads, so nothing is planned, started or replaced: {problem}.",
    "LastReadableUsed": (
        "The spec cannot be read any more ({problem}), so Argosy goes on with the last version that it could"
        " read; correct the field."
    ),
    "KeptUnread": (
        "The spec cannot be read ({problem}) and no earlier version of it is known, so what runs for it is"
        " kept as it is; correct the field."
    ),
    "RemovalWaits": "{problem}.",
    "FieldContested": (
        "{manager} keeps setting {field} of {object}: remove it, or exclude the object from what it manages."
        " Argosy goes on setting the field back: a count that is too small at once, all else with pauses that"
        " grow to 10 minutes."
    ),
    "Autoscaled": (
        "{numbers}. Argosy leaves this alone and plans the rest around it; to let it decide again, {remedy}."
    ),
    "NotAutoscaled": "Argosy sets the number of replicas of every Deployment of the model.",
    "Uncontested": "No other client has changed what Argosy sets for the last 10 minutes.",
    "Adopted": (
        "Deployments that users run and labelled argosy.dev/adopt serve beside Argosy's own: {deployments}."
    ),
    "AdoptionRefused": "{others}Deployment {deployment} is not adopted: {problem}.",
    "GivenBack": (
        "Deployments that users took back serve until other replicas do, and stay as they are: {deployments}."
    ),
    "MetricsRead": "The metrics of every engine can be read.",
    "MetricsOfOldVllm": (
        "{engines} have the metrics of vLLM before 0.9.2 ({detail}), which are not read.{others} They count"
        " as capacity and serve; unknown are their queues, their latencies and the time of their steps. Set"
        " spec.engine.image of the ServedModel to vLLM 0.9.2 or later."
    ),
    "MetricsUnreadable": (
        "{engines} have metrics that cannot be read ({detail}).{others} They count as capacity and serve;"
        " unknown are their queues, their latencies and the time of their steps. Needed is GET /metrics"
        " of the pod's port http as vLLM answers it, without credentials: look at the image and at sidecars."
    ),
    "MetricsOverTls": (
        "{engines} have metrics that need TLS ({detail}).{others} They count as capacity while they serve"
        " through Envoy; unknown are their queues, their latencies and the time of their steps. Let the"
        " operator read the pod's port http in plain HTTP (a mesh: permissive for that port), or start it"
        " with --prometheus."
    ),
    "MetricsUnreachable": (
        "{engines} have metrics that cannot be reached ({detail}).{others} They count as capacity while they"
        " serve through Envoy; unknown are their queues, their latencies and the time of their steps. Let"
        " NetworkPolicies allow the operator to reach the pod's port http, or Prometheus where --prometheus"
        " names one."
    ),
    "AdaptersReady": "Each of spec.adapters that a class sends requests for is loaded.",
    "AdaptersLoading": (
        "spec.adapters: no replica that takes requests has loaded {adapters} yet.{others} Requests for it are"
        " refused (503) until one has."
    ),
    "AdaptersFailed": (
        "spec.adapters: no replica could load {adapters}: {detail}.{others} Requests for it are refused"
        " (503). It is tried again with pauses that grow to 10 minutes; correct its source, or remove it."
    ),
    "AdaptersWithoutSlot": (
        "spec.adapters: {adapters} has no slot on {replicas} with maxLoras {slots}, for {wanted}"
        " adapters.{others} Requests for it are refused (503), and the others are served. Raise"
        " spec.engine.maxLoras, which restarts the engines, or remove adapters."
    ),
    "LoweringWaits": (
        "Deployment {deployment} has {replicas} replicas and {planned} are planned; the number is lowered"
        " once its rollout has ended, of which pods of {templates} templates run (kubectl -n {namespace}"
        " rollout status deployment/{name}): Kubernetes would remove replicas that were not chosen. Where it"
        " is stuck, undo it (kubectl -n {namespace} rollout undo deployment/{name})."
    ),
    "NothingAdopted": "No Deployment of a user is labelled argosy.dev/adopt any more.",
}

_OF_PLANS = {
    "PlanCurrent": "The plan is the one that the present prices, rates and SLOs ask for.",
    "ChangeWaits": (
        "A change of the plan waits until {until}: FleetPlan revision {revision} was made, or started a"
        " replica, less than spec.stabilizationSeconds ({window_s} s) ago, or less than twice the time that"
        " its new replicas take to load. Until then its replicas are kept ({kept_cost} an hour), because"
        " {why}; wanted are {wanted} ({cost} an hour). What prices, rates and SLOs ask for then is made. For"
        " changes at once, set spec.stabilizationSeconds to 0."
    ),
    "Paused": (
        "Planning is paused by the {annotation} of Fleet/default{why}: the replicas and shares"
        " of revision {revision} are kept ({cost} an hour); lost replicas are replaced, and what is deleted"
        " goes. {wanted} To go on, remove it (argosy resume)."
    ),
    "RolledBack": (
        "The replicas and shares of revision {revision} are held ({cost} an hour), because of the"
        " {annotation} of Fleet/default{why}. {wanted} To plan again, remove it (argosy resume)."
    ),
    "HoldRefused": (
        "Planning is paused by the {annotation} of Fleet/default{why}, and not as it was"
        " ordered: {problem}. {wanted} Correct it, or remove it to plan again (argosy resume)."
    ),
    "ApprovalWaits": (
        "FleetPlan revision {revision} ({cost} an hour) is recommended and waits for approval (argosy approve"
        " {revision}); until then Argosy acts on revision {followed} ({kept_cost} an hour)."
    ),
    "NoSimulator": "The plan passed the independent check; there is no simulator yet to certify it.",
    "Applied": "Argosy acts on the plan.",
    "RoutesOnly": (
        "Envoys route by the plan, and Argosy starts, removes and changes no replica for it: Fleet/default"
        " has spec.mode {mode}; set spec.mode to Auto to let it act."
    ),
    "Recommended": (
        "Argosy does not act on the plan, which was made while Fleet/default had spec.mode Recommend, before"
        " a user approves it (argosy approve); with spec.mode Auto it acts on a plan for the prices, rates"
        " and SLOs of that moment."
    ),
    "Superseded": "Revision {revision} has replaced the plan.",
    "Starting": "Starting replicas: {progress}.",
    "Draining": (
        "All {desired} planned replicas get requests; {left} of the former plan finish theirs and go."
    ),
    "RolledOut": (
        "All {desired} planned replicas got requests and none of the former plan was left on {at}, {seconds}"
        " s after the plan was applied."
    ),
    "Removing": "{problem}.",
    "Drained": "Nothing runs any more for objects that were deleted.",
    "FleetFound": "The settings are those of Fleet/default.",
    "FleetGone": (
        "There is no Fleet/default since {since}: the settings that it had last hold, spec.mode {mode} among"
        " them; apply it again to change them."
    ),
    "CheckFailed": (
        "The plan failed the independent check, so Argosy does not act on it: {violations}. This is a bug of"
        " Argosy; report it with this message."
    ),
    "StatusRefused": (
        "Plans are carried out, but the API server refuses to write the status of {kinds}, which is out of"
        " date: {problem}."
    ),
    "WritesRefused": "The API server refuses what Argosy needs, so plans are not carried out: {problem}.",
}

SENTENCES: Mapping[str, str] = MappingProxyType(
    {**_OF_THE_OBJECT, **_OF_REFERENCES, **_OF_ROUTES, **_OF_REPLICAS, **_OF_PLANS}
)
