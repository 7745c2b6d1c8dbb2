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
