{{- /* The chart's own variables (a list) and `extraEnv`, which replaces one of the same name: an API server refuses a name that stands twice. */}}
{{- define "mirrorstream.withExtraEnv" -}}
{{- $root := index . 0 }}
{{- $extra := dict }}
{{- range $root.Values.extraEnv }}
{{- if hasKey $extra .name }}{{ fail (printf "extraEnv: %s stands twice" .name) }}{{ end }}
{{- $_ := set $extra .name true }}
{{- end }}
{{- range index . 1 }}
{{- if not (hasKey $extra .name) }}
- {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- with $root.Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "mirrorstream.ownEnv" -}}
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: POD_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: NODE_NAME
  valueFrom:
    fieldRef:
      fieldPath: spec.nodeName
{{- if eq .Values.workload.kind "StatefulSet" }}
- name: MIRRORSTREAM_WORKER_ID
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
{{- end }}
- name: MIRRORSTREAM_HTTP_HOST
  value: "::"
{{ include "mirrorstream.cacheEnv" . }}
- name: OTEL_RESOURCE_ATTRIBUTES
  value: {{ list "k8s.pod.name=$(POD_NAME),k8s.namespace.name=$(POD_NAMESPACE),k8s.node.name=$(NODE_NAME)" .Values.otel.OTEL_RESOURCE_ATTRIBUTES | compact | join "," | quote }}
{{- range $name, $value := omit .Values.otel "OTEL_RESOURCE_ATTRIBUTES" }}
- name: {{ $name }}
  value: {{ ternary $value (toJson $value) (kindIs "string" $value) | quote }}
{{- end }}
{{- end }}

{{- /* Where caches are, and that nothing is told to anybody. */}}
{{- define "mirrorstream.cacheEnv" -}}
- name: HOME
  value: /home/mirrorstream
- name: XDG_CACHE_HOME
  value: /home/mirrorstream/.cache
- name: HF_HOME
  value: /home/mirrorstream/.cache/huggingface
- name: VLLM_CACHE_ROOT
  value: /home/mirrorstream/.cache/vllm
- name: TRITON_CACHE_DIR
  value: /home/mirrorstream/.cache/triton
- name: TORCHINDUCTOR_CACHE_DIR
  value: /home/mirrorstream/.cache/torchinductor
- name: NUMBA_CACHE_DIR
  value: /home/mirrorstream/.cache/numba
- name: HF_HUB_OFFLINE
  value: {{ include "mirrorstream.offline" . | quote }}
{{- include "mirrorstream.registryEnv" . }}
- name: HF_HUB_DISABLE_TELEMETRY
  value: "1"
{{- if .Values.huggingface.existingSecret }}
- name: HF_TOKEN_PATH
  value: /etc/mirrorstream/huggingface/token
{{- end }}
- name: VLLM_NO_USAGE_STATS
  value: "1"
- name: DO_NOT_TRACK
  value: "1"
{{- end }}

{{- /* The registry's client and, from a hub, the model's are the only ones that read these roots. */}}
{{- define "mirrorstream.registryEnv" -}}
{{- if .Values.registry.caSecret.name }}
- name: SSL_CERT_FILE
  value: /etc/mirrorstream/registry-ca/ca.pem
{{- end }}
{{- end }}

{{- define "mirrorstream.envFrom" -}}
{{- with .Values.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
