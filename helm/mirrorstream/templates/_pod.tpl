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

{{- define "mirrorstream.resources" -}}
{{- $resources := deepCopy .Values.resources }}
{{- if .Values.gpu.enabled }}
{{- $resources = merge (dict "limits" (dict .Values.gpu.resourceName .Values.gpu.count)) $resources }}
{{- end }}
{{- toYaml $resources }}
{{- end }}

{{- /* The configuration, and the secrets of Kafka and the registry. */}}
{{- define "mirrorstream.clientMounts" -}}
- name: config
  mountPath: /etc/mirrorstream/config.yaml
  subPath: config.yaml
  readOnly: true
{{- if include "mirrorstream.hasKafkaSecrets" . }}
- name: kafka
  mountPath: /etc/mirrorstream/kafka
  readOnly: true
{{- end }}
{{- if .Values.registry.existingSecret }}
- name: registry
  mountPath: /etc/mirrorstream/registry
  readOnly: true
{{- end }}
{{- include "mirrorstream.rootsMount" . }}
{{- if .Values.registry.clientSecret.name }}
- name: registry-client
  mountPath: /etc/mirrorstream/registry-client
  readOnly: true
{{- end }}
{{- if .Values.pseudonyms.existingSecret }}
- name: pseudonyms
  mountPath: /etc/mirrorstream/pseudonyms
  readOnly: true
{{- end }}
{{- end }}

{{- define "mirrorstream.filesMount" -}}
{{- if .Values.files }}
- name: files
  mountPath: /etc/mirrorstream/files
  readOnly: true
{{- end }}
{{- end }}

{{- define "mirrorstream.filesVolume" -}}
{{- if .Values.files }}
- name: files
  configMap:
    name: {{ include "mirrorstream.fullname" . }}-files
{{- end }}
{{- end }}

{{- /* What a process that loads the model sees of it. */}}
{{- define "mirrorstream.modelMounts" -}}
{{- if .Values.huggingface.existingSecret }}
- name: huggingface
  mountPath: /etc/mirrorstream/huggingface
  readOnly: true
{{- end }}
{{- if ne .Values.model.source "hub" }}
- name: model
  mountPath: /models
  readOnly: true
{{- end }}
{{- end }}

{{- define "mirrorstream.modelVolumes" -}}
{{- if ne .Values.model.source "hub" }}
- {{- include "mirrorstream.modelVolume" . | nindent 2 }}
{{- end }}
{{- if eq .Values.model.source "download" }}
- name: sums
  configMap:
    name: {{ include "mirrorstream.fullname" . }}-model
{{- end }}
{{- end }}

{{- define "mirrorstream.mounts" -}}
{{ include "mirrorstream.clientMounts" . }}
{{- if .Values.server.existingSecret }}
- name: server
  mountPath: /etc/mirrorstream/server
  readOnly: true
{{- end }}
{{- include "mirrorstream.modelMounts" . }}
{{- include "mirrorstream.filesMount" . }}
- name: home
  mountPath: /home/mirrorstream
{{- if .Values.cache.persistence.enabled }}
- name: cache
  mountPath: /home/mirrorstream/.cache
{{- end }}
{{- if include "mirrorstream.keepsFacts" . }}
- name: facts
  mountPath: /var/lib/mirrorstream
{{- end }}
- name: tmp
  mountPath: /tmp
- name: shm
  mountPath: /dev/shm
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "mirrorstream.kafkaVolume" -}}
{{- with .Values.kafka }}
{{- if .caSecret.name }}
- name: kafka
  projected:
    defaultMode: 0440
    sources:
      {{- if .existingSecret }}
      - secret:
          name: {{ .existingSecret | quote }}
          {{- with .items }}
          items:
            {{- toYaml . | nindent 12 }}
          {{- end }}
      {{- end }}
      - secret:
          name: {{ .caSecret.name | quote }}
          items:
            - key: {{ .caSecret.key | quote }}
              path: ssl.ca.pem
{{- else if .existingSecret }}
- name: kafka
  secret:
    secretName: {{ .existingSecret | quote }}
    defaultMode: 0440
    {{- with .items }}
    items:
      {{- toYaml . | nindent 6 }}
    {{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Kafka's and the registry's secrets, and those of one key each. */}}
{{- define "mirrorstream.secretVolumes" -}}
{{- $root := index . 0 }}
{{- include "mirrorstream.kafkaVolume" $root }}
{{- include "mirrorstream.rootsVolume" $root }}
{{- with $root.Values.registry.clientSecret }}
{{- if .name }}
- name: registry-client
  secret:
    secretName: {{ .name | quote }}
    defaultMode: 0440
    items:
      - key: {{ .certificate | quote }}
        path: tls.crt
      - key: {{ .key | quote }}
        path: tls.key
{{- end }}
{{- end }}
{{- include "mirrorstream.oneKeySecrets" . }}
{{- end }}

{{- /* The certificates that SSL_CERT_FILE names, for whatever has that variable. */}}
{{- define "mirrorstream.rootsVolume" -}}
{{- with .Values.registry.caSecret }}
{{- if .name }}
- name: registry-ca
  secret:
    secretName: {{ .name | quote }}
    defaultMode: 0440
    items:
      - key: {{ .key | quote }}
        path: ca.pem
{{- end }}
{{- end }}
{{- end }}

{{- define "mirrorstream.rootsMount" -}}
{{- if .Values.registry.caSecret.name }}
- name: registry-ca
  mountPath: /etc/mirrorstream/registry-ca
  readOnly: true
{{- end }}
{{- end }}

{{- /* Secrets of one key each: a dict of the value's name and the file's. */}}
{{- define "mirrorstream.oneKeySecrets" -}}
{{- $root := index . 0 }}
{{- range $name, $path := index . 1 }}
{{- with index $root.Values $name }}
{{- if .existingSecret }}
- name: {{ $name }}
  secret:
    secretName: {{ .existingSecret | quote }}
    defaultMode: 0440
    items:
      - key: {{ .key | quote }}
        path: {{ $path | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "mirrorstream.volumes" -}}
- name: config
  configMap:
    name: {{ include "mirrorstream.partName" . }}
{{- include "mirrorstream.secretVolumes" (list . (dict "registry" "auth" "pseudonyms" "key" "server" "token" "huggingface" "token")) }}
{{- include "mirrorstream.filesVolume" . }}
{{- include "mirrorstream.modelVolumes" . }}
- name: home
  emptyDir:
    sizeLimit: {{ .Values.cache.sizeLimit | quote }}
{{- if and .Values.cache.persistence.enabled (not (include "mirrorstream.cachePerPod" .)) }}
- name: cache
  persistentVolumeClaim:
    claimName: {{ .Values.cache.persistence.existingClaim | default (printf "%s-cache" (include "mirrorstream.fullname" .)) | quote }}
{{- end }}
{{- if and (include "mirrorstream.keepsFacts" .) (not .Values.facts.persistence.enabled) }}
- name: facts
  emptyDir:
    sizeLimit: {{ .Values.facts.sizeLimit | quote }}
{{- end }}
- name: tmp
  emptyDir:
    sizeLimit: {{ .Values.tmp.sizeLimit | quote }}
- name: shm
  emptyDir:
    medium: Memory
    sizeLimit: {{ .Values.shm.sizeLimit | quote }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* A StatefulSet gives each worker a cache of its own. */}}
{{- define "mirrorstream.cachePerPod" -}}
{{- if and (eq .Values.workload.kind "StatefulSet") (not .Values.cache.persistence.existingClaim) }}yes{{ end }}
{{- end }}

{{- /* A worker has a store of items and users, in the chart's own place. */}}
{{- define "mirrorstream.keepsFacts" -}}
{{- with .Values.config }}
{{- if and (or .items_topic .users_topic .items_file .users_file) (not .join_folder) }}yes{{ end }}
{{- end }}
{{- end }}

{{- define "mirrorstream.hasKafkaSecrets" -}}
{{- if or .Values.kafka.existingSecret .Values.kafka.caSecret.name }}yes{{ end }}
{{- end }}

{{- /* A pod that starts anew when its configuration changes: the chart and the text of that. */}}
{{- define "mirrorstream.podMetadata" -}}
{{- $root := index . 0 -}}
metadata:
  annotations:
    {{- merge (dict "checksum/config" (index . 1 | sha256sum)) ($root.Values.podAnnotations | default dict) | toYaml | nindent 4 }}
  labels:
    {{- merge (include "mirrorstream.selectorLabels" $root | fromYaml) ($root.Values.podLabels | default dict) | toYaml | nindent 4 }}
{{- end }}

{{- /* As whom a pod runs, and with which pull secrets: the same for all. */}}
{{- define "mirrorstream.podIdentity" -}}
serviceAccountName: {{ include "mirrorstream.serviceAccountName" . | quote }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- with include "mirrorstream.imagePullSecrets" . | fromYamlArray }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- end }}

{{- define "mirrorstream.pod" -}}
{{- $text := list (include "mirrorstream.config" .) (ternary (toYaml .Values.files) "" (not (empty .Values.files))) | compact | join "\n" }}
{{ include "mirrorstream.podMetadata" (list . $text) }}
spec:
  {{- include "mirrorstream.podIdentity" . | nindent 2 }}
  terminationGracePeriodSeconds: {{ include "mirrorstream.gracePeriod" . }}
  {{- with .Values.runtimeClassName }}
  runtimeClassName: {{ . | quote }}
  {{- end }}
  {{- include "mirrorstream.placement" (list . (eq (include "mirrorstream.hasGpu" .) "yes")) | nindent 2 }}
  {{- with .Values.resourceClaims }}
  resourceClaims:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- include "mirrorstream.spread" $ | trim | nindent 4 }}
  {{- end }}
  {{- with concat (include "mirrorstream.waitForModel" . | fromYamlArray) (.Values.initContainers | default list) }}
  initContainers:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: worker
      image: {{ include "mirrorstream.image" . | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args: [run, --config, /etc/mirrorstream/config.yaml]
      securityContext:
        {{- toYaml .Values.securityContext | nindent 8 }}
      env:
        {{- include "mirrorstream.withExtraEnv" (list . (include "mirrorstream.ownEnv" . | fromYamlArray)) | nindent 8 }}
      {{- include "mirrorstream.envFrom" . | nindent 6 }}
      ports:
        - name: http
          containerPort: {{ include "mirrorstream.httpPort" . }}
      startupProbe:
        httpGet: { path: /startupz, port: http }
        {{- toYaml .Values.probes.startup | nindent 8 }}
      readinessProbe:
        httpGet: { path: /readyz, port: http }
        {{- toYaml .Values.probes.readiness | nindent 8 }}
      livenessProbe:
        httpGet: { path: /livez, port: http }
        {{- toYaml .Values.probes.liveness | nindent 8 }}
      resources:
        {{- include "mirrorstream.resources" . | nindent 8 }}
      volumeMounts:
        {{- include "mirrorstream.mounts" . | nindent 8 }}
    {{- with .Values.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    {{- include "mirrorstream.volumes" . | nindent 4 }}
{{- end }}
