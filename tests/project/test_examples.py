"""The examples in docstrings: each runs and prints what it shows."""

from __future__ import annotations

import doctest
import importlib

import pytest

from tests.project.test_layers import PATHS

MODULES = [name for name, path in PATHS.items() if ">>>" in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_print_what_they_show(name: str) -> None:
    failed, tried = doctest.testmod(importlib.import_module(name))
    assert tried > 0
    assert failed == 0
