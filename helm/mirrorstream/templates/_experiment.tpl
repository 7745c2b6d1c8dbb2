{{- /* The page's pod: Kafka's and the registry's secrets as the worker has them, no model, no GPU. */}}
{{- define "mirrorstream.experimentPod" -}}
{{- $page := .Values.experiment }}
{{- $text := list (include "mirrorstream.experimentConfig" .) ($page.definitions | toYaml) | join "\n" }}
{{ include "mirrorstream.podMetadata" (list . $text) }}
spec:
  {{- include "mirrorstream.podIdentity" . | nindent 2 }}
  {{- include "mirrorstream.placement" (list . false) | nindent 2 }}
  containers:
    - name: experiment
      image: {{ include "mirrorstream.image" . | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args:
        - experiment
        - serve
        - --config=/etc/mirrorstream/config.yaml
        - "--host=::"
        - --port=8090
        - --state=/var/lib/mirrorstream/experiments.db
        - --definitions-topic={{ include "mirrorstream.definitionsTopic" . }}
        - --outcomes-topic={{ $page.outcomesTopic }}
        {{- with include "mirrorstream.readoutsTopic" . }}
        - --readouts-topic={{ . }}
        {{- end }}
        {{- if $page.existingSecret }}
        - --token-file=/etc/mirrorstream/experiment/token
        {{- else }}
        - --allow-anonymous
        {{- end }}
        {{- if $page.webhook.existingSecret }}
        - --on-verdict-change=@/etc/mirrorstream/webhook/url
        {{- end }}
        {{- range $name := keys $page.definitions | sortAlpha }}
        - --definition=/etc/mirrorstream/definitions/{{ $name }}
        {{- end }}
      securityContext:
        {{- toYaml .Values.securityContext | nindent 8 }}
      env:
        {{- include "mirrorstream.withExtraEnv" (list . (concat (list (dict "name" "HOME" "value" "/tmp")) (include "mirrorstream.registryEnv" . | fromYamlArray))) | nindent 8 }}
      {{- include "mirrorstream.envFrom" . | nindent 6 }}
      ports:
        - name: http
          containerPort: 8090
      {{- /* A probe sends no token, and the page answers once its port is open. */}}
      startupProbe:
        tcpSocket: { port: http }
        periodSeconds: 5
        failureThreshold: 60
      readinessProbe:
        tcpSocket: { port: http }
      livenessProbe:
        tcpSocket: { port: http }
        failureThreshold: 6
      resources:
        {{- toYaml $page.resources | nindent 8 }}
      volumeMounts:
        {{- include "mirrorstream.clientMounts" . | nindent 8 }}
        {{- if $page.definitions }}
        - name: definitions
          mountPath: /etc/mirrorstream/definitions
          readOnly: true
        {{- end }}
        {{- if $page.existingSecret }}
        - name: experiment
          mountPath: /etc/mirrorstream/experiment
          readOnly: true
        {{- end }}
        {{- if $page.webhook.existingSecret }}
        - name: webhook
          mountPath: /etc/mirrorstream/webhook
          readOnly: true
        {{- end }}
        - name: state
          mountPath: /var/lib/mirrorstream
        - name: tmp
          mountPath: /tmp
  volumes:
    - name: config
      configMap:
        name: {{ include "mirrorstream.partName" . }}
        items:
          - key: config.yaml
            path: config.yaml
    {{- if $page.definitions }}
    - name: definitions
      configMap:
        name: {{ include "mirrorstream.partName" . }}
        items:
          {{- range $name := keys $page.definitions | sortAlpha }}
          - key: {{ $name | quote }}
            path: {{ $name | quote }}
          {{- end }}
    {{- end }}
    {{- include "mirrorstream.secretVolumes" (list . (dict "registry" "auth" "pseudonyms" "key")) | trim | nindent 4 }}
    {{- if $page.existingSecret }}
    - name: experiment
      secret:
        secretName: {{ $page.existingSecret | quote }}
        defaultMode: 0440
        items:
          - key: {{ $page.key | quote }}
            path: token
    {{- end }}
    {{- if $page.webhook.existingSecret }}
    - name: webhook
      secret:
        secretName: {{ $page.webhook.existingSecret | quote }}
        defaultMode: 0440
        items:
          - key: {{ $page.webhook.key | quote }}
            path: url
    {{- end }}
    - name: state
      {{- if $page.persistence.enabled }}
      persistentVolumeClaim:
        claimName: {{ $page.persistence.existingClaim | default (include "mirrorstream.partName" .) | quote }}
      {{- else }}
      emptyDir:
        sizeLimit: {{ $page.persistence.size | quote }}
      {{- end }}
    - name: tmp
      emptyDir:
        sizeLimit: 1Gi
{{- end }}

{{- /* What of the settings concerns Kafka and the registry; the page has no engine. */}}
{{- define "mirrorstream.experimentConfig" -}}
{{- $config := pick .Values.config "bootstrap_servers" "output_topic" "kafka_options" "schema_registry_url" "log_level" }}
{{- if include "mirrorstream.hasKafkaSecrets" . }}{{ $_ := set $config "kafka_secrets" "/etc/mirrorstream/kafka" }}{{ end }}
{{- include "mirrorstream.mountedFiles" (list . $config) }}
{{- toYaml $config }}
{{- end }}

{{- /* The topic of definitions that the page reads: the one that workers follow, unless another is named. */}}
{{- define "mirrorstream.definitionsTopic" -}}
{{- .Values.experiment.definitionsTopic | default .Values.config.experiments_topic | default "experiments" }}
{{- end }}

{{- /* The topic that the page publishes readouts to; empty if nobody names one and no worker follows definitions. */}}
{{- define "mirrorstream.readoutsTopic" -}}
{{- $followed := ternary "readouts" "" (not (empty .Values.config.experiments_topic)) }}
{{- .Values.experiment.readoutsTopic | default .Values.config.readouts_topic | default $followed }}
{{- end }}
