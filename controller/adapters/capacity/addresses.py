"""From a kind to its address in the API: the plural is asked for once, and Cluster API's served version is found."""

from __future__ import annotations

from dataclasses import dataclass

from controller.adapters.capacity import fields
from controller.adapters.ports import KubernetesApi
from controller.adapters.targets import ObjectReference

MAX_KNOWN = 256
_WELL_KNOWN = {
    ("apps/v1", "Deployment"): ("deployments", True),
    ("apps/v1", "StatefulSet"): ("statefulsets", True),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where an object lives in the API.

    Attributes:
        collection: Path of its collection.
        name: Its name.
    """

    collection: str
    name: str

    @property
    def path(self) -> str:
        """Path of the object."""
        return f"{self.collection}/{self.name}"

    @property
    def scale_path(self) -> str:
        """Path of its scale subresource."""
        return f"{self.path}/scale"


@dataclass(frozen=True, slots=True, kw_only=True)
class NoAddress:
    """Why an object cannot be found: one sentence, and whether the API answered at all."""

    text: str
    answered: bool


class AddressBook:
    """Finds objects; remembers the plurals of kinds.

    Args:
        api: The Kubernetes API.
    """

    def __init__(self, api: KubernetesApi) -> None:
        """Know only the kinds that every cluster has."""
        self._api = api
        self._known: dict[tuple[str, str], tuple[str, bool]] = dict(_WELL_KNOWN)

    def find(self, reference: ObjectReference) -> Address | NoAddress:
        """Return where an object lives.

        Args:
            reference: The object.

        Returns:
            Its address, or why there is none.
        """
        answered = True
        for api_version in self._versions(reference.api_version):
            place = self._known.get((api_version, reference.kind)) or self._ask(api_version, reference.kind)
            if isinstance(place, bool):
                answered = answered and place
                continue
            plural, namespaced = place
            root = f"/api/{api_version}" if "/" not in api_version else f"/apis/{api_version}"
            if namespaced and reference.namespace is None:
                return NoAddress(text=f"{reference.text}: a {reference.kind} needs a namespace", answered=True)
            middle = f"/namespaces/{reference.namespace}" if namespaced else ""
            return Address(collection=f"{root}{middle}/{plural}", name=reference.name)
        what = f"the cluster serves no {reference.kind} of {reference.api_version}" if answered else "the API is silent"
        return NoAddress(text=f"{reference.text}: {what}", answered=answered)

    def _versions(self, api_version: str) -> tuple[str, ...]:
        """Return the versions to try: the one asked for, then the other one that Cluster API may serve."""
        group, _, version = api_version.rpartition("/")
        if group != "cluster.x-k8s.io":
            return (api_version,)
        others = [other for other in ("v1beta2", "v1beta1") if other != version]
        return (api_version, *(f"{group}/{other}" for other in others))

    def _ask(self, api_version: str, kind: str) -> tuple[str, bool] | bool:
        """Ask for a kind's plural and scope; else whether the API answered. Kinds may be installed later: ask again."""
        root = f"/api/{api_version}" if "/" not in api_version else f"/apis/{api_version}"
        answer = self._api.call("GET", root)
        for row in fields.rows(answer.body, "resources"):
            name = fields.text(row, "name")
            if row.get("kind") == kind and "/" not in name:
                if len(self._known) >= MAX_KNOWN:
                    self._known = dict(_WELL_KNOWN)
                self._known[(api_version, kind)] = (name, row.get("namespaced") is True)
                return self._known[(api_version, kind)]
        return answer.ok or answer.status == 404
