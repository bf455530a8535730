"""Law of the merge patch: applied to what stands there, it gives what is wanted."""

from hypothesis import given
from hypothesis import strategies as st

from controller.operator.publisher import merge_patch

LEAF = st.one_of(st.booleans(), st.integers(), st.text(max_size=3), st.lists(st.integers(), max_size=2))
OBJECT = st.recursive(
    st.dictionaries(st.sampled_from("abc"), LEAF, max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("abc"), st.one_of(LEAF, inner), max_size=3),
    max_leaves=8,
)


def applied(target, patch):
    """RFC 7386, section 2."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = applied(result.get(key), value)
    return result


@given(OBJECT, OBJECT)
def test_the_patch_leads_from_one_to_the_other(present, wanted):
    """Whatever stands there, applying the patch as the RFC says gives what is wanted."""
    assert applied(present, merge_patch(present, wanted)) == wanted


@given(OBJECT)
def test_nothing_to_do_is_an_empty_patch(present):
    """An object that is as wanted needs no write."""
    assert merge_patch(present, present) == {}
