import json
import re
import subprocess
import sysconfig
from functools import cache
from pathlib import Path

import kubernetes_validate
import pytest

from inference.serving.settings import STOP_SECONDS, parse_seconds
from tests.golden_files import golden_text
from tests.kustomize import MANIFESTS, OVERLAYS, WORKLOADS, kubectl, objects, render, workloads

pytestmark = pytest.mark.real_parts

KUBERNETES_VERSION = "1.35"


@cache
def pods():
    """Every pod of every overlay: overlay, name, specification."""
    return [(overlay, name, pod) for overlay in OVERLAYS for name, pod in workloads(overlay)]


@cache
def containers():
    """Every container of every overlay, with the name of what runs it."""
    return [(f"{overlay}/{name}", container) for overlay, name, pod in pods() for container in pod["containers"]]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_an_overlay_installs_changes_only_on_purpose(overlay):
    """Every overlay renders to its golden file."""
    assert render(overlay) == golden_text(f"manifests/{overlay}.yaml", render(overlay))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_object_stands_twice(overlay):
    """An object has one place: kind, namespace and name are unique."""
    keys = [(o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for o in objects(overlay)]

    assert len(keys) == len(set(keys))


def test_pods_are_restricted():
    """No pod runs as root but the exporter that reads the kubelet's socket, and none without a seccomp profile."""
    assert len(pods()) >= 3 * len(OVERLAYS)
    for overlay, name, pod in pods():
        context = pod["securityContext"]
        reads_socket = any("pod-resources" in argument for argument in pod["containers"][0].get("args", []))

        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, (overlay, name)
        assert context["runAsNonRoot"] is not reads_socket, (overlay, name)
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys(), (overlay, name)


def test_containers_hold_no_privilege():
    """Every container drops all capabilities, cannot gain any and cannot write to its own image."""
    for name, container in containers():
        context = container["securityContext"]

        assert context["capabilities"] == {"drop": ["ALL"]}, name
        assert context["allowPrivilegeEscalation"] is False, name
        assert context["readOnlyRootFilesystem"] is True, name
        assert "privileged" not in context, name


def test_containers_say_what_they_need():
    """Every container asks for processor and memory, bounds its memory and not its processor, and can be probed."""
    for name, container in containers():
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys(), name
        assert "memory" in container["resources"]["limits"], name
        assert "cpu" not in container["resources"]["limits"], name
        assert {"livenessProbe", "readinessProbe"} <= container.keys(), name


def test_images_are_pinned():
    """An image has a full version as its tag."""
    for name, container in containers():
        image = container["image"].rsplit("/", 1)[-1]

        assert re.fullmatch(r"[a-z-]+:v?\d+\.\d+\.\d+(-[a-z0-9.]+)?", image), (name, image)


def test_only_the_operator_speaks_to_the_api():
    """No other pod gets a token of its service account."""
    for overlay, name, pod in pods():
        assert pod.get("automountServiceAccountToken", True) is (name == "meltguard-operator"), (overlay, name)


def test_only_the_exporter_sees_the_host():
    """Mounts of the host are two, both in the exporter: the kubelet's socket and its own learned state."""
    for overlay, name, pod in pods():
        paths = {volume["hostPath"]["path"] for volume in pod.get("volumes", []) if "hostPath" in volume}
        allowed = {"/var/lib/kubelet/pod-resources", "/var/lib/meltguard"} if name == "meltguard-exporter" else set()

        assert paths <= allowed, (overlay, name)


def test_the_exporter_takes_no_gpu():
    """The exporter asks for no GPU: one that it held would be one less for users."""
    pod = dict(workloads("gpu"))["meltguard-exporter"]

    assert "nvidia.com/gpu" not in json.dumps(pod["containers"][0]["resources"])


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_one_namespace_is_restricted_and_the_other_holds_only_the_exporter(overlay):
    """What needs a port of the host has a namespace to itself; the rest is under the restricted standard."""
    found = objects(overlay)
    levels = {
        o["metadata"]["name"]: o["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
        for o in found
        if o["kind"] == "Namespace"
    }
    in_nodes = {o["metadata"]["name"] for o in found if o["metadata"].get("namespace") == "meltguard-nodes"}

    assert levels == {"meltguard-system": "restricted", "meltguard-nodes": "privileged"}
    assert in_nodes == {"meltguard-exporter"}


def test_high_availability_spreads_the_operator():
    """On a GPU cluster two operators stand on two nodes, and one of them may be evicted at a time."""
    found = {(o["kind"], o["metadata"]["name"]): o["spec"] for o in objects("gpu") if "spec" in o}
    operator = found["Deployment", "meltguard-operator"]
    spread = operator["template"]["spec"]["topologySpreadConstraints"]

    assert operator["replicas"] == 2
    assert {"kubernetes.io/hostname": "DoNotSchedule"}.items() <= {
        constraint["topologyKey"]: constraint["whenUnsatisfiable"] for constraint in spread
    }.items()
    assert found["PodDisruptionBudget", "meltguard-operator"]["maxUnavailable"] == 1


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_object_is_valid(overlay):
    """The schemas of a current Kubernetes know every field of every built-in kind."""
    checked = 0
    for document in objects(overlay):
        group = document["apiVersion"].rpartition("/")[0]
        if "." in group and not group.endswith(".k8s.io"):
            continue
        kubernetes_validate.validate(document, KUBERNETES_VERSION, strict=True)
        checked += 1

    assert checked >= len([o for o in objects(overlay) if o["kind"] in WORKLOADS]) > 0


def test_the_local_overlay_is_installed_and_removed_without_a_trace(own_control_plane):
    """On a real API server `kubectl apply -k` succeeds, a second time changes nothing, and delete leaves nothing."""
    local = str(MANIFESTS / "overlays" / "local")

    def run(*arguments):
        command = [kubectl(), "--kubeconfig", str(own_control_plane.kubeconfig), *arguments]
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=100)

    first = run("apply", "--validate=ignore", "-k", local)
    second = run("apply", "--validate=ignore", "-k", local)
    ours = ("-A", "-l", "app.kubernetes.io/part-of=meltguard")
    generations = run("get", "deployment,daemonset", *ours, "-o", "jsonpath={.items[*].metadata.generation}")
    removed = run("delete", "--wait=false", "-k", local)
    kinds = "clusterrole,clusterrolebinding,priorityclass,customresourcedefinition"
    left = run("get", kinds, "-o", "name", "-l", "app.kubernetes.io/part-of=meltguard")

    assert first.returncode == 0, first.stderr
    assert second.returncode == 0, second.stderr
    assert set(generations.stdout.split()) == {"1"}, "applying again changed a workload"
    assert removed.returncode == 0, removed.stderr
    assert left.stdout == ""


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_inference_pod_gets_the_time_that_it_takes_to_end(overlay):
    """Delay, grace and the stopping of its parts fit into what Kubernetes waits before it kills."""
    pod = dict(workloads(overlay))["meltguard-inference"]
    options = dict(argument.split("=", 1) for argument in pod["containers"][0]["args"] if "=" in argument)
    delay = parse_seconds(options["--drain-delay"], "--drain-delay")
    grace = parse_seconds(options["--grace"], "--grace")
    probe = pod["containers"][0]["readinessProbe"]

    # The drain may overrun by one, and three parts are then given one each.
    assert delay + grace + 4 * STOP_SECONDS <= pod["terminationGracePeriodSeconds"]
    # Endpoints forget a pod that ends at once; readiness is for whatever else asks, and must be seen to fail.
    assert delay > probe["periodSeconds"] + probe["timeoutSeconds"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_inference_pod_reads_the_exporter_of_its_node(overlay):
    """The local guard is on, and asks the port that the exporter opens on its host."""
    found = dict(workloads(overlay))
    arguments = found["meltguard-inference"]["containers"][0]["args"]
    ports = {port.get("hostPort") for port in found["meltguard-exporter"]["containers"][0]["ports"]}

    assert "--exporter=http://$(HOST_IP):9400/api/v1/gpus" in arguments
    assert 9400 in ports


def test_every_dockerfile_is_lint_clean():
    """Hadolint has nothing to say on any image."""
    files = sorted(str(path) for path in (MANIFESTS / "images").glob("*.Dockerfile"))

    # The wheel that brings it puts it beside the interpreter, wherever PATH points.
    hadolint = str(Path(sysconfig.get_path("scripts")) / "hadolint")
    shown = subprocess.run([hadolint, *files], check=False, capture_output=True, text=True, timeout=60)

    assert len(files) == 3
    assert (shown.returncode, shown.stdout) == (0, "")


def test_images_run_as_the_user_of_the_manifests():
    """The Dockerfiles' user is numeric, so that `runAsNonRoot` can be checked, and the one of the manifests."""
    for path in (MANIFESTS / "images").glob("*.Dockerfile"):
        assert "\nUSER 65532:65532\n" in path.read_text(encoding="utf-8"), path.name


def test_the_cloud_policy_resizes_only_what_is_tagged():
    """No statement of the AWS policy that changes anything goes without the condition on our tag."""
    policy = json.loads((MANIFESTS / "overlays" / "eks" / "iam-policy.json").read_text(encoding="utf-8"))
    writing = [s for s in policy["Statement"] if any("Describe" not in action for action in s["Action"])]

    assert writing
    assert all(s["Condition"] == {"StringEquals": {"aws:ResourceTag/meltguard.dev/managed": "true"}} for s in writing)
