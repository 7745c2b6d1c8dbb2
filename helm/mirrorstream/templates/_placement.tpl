{{- /* Where a pod may run: the release's root, and whether it has a GPU, whose nodes are nobody else's. */}}
{{- define "mirrorstream.placement" -}}
{{- $values := (index . 0).Values }}
{{- $gpu := ternary $values.gpu dict (index . 1) }}
{{- with merge (deepCopy ($gpu.nodeSelector | default dict)) ($values.nodeSelector | default dict) }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with merge (deepCopy ($gpu.affinity | default dict)) ($values.affinity | default dict) }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with concat ($values.tolerations | default list) ($gpu.tolerations | default list) }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* A worker has a GPU, by count or by claim. */}}
{{- define "mirrorstream.hasGpu" -}}
{{- if or .Values.gpu.enabled .Values.resourceClaims }}yes{{ end }}
{{- end }}

{{- define "mirrorstream.spread" -}}
{{- $selector := dict "labelSelector" (dict "matchLabels" (include "mirrorstream.selectorLabels" . | fromYaml)) }}
{{- range .Values.topologySpreadConstraints }}
- {{- merge (deepCopy .) $selector | toYaml | nindent 2 }}
{{- end }}
{{- end }}
