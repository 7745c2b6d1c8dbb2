{{- /* Settings that the chart sets itself, and secrets, which would stand in a ConfigMap: each message says where instead. */}}
{{- define "mirrorstream.refusedSettings" -}}
{{- $config := .Values.config }}
{{- $own := ternary .Values.backfill.config dict (eq (.component | default "") "backfill") }}
{{- $places := dict
  "model" "model.source and model.name"
  "revision" "model.revision"
  "worker_id" "workload.kind=StatefulSet, whose pods have names"
  "http_host" "extraEnv with MIRRORSTREAM_HTTP_HOST, if all addresses are too many"
  "kafka_secrets" "kafka.existingSecret"
  "schema_registry_auth_file" "registry.existingSecret"
  "server_auth_file" "server.existingSecret" }}
{{- range $name, $place := $places }}
{{- if hasKey $config $name }}
{{- fail (printf "%s.%s: the chart sets it; use %s" (include "mirrorstream.configAt" (list $own $name)) $name $place) }}
{{- end }}
{{- end }}
{{- $secrets := list
  (list "kafka_options" "(password|secret|key[.]pem)$" "make it a key of the Secret kafka.existingSecret")
  (list "vllm_options" "(token|password|secret)$" "use huggingface.existingSecret") }}
{{- range $secrets }}
{{- $name := index . 0 }}{{ $pattern := index . 1 }}{{ $mend := index . 2 }}
{{- range $option, $_ := get $config $name | default dict }}
{{- if regexMatch $pattern $option }}
{{- fail (printf "%s.%s.%s: a secret would stand in a ConfigMap; %s" (include "mirrorstream.configAt" (list $own $name)) $name $option $mend) }}
{{- end }}
{{- end }}
{{- end }}
{{- $addresses := dict "bootstrap_servers" "kafka" "schema_registry_url" "registry" "server_urls" "server" }}
{{- range $name, $place := $addresses }}
{{- /* A path may have an @. */}}
{{- if regexMatch (ternary "//[^/]*@" "@" (eq $name "schema_registry_url")) (get $config $name | default "" | toJson) }}
{{- fail (printf "%s.%s: has a login before its @, which would stand in a ConfigMap; use %s.existingSecret" (include "mirrorstream.configAt" (list $own $name)) $name $place) }}
{{- end }}
{{- end }}
{{- range $name, $_ := .Values.otel }}
{{- if hasSuffix "HEADERS" $name }}
{{- fail (printf "otel.%s: headers are secrets and would stand in the pod; use extraEnv with valueFrom.secretKeyRef" $name) }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Where a setting was written: the backfill's own are merged into the workers'. */}}
{{- define "mirrorstream.configAt" -}}
{{- ternary "backfill.config" "config" (hasKey (index . 0) (index . 1)) }}
{{- end }}

{{- /* What another source of the model would read is not left aside in silence. */}}
{{- define "mirrorstream.oneModel" -}}
{{- with .Values.model }}
{{- $source := .source }}
{{- $given := list
  (list "model.pvc.claimName" .pvc.claimName (list "pvc" "download"))
  (list "model.image.reference" .image.reference (list "image"))
  (list "model.hostPath" .hostPath (list "hostPath"))
  (list "model.download.checksums" .download.checksums (list "download"))
  (list "model.path" .path (list "pvc" "download" "image" "hostPath")) }}
{{- range $given }}
{{- if and (index . 1) (not (has $source (index . 2))) }}
{{- fail (printf "%s: is not read with model.source %s; set model.source=%s, or leave it empty" (index . 0) $source (first (index . 2))) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- /* GPUs are counted in one place, unless the chart gives none; and a claim that a container names is one of its pod. */}}
{{- define "mirrorstream.devices" -}}
{{- $values := .Values }}
{{- range $kind := list "requests" "limits" }}
{{- if and $values.gpu.enabled (hasKey (get $values.resources $kind | default dict) $values.gpu.resourceName) }}
{{- fail (printf "resources.%s: %s is given by gpu.count; leave it out here, or set gpu.enabled=false" $kind $values.gpu.resourceName) }}
{{- end }}
{{- end }}
{{- $claims := list }}
{{- range .Values.resourceClaims }}{{ $claims = append $claims .name }}{{ end }}
{{- range .Values.resources.claims }}
{{- if not (has .name $claims) }}
{{- fail (printf "resources.claims: %s is not among resourceClaims; add it there, with its resourceClaimTemplateName" .name) }}
{{- end }}
{{- end }}
{{- end }}

{{- /* A login by name and password is in a Secret, or comes by `extraEnv` or `extraEnvFrom`, whose keys nobody sees here: a
worker without it would start, and fail. */}}
{{- define "mirrorstream.login" -}}
{{- $options := .Values.config.kafka_options | default dict }}
{{- $protocol := get $options "security.protocol" | default "" | upper }}
{{- $mechanism := get $options "sasl.mechanism" | default (get $options "sasl.mechanisms") | default "" | upper }}
{{- $named := .Values.extraEnvFrom }}
{{- $variables := list "MIRRORSTREAM_KAFKA_OPTIONS" "MIRRORSTREAM_KAFKA_SECRETS" }}
{{- range .Values.extraEnv }}{{ if has .name $variables }}{{ $named = true }}{{ end }}{{ end }}
{{- if and (hasPrefix "SASL" $protocol) (or (eq $mechanism "PLAIN") (hasPrefix "SCRAM" $mechanism)) (not $named) }}
{{- $paths := list }}
{{- range .Values.kafka.items }}{{ $paths = append $paths .path }}{{ end }}
{{- if not .Values.kafka.existingSecret }}
{{- fail (printf "kafka.existingSecret: config.kafka_options has sasl.mechanism %s, which needs a name and a password; name the Secret with the keys sasl.username and sasl.password, or say with kafka.items which of its keys they are" $mechanism) }}
{{- end }}
{{- range $name := list "sasl.username" "sasl.password" }}
{{- if and $paths (not (has $name $paths)) (not (hasKey $options $name)) }}
{{- fail (printf "kafka.items: %s is not among the paths, which are %s, and sasl.mechanism %s needs it; add {key: ..., path: %s}" $name ($paths | sortAlpha | join ", ") $mechanism $name) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
