import json
import time

import pytest
from kubernetes import client, config
from prometheus_client import CollectorRegistry, Gauge, start_http_server


@pytest.fixture
def api(control_plane):
    with config.new_client_from_config(config_file=str(control_plane.kubeconfig)) as api_client:
        yield api_client


def test_api_server_refuses_a_stale_resource_version(api):
    """Of two writers that read the same Lease, the second one is refused with 409."""
    leases = client.CoordinationV1Api(api)
    body = {"metadata": {"name": "writers"}, "spec": {"holderIdentity": "first", "leaseDurationSeconds": 15}}
    created = leases.create_namespaced_lease("default", body)

    created.spec.holder_identity = "second"
    leases.replace_namespaced_lease("writers", "default", created)
    with pytest.raises(client.ApiException) as refused:
        leases.replace_namespaced_lease("writers", "default", created)

    assert refused.value.status == 409
    assert leases.read_namespaced_lease("writers", "default").spec.holder_identity == "second"


def test_api_server_serves_custom_resources_with_scale(api, wait_until):
    """A custom resource with a scale subresource is created, listed and scaled through it."""
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "racks.test.meltguard.dev"},
        "spec": {
            "group": "test.meltguard.dev",
            "scope": "Namespaced",
            "names": {"plural": "racks", "singular": "rack", "kind": "Rack", "listKind": "RackList"},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "properties": {
                                "spec": {"type": "object", "properties": {"nodes": {"type": "integer"}}},
                                "status": {"type": "object", "properties": {"nodes": {"type": "integer"}}},
                            },
                        }
                    },
                    "subresources": {
                        "status": {},
                        "scale": {"specReplicasPath": ".spec.nodes", "statusReplicasPath": ".status.nodes"},
                    },
                }
            ],
        },
    }
    definitions = client.ApiextensionsV1Api(api)
    definitions.create_custom_resource_definition(definition)
    wait_until(lambda: _is_established(definitions, "racks.test.meltguard.dev"))
    racks = client.CustomObjectsApi(api)
    where = ("test.meltguard.dev", "v1", "default", "racks")
    rack = {"apiVersion": "test.meltguard.dev/v1", "kind": "Rack", "metadata": {"name": "north"}, "spec": {"nodes": 2}}
    racks.create_namespaced_custom_object(*where, rack)

    racks.patch_namespaced_custom_object_scale(*where, "north", {"spec": {"replicas": 5}})

    listed = racks.list_namespaced_custom_object(*where)["items"]
    assert [(item["metadata"]["name"], item["spec"]["nodes"]) for item in listed] == [("north", 5)]
    assert racks.get_namespaced_custom_object_scale(*where, "north")["spec"]["replicas"] == 5


def _is_established(definitions, name):
    conditions = definitions.read_custom_resource_definition(name).status.conditions or []
    return any(condition.type == "Established" and condition.status == "True" for condition in conditions)


def test_prometheus_scrapes_and_answers_a_range_query(prometheus, wait_until):
    """What a server exposes comes back from a range query with its labels and value."""
    registry = CollectorRegistry()
    Gauge("rack_temperature_celsius", "Temperature.", ["rack"], registry=registry).labels("north").set(71.5)
    server, thread = start_http_server(0, addr="127.0.0.1", registry=registry)
    try:
        prometheus.scrape(f"127.0.0.1:{server.server_port}", labels={"region": "test"})
        wait_until(lambda: prometheus.query("rack_temperature_celsius"))
        now = time.time()
        series = prometheus.query_range("rack_temperature_celsius", start=now - 10, end=now, step_seconds=1)
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)

    assert [(one["metric"]["rack"], one["metric"]["region"]) for one in series] == [("north", "test")]
    assert {value for _, value in series[0]["values"]} == {"71.5"}


def test_alertmanager_posts_an_alert_to_the_webhook(alertmanager, webhook):
    """An alert that Alertmanager receives reaches the webhook with its labels."""
    alertmanager.post_alerts([{"labels": {"alertname": "RackHot", "rack": "north"}}])

    notification = json.loads(webhook.wait())

    assert notification["status"] == "firing"
    assert [alert["labels"]["rack"] for alert in notification["alerts"]] == ["north"]


def test_redis_keeps_what_it_is_given(redis_server):
    """A value that is set over the socket comes back over another connection."""
    assert redis_server.command("SET", "smoke:colour", "blue") == "+OK\r\n"
    assert redis_server.command("GET", "smoke:colour") == "$4\r\nblue\r\n"
    assert redis_server.command("GET", "smoke:absent") == "$-1\r\n"
