{{- define "mirrorstream.hasKafkaSecrets" -}}
{{- if or .Values.kafka.existingSecret .Values.kafka.caSecret.name }}yes{{ end }}
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
