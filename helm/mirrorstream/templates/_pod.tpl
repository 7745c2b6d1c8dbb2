{{- define "mirrorstream.resources" -}}
{{- $resources := deepCopy .Values.resources }}
{{- if .Values.gpu.enabled }}
{{- $resources = merge (dict "limits" (dict .Values.gpu.resourceName .Values.gpu.count)) $resources }}
{{- end }}
{{- toYaml $resources }}
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

{{- /* As whom a pod runs, with which pull secrets, who places it and where it asks for names: the same for all. */}}
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
{{- with .Values.schedulerName }}
schedulerName: {{ . | quote }}
{{- end }}
{{- with .Values.dnsPolicy }}
dnsPolicy: {{ . }}
{{- end }}
{{- with .Values.dnsConfig }}
dnsConfig:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.hostAliases }}
hostAliases:
  {{- toYaml . | nindent 2 }}
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
