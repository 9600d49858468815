"""Hostile input is read or refused, and nothing else happens. fuzz.py tries more of it."""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from multiprocessing import get_context
from resource import RLIMIT_AS, setrlimit
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings

from etude.remote import bundle
from etude.remote.archive import unpack
from replication.midi.piece import Seconds
from replication.midi.smf import DEFAULT_READING, Reading, Reason
from tests.security.laws import Law, Sandbox, laws, valid_bundle
from tests.security.midi_files import NASTIEST, PIECE, READINGS, midi_files, name_for_thousands, outcome

if TYPE_CHECKING:
    from pathlib import Path

    from etude.runner.plan import Plan

NAMES = (
    "midi",
    "events",
    "tokens",
    "zip",
    "tar",
    "tar.gz",
    "tar.xz",
    "bundle",
    "json",
    "log",
    "parquet",
    "store",
    "command",
)
# Numbers of inputs where one takes long.
EXAMPLES = {"midi": 100, "events": 20, "json": 25, "parquet": 8, "log": 12, "bundle": 20, "store": 10, "command": 60}
# Reasons that do not depend on the grid.
REFUSED = {Reason.UNREADABLE, Reason.EMPTY, Reason.TOO_LONG}
LIMIT = timedelta(seconds=30)  # for one input, on a busy machine


@pytest.fixture(scope="module")
def sandbox(finished_comparison: Plan, tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    return Sandbox.of(finished_comparison, tmp_path_factory.mktemp("laws"))


@pytest.fixture(scope="module")
def all_laws(sandbox: Sandbox) -> dict[str, Law]:
    return laws(sandbox)


def test_every_law_is_tested(all_laws: dict[str, Law]) -> None:
    assert all_laws.keys() == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_law_of_hostile_input_holds(all_laws: dict[str, Law], name: str) -> None:
    law = all_laws[name]

    @given(law.inputs)
    @settings(
        max_examples=EXAMPLES.get(name, 50),
        deadline=LIMIT,
        suppress_health_check=list(HealthCheck),
        derandomize=True,
        database=None,
    )
    def holds(case: object) -> None:
        law.holds(case)

    holds()


def test_the_bundle_that_is_changed_is_valid_before(sandbox: Sandbox, tmp_path: Path) -> None:
    about, files = valid_bundle(sandbox)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name, content in {"plan.json": json.dumps(about).encode(), **files}.items():
            archive.writestr(name, content)
    found = unpack(tmp_path / "a.zip", tmp_path / "work")
    assert [trial.name for trial in bundle.trials_of(found, tmp_path / "work")] == ["gaussian seed 0"]


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("name", NASTIEST)
def test_the_nastiest_files_give_a_sound_piece_or_a_reason(name: str, reading: str) -> None:
    make, expected = NASTIEST[name]
    found = outcome(make(), READINGS[reading])
    if reading == "plain":
        assert found == expected
    assert found == PIECE or Reason(found)


@pytest.mark.parametrize("name", [name for name, (_, expected) in NASTIEST.items() if expected in REFUSED])
def test_a_file_is_refused_for_the_same_reason_on_a_grid_of_seconds(name: str) -> None:
    make, expected = NASTIEST[name]
    assert outcome(make(), Reading(grid=Seconds(steps_per_second=16))) == expected


def test_drawn_files_reach_pieces_and_reasons() -> None:
    found: Counter[str] = Counter()

    @given(midi_files())
    @settings(max_examples=60, deadline=LIMIT, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    def read(content: bytes) -> None:
        found[outcome(content, DEFAULT_READING)] += 1

    read()
    assert found[PIECE] >= 5
    assert found.keys() >= {Reason.UNREADABLE, Reason.EMPTY}


def test_a_file_that_takes_too_much_memory_is_too_large() -> None:
    limit = (RLIMIT_AS, (2**29, 2**29))  # the parser takes a gigabyte
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=setrlimit, initargs=limit) as pool:
        assert pool.submit(outcome, name_for_thousands(), DEFAULT_READING).result() == Reason.TOO_LARGE
