{{/* Labels. The names of objects are fixed: the custom resources are the cluster's, so one Argosy runs in it. */}}

{{- define "argosy.commonLabels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/name: argosy
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{/* Of a part: (list $ "operator"). */}}
{{- define "argosy.selector" -}}
app.kubernetes.io/name: argosy
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "argosy.labels" -}}
{{ include "argosy.commonLabels" (index . 0) }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* An image: (list $ .Values.image "default tag"). A digest names it whatever the tag is. */}}
{{- define "argosy.image" -}}
{{- $image := index . 0 -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default (index . 1) }}
{{- end -}}
{{- end }}

{{/* What Pod Security "restricted" asks of a container, and a root file system that is read only. */}}
{{- define "argosy.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* What it asks of a pod. (list $part.runAsUser) */}}
{{- define "argosy.podSecurity" -}}
runAsNonRoot: true
{{- with .runAsUser }}
runAsUser: {{ . | int64 }}
runAsGroup: {{ . | int64 }}
fsGroup: {{ . | int64 }}
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* Where and how pods of a part are scheduled: (list $ "operator" .Values.operator). */}}
{{- define "argosy.scheduling" -}}
{{- $part := index . 2 -}}
{{- with $part.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $part.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $part.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $part.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Pods of a part on different nodes, and in different zones, where there are several. */}}
{{- define "argosy.spread" -}}
{{- $ := index . 0 -}}
{{- $component := index . 1 -}}
topologySpreadConstraints:
{{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "argosy.selector" (list $ $component) | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
{{- end }}
{{- end }}

{{/*
The objects of a file of files/, in the release's namespace and with its labels: (list $ "files/x.yaml" "part").
Those who install without helm apply the same file. A fourth item has annotations to add.
*/}}
{{- define "argosy.objects" -}}
{{- $ := index . 0 -}}
{{- $component := index . 2 -}}
{{- $annotations := dict -}}
{{- if gt (len .) 3 }}{{ $annotations = index . 3 }}{{ end -}}
{{- range splitList "\n---\n" ($.Files.Get (index . 1)) }}
{{- $object := fromYaml . }}
{{- if ne $object.kind "Namespace" }}
{{- if $object.metadata.namespace }}
{{- $_ := set $object.metadata "namespace" $.Release.Namespace }}
{{- end }}
{{- range $object.subjects }}
{{- $_ := set . "namespace" $.Release.Namespace }}
{{- end }}
{{- $_ := set $object.metadata "labels" (include "argosy.labels" (list $ $component) | fromYaml) }}
{{- with $annotations }}
{{- $_ := set $object.metadata "annotations" . }}
{{- end }}
---
{{ toYaml $object }}
{{- end }}
{{- end }}
{{- end }}

{{/* The host that Envoys connect to, and that the operators' certificates name. */}}
{{- define "argosy.adsHost" -}}
argosy.{{ .Release.Namespace }}.svc
{{- end }}

{{/* host:port to listen on: (list "0.0.0.0" 18000). An IPv6 address gets its brackets. */}}
{{- define "argosy.listen" -}}
{{- $host := index . 0 -}}
{{- if contains ":" $host }}[{{ $host }}]{{ else }}{{ $host }}{{ end }}:{{ index . 1 }}
{{- end }}

{{/* The files that Envoys of this release read: what `argosy envoy bootstrap` writes. A pod's name replaces the node id, the
     release's namespace and the listening address theirs. */}}
{{- define "argosy.bootstrap" -}}
{{- $folder := ternary "files/envoy-tls" "files/envoy" .Values.certificates.enabled -}}
{{- range $path, $_ := .Files.Glob (printf "%s/*.yaml" $folder) }}
{{ base $path }}: |
  {{- $text := $.Files.Get $path | replace "argosy.argosy-system.svc" (include "argosy.adsHost" $) }}
  {{- $listen := $.Values.envoy.listenAddress }}
  {{- $text = $text | replace "0.0.0.0:9902" (include "argosy.listen" (list $listen 9902) | quote) }}
  {{- $text = $text | replace "address: 0.0.0.0" (printf "address: %q" $listen) }}
  {{- if eq $listen "::" }}
  {{- $text = $text | replace "port_value: 9902" "port_value: 9902\n        ipv4_compat: true" }}
  {{- end }}
  {{- $text | trim | nindent 2 }}
{{- end }}
{{- end }}
