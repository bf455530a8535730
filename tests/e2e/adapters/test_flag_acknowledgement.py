"""Who holds which flags, asked of a real Prometheus that scrapes consumers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import CollectorRegistry, Gauge, start_http_server

from controller.adapters.flags.acknowledgement import Acknowledgements, AcknowledgementSettings
from controller.adapters.prometheus import PrometheusClient
from exporters.metric_names import FLAGS_AGE, FLAGS_REVISION


class ConsumerMetrics:
    """The metrics of one consumer, and its server."""

    def __init__(self, revision: int, *, age_seconds: float = 1.0) -> None:
        """Serve a revision."""
        registry = CollectorRegistry()
        self.revision = Gauge(FLAGS_REVISION.name, "Revision.", registry=registry)
        self.revision.set(revision)
        Gauge(FLAGS_AGE.name, "Age.", registry=registry).set(age_seconds)
        self.server, self._thread = start_http_server(0, addr="127.0.0.1", registry=registry)
        self.address = f"127.0.0.1:{self.server.server_port}"

    def close(self) -> None:
        """Stop serving."""
        self.server.shutdown()
        self.server.server_close()
        self._thread.join(timeout=10)


@pytest.fixture
def consumers() -> Iterator[list[ConsumerMetrics]]:
    """Three consumers: two hold revision 7, one is behind."""
    started = [ConsumerMetrics(7), ConsumerMetrics(7, age_seconds=3.0), ConsumerMetrics(6, age_seconds=40.0)]
    yield started
    for consumer in started:
        consumer.close()


def now() -> datetime:
    """Return the present time."""
    return datetime.now(tz=UTC)


def test_who_holds_a_revision_is_asked_and_learned(prometheus, consumers, wait_until) -> None:
    """A consumer that is behind keeps a write open; once all hold it, the time that it took is learned."""
    settings = AcknowledgementSettings(prior_seconds=0.01)
    acknowledgements = Acknowledgements(PrometheusClient(prometheus.url), settings)
    prometheus.scrape(*(consumer.address for consumer in consumers))
    wait_until(
        lambda: (found := acknowledgements.ask(7, now()).value) is not None and found.num_consumers == 3,
        timeout_seconds=60.0,
    )
    acknowledgements.note_write(7, now())

    seen = acknowledgements.ask(7, now()).value
    assert (seen.num_holding, seen.oldest_revision, seen.oldest_age_seconds) == (2, 6, 40.0)
    assert not seen.complete
    assert acknowledgements.learned_seconds == ()

    consumers[2].revision.set(8)
    wait_until(lambda: acknowledgements.ask(7, now()).value.complete, timeout_seconds=60.0)
    assert len(acknowledgements.learned_seconds) == 1
    assert 0.0 < acknowledgements.learned_seconds[0] < 30.0
    assert acknowledgements.propagation_seconds == acknowledgements.learned_seconds[0]


def test_no_consumer_is_no_acknowledgement(prometheus) -> None:
    """Where nobody is scraped nobody has acknowledged, and nothing is learned."""
    acknowledgements = Acknowledgements(PrometheusClient(prometheus.url), AcknowledgementSettings())
    acknowledgements.note_write(1, now())

    seen = acknowledgements.ask(1, now()).value

    assert (seen.num_consumers, seen.complete, seen.oldest_revision) == (0, False, None)
    assert acknowledgements.learned_seconds == ()


def test_a_consumer_that_is_gone_holds_nothing_up(prometheus, consumers, wait_until) -> None:
    """A consumer that was last scraped long ago is left out instead of counting as behind."""
    acknowledgements = Acknowledgements(PrometheusClient(prometheus.url), AcknowledgementSettings())
    prometheus.scrape(*(consumer.address for consumer in consumers))
    wait_until(lambda: acknowledgements.ask(7, now()).value.num_consumers == 3, timeout_seconds=60.0)

    later = now() + timedelta(seconds=100)

    assert acknowledgements.ask(7, later).value.num_consumers == 0


def test_without_prometheus_the_acknowledgement_is_absent() -> None:
    """A Prometheus that cannot be reached makes the answer absent, never complete."""
    acknowledgements = Acknowledgements(PrometheusClient("http://127.0.0.1:9"), AcknowledgementSettings())

    assert acknowledgements.ask(1, now()).value is None
