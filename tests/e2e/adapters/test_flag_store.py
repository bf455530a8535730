"""The guarded store of flags on a real API server: one writer has effect, and nothing is written twice or backwards."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from controller.adapters.flags.feature_flag import FeatureFlagProjection
from controller.adapters.flags.store import ConfigMapFlagStore
from controller.adapters.ports import RenderedFlags, WriteOutcome
from controller.types import Rung
from tests.cluster_definitions import FEATURE_FLAG_DEFINITION
from tests.flag_samples import first_of, rendered
from tests.kubernetes_transport import DirectApi
from tests.planning_samples import NOW
from tools.real_parts.fault_proxy import Fault, FaultKind

POSITIONS = {"r0": first_of(Rung.SHED), "r1": 0}


@pytest.fixture
def store(api, namespace) -> ConfigMapFlagStore:
    """An empty store."""
    return ConfigMapFlagStore(api, namespace=namespace, name="flags")


def flags_of(revision: int) -> RenderedFlags:
    """Return a set of some revision."""
    return rendered(POSITIONS, expires_at=NOW, revision=revision)


def write(store: ConfigMapFlagStore, revision: int, *, epoch: int = 1) -> WriteOutcome:
    """Read, then write on top of what was read."""
    stored = store.read(NOW).value
    assert stored is not None
    return store.write(flags_of(revision), epoch=epoch, token=stored.token, now=NOW).outcome


def test_what_is_written_is_read_back(store) -> None:
    """An empty store is revision 0; after a write it gives back the set, its limits, its epoch and its time."""
    empty = store.read(NOW).value
    assert (empty.rendered.revision, empty.token, empty.intact) == (0, "", True)

    assert write(store, 3, epoch=5) is WriteOutcome.DONE

    stored = store.read(NOW).value
    flags = flags_of(3)
    assert (stored.rendered.text, stored.rendered.flags) == (flags.text, flags.flags)
    assert (stored.rendered.revision, stored.rendered.decision_id) == (3, "d-3")
    assert (stored.epoch, stored.written_at, stored.intact) == (5, NOW, True)


def test_a_write_on_an_old_read_is_a_conflict(store) -> None:
    """Of two writers that read the same state, one has effect and the other is told."""
    write(store, 1)
    token = store.read(NOW).value.token

    first = store.write(flags_of(2), epoch=1, token=token, now=NOW)
    second = store.write(flags_of(3), epoch=1, token=token, now=NOW)

    assert first.outcome is WriteOutcome.DONE
    assert (second.outcome, second.revision) == (WriteOutcome.CONFLICT, 2)


def test_an_old_leader_is_fenced(store) -> None:
    """After a newer epoch has written, the older leader is refused, whatever it read."""
    write(store, 1, epoch=8)

    assert write(store, 2, epoch=7) is WriteOutcome.FENCED
    assert write(store, 2, epoch=8) is WriteOutcome.DONE


@pytest.mark.parametrize("revision", [3, 2, 1])
def test_a_revision_only_grows(store, revision: int) -> None:
    """Another set under the same or a lower revision is refused."""
    write(store, 3)
    other = rendered({"r0": 0}, expires_at=NOW, revision=revision)

    receipt = store.write(other, epoch=1, token=store.read(NOW).value.token, now=NOW)

    assert receipt.outcome is WriteOutcome.CONFLICT


def test_many_writers_at_once_leave_one_set(store, api, namespace) -> None:
    """Sixteen writers on one read: exactly one is done, and the store holds its set and no mixture."""
    write(store, 1)
    token = store.read(NOW).value.token

    def one(number: int) -> WriteOutcome:
        own = ConfigMapFlagStore(api, namespace=namespace, name="flags")
        return own.write(flags_of(10 + number), epoch=1, token=token, now=NOW).outcome

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(one, range(16)))

    stored = store.read(NOW).value
    assert outcomes.count(WriteOutcome.DONE) == 1
    assert set(outcomes) <= {WriteOutcome.DONE, WriteOutcome.CONFLICT}
    assert stored.rendered.revision == 10 + outcomes.index(WriteOutcome.DONE)
    assert stored.intact


def test_flags_edited_by_hand_are_noticed_and_mended(store, api) -> None:
    """A hand in the ConfigMap breaks the seal; the next write goes above whatever revision was put there."""
    write(store, 3)
    document = json.loads(flags_of(3).text)
    document["metadata"]["revision"] = 50
    patch = {"data": {"flags.json": json.dumps(document)}}
    assert api.call("PATCH", store.path, body=patch, content_type="application/merge-patch+json").ok

    stored = store.read(NOW).value
    assert (stored.intact, stored.rendered.revision) == (False, 50)
    assert write(store, 4) is WriteOutcome.CONFLICT
    assert write(store, 51) is WriteOutcome.DONE
    assert store.read(NOW).value.intact


def test_a_foreign_configmap_is_taken_over_with_its_labels(store, api, namespace) -> None:
    """A ConfigMap that somebody made beforehand is read as unsealed, and keeps its labels and other keys."""
    body = {"metadata": {"name": "flags", "labels": {"team": "web"}}, "data": {"other": "1", "flags.json": "{"}}
    assert api.call("POST", store.collection_path, body=body).ok
    assert not store.read(NOW).value.intact

    assert write(store, 1) is WriteOutcome.DONE

    found = api.call("GET", store.path).body
    assert found["metadata"]["labels"]["team"] == "web"
    assert found["data"]["other"] == "1"


def test_a_broken_set_is_never_sent(store) -> None:
    """A set that consumers could not read is refused before anything reaches the API."""
    broken = RenderedFlags(text="{}", revision=1, decision_id="d", flags=())

    receipt = store.write(broken, epoch=1, token="", now=NOW)

    assert receipt.outcome is WriteOutcome.REJECTED
    assert store.read(NOW).value.token == ""


def test_a_lost_answer_is_looked_up(store, api_fault_proxy, control_plane, namespace) -> None:
    """When the server did as asked and the answer was lost, the write counts as done."""
    proxied = ConfigMapFlagStore(
        DirectApi(api_fault_proxy.url, control_plane.credentials), namespace=namespace, name="flags"
    )
    api_fault_proxy.inject(Fault(kind=FaultKind.LOSE_ANSWER, method="POST", times=1))

    receipt = proxied.write(flags_of(1), epoch=1, token="", now=NOW)

    assert receipt.outcome is WriteOutcome.DONE
    assert store.read(NOW).value.rendered.revision == 1


def test_an_api_that_does_not_answer_is_absent_and_unknown(api_fault_proxy, control_plane, namespace) -> None:
    """Without an answer the store is absent, never empty, and a write says that nobody knows."""
    proxied = ConfigMapFlagStore(
        DirectApi(api_fault_proxy.url, control_plane.credentials), namespace=namespace, name="flags"
    )
    api_fault_proxy.inject(Fault(kind=FaultKind.DROP))

    assert proxied.read(NOW).value is None
    assert proxied.write(flags_of(1), epoch=1, token="", now=NOW).outcome is WriteOutcome.TIME_OUT


@pytest.fixture
def feature_flags(api, namespace, wait_until) -> FeatureFlagProjection:
    """A projection in a cluster that knows FeatureFlags."""
    definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    assert api.call("POST", definitions, body=FEATURE_FLAG_DEFINITION).status in (201, 409)
    path = f"/apis/core.openfeature.dev/v1beta1/namespaces/{namespace}/featureflags"
    wait_until(lambda: api.call("GET", path).ok)
    return FeatureFlagProjection(api, namespace=namespace, name="meltguard")


def with_feature_flag(revision: int, positions: dict[str, int]) -> RenderedFlags:
    """Return a set that is rendered for the resource, too."""
    text = rendered(positions, expires_at=NOW, revision=revision, explicit_defaults=True).text
    plain = rendered(positions, expires_at=NOW, revision=revision)
    return RenderedFlags(text=plain.text, revision=revision, decision_id="d", flags=plain.flags, feature_flag_text=text)


def test_the_feature_flag_follows_and_never_goes_back(feature_flags, api, namespace) -> None:
    """The resource takes a newer set whole, leaves no flag of an older one behind, and refuses an older set."""
    assert feature_flags.publish(with_feature_flag(4, POSITIONS)).outcome is WriteOutcome.DONE
    assert feature_flags.publish(with_feature_flag(5, {"r0": 0})).outcome is WriteOutcome.DONE
    assert feature_flags.publish(with_feature_flag(4, POSITIONS)).outcome is WriteOutcome.CONFLICT

    found = api.call("GET", f"/apis/core.openfeature.dev/v1beta1/namespaces/{namespace}/featureflags/meltguard").body
    spec = found["spec"]["flagSpec"]
    assert spec["metadata"]["revision"] == 5
    assert "images-per-day" not in spec["flags"]
    assert spec["flags"]["image-generation-enabled"]["defaultVariant"] == "on"


def test_a_cluster_without_the_resource_says_so(api, namespace) -> None:
    """Where nobody installed the OpenFeature operator the write is rejected, in words."""
    projection = FeatureFlagProjection(api, namespace=namespace + "-absent", name="meltguard")

    receipt = projection.publish(with_feature_flag(1, POSITIONS))

    assert receipt.outcome is WriteOutcome.REJECTED
    assert "meltguard" in receipt.text
