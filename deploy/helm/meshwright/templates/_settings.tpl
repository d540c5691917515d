{{- define "meshwright.settings" -}}
trust_domain: {{ .Values.trustDomain }}
store: none
xds_address: 0.0.0.0:15010
join_address: 0.0.0.0:15011
admin_address: 0.0.0.0:15012
api_address: 0.0.0.0:15013
server_names:
- meshwright.{{ .Release.Namespace }}.svc
- meshwright.{{ .Release.Namespace }}.svc.{{ .Values.clusterDomain }}
- meshwright.{{ .Release.Namespace }}
- meshwright
log_level: {{ .Values.logLevel }}
kubernetes:
  namespace: {{ .Release.Namespace }}
  authority_secret: meshwright-authority
  proxy_image: {{ .Values.image }}
{{- end }}
