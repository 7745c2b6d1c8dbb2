{{- /* The properties of the pairing.  Kafka's own providers read the pod's name and the mounted secrets. */}}
{{- define "mirrorstream.pairingProperties" -}}
{{- $config := .Values.config }}
{{- $inputs := $config.input_topics | default (list "impressions") }}
{{- if kindIs "string" $inputs }}{{ $inputs = splitList "," $inputs }}{{ end }}
{{- $own := dict
  "bootstrap.servers" ($config.bootstrap_servers | default "localhost:9092")
  "application.id" (printf "%s-pairing" ($config.group_id | default "mirrorstream"))
  "pairing.output.topic" (first $inputs | trim) }}
{{- $fixed := dict
  "config.providers" "env"
  "config.providers.env.class" "org.apache.kafka.common.config.provider.EnvVarConfigProvider"
  "config.providers.env.param.allowlist.pattern" "POD_NAME"
  "group.instance.id" "${env:POD_NAME}"
  "pairing.http.port" "8080"
  "state.dir" "/var/lib/mirrorstream/pairing" }}
{{- /* Kafka refuses to start with an allowed path that does not exist: it is there with the secrets alone. */}}
{{- if include "mirrorstream.hasKafkaSecrets" . }}
{{- $fixed = mergeOverwrite $fixed (dict
  "config.providers" "env,directory"
  "config.providers.directory.class" "org.apache.kafka.common.config.provider.DirectoryConfigProvider"
  "config.providers.directory.param.allowed.paths" "/etc/mirrorstream/kafka") }}
{{- end }}
{{- range $name, $value := mergeOverwrite $own .Values.pairing.config $fixed }}
{{ $name }}={{ ternary (toString $value) (toJson $value) (kindIs "string" $value) | replace "\\" "\\\\" }}
{{- end }}
{{- end }}

{{- /* Its pod: Kafka's secrets as the worker has them, no registry, no model, no GPU. */}}
{{- define "mirrorstream.pairingPod" -}}
{{ include "mirrorstream.podMetadata" (list . (include "mirrorstream.pairingProperties" .)) }}
spec:
  {{- include "mirrorstream.podIdentity" . | nindent 2 }}
  terminationGracePeriodSeconds: 60
  {{- include "mirrorstream.placement" (list . false) | nindent 2 }}
  {{- with .Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- include "mirrorstream.spread" $ | trim | nindent 4 }}
  {{- end }}
  containers:
    - name: pairing
      image: {{ include "mirrorstream.image" . | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args: [/etc/mirrorstream/pairing.properties]
      securityContext:
        {{- toYaml .Values.securityContext | nindent 8 }}
      {{- $name := dict "name" "POD_NAME" "valueFrom" (dict "fieldRef" (dict "fieldPath" "metadata.name")) }}
      {{- /* The state has memory of its own, outside the heap. */}}
      {{- $heap := dict "name" "JAVA_TOOL_OPTIONS" "value" "-XX:MaxRAMPercentage=50" }}
      env:
        {{- include "mirrorstream.withExtraEnv" (list . (list $name $heap)) | nindent 8 }}
      {{- include "mirrorstream.envFrom" . | nindent 6 }}
      ports:
        - name: http
          containerPort: 8080
      {{- /* It is ready once its state is restored. */}}
      startupProbe:
        httpGet: { path: /livez, port: http }
        periodSeconds: 5
        failureThreshold: 60
      readinessProbe:
        httpGet: { path: /readyz, port: http }
      livenessProbe:
        httpGet: { path: /livez, port: http }
        failureThreshold: 6
      resources:
        {{- toYaml .Values.pairing.resources | nindent 8 }}
      volumeMounts:
        - name: config
          mountPath: /etc/mirrorstream/pairing.properties
          subPath: pairing.properties
          readOnly: true
        {{- if include "mirrorstream.hasKafkaSecrets" . }}
        - name: kafka
          mountPath: /etc/mirrorstream/kafka
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
    {{- include "mirrorstream.kafkaVolume" . | trim | nindent 4 }}
    {{- if not .Values.pairing.persistence.enabled }}
    - name: state
      emptyDir:
        sizeLimit: {{ .Values.pairing.persistence.size | quote }}
    {{- end }}
    {{- /* The native libraries of RocksDB and the compressions are unpacked here. */}}
    - name: tmp
      emptyDir:
        sizeLimit: 1Gi
{{- end }}
