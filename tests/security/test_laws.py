"""Hostile input is read or refused, and nothing else happens; fuzz.py tries more of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings

from tests.security.laws import Law, Sandbox, laws

if TYPE_CHECKING:
    from etude.runner.plan import Plan

EXAMPLES = {"json": 25, "parquet": 8, "log": 12, "bundle": 20, "words": 60}  # these take long, each


@pytest.fixture(scope="module")
def all_laws(shown: Plan, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Law]:
    return laws(Sandbox.of(shown, tmp_path_factory.mktemp("laws")))


@pytest.mark.parametrize(
    "name", ["midi", "tokens", "zip", "tar", "tar.gz", "tar.xz", "bundle", "json", "log", "parquet", "store", "words"]
)
def test_a_law_of_hostile_input_holds(all_laws: dict[str, Law], name: str) -> None:
    law = all_laws[name]

    @given(law.inputs)
    @settings(
        max_examples=EXAMPLES.get(name, 50),
        deadline=None,
        suppress_health_check=list(HealthCheck),
        derandomize=True,
        database=None,
    )
    def holds(case: object) -> None:
        law.holds(case)

    holds()
