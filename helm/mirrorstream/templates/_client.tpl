{{- /* A pod of a short command: Kafka's and the registry's secrets as the worker has them, no model, no GPU.  The arguments
of the command, as a list. */}}
{{- define "mirrorstream.clientPodSpec" -}}
{{- $root := index . 0 }}
{{- include "mirrorstream.podIdentity" $root }}
restartPolicy: {{ index . 2 }}
{{- with $root.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
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
      - name: tmp
        mountPath: /tmp
volumes:
  - name: config
    configMap:
      name: {{ include "mirrorstream.fullname" $root }}
  {{- include "mirrorstream.secretVolumes" (list $root (dict "registry" "auth")) | trim | nindent 2 }}
  - name: tmp
    emptyDir:
      sizeLimit: 1Gi
{{- end }}

{{- /* A Job of such a command.  A Job's pods never change: one of other arguments or settings is an object of its own. */}}
{{- define "mirrorstream.clientJob" -}}
{{- $root := index . 0 }}{{ $args := index . 1 }}{{ $job := index . 2 -}}
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ include "mirrorstream.partName" $root }}-{{ list (toJson $args) (include "mirrorstream.config" $root) | join " " | sha256sum | trunc 8 }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "mirrorstream.labels" $root | nindent 4 }}
spec:
  backoffLimit: {{ $job.backoffLimit }}
  {{- with $job.ttlSecondsAfterFinished }}
  ttlSecondsAfterFinished: {{ . | int }}
  {{- end }}
  template:
    metadata:
      labels:
        {{- merge (include "mirrorstream.selectorLabels" $root | fromYaml) $root.Values.podLabels | toYaml | nindent 8 }}
    spec:
      {{- include "mirrorstream.clientPodSpec" (list $root $args "OnFailure") | nindent 6 }}
{{- end }}
