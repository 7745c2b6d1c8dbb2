{{- /* Where a pod may run: the release's root, and whether it has a GPU, whose nodes are nobody else's. */}}
{{- define "mirrorstream.placement" -}}
{{- $values := (index . 0).Values }}
{{- $gpu := ternary $values.gpu dict (index . 1) }}
{{- with merge (deepCopy ($gpu.nodeSelector | default dict)) ($values.nodeSelector | default dict) }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with include "mirrorstream.bothAffinities" (list ($gpu.affinity | default dict) ($values.affinity | default dict)) | fromYaml }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with concat ($values.tolerations | default list) ($gpu.tolerations | default list) }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* Two affinities that hold both.  Maps are merged; rules of pods are added, and so are preferences.  Of the terms of
nodes one is enough, so each of one side is joined with each of the other. */}}
{{- define "mirrorstream.bothAffinities" -}}
{{- $own := index . 0 }}{{ $all := index . 1 }}
{{- $found := merge (deepCopy $own) $all }}
{{- range $kind := list "nodeAffinity" "podAffinity" "podAntiAffinity" }}
{{- range $when := list "preferredDuringSchedulingIgnoredDuringExecution" "requiredDuringSchedulingIgnoredDuringExecution" }}
{{- $one := get (get $own $kind | default dict) $when }}{{ $other := get (get $all $kind | default dict) $when }}
{{- if not (and $one $other) }}
{{- else if kindIs "slice" $one }}
{{- $_ := set (get $found $kind) $when (concat $one $other) }}
{{- else }}
{{- $terms := list }}
{{- range $a := $one.nodeSelectorTerms }}{{ range $b := $other.nodeSelectorTerms }}
{{- $term := dict }}
{{- range $part := list "matchExpressions" "matchFields" }}
{{- with concat (get $a $part | default list) (get $b $part | default list) }}{{ $_ := set $term $part . }}{{ end }}
{{- end }}
{{- $terms = append $terms $term }}
{{- end }}{{ end }}
{{- $_ := set (get $found $kind) $when (dict "nodeSelectorTerms" $terms) }}
{{- end }}
{{- end }}
{{- end }}
{{- toYaml $found }}
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
