{{- /* A pod of a short command: Kafka's and the registry's secrets as the worker has them, no model, no GPU.  The arguments
of the command, as a list. */}}
{{- define "mirrorstream.clientPodSpec" -}}
{{- $root := index . 0 }}
{{- include "mirrorstream.podIdentity" $root }}
restartPolicy: {{ index . 2 }}
{{- include "mirrorstream.placement" (list $root false) }}
containers:
  - name: {{ $root.component }}
    image: {{ include "mirrorstream.image" $root | quote }}
    imagePullPolicy: {{ $root.Values.image.pullPolicy }}
    args:
      {{- index . 1 | toYaml | nindent 6 }}
    securityContext:
      {{- toYaml $root.Values.securityContext | nindent 6 }}
    env:
      {{- include "mirrorstream.withExtraEnv" (list $root (concat (list (dict "name" "HOME" "value" "/tmp")) (include "mirrorstream.registryEnv" $root | fromYamlArray))) | nindent 6 }}
    {{- include "mirrorstream.envFrom" $root | nindent 4 }}
    resources:
      requests: { cpu: 250m, memory: 512Mi }
      limits: { memory: 1Gi }
    volumeMounts:
      {{- include "mirrorstream.clientMounts" $root | nindent 6 }}
      {{- include "mirrorstream.filesMount" $root | nindent 6 }}
      - name: tmp
        mountPath: /tmp
volumes:
  - name: config
    configMap:
      name: {{ include "mirrorstream.fullname" $root }}
  {{- include "mirrorstream.secretVolumes" (list $root (dict "registry" "auth" "pseudonyms" "key")) | trim | nindent 2 }}
  {{- include "mirrorstream.filesVolume" $root | trim | nindent 2 }}
  - name: tmp
    emptyDir:
      sizeLimit: 1Gi
{{- end }}

{{- /* A Job's name and template.  An API server refuses another template, so a Job of another one is an object of its own. */}}
{{- define "mirrorstream.jobName" -}}
{{- /* 63 characters in all: it becomes a label of its pods. */}}
{{- include "mirrorstream.shortened" (list (include "mirrorstream.partName" (index . 0)) 54) }}-{{ toJson (index . 1) | sha256sum | trunc 8 }}
{{- end }}

{{- define "mirrorstream.clientTemplate" -}}
{{- $root := index . 0 -}}
metadata:
  annotations:
    {{- merge (dict "checksum/config" (include "mirrorstream.config" $root | sha256sum)) ($root.Values.podAnnotations | default dict) | toYaml | nindent 4 }}
  labels:
    {{- merge (include "mirrorstream.selectorLabels" $root | fromYaml) ($root.Values.podLabels | default dict) | toYaml | nindent 4 }}
spec:
  {{- include "mirrorstream.clientPodSpec" (list $root (index . 1) "OnFailure") | nindent 2 }}
{{- end }}

{{- /* A Job of such a command. */}}
{{- define "mirrorstream.clientJob" -}}
{{- $root := index . 0 }}{{ $job := index . 2 }}
{{- $template := include "mirrorstream.clientTemplate" . | fromYaml -}}
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ include "mirrorstream.jobName" (list $root $template) }}
  namespace: {{ $root.Release.Namespace | quote }}
  labels:
    {{- include "mirrorstream.labels" $root | nindent 4 }}
spec:
  backoffLimit: {{ $job.backoffLimit }}
  {{- with $job.ttlSecondsAfterFinished }}
  ttlSecondsAfterFinished: {{ . | int }}
  {{- end }}
  template:
    {{- toYaml $template | nindent 4 }}
{{- end }}
