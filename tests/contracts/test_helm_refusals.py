"""What the chart refuses, before anything reaches the cluster: each message names the value and what to set."""

import helm_python
import pytest

from tests.support.chart import CHART, Values

IMAGE: Values = {"model": {"source": "image", "image": {"reference": "models@sha256:0"}}}
PAIRED: Values = {
    "enabled": True,
    "image": {"repository": "pairing"},
    "config": {"pairing.control.topic": "a", "pairing.candidate.topic": "b"},
}
SCRAM: Values = {"config": {"kafka_options": {"security.protocol": "SASL_SSL", "sasl.mechanism": "SCRAM-SHA-512"}}}
CLAIM: Values = {"model": {"source": "pvc", "path": "../etc", "pvc": {"claimName": "m"}}}


@pytest.fixture(scope="module")
def chart() -> helm_python.Chart:
    """Load the chart as Helm does."""
    return helm_python.Chart.load(CHART)


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ({"replicaCount": -1}, "minimum"),
        ({"workload": {"sort": "Deployment"}}, "sort"),
        ({"gpu": {"count": "1"}}, "count"),
        ({"config": {"worker_id": "a"}}, "config.worker_id: the chart sets it; use workload.kind=StatefulSet"),
        ({"config": {"server_auth_file": "/token"}}, "config.server_auth_file: .* use server.existingSecret"),
        ({"config": {"server_urls": ["http://me:secret@vllm"]}}, "config.server_urls: .* use server.existingSecret"),
        (
            {"config": {"kafka_options": {"sasl.password": "x"}}},
            "config.kafka_options.sasl.password: .* key of the Secret kafka.existingSecret",
        ),
        (
            {"backfill": {"enabled": True, "config": {"group_id": "b", "kafka_options": {"sasl.password": "x"}}}},
            "backfill.config.kafka_options.sasl.password: .* key of the Secret kafka.existingSecret",
        ),
        (
            {"config": {"schema_registry_url": "http://me:secret@registry"}},
            "config.schema_registry_url: .* use registry.existingSecret",
        ),
        (
            {"config": {"bootstrap_servers": "me:secret@kafka:9092"}},
            "config.bootstrap_servers: .* use kafka.existingSecret",
        ),
        (
            {"config": {"vllm_options": {"hf_token": "x"}}},
            "config.vllm_options.hf_token: .* huggingface.existingSecret",
        ),
        ({"config": {"static_membership": True}}, "StatefulSet"),
        (
            {"otel": {"OTEL_EXPORTER_OTLP_HEADERS": "key=x"}},
            "otel.OTEL_EXPORTER_OTLP_HEADERS: .* use extraEnv with valueFrom.secretKeyRef",
        ),
        ({"image": {"repository": "hub/worker:1"}}, "image.repository: hub/worker:1 has a tag .* image.tag"),
        ({"nameOverride": "My_Chart"}, "fullnameOverride: .*-My_Chart cannot be the name of a Service"),
        ({"nameOverride": "a/b"}, "nameOverride': 'a/b' does not match"),
        ({"model": {"pvc": {"claimName": "m"}}}, "model.pvc.claimName: is not read with model.source hub; set .*=pvc"),
        (
            {"model": {"source": "pvc", "pvc": {"claimName": "m"}, "image": {"reference": "models@sha256:0"}}},
            "model.image.reference: is not read with model.source pvc; set model.source=image",
        ),
        ({"resources": {"limits": {"nvidia.com/gpu": 2}}}, "resources.limits: nvidia.com/gpu is given by gpu.count"),
        ({"resources": {"claims": [{"name": "gpu"}]}}, "resources.claims: gpu is not among resourceClaims; add it"),
        ({"extraEnv": [{"name": "A", "value": 1}]}, "extraEnv/0/value': got number, want string"),
        ({"hpa": {"enabled": True, "minReplicas": 0}}, "hpa.minReplicas: 0 needs a metric .* set 1"),
        ({"keda": {"enabled": True, "idleReplicaCount": 0, "minReplicaCount": 0}}, "set keda.minReplicaCount=1"),
        ({"keda": {"fallback": {"replicas": 2}}}, "'failureThreshold' required, if 'replicas' exists"),
        ({"topics": {"replicas": 0}}, "topics/replicas': value must be -1|minimum: got 0, want 1"),
        (
            {"cache": {"persistence": {"enabled": True}}, "backfill": {"enabled": True, "config": {"group_id": "b"}}},
            "cache.persistence.accessMode: ReadWriteOnce, but .* a backfill",
        ),
        ({**IMAGE, "kubeVersion": "1.34.3"}, "needs Kubernetes 1.35"),
        ({"model": {"source": "pvc"}}, "model.pvc.claimName"),
        ({"keda": {"enabled": True}, "config": {"input_topics": ["^imp"]}}, "name the topics"),
        ({"config": {"drawz": 2}}, "drawz"),
        ({"config": {"draws": "two"}}, "draws"),
        ({"config": {"sample_rate": 7}}, "sample_rate"),
        ({"config": {"engine": "vllm-servers"}}, "engine"),
        ({"config": {"engine": "vllm-server"}, "gpu": {"enabled": False}}, "config.server_urls: .* at least one"),
        ({"config": {"vllm_options": {"tensor_parallel_size": 2}}}, "gpu.count: 1, but .* needs 2 .* set gpu.count=2"),
        (
            {"config": {"input_format": "json", "mapping": "/etc/mirrorstream/files/a.yaml"}},
            "config.mapping: .*/a.yaml is not",
        ),
        ({"files": {"../a": "text"}}, r"\.\./a"),
        (
            {"experiment": {"enabled": True, "allowAnonymous": True, "route": {"enabled": True}}},
            "experiment.route.parentRefs: want the gateway",
        ),
        ({"modelServer": {"enabled": True}}, "config.engine: vllm would not ask .* set config.engine=vllm-server"),
        (
            {"modelServer": {"enabled": True}, "config": {"engine": "vllm-server"}},
            "gpu.enabled: .* set gpu.enabled=false",
        ),
        (
            {
                "modelServer": {"enabled": True, "tensorParallelSize": 3},
                "config": {"engine": "vllm-server"},
                "gpu": {"enabled": False},
            },
            "modelServer.tensorParallelSize: 3 does not divide the 16 GPUs",
        ),
        (
            {
                "modelServer": {"enabled": True, "shm": {"sizeLimit": "128Gi"}},
                "config": {"engine": "vllm-server"},
                "gpu": {"enabled": False},
            },
            "modelServer.shm.sizeLimit: 128Gi counts towards modelServer.resources.limits.memory",
        ),
        ({"shm": {"sizeLimit": "16Gi"}}, "shm.sizeLimit: 16Gi counts towards resources.limits.memory, which is 16Gi"),
        ({"shm": {"sizeLimit": "2 GB"}}, "shm/sizeLimit"),
        ({"resources": {"limits": {"memory": "16 GB"}}}, "resources.limits.memory: 16 GB is no quantity"),
        ({"keda": {"enabled": True, "minReplicaCount": 5}}, "keda.minReplicaCount: 5 is above .* 4"),
        (
            {"keda": {"enabled": True}, "config": {"kafka_options": {"security.protocol": "SASL_SSL"}}},
            "keda.authenticationRef.name: .* SASL_SSL",
        ),
        (
            {
                "keda": {"enabled": True},
                "workload": {"kind": "StatefulSet"},
                "config": {"static_membership": True},
            },
            "config.static_membership: does not go with keda.enabled",
        ),
        (CLAIM, "model.path: ../etc"),
        ({"workload": {"kind": "StatefulSet"}, "strategy": {"type": "Recreate"}}, "strategy: .* set updateStrategy"),
        ({"updateStrategy": {"type": "OnDelete"}}, "updateStrategy: .* set strategy"),
        ({"strategy": {"type": "Recreate", "rollingUpdate": {"maxSurge": 0}}}, "rollingUpdate"),
        ({"experiment": {"enabled": True}}, "experiment.existingSecret: .* experiment.allowAnonymous=true"),
        ({"experiment": {"definitions": {"shelf": {"experiment_id": "a"}}}}, "shelf"),
        (
            {"experiment": {"enabled": True, "allowAnonymous": True, "ingress": {"enabled": True}}},
            "experiment.ingress.host",
        ),
        ({"backfill": {"enabled": True}}, "backfill.config.group_id: want a group of its own"),
        ({"backfill": {"enabled": True, "config": {"group_id": "mirrorstream"}}}, "is the workers' group"),
        ({"backfill": {"config": {"drawz": 1}}}, "drawz"),
        (
            {"keda": {"enabled": True}, "hpa": {"enabled": True}},
            "hpa.enabled: does not go with keda.enabled, .* set one of them",
        ),
        ({"hpa": {"enabled": True, "minReplicas": 9}}, "hpa.minReplicas: 9 is above hpa.maxReplicas, which is 4"),
        ({"keda": {"enabled": True, "idleReplicaCount": 1}}, "keda.idleReplicaCount: 1, want 0 or null"),
        ({"model": {"source": "download"}}, "model.revision: .* needs a commit"),
        ({"model": {"source": "download", "revision": "a"}}, "model.download.checksums: want the SHA-256"),
        ({"model": {"source": "download", "download": {"checksums": {"a": "b"}}}}, "checksums"),
        ({"model": {"source": "hostPath"}}, "model.hostPath: .* such as /data/models"),
        (
            {"metrics": {"serviceMonitor": {"enabled": True}, "podMonitor": {"enabled": True}}},
            "metrics.serviceMonitor.enabled: every worker would be scraped twice",
        ),
        (
            {"metrics": {"serviceMonitor": {"enabled": True}, "service": {"enabled": False}}},
            "metrics.serviceMonitor.enabled: needs the service .* set metrics.service.enabled=true",
        ),
        (
            {"cache": {"persistence": {"enabled": True}}, "replicaCount": 2},
            "cache.persistence.accessMode: ReadWriteOnce, but .* set ReadWriteMany",
        ),
        (
            {"facts": {"persistence": {"enabled": True}}, "config": {"items_topic": "items"}},
            "facts.persistence.enabled: each worker needs .* set workload.kind=StatefulSet",
        ),
        (
            {"facts": {"persistence": {"enabled": True}}, "workload": {"kind": "StatefulSet"}},
            "facts.persistence.enabled: nothing would be kept there; set config.items_topic",
        ),
        ({"pairing": {"enabled": True}}, "pairing.image.repository: want the image"),
        ({"pairing": PAIRED | {"config": {}}}, "pairing.config: pairing.control.topic is missing"),
        (
            {"pairing": PAIRED | {"config": {"pairing.control.topic": "a", "pairing.candidates": "b, c"}}},
            "pairing.config: pairing.b.topic is missing",
        ),
        ({"pairing": PAIRED | {"config": {"state.dir": "/"}}}, "state.dir"),
        ({"pairing": PAIRED | {"config": {"ssl.key.password": "secret"}}}, "ssl.key.password"),
        ({"pairing": PAIRED | {"config": {"sasl.jaas.config": 'x password="secret";'}}}, "sasl.jaas.config"),
        ({"topics": {"strimzi": {"enabled": True}}}, "topics.strimzi.cluster: want the name of the Kafka resource"),
        (
            {"topics": {"strimzi": {"enabled": True, "cluster": "a"}}, "config": {"input_topics": ["^imp"]}},
            "topics.strimzi: .* pattern .imp",
        ),
        ({"extraEnv": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}, "extraEnv: A stands twice"),
        (SCRAM, "kafka.existingSecret: .* sasl.mechanism SCRAM-SHA-512, .* keys sasl.username and sasl.password"),
        (
            {**SCRAM, "kafka": {"caSecret": {"name": "ca"}}},
            "kafka.existingSecret: .* sasl.mechanism SCRAM-SHA-512, which needs a name and a password",
        ),
        (
            {**SCRAM, "kafka": {"existingSecret": "k", "items": [{"key": "user", "path": "sasl.username"}]}},
            "kafka.items: sasl.password is not among the paths, which are sasl.username, .* add .*path: sasl.password",
        ),
        (
            {"config": {"kafka_options": {"security.protocol": "sasl_plaintext", "sasl.mechanisms": "PLAIN"}}},
            "kafka.existingSecret: .* sasl.mechanism PLAIN, which needs",
        ),
        ({"dnsPolicy": "None"}, "dnsConfig.nameservers: dnsPolicy None asks nobody else .* or another dnsPolicy"),
        ({"dnsPolicy": "none"}, "dnsPolicy': value must be one of '', 'ClusterFirst', 'Default', 'None'"),
        ({"dnsConfig": {"nameserver": ["10.0.0.10"]}}, "dnsConfig': additional properties 'nameserver'"),
        ({"dnsConfig": {"options": [{"name": "ndots", "value": 2}]}}, "value': got number, want string"),
        ({"hostAliases": [{"ip": "kafka", "hostnames": ["k"]}]}, "hostAliases/0/ip': 'kafka' does not match"),
        ({"hostAliases": [{"ip": "10.0.0.9"}]}, "hostAliases/0': missing property 'hostnames'"),
    ],
)
def test_wrong_values_are_refused(chart: helm_python.Chart, values: Values, wanted: str) -> None:
    """What cannot work, or would put a secret into a ConfigMap, fails at install and says why."""
    with pytest.raises(helm_python.HelmError, match=wanted):
        chart.render(values)


@pytest.mark.parametrize(
    "values",
    [
        {"kafka": {"existingSecret": "k"}},  # whose keys nobody sees here
        {
            "extraEnv": [
                {"name": "MIRRORSTREAM_KAFKA_OPTIONS", "valueFrom": {"secretKeyRef": {"name": "k", "key": "o"}}}
            ]
        },
        {
            "extraEnv": [{"name": "MIRRORSTREAM_KAFKA_SECRETS", "value": "/vault/secrets"}]
        },  # of an injector, in a folder
        {"extraEnvFrom": [{"secretRef": {"name": "k"}}]},
        {"config": {"kafka_options": {"security.protocol": "SASL_SSL", "sasl.mechanism": "OAUTHBEARER"}}},
    ],
)
def test_a_login_may_come_in_several_ways(chart: helm_python.Chart, values: Values) -> None:
    """What could be a name and a password is no reason to refuse."""
    assert chart.render({**SCRAM, **values})
