{{- define "mirrorstream.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- /* 52 characters leave room for the suffixes of services and pods. */}}
{{- define "mirrorstream.fullname" -}}
{{- $name := .Values.fullnameOverride }}
{{- if not $name }}
{{- $own := include "mirrorstream.name" . }}
{{- $name = ternary .Release.Name (printf "%s-%s" .Release.Name $own) (contains $own .Release.Name) }}
{{- end }}
{{- $name = $name | trunc 52 | trimSuffix "-" }}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $name) }}
{{- fail (printf "fullnameOverride: %s cannot be the name of a Service; set one of lower-case letters, digits and hyphens that starts with a letter" $name) }}
{{- end }}
{{- $name }}
{{- end }}

{{- /* A name of at most so many characters; a hash stands for what does not fit. */}}
{{- define "mirrorstream.shortened" -}}
{{- $name := index . 0 }}{{ $most := index . 1 }}
{{- if gt (len $name) $most }}
{{- $name = printf "%s-%s" ($name | trunc (int (sub $most 9)) | trimSuffix "-") ($name | sha256sum | trunc 8) }}
{{- end }}
{{- $name }}
{{- end }}

{{- /* `component`, where a template sets it in the root, tells the parts of a release apart. */}}
{{- define "mirrorstream.selectorLabels" -}}
app.kubernetes.io/name: {{ include "mirrorstream.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: {{ .component | default "worker" }}
{{- end }}

{{- /* The name of a part's own objects; the worker's are the release's.  Pods of a StatefulSet have a label of its name
and a hash, which leaves 52 characters; those of a LeaderWorkerSet have the number of their group in it too. */}}
{{- define "mirrorstream.partName" -}}
{{- $part := .component | default "" }}
{{- $name := list (include "mirrorstream.fullname" .) $part | compact | join "-" }}
{{- include "mirrorstream.shortened" (list $name (get (dict "pairing" 52 "model-server" 48) $part | default 63)) }}
{{- end }}

{{- /* The chart's own win against `commonLabels`: a label that stands twice is refused. */}}
{{- define "mirrorstream.labels" -}}
{{- merge (include "mirrorstream.ownLabels" . | fromYaml) (.Values.commonLabels | default dict) | toYaml }}
{{- end }}

{{- define "mirrorstream.ownLabels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "mirrorstream.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "mirrorstream.serviceAccountName" -}}
{{- default (ternary (include "mirrorstream.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name }}
{{- end }}

{{- /* A part's own image (`image` in the root), whose empty fields are the worker's; another image has no digest of it. */}}
{{- define "mirrorstream.image" -}}
{{- $registry := (.Values.global).imageRegistry | default "" | trimSuffix "/" }}
{{- $own := .image | default dict }}
{{- $image := deepCopy .Values.image }}
{{- if or $own.repository $own.tag $own.digest }}{{ $_ := set $image "digest" "" }}{{ end }}
{{- range $name, $value := $own }}
{{- if $value }}{{ $_ := set $image $name $value }}{{ end }}
{{- end }}
{{- with $image }}
{{- if regexMatch "[:@]" (base .repository) }}
{{- $at := ternary (printf "%s." ($.component | default "" | replace "-s" "S")) "" (not (empty $own.repository)) }}
{{- fail (printf "%simage.repository: %s has a tag or a digest in it; give that as %simage.tag or %simage.digest" $at .repository $at $at) }}
{{- end }}
{{- $repository := ternary (printf "%s/%s" $registry .repository) .repository (ne $registry "") }}
{{- if .digest }}{{ printf "%s@%s" $repository .digest }}
{{- else }}{{ printf "%s:%s" $repository (default $.Chart.AppVersion .tag) }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Those of this chart and of a parent's, each once; a parent may give names alone. */}}
{{- define "mirrorstream.imagePullSecrets" -}}
{{- $names := list }}
{{- range concat (.Values.imagePullSecrets | default list) ((.Values.global).imagePullSecrets | default list) }}
{{- $names = append $names (ternary . (get (ternary dict . (kindIs "string" .)) "name") (kindIs "string" .)) }}
{{- end }}
{{- range $names | uniq }}
- name: {{ . }}
{{- end }}
{{- end }}

{{- /* What the setting `model` gets, by source. */}}
{{- define "mirrorstream.model" -}}
{{- with .Values.model }}
{{- if eq .source "hub" }}
{{- required "model.name: model.source hub needs it" .name }}
{{- else }}
{{- include "mirrorstream.modelFolder" $ }}
{{- end }}
{{- end }}
{{- end }}

{{- /* The model's folder in the pods. */}}
{{- define "mirrorstream.modelFolder" -}}
{{- list "/models" .Values.model.path | join "/" | trimSuffix "/" }}
{{- end }}

{{- define "mirrorstream.modelClaim" -}}
{{- if eq .Values.model.source "download" }}
{{- .Values.model.pvc.claimName | default (printf "%s-model" (include "mirrorstream.fullname" .)) }}
{{- else }}
{{- required "model.pvc.claimName: model.source pvc needs it" .Values.model.pvc.claimName }}
{{- end }}
{{- end }}

{{- define "mirrorstream.offline" -}}
{{- ternary "0" "1" (and (eq .Values.model.source "hub") (ne .Values.model.name "mirror-tiny")) }}
{{- end }}

{{- define "mirrorstream.modelVolume" -}}
name: model
{{- if has .Values.model.source (list "pvc" "download") }}
persistentVolumeClaim:
  claimName: {{ include "mirrorstream.modelClaim" . | quote }}
  readOnly: true
{{- else if eq .Values.model.source "hostPath" }}
hostPath:
  path: {{ required "model.hostPath: model.source hostPath needs the folder on the nodes, such as /data/models" .Values.model.hostPath | quote }}
  type: Directory
{{- else }}
{{- $version := default .Capabilities.KubeVersion.Version .Values.kubeVersion }}
{{- if not (semverCompare ">=1.35.0-0" $version) }}
{{- fail (printf "model.source: image needs Kubernetes 1.35 or later, seen %s; an older version silently drops the volume" $version) }}
{{- end }}
image:
  reference: {{ required "model.image.reference: model.source image needs it" .Values.model.image.reference | quote }}
  pullPolicy: {{ .Values.model.image.pullPolicy }}
{{- end }}
{{- end }}

{{- /* The worker's YAML file: the free settings and those that follow from what is mounted. */}}
{{- define "mirrorstream.config" -}}
{{- include "mirrorstream.rules" . }}
{{- $config := deepCopy .Values.config }}
{{- with include "mirrorstream.modelServerUrls" . | fromJsonArray }}
{{- if not $config.server_urls }}{{ $_ := set $config "server_urls" . }}{{ end }}
{{- end }}
{{- if and $config.static_membership (ne .Values.workload.kind "StatefulSet") }}
{{- fail "config.static_membership: needs workload.kind StatefulSet, for one stable name per worker" }}
{{- end }}
{{- $_ := set $config "model" (include "mirrorstream.model" .) }}
{{- with .Values.model.revision }}{{ $_ := set $config "revision" . }}{{ end }}
{{- if include "mirrorstream.hasKafkaSecrets" . }}{{ $_ := set $config "kafka_secrets" "/etc/mirrorstream/kafka" }}{{ end }}
{{- if include "mirrorstream.keepsFacts" . }}{{ $_ := set $config "join_folder" "/var/lib/mirrorstream/facts" }}{{ end }}
{{- include "mirrorstream.mountedFiles" (list . $config) }}
{{- if .Values.server.existingSecret }}{{ $_ := set $config "server_auth_file" "/etc/mirrorstream/server/token" }}{{ end }}
{{- toYaml $config }}
{{- end }}

{{- /* Set what names the files of the registry and of pseudonyms, for the workers and the page. */}}
{{- define "mirrorstream.mountedFiles" -}}
{{- $values := (index . 0).Values }}{{ $config := index . 1 }}
{{- if $values.registry.existingSecret }}{{ $_ := set $config "schema_registry_auth_file" "/etc/mirrorstream/registry/auth" }}{{ end }}
{{- if $values.registry.clientSecret.name }}
{{- $_ := set $config "schema_registry_certificate_file" "/etc/mirrorstream/registry-client/tls.crt" }}
{{- $_ := set $config "schema_registry_key_file" "/etc/mirrorstream/registry-client/tls.key" }}
{{- end }}
{{- if $values.pseudonyms.existingSecret }}{{ $_ := set $config "pseudonym_key_file" "/etc/mirrorstream/pseudonyms/key" }}{{ end }}
{{- end }}

{{- /* A setting with the worker's default, which also lets 0 through. */}}
{{- define "mirrorstream.setting" -}}
{{- $config := index . 0 }}{{ $name := index . 1 }}{{ $default := index . 2 }}
{{- if hasKey $config $name }}{{ index $config $name }}{{ else }}{{ $default }}{{ end }}
{{- end }}

{{- define "mirrorstream.httpPort" -}}
{{- include "mirrorstream.setting" (list .Values.config "http_port" 8080) | int }}
{{- end }}

{{- /* Drain, then 30 s to flush, leave the group, and send the last spans. */}}
{{- define "mirrorstream.gracePeriod" -}}
{{- add (include "mirrorstream.setting" (list .Values.config "drain_timeout_s" 60) | float64 | ceil | int) 30 }}
{{- end }}

{{- /* Input topics by line; the setting is a list, or names by comma. */}}
{{- define "mirrorstream.kedaTopics" -}}
{{- $topics := .Values.keda.topics | default .Values.config.input_topics | default (list "impressions") }}
{{- if kindIs "string" $topics }}{{ $topics = splitList "," $topics }}{{ end }}
{{- range $topics }}
{{- if hasPrefix "^" . }}{{ fail (printf "keda.topics: config.input_topics has the pattern %s; name the topics to watch" .) }}{{ end }}
{{ trim . }}
{{- end }}
{{- end }}

{{- /* The spec of a claim: size, accessMode and optionally a storage class. */}}
{{- define "mirrorstream.claim" -}}
accessModes: [{{ .accessMode }}]
{{- with .storageClassName }}
storageClassName: {{ . | quote }}
{{- end }}
resources:
  requests:
    storage: {{ .size | quote }}
{{- end }}
