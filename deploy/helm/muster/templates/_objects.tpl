{{/* The objects of a file, in the namespace of the release. Arguments: file, root. */}}
{{- define "muster.objects" -}}
{{- $objects := list }}
{{- range $text := regexSplit "(?m)^---$" (.root.Files.Get (printf "files/%s.yaml" .file)) -1 }}
{{- $object := fromYaml $text }}
{{- if $object.kind }}
{{- $_ := set $object.metadata "namespace" $.root.Release.Namespace }}
{{- $objects = append $objects $object }}
{{- end }}
{{- end }}
{{- toYaml (dict "objects" $objects) }}
{{- end }}

{{/* Sets variables of a container: replaces their values, and appends those that it does not have. Arguments: container, env. */}}
{{- define "muster.setVariables" -}}
{{- $known := dict }}
{{- range .container.env }}
{{- $_ := set $known .name true }}
{{- if hasKey $.env .name }}{{ $_ := set . "value" (get $.env .name) }}{{ end }}
{{- end }}
{{- range $name, $value := .env }}
{{- if not (hasKey $known $name) }}
{{- $_ := set $.container "env" (append $.container.env (dict "name" $name "value" $value)) }}
{{- end }}
{{- end }}
{{- end }}

{{/* The ConfigMap `muster`: the literals of the base, and the values of `config`. */}}
{{- define "muster.configuration" -}}
{{- $data := dict }}
{{- $generator := first (fromYaml (.Files.Get "files/kustomization.yaml")).configMapGenerator }}
{{- range $generator.literals }}
{{- $pair := splitn "=" 2 . }}
{{- $_ := set $data $pair._0 $pair._1 }}
{{- end }}
{{- toYaml (mergeOverwrite $data (deepCopy .Values.config)) }}
{{- end }}

{{/* Variables that depend on the number of replicas, for a service. Arguments: service, root. */}}
{{- define "muster.countedVariables" -}}
{{- $values := .root.Values }}
{{- $sessions := get $values.services "session-service" }}
{{- $gateways := get $values.services "ws-gateway" }}
{{- $by := $values.autoscaling.by }}
{{- if eq .service "session-service" }}
EXPECTED_REPLICAS: {{ ternary $values.autoscaling.sessionServices.max $sessions.replicas (eq $by "hpa") | int | quote }}
{{- else if eq .service "health-aggregator" }}
{{- $fewest := ternary $values.autoscaling.sessionServices.min $sessions.replicas (eq $by "hpa") | int }}
{{- $fewestGateways := ternary $gateways.replicas $values.autoscaling.gateways.min (eq $by "none") | int }}
{{- $aggregators := (get $values.services "health-aggregator").replicas | int }}
EXPECTED: session-service={{ $fewest }},ws-gateway={{ $fewestGateways }},health-aggregator={{ $aggregators }}
{{- end }}
{{- end }}

{{/* Applies the values to the Deployment of a service. Arguments: object, service, options, root. */}}
{{- define "muster.setDeployment" -}}
{{- $values := .root.Values }}
{{- $spec := .object.spec }}
{{- $pod := $spec.template.spec }}
{{- $isScaled := or (and (eq .service "ws-gateway") (ne $values.autoscaling.by "none")) (and (eq .service "session-service") (eq $values.autoscaling.by "hpa")) }}
{{- if $isScaled }}{{ $_ := unset $spec "replicas" }}{{ else }}{{ $_ := set $spec "replicas" .options.replicas }}{{ end }}
{{- range concat (default list $pod.initContainers) $pod.containers }}
{{- $name := printf "%s/%s" $values.image.registry (first (splitList ":" .image)) | trimPrefix "/" }}
{{- $_ := set . "image" (printf "%s:%s" $name (default $.root.Chart.AppVersion $values.image.tag)) }}
{{- end }}
{{- $container := first $pod.containers }}
{{- $counted := fromYaml (include "muster.countedVariables" (dict "service" .service "root" .root)) }}
{{- include "muster.setVariables" (dict "container" $container "env" (mergeOverwrite $counted (default dict .options.env))) }}
{{- if .options.resources }}{{ $_ := set $container "resources" .options.resources }}{{ end }}
{{- if $values.onePerZone }}{{ $_ := set (first $pod.topologySpreadConstraints) "whenUnsatisfiable" "DoNotSchedule" }}{{ end }}
{{- if and $values.migrateDirectly (eq .service "session-service") }}
{{- include "muster.setVariables" (dict "container" (first $pod.initContainers) "env" (dict "DATABASE_URL_FILE" "/run/secrets/MIGRATION_DATABASE_URL")) }}
{{- $secret := (first $pod.volumes).secret }}
{{- $_ := set $secret "items" (append $secret.items (dict "key" "MIGRATION_DATABASE_URL" "path" "MIGRATION_DATABASE_URL")) }}
{{- end }}
{{- if and $values.podDeletionCost (eq .service "health-aggregator") }}
{{- $patch := (first (fromYaml (include "muster.objects" (dict "file" "pod-deletion-cost-patch" "root" .root))).objects).spec.template.spec }}
{{- $_ := set $pod "serviceAccountName" $patch.serviceAccountName }}
{{- $_ := set $pod "volumes" (concat $pod.volumes $patch.volumes) }}
{{- $patched := first $patch.containers }}
{{- $_ := set $container "volumeMounts" (concat $container.volumeMounts $patched.volumeMounts) }}
{{- range $patched.env }}
{{- include "muster.setVariables" (dict "container" $container "env" (dict .name .value)) }}
{{- end }}
{{- end }}
{{- /* A change of the configuration restarts the pods, as the hash in the names of kustomize does. */}}
{{- $sum := printf "%s%s" (include "muster.configuration" .root) (toYaml $values.secrets) | sha256sum }}
{{- $_ := set $spec.template.metadata "annotations" (dict "checksum/configuration" $sum) }}
{{- end }}
