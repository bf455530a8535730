import importlib

import pytest


@pytest.mark.parametrize("package", ["controller", "exporters", "forecasting", "inference"])
def test_package_says_what_it_is_for(package):
    """Every package imports on its own and has a docstring that says what it is for."""
    assert importlib.import_module(package).__doc__
