{{- /* Why the pod is so stands in manifests/base, with which a test compares it. */}}

{{- /* Of the pods of daemon and cleanup, and of the test. */}}
{{- define "non-masquerade-daemon.pod" -}}
hostNetwork: true
dnsPolicy: Default
automountServiceAccountToken: false
enableServiceLinks: false
priorityClassName: system-node-critical
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
{{- toYaml . | nindent 0 }}
{{- end }}
nodeSelector:
{{- toYaml .Values.nodeSelector | nindent 2 }}
tolerations:
{{- toYaml .Values.tolerations | nindent 0 }}
terminationGracePeriodSeconds: 10
securityContext:
  runAsNonRoot: {{ not .Values.runAsRoot }}
  runAsUser: {{ ternary 0 65532 .Values.runAsRoot }}
  runAsGroup: {{ ternary 0 65532 .Values.runAsRoot }}
  seccompProfile:
    type: RuntimeDefault
{{- end }}

{{- /* Of the container that runs the program, whichever command. */}}
{{- define "non-masquerade-daemon.container" -}}
image: {{ .Values.image.repository }}:{{ .Values.image.tag | default (printf "v%s" .Chart.AppVersion) }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
env:
- name: NON_MASQUERADE_DAEMON_CONFIG
  value: {{ ternary "/etc/config" "/etc/config/non-masquerade-daemon" (not (empty .Values.additionalConfigMaps)) }}
- name: NON_MASQUERADE_DAEMON_HTTP_ADDRESS
  value: {{ printf "%s:%v" (ternary .Values.monitoring.address "127.0.0.1" .Values.monitoring.enabled) .Values.port | quote }}
{{- range $flag, $value := .Values.options }}
- name: NON_MASQUERADE_DAEMON_{{ $flag | upper | replace "-" "_" }}
  value: {{ $value | quote }}
{{- end }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
    add: [NET_ADMIN]
resources:
{{- if .Values.resources }}
{{- toYaml .Values.resources | nindent 2 }}
{{- else }}
  requests:
    cpu: 10m
    memory: 32Mi
  limits:
    memory: {{ ternary "512Mi" "1Gi" (empty .Values.additionalConfigMaps) }}
{{- end }}
{{- end }}

{{- define "non-masquerade-daemon.volumeMounts" -}}
- name: config
  mountPath: /etc/config
  readOnly: true
{{- end }}

{{- /* Each ConfigMap is a file of its name. */}}
{{- define "non-masquerade-daemon.volumes" -}}
{{- if .Values.additionalConfigMaps -}}
- name: config
  projected:
    sources:
    {{- range append .Values.additionalConfigMaps "non-masquerade-daemon" }}
    - configMap:
        name: {{ . }}
        optional: true
        items:
        - key: config
          path: {{ . }}
    {{- end }}
{{- else -}}
- name: config
  configMap:
    name: non-masquerade-daemon
    optional: true
    items:
    - key: config
      path: non-masquerade-daemon
{{- end }}
{{- end }}
