{{- /* What values.schema.json cannot say: rules between values.  Each names the value, what was seen and the mend. */}}
{{- define "mirrorstream.rules" -}}
{{- $values := .Values }}
{{- $config := .Values.config }}
{{- include "mirrorstream.refusedSettings" . }}
{{- include "mirrorstream.oneModel" . }}
{{- include "mirrorstream.devices" . }}
{{- include "mirrorstream.login" . }}
{{- if and (eq .Values.dnsPolicy "None") (not (.Values.dnsConfig).nameservers) }}
{{- fail "dnsConfig.nameservers: dnsPolicy None asks nobody else for names; want at least one address, or another dnsPolicy" }}
{{- end }}
{{- $engine := $config.engine | default "vllm" }}
{{- if and (eq $engine "vllm-server") (not $config.server_urls) (not .Values.modelServer.enabled) }}
{{- fail "config.server_urls: config.engine vllm-server needs at least one, such as [http://vllm:8000]" }}
{{- end }}
{{- if .Values.modelServer.enabled }}
{{- if ne $engine "vllm-server" }}
{{- fail (printf "config.engine: %s would not ask the servers of modelServer.enabled; set config.engine=vllm-server" $engine) }}
{{- end }}
{{- if .Values.gpu.enabled }}
{{- fail "gpu.enabled: the workers of modelServer.enabled need no GPU, its nodes have modelServer.gpus; set gpu.enabled=false" }}
{{- end }}
{{- include "mirrorstream.fitsMemory" (list "modelServer.shm.sizeLimit" .Values.modelServer.shm.sizeLimit "modelServer.resources.limits.memory" ((.Values.modelServer.resources).limits).memory) }}
{{- end }}
{{- if eq $engine "vllm" }}
{{- $options := $config.vllm_options | default dict }}
{{- $needed := 1 }}
{{- range list "tensor_parallel_size" "pipeline_parallel_size" "data_parallel_size" }}
{{- $needed = mul $needed (get $options . | default 1 | int) }}
{{- end }}
{{- if and .Values.gpu.enabled (gt $needed (int .Values.gpu.count)) }}
{{- fail (printf "gpu.count: %d, but config.vllm_options needs %d (tensor x pipeline x data parallel); set gpu.count=%d" (int .Values.gpu.count) $needed $needed) }}
{{- end }}
{{- end }}
{{- include "mirrorstream.fitsMemory" (list "shm.sizeLimit" .Values.shm.sizeLimit "resources.limits.memory" ((.Values.resources).limits).memory) }}
{{- if .Values.keda.enabled }}
{{- if gt (int .Values.keda.minReplicaCount) (int .Values.keda.maxReplicaCount) }}
{{- fail (printf "keda.minReplicaCount: %d is above keda.maxReplicaCount, which is %d" (int .Values.keda.minReplicaCount) (int .Values.keda.maxReplicaCount)) }}
{{- end }}
{{- $protocol := get ($config.kafka_options | default dict) "security.protocol" | default "" | upper }}
{{- if and (not (kindIs "invalid" .Values.keda.idleReplicaCount)) (ne (int .Values.keda.idleReplicaCount) 0) }}
{{- fail (printf "keda.idleReplicaCount: %d, want 0 or null; KEDA takes no other number" (int .Values.keda.idleReplicaCount)) }}
{{- end }}
{{- if and (hasPrefix "SASL" $protocol) (not (include "mirrorstream.kedaAuthentication" .)) }}
{{- fail (printf "keda.authenticationRef.name: config.kafka_options has security.protocol %s, and KEDA logs in by itself; name its TriggerAuthentication, or set keda.secretTargetRef" $protocol) }}
{{- end }}
{{- if .Values.hpa.enabled }}
{{- fail "hpa.enabled: does not go with keda.enabled, which makes an autoscaler of its own; set one of them" }}
{{- end }}
{{- if and (not (kindIs "invalid" .Values.keda.idleReplicaCount)) (ge (int .Values.keda.idleReplicaCount) (int .Values.keda.minReplicaCount)) }}
{{- fail (printf "keda.idleReplicaCount: %d, want less than keda.minReplicaCount, which is %d; set keda.minReplicaCount=1" (int .Values.keda.idleReplicaCount) (int .Values.keda.minReplicaCount)) }}
{{- end }}
{{- if $config.static_membership }}
{{- fail "config.static_membership: does not go with keda.enabled: the partitions of a worker that was scaled away would wait for its return" }}
{{- end }}
{{- end }}
{{- if .Values.hpa.enabled }}
{{- if gt (int .Values.hpa.minReplicas) (int .Values.hpa.maxReplicas) }}
{{- fail (printf "hpa.minReplicas: %d is above hpa.maxReplicas, which is %d" (int .Values.hpa.minReplicas) (int .Values.hpa.maxReplicas)) }}
{{- end }}
{{- if $config.static_membership }}
{{- fail "config.static_membership: does not go with hpa.enabled: the partitions of a worker that was scaled away would wait for its return" }}
{{- end }}
{{- end }}
{{- if and .Values.hpa.enabled (eq (int .Values.hpa.minReplicas) 0) }}
{{- $outside := false }}
{{- range .Values.hpa.metrics }}{{ if has .type (list "Object" "External") }}{{ $outside = true }}{{ end }}{{ end }}
{{- if not $outside }}
{{- fail "hpa.minReplicas: 0 needs a metric of type Object or External in hpa.metrics, for without workers no pod has one; set 1" }}
{{- end }}
{{- end }}
{{- if eq .Values.model.source "download" }}
{{- if not .Values.model.revision }}
{{- fail "model.revision: model.source download needs a commit, e.g. the 40 hex digits of the hub's page, so that all workers have one model" }}
{{- end }}
{{- if not .Values.model.download.checksums }}
{{- fail "model.download.checksums: want the SHA-256 of each file by name, e.g. {model.safetensors: 9f86d0...}; `sha256sum *` prints them" }}
{{- end }}
{{- end }}
{{- if and .Values.metrics.serviceMonitor.enabled .Values.metrics.podMonitor.enabled }}
{{- fail "metrics.serviceMonitor.enabled: every worker would be scraped twice, for metrics.podMonitor.enabled is true; set one of them" }}
{{- end }}
{{- if and .Values.metrics.serviceMonitor.enabled (not .Values.metrics.service.enabled) }}
{{- fail "metrics.serviceMonitor.enabled: needs the service that it reads; set metrics.service.enabled=true, or use metrics.podMonitor" }}
{{- end }}
{{- if and .Values.cache.persistence.enabled (not .Values.cache.persistence.existingClaim) (ne .Values.workload.kind "StatefulSet") (eq .Values.cache.persistence.accessMode "ReadWriteOnce") (or (gt (int .Values.replicaCount) 1) .Values.keda.enabled .Values.hpa.enabled .Values.backfill.enabled) }}
{{- fail "cache.persistence.accessMode: ReadWriteOnce, but workers of a Deployment and a backfill share the claim and may run on several nodes; set ReadWriteMany, or workload.kind=StatefulSet for a claim each" }}
{{- end }}
{{- if .Values.facts.persistence.enabled }}
{{- if ne .Values.workload.kind "StatefulSet" }}
{{- fail "facts.persistence.enabled: each worker needs a store of its own, and the pods of a Deployment would share a claim; set workload.kind=StatefulSet" }}
{{- end }}
{{- if not (include "mirrorstream.keepsFacts" .) }}
{{- fail "facts.persistence.enabled: nothing would be kept there; set config.items_topic, config.users_topic or a file of either, and no config.join_folder" }}
{{- end }}
{{- end }}
{{- with .Values.pairing }}
{{- if .enabled }}
{{- if not .image.repository }}
{{- fail "pairing.image.repository: want the image that you built from recipes/pairing/Dockerfile" }}
{{- end }}
{{- $names := splitList "," (get .config "pairing.candidates" | default "candidate") }}
{{- $given := .config }}
{{- range prepend $names "control" }}
{{- $topic := printf "pairing.%s.topic" (trim .) }}
{{- if not (get $given $topic) }}
{{- fail (printf "pairing.config: %s is missing; want the topic where these slates are logged" $topic) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- if has ".." (splitList "/" (.Values.model.path | default "")) }}
{{- fail (printf "model.path: %s leaves the volume; want a folder in it, without `..`" .Values.model.path) }}
{{- end }}
{{- if and (eq .Values.workload.kind "StatefulSet") .Values.strategy }}
{{- fail "strategy: is a Deployment's; with workload.kind StatefulSet set updateStrategy" }}
{{- end }}
{{- if and (eq .Values.workload.kind "Deployment") .Values.updateStrategy }}
{{- fail "updateStrategy: is a StatefulSet's; with workload.kind Deployment set strategy" }}
{{- end }}
{{- with .Values.experiment }}
{{- if and .enabled (not (or .existingSecret .allowAnonymous)) }}
{{- fail "experiment.existingSecret: the page would be open to everybody in the cluster; name a Secret with a token, or set experiment.allowAnonymous=true" }}
{{- end }}
{{- end }}
{{- if and .Values.experiment.route.enabled (not .Values.experiment.route.parentRefs) }}
{{- fail "experiment.route.parentRefs: want the gateway that serves the page, such as [{name: public, namespace: gateways}]" }}
{{- end }}
{{- range $name, $value := $config }}
{{- if and (kindIs "string" $value) (hasPrefix "/etc/mirrorstream/files/" $value) (not (hasKey $values.files (base $value))) }}
{{- fail (printf "config.%s: %s is not among files, which has %s; add it there" $name $value (keys $values.files | sortAlpha | join ", " | default "nothing")) }}
{{- end }}
{{- end }}
{{- $job := .Values.backfill }}
{{- if and $job.enabled (ne (.component | default "") "backfill") }}
{{- if not $job.config.group_id }}
{{- fail "backfill.config.group_id: want a group of its own, e.g. backfill-1; in the workers' group it would take their partitions" }}
{{- end }}
{{- if eq $job.config.group_id .Values.config.group_id }}
{{- fail (printf "backfill.config.group_id: %s is the workers' group; want another, or the backfill takes their partitions" $job.config.group_id) }}
{{- end }}
{{- end }}
{{- end }}

{{- /* What is in /dev/shm is memory: name and size of both. */}}
{{- define "mirrorstream.fitsMemory" -}}
{{- $shm := include "mirrorstream.bytes" (list (index . 0) (index . 1)) | float64 }}
{{- if index . 3 }}
{{- if ge $shm (include "mirrorstream.bytes" (list (index . 2) (index . 3)) | float64) }}
{{- fail (printf "%s: %s counts towards %s, which is %s; want less" (index . 0) (toString (index . 1)) (index . 2) (toString (index . 3))) }}
{{- end }}
{{- end }}
{{- end }}

{{- /* A quantity of Kubernetes in bytes. */}}
{{- define "mirrorstream.bytes" -}}
{{- $name := index . 0 }}{{ $quantity := index . 1 | toString }}
{{- if not (regexMatch "^[0-9]+([.][0-9]+)?([kMGTPE]i?|Ki)?$" $quantity) }}
{{- fail (printf "%s: %s is no quantity; want one such as 2Gi" $name $quantity) }}
{{- end }}
{{- $number := regexFind "^[0-9.]+" $quantity }}
{{- $unit := trimPrefix $number $quantity }}
{{- $units := dict "" 1 "k" 1000 "M" 1000000 "G" 1000000000 "T" 1000000000000 "P" 1000000000000000 "E" 1000000000000000000
  "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "Pi" 1125899906842624 "Ei" 1152921504606846976 }}
{{- mulf (float64 $number) (get $units $unit | float64) }}
{{- end }}

{{- /* With an autoscaler the workload keeps the number that it has: without one an upgrade would make it drop to one.
Once the autoscaler has set it, it is nobody else's, and a later rollback leaves it alone.  No number in the values leaves
it to the cluster, for tools that render without asking it. */}}
{{- define "mirrorstream.replicas" -}}
{{- if kindIs "invalid" .Values.replicaCount }}
{{- else if or .Values.keda.enabled .Values.hpa.enabled }}
{{- $now := lookup "apps/v1" .Values.workload.kind .Release.Namespace (include "mirrorstream.fullname" .) }}
{{- $least := max 1 (int (ternary .Values.keda.minReplicaCount .Values.hpa.minReplicas .Values.keda.enabled)) }}
{{- $scaled := false }}
{{- range (($now).metadata).managedFields }}
{{- if eq (.subresource | default "") "scale" }}{{ $scaled = true }}{{ end }}
{{- end }}
{{- if $scaled }}{{- else if $now }}{{ ($now.spec).replicas | default 0 | int }}{{ else }}{{ $least }}{{ end }}
{{- else }}
{{- .Values.replicaCount }}
{{- end }}
{{- end }}
