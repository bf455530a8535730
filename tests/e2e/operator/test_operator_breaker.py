"""A breaker that opens is told to Prometheus, and so is that a person has closed it."""

import structlog
from typer.testing import CliRunner

from controller.cli.main import build_app
from tests.operator_fakes import FakeFleet, make_operator
from tests.operator_samples import policy_object, pool_object

BREAKER = 'meltguard_controller_breaker_open{region="eu"}'


def test_an_open_breaker_is_a_metric_until_it_is_closed(cluster, wait_until):
    """The gauge is 0 in the calm, 1 once a region escalated too often, and 0 again after a person's order."""
    cluster.deployment("eu-h100", 4)
    cluster.create(cluster.pools, pool_object())
    cluster.create(cluster.policies, policy_object(limits={"maxEscalationsPerTenMinutes": 1}))
    made = make_operator(cluster, FakeFleet())
    place = [f"--kubeconfig={cluster.kubeconfig_at(cluster.control_plane.url)}", f"--namespace={cluster.namespace}"]

    def run(*arguments):
        done = CliRunner().invoke(build_app(), [*arguments, *place])
        structlog.reset_defaults()  # the command logged to a stream of the runner, which is closed now
        assert done.exit_code == 0, done.output

    def shows(line):
        wait_until(lambda: line in made.metrics.render().decode(), timeout_seconds=60.0)

    made.operator.start()
    try:
        shows(f"{BREAKER} 0.0")
        # Two steps up, by hand because that is what a test can time; one is all that the policy allows.
        for rung in (3, 4):
            run("limit", "images", "--region=eu", f"--rung={rung}", "--reason=drill")
            shows(f'meltguard_controller_rung{{region="eu"}} {rung}.0')
        shows(f"{BREAKER} 1.0")
        run("resume", "surge/images", "--breaker=eu")
        shows(f"{BREAKER} 0.0")
    finally:
        made.operator.stop()
