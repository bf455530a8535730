"""The flag set as consumers get it, field by field; a change of it is a change of the contract."""

from __future__ import annotations

import json

import pytest

from controller.types import Rung
from tests.flag_samples import first_of, rendered
from tests.golden_files import golden_text
from tests.planning_samples import NOW


@pytest.mark.parametrize(("name", "explicit"), [("flags.json", False), ("feature_flag_spec.json", True)])
def test_a_flag_set_stays_as_it_is(name: str, explicit: bool) -> None:
    """One region sheds, the other has quotas and routing hints: the document equals the stored one."""
    positions = {"r0": first_of(Rung.SHED), "r1": first_of(Rung.LOWER_FREE_QUOTA)}
    hints = {"r0": 0.4, "r1": 0.6}
    flags = rendered(positions, expires_at=NOW, explicit_defaults=explicit, region_weights=hints)

    assert json.loads(flags.text) == json.loads(
        golden_text(f"adapters/{name}", json.dumps(json.loads(flags.text), indent=2))
    )
