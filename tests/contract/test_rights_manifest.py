"""The rights that the operator asks for and those that its manifest grants are the same."""

from pathlib import Path

import yaml

from controller.operator.rights import FEATURE_FLAG_RIGHTS, NODE_RIGHTS, OWN_RIGHTS, SCALED_KINDS, scale_verbs

MANIFEST = Path(__file__).parents[2] / "manifests" / "base" / "operator" / "rbac.yaml"


def granted(*names):
    """Return group, resource and verb of every rule of some roles."""
    rows = [row for row in yaml.safe_load_all(MANIFEST.read_text()) if row["metadata"]["name"] in names]
    rules = [rule for row in rows for rule in row.get("rules", [])]
    return {
        (group, resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def expanded(*tables):
    """Return group, resource and verb of every row."""
    return {
        (group, resource, verb)
        for table in tables
        for group, resources, verbs in table
        for resource in resources.split()
        for verb in verbs.split()
    }


def test_own_rights_are_those_of_the_manifest():
    """Not a verb more, not a verb less, in the namespace and for nodes."""
    assert expanded(OWN_RIGHTS, FEATURE_FLAG_RIGHTS) == granted("meltguard-operator")
    assert expanded(NODE_RIGHTS) == granted("meltguard-operator-nodes")


def test_every_kind_that_may_be_resized_is_granted():
    """What doctor asks for a pool of each kind, a role of the manifest grants."""
    known = granted("meltguard-operator-scale", "meltguard-operator-node-groups")
    for (group, _), (plural, verbs) in SCALED_KINDS.items():
        assert {(group, plural, verb) for verb in verbs.split()} <= known
        assert {(group, f"{plural}/scale", verb) for verb in scale_verbs(group).split()} <= known
