"""What the exporter serves satisfies those who read it: Prometheus, promtool, dashboards, TLS clients, the kubelet."""

from __future__ import annotations

import base64
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import bcrypt
import numpy as np
import pytest
import trustme
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from exporters.metric_names import EXPORTER_METRICS, GPU_LABELS
from forecasting.thermal.priors import GainRecord
from forecasting.thermal.settings import ThermalSettings
from forecasting.thermal.state import StoredGpu, ThermalState
from forecasting.thermal.storage import save_state
from tests.exporter_process import ExporterProcess, running_exporter, running_states
from tests.kubelet import pod, running_kubelet
from tests.nvml_stub.stub import StubState, uuid_of
from tools.real_parts.processes import MissingPartError, find_program
from tools.real_parts.servers import PrometheusServer

pytestmark = pytest.mark.real_parts

Start = Callable[..., ExporterProcess]
LIGHT = "--no-derived-thermals"

# The panels of dashboard 12239, for the target and the GPUs that its variables select.
DASHBOARD_12239 = (
    'DCGM_FI_DEV_GPU_TEMP{instance=~".+", gpu=~".+"}',
    'avg(DCGM_FI_DEV_GPU_TEMP{instance=~".+", gpu=~".+"})',
    'DCGM_FI_DEV_POWER_USAGE{instance=~".+", gpu=~".+"}',
    'sum(DCGM_FI_DEV_POWER_USAGE{instance=~".+", gpu=~".+"})',
    'DCGM_FI_DEV_SM_CLOCK{instance=~".+", gpu=~".+"} * 1000000',
    'DCGM_FI_DEV_GPU_UTIL{instance=~".+", gpu=~".+"}',
    'DCGM_FI_PROF_PIPE_TENSOR_ACTIVE{instance=~".+", gpu=~".+"}',
    'DCGM_FI_DEV_FB_USED{instance=~".+", gpu=~".+"}',
    "label_values(DCGM_FI_DEV_GPU_TEMP, instance)",
)


def test_promtool_finds_nothing_wrong_with_our_names(start: Start) -> None:
    """``promtool check metrics`` is clean for our names."""
    try:
        promtool = find_program("promtool")
    except MissingPartError as error:
        pytest.skip(str(error))
    exporter = start("--dcgm-names", "none")
    exporter.wait(lambda: exporter.reasons() == running_states(8))
    exporter.wait(lambda: "meltguard_gpu_sustainable_power_watts" in exporter.samples())
    body = exporter.get("/metrics")[2]
    done = subprocess.run([promtool, "check", "metrics"], input=body, capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_real_prometheus_and_dashboard_12239(start: Start, prometheus: PrometheusServer) -> None:
    """A real Prometheus scrapes all of it, and every query of dashboard 12239 returns data."""
    exporter = start(LIGHT)
    exporter.wait(lambda: exporter.reasons() == running_states(8))
    exporter.wait(lambda: "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE" in exporter.samples())
    prometheus.scrape(exporter.address.removeprefix("http://"))
    deadline = time.monotonic() + 30.0
    queries = [query for query in DASHBOARD_12239 if not query.startswith("label_values")]
    empty = queries
    while empty and time.monotonic() < deadline:
        empty = [query for query in queries if not prometheus.query(query)]
        time.sleep(0.5)
    assert empty == []
    assert len(prometheus.query("meltguard_gpu_up == 1")) == 8
    assert [row["value"][1] for row in prometheus.query("up")] == ["1"]


def test_labels_and_names_are_those_of_the_contract(start: Start) -> None:
    """Every family that is served is in the contract with these labels, and parses as OpenMetrics."""
    exporter = start()
    exporter.wait(lambda: "meltguard_gpu_thermal_resistance_celsius_per_watt" in exporter.samples())
    status, headers, body = exporter.get("/metrics", {"Accept": "application/openmetrics-text"})
    assert status == 200
    assert headers["Content-Type"].startswith("application/openmetrics-text")
    known = {metric.name: metric for metric in EXPORTER_METRICS}
    for family in parse_openmetrics(body.decode()):
        for sample in family.samples:
            if sample.name.startswith("meltguard_"):
                assert set(sample.labels) <= set(known[sample.name].labels)
            if sample.name.startswith("meltguard_gpu_"):
                assert set(GPU_LABELS) <= set(sample.labels)


def test_old_driver_has_margin_and_throttled_time_all_the_same(start: Start) -> None:
    """A driver of 2021 lacks T.Limit, event reasons and time counters; margin, limits and time are there."""
    exporter = start(LIGHT, driver_major=470)
    exporter.wait(lambda: exporter.reasons() == running_states(8))
    exporter.wait(lambda: exporter.gpus()[0]["thermal_margin_celsius"] is not None)
    gpu = exporter.gpus()[0]
    assert gpu["thermal_margin_celsius"] == min(85 - gpu["temperature_celsius"], 95 - gpu["memory_temperature_celsius"])
    assert gpu["temperature_limits_celsius"] == {"shutdown": 92, "slowdown": 89, "memory_max": 95, "gpu_max": 85}
    reasons = {labels["reason"] for labels, _ in exporter.samples()["meltguard_gpu_throttled_seconds_total"]}
    assert {"sw_thermal", "hw_thermal", "hw_power_brake"} <= reasons
    assert "meltguard_gpu_engine_utilization_ratio" not in exporter.samples()


def test_partitions_are_listed_and_the_whole_gpu_stays(start: Start, hardware: StubState) -> None:
    """A GPU in MIG mode keeps its temperature, loses its utilisation and lists its instances."""
    hardware.set(gpu__0__mig=2)
    exporter = start(LIGHT)
    exporter.wait(lambda: exporter.reasons() == running_states(8))
    exporter.wait(lambda: "meltguard_gpu_mig_instance_info" in exporter.samples())
    samples = exporter.samples()
    assert [labels["profile"] for labels, _ in samples["meltguard_gpu_mig_instance_info"]] == ["1g.18gb", "1g.18gb"]
    assert "0" in {labels["gpu"] for labels, _ in samples["meltguard_gpu_temperature_celsius"]}
    assert "0" not in {labels["gpu"] for labels, _ in samples["meltguard_gpu_utilization_ratio"]}


def test_overheating_shows_in_counters_and_margin(start: Start, hardware: StubState) -> None:
    """Past its limit a GPU reports a negative margin, the reason and growing throttled time."""
    hardware.set(gpu__4__ambient_celsius=48, gpu__4__power_watts=700)
    exporter = start(LIGHT)
    exporter.wait(lambda: exporter.reasons() == running_states(8))

    def throttled() -> float:
        rows = exporter.samples()["meltguard_gpu_throttled_seconds_total"]
        return sum(value for labels, value in rows if (labels["gpu"], labels["reason"]) == ("4", "hw_thermal"))

    exporter.wait(lambda: throttled() > 0.0)
    assert exporter.gpus()[4]["thermal_margin_celsius"] < 10
    assert exporter.gpus()[0]["throttled"] == []


def test_pods_share_the_energy_of_their_gpus(start: Start, tmp_path: Path) -> None:
    """Pods join by an info series, carry DCGM labels, and with idle add up to what the GPU used."""
    with running_kubelet(tmp_path / "kubelet.sock") as kubelet:
        kubelet.pods = [pod("image-a", uuid_of(0)), pod("image-b", f"{uuid_of(1)}::0")]
        exporter = start(LIGHT, "--pod-resources", str(kubelet.socket))
        exporter.wait(lambda: "meltguard_gpu_pod_info" in exporter.samples())
        exporter.wait(lambda: _joules_of(exporter, uuid_of(0), "pod") > 100.0)
        samples = exporter.samples()
        pods = {labels["gpu"]: labels["pod"] for labels, _ in samples["meltguard_gpu_pod_info"]}
        assert pods == {"0": "image-a", "1": "image-b"}
        dcgm = {labels["gpu"]: labels.get("pod") for labels, _ in samples["DCGM_FI_DEV_GPU_TEMP"]}
        assert (dcgm["0"], dcgm["1"], dcgm["2"]) == ("image-a", "image-b", None)
        # Its processes are in no pod here, so a shared GPU's energy is idle, and said to be.
        assert _joules_of(exporter, uuid_of(1), "pod") == 0.0
        assert _joules_of(exporter, uuid_of(1), "idle") > 0.0
        assert _value(samples["meltguard_exporter_pod_map_up"]) == 1.0
        kubelet.raw_reply = b"\xff\xff\xff"
        exporter.wait(lambda: _value(exporter.samples()["meltguard_exporter_pod_map_up"]) == 0.0, seconds=20.0)
        assert exporter.get("/metrics")[0] == 200
        assert _value(exporter.samples()["meltguard_exporter_pod_map_age_seconds"]) > 1.0


def _value(rows: list[tuple[dict[str, str], float]]) -> float:
    return rows[0][1]


def _joules_of(exporter: ExporterProcess, uuid: str, holder: str) -> float:
    rows = exporter.samples().get("meltguard_pod_gpu_energy_joules_total", [])
    return sum(value for labels, value in rows if (labels["uuid"], labels["holder"]) == (uuid, holder))


def test_tls_and_users(start: Start, tmp_path: Path) -> None:
    """With a web configuration metrics need a password over TLS; probes need none."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(rounds=4)).decode()
    (tmp_path / "web.yml").write_text(
        "tls_server_config: {cert_file: cert.pem, key_file: key.pem, min_version: TLS12}\n"
        f"basic_auth_users: {{anna: '{hashed}'}}\nhttp_server_config: {{headers: {{X-Frame-Options: deny}}}}\n"
    )
    exporter = start(LIGHT, "--web-config", str(tmp_path / "web.yml"))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    parts = urlsplit(exporter.address)
    assert parts.scheme == "https"

    def status(path: str, password: str | None) -> tuple[int, str | None]:
        connection = http.client.HTTPSConnection("127.0.0.1", parts.port, context=context, timeout=10)
        login = base64.b64encode(f"anna:{password}".encode()).decode()
        connection.request("GET", path, headers={} if password is None else {"Authorization": f"Basic {login}"})
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer.status, answer.getheader("X-Frame-Options")

    assert status("/metrics", None) == (401, "deny")
    assert status("/metrics", "wrong")[0] == 401
    assert status("/metrics", "secret")[0] == 200
    assert status("/healthz", None)[0] == 200


@pytest.mark.parametrize("content", [b"", b"\xff{", b'{"schema": "meltguard.thermal_state/v2"}'])
def test_a_broken_thermal_state_is_reported_and_ignored(start: Start, tmp_path: Path, content: bytes) -> None:
    """The exporter starts from priors, derives thermals and says that the file was ignored."""
    path = tmp_path / "thermal.json"
    path.write_bytes(content)
    exporter = start("--thermal-state", str(path))
    exporter.wait(lambda: "meltguard_gpu_thermal_resistance_celsius_per_watt" in exporter.samples())
    assert exporter.log.read_text().count("exporter.thermal_state_ignored") == 1


def test_gains_of_the_last_run_are_taken_up(start: Start, tmp_path: Path) -> None:
    """A GPU in the file starts from its gains, and the file is kept up."""
    path = tmp_path / "thermal.json"
    settings = ThermalSettings()
    record = GainRecord(uuid=uuid_of(3), slot="00000000:04:00.0", plateau_gains_celsius=np.full(8, 8.75))
    stored = StoredGpu(record=record, power_limit_watts=700.0)
    before = ThermalState(saved_at_seconds=1.0, time_constants_seconds=settings.time_constants_seconds, gpus=(stored,))
    save_state(path, before)
    exporter = start("--thermal-state", str(path))

    def resistances() -> dict[str, float]:
        rows = exporter.samples().get("meltguard_gpu_thermal_resistance_celsius_per_watt", [])
        return {labels["gpu"]: value for labels, value in rows}

    exporter.wait(lambda: len(resistances()) == 8)
    assert resistances()["3"] == pytest.approx(0.1)
    assert resistances()["0"] != pytest.approx(0.1)
    exporter.wait(lambda: json.loads(path.read_bytes())["saved_at_seconds"] > 1.0)
    assert [gpu["uuid"] for gpu in json.loads(path.read_bytes())["gpus"]] == [uuid_of(3)]


def test_users_change_while_it_runs(start: Start, tmp_path: Path) -> None:
    """New users get in and removed ones out without a restart; a broken or empty file changes nothing and is named."""
    config = tmp_path / "web.yml"

    def write(text: str) -> None:
        (tmp_path / "web.new").write_text(text)
        os.replace(tmp_path / "web.new", config)

    def users(*names: str) -> str:
        hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(rounds=4)).decode()
        return "basic_auth_users: {" + ", ".join(f"{name}: '{hashed}'" for name in names) + "}\n"

    write(users("anna"))
    exporter = start(LIGHT, "--web-config", str(config))

    def status(user: str) -> int:
        login = base64.b64encode(f"{user}:secret".encode()).decode()
        return exporter.get("/metrics", {"Authorization": f"Basic {login}"})[0]

    def wait(holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 20.0
        while not holds():
            assert time.monotonic() < deadline, exporter.log.read_text()
            time.sleep(0.2)

    assert (status("anna"), status("berta")) == (200, 401)
    write(users("berta"))
    wait(lambda: status("berta") == 200)
    assert status("anna") == 401
    for number, broken in enumerate(("basic_auth_users: {berta: plain}\n", ""), start=1):
        write(broken)
        wait(lambda number=number: exporter.log.read_text().count("exporter.web_config_refused") == number)
        assert (status("anna"), status("berta"), exporter.get("/metrics")[0]) == (401, 200, 401)
    write(users("berta", "clara"))
    wait(lambda: status("clara") == 200)
    assert exporter.log.read_text().count("exporter.web_config_reloaded") == 2


def test_nonsense_on_the_wire_breaks_nothing(start: Start) -> None:
    """Bad requests get 400, wrong methods 405, unknown paths 404, and the server goes on."""
    exporter = start(LIGHT)
    parts = urlsplit(exporter.address)
    for data in (b"\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\nbad\r\n\r\n", b"\xff" * 70_000):
        with socket.create_connection(("127.0.0.1", parts.port or 0), timeout=5) as connection:
            connection.sendall(data)
            try:
                assert connection.recv(64).startswith(b"HTTP/1.1 400")
            except ConnectionResetError:
                pass
    connection = http.client.HTTPConnection("127.0.0.1", parts.port, timeout=5)
    for method, path, status in [("POST", "/metrics", 405), ("GET", "/nowhere", 404), ("HEAD", "/metrics", 200)]:
        connection.request(method, path)
        answer = connection.getresponse()
        assert (answer.status, len(answer.read()) == 0 or status != 200) == (status, True)
    connection.close()
    assert exporter.get("/healthz")[0] == 200


def test_simulated_and_replayed_sources_run_the_same_pipeline(tmp_path: Path) -> None:
    """Without a GPU the same pages come from a simulation or from a log."""
    log = tmp_path / "log.csv"
    log.write_text(
        "timestamp,gpu,temperature_celsius,power_watts\n" + "".join(f"{n},a,{50 + n % 3},400\n" for n in range(60))
    )
    for source, num_gpus in [("simulated:3", 3), (f"replay:{log}", 1)]:
        with running_exporter("--source", source, LIGHT, directory=tmp_path) as exporter:
            exporter.wait(lambda num=num_gpus: exporter.reasons() == running_states(num))
            assert len(exporter.samples()["DCGM_FI_DEV_GPU_TEMP"]) == num_gpus


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--source", "cuda"], "--source cuda"),
        (["--period", "soon"], "--period soon"),
        (["--listen", "nowhere"], "--listen nowhere"),
        (["--dcgm-names", "v4.9"], "--dcgm-names v4.9"),
        (["--nvml-library", "/nonexistent.so"], "--nvml-library /nonexistent.so"),
        (["--source", "replay:/nonexistent.csv"], "/nonexistent.csv"),
    ],
)
def test_wrong_flags_end_with_one_line(arguments: list[str], message: str) -> None:
    """A wrong flag ends with code 2 and one line that names it."""
    done = subprocess.run(
        [sys.executable, "-m", "controller", "exporter", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("meltguard: error: ")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


def test_the_command_serves_and_ends_cleanly(tmp_path: Path) -> None:
    """``meltguard exporter`` logs its address, serves, and ends with 0 on SIGTERM, its collector with it."""
    log = tmp_path / "stderr"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "controller",
                "exporter",
                "--source",
                "simulated:2",
                "--listen",
                "127.0.0.1:0",
                LIGHT,
            ],
            stderr=stderr,
            stdout=subprocess.DEVNULL,
        )
    try:
        deadline = time.monotonic() + 20.0
        while "exporter.collector_started" not in log.read_text():
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        events = [json.loads(line) for line in log.read_text().splitlines()]
        ready = next(event for event in events if event["event"] == "exporter.ready")
        assert ready["address"].startswith("http://127.0.0.1:")
        collector = next(event["pid"] for event in events if event["event"] == "exporter.collector_started")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0
        deadline = time.monotonic() + 5.0
        while Path(f"/proc/{collector}").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            process.wait(timeout=10)
