"""What claims are judged by, for synthetic results."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd
import pytest

import baselines
from eval.claims.claims import (
    CLAIMS,
    ContrastClaim,
    contrast_evidence,
    deafness,
    not_heard,
    paired_differences,
    primary_values,
)
from eval.claims.judgement import variants_on, verdicts_on
from eval.claims.number import NUMBER
from eval.claims.verdicts import Evidence, Refusal, Ruling
from replication.models.ablations import ABLATIONS
from tests.support.synthetic_results import synthetic_results

if TYPE_CHECKING:
    from eval.results.frames import Results

C1 = next(claim for claim in CLAIMS if isinstance(claim, ContrastClaim))


@pytest.fixture(scope="module")
def results() -> Results:
    return synthetic_results(seeds=5, samples=16)


def test_claims_are_about_models_that_exist() -> None:
    names = {row.name for row in (*ABLATIONS, *baselines.BASELINES)}
    assert [claim.name for claim in CLAIMS] == ["C1", "C2", "C3", "C4", "C4b", "C5"]
    for claim in CLAIMS:
        if isinstance(claim, ContrastClaim):
            assert {claim.ours, claim.other} <= names
        else:
            assert claim.number == NUMBER


def test_the_primary_values_are_distances_in_floors_and_at_least_1(results: Results) -> None:
    closer = results.measures.assign(ratio=results.measures["ratio"] - 1.5)
    values = primary_values(replace(results, measures=closer))
    assert values["value"].min() == 1
    assert not values.duplicated(["experiment", "seed"]).any()


def test_only_seeds_that_both_models_have_are_compared(results: Results) -> None:
    values = primary_values(results)
    some = values[~((values["experiment"] == C1.ours) & (values["seed"] == 2))]
    differences, notes = paired_differences(some, C1)
    assert len(differences) == 4
    assert notes == ("left out because the other model lacks the seed: gaussian seed 2",)
    with pytest.raises(ValueError, match="two values of one experiment and seed"):
        paired_differences(pd.concat([values, values]), C1)


def test_claims_without_their_models_or_with_unequal_sets_are_not_tested(results: Results) -> None:
    values = primary_values(results)
    missing = contrast_evidence(C1, values[values["experiment"] != "gaussian"], results)
    assert missing == Refusal(ruling=Ruling.NOT_TESTED, reason="gaussian was not run")
    uneven = values.assign(n=values["n"].where(values["seed"] != 1, 8))
    found = contrast_evidence(C1, uneven, results)
    assert isinstance(found, Refusal)
    assert "draw equally many samples of both" in found.reason


def test_where_the_endpoint_is_deaf_no_claim_is_testable(results: Results) -> None:
    assert deafness(results) is None
    assert not_heard(results) == []
    never = results.measures["experiment"] != "pitches-permuted"
    assert deafness(replace(results, measures=results.measures[never])) == Refusal(
        ruling=Ruling.NOT_TESTED,
        reason="pitches-permuted was not run, without which nothing shows what the distance can hear",
    )
    shuffled = (results.measures["experiment"] == "onsets-shuffled") & (results.measures["measure"] == "distance")
    deaf = replace(results, measures=results.measures.assign(ratio=results.measures["ratio"].mask(shuffled, 1.2)))
    reason = "on this music the distance cannot tell onsets shuffled from real music"
    assert deafness(deaf) == Refusal(ruling=Ruling.NOT_TESTABLE, reason=reason)
    verdicts = {verdict.name: verdict for verdict in verdicts_on(deaf)}
    for name in ("C1", "C2", "C3", "C4"):
        assert verdicts[name].verdict is Ruling.NOT_TESTABLE
        assert verdicts[name].sentence == f"Not testable here: {reason}."
    assert verdicts["C5"].verdict is Ruling.NOT_TESTED


def test_a_missing_value_is_said_and_decides_nothing(results: Results) -> None:
    values = primary_values(results)
    odd = values.assign(value=values["value"].mask((values["experiment"] == "e2e") & (values["seed"] == 1), math.inf))
    found = contrast_evidence(C1, odd, results)
    assert isinstance(found, Evidence)
    assert math.isnan(found.contrast.p)


def test_variants_change_one_choice_and_name_it(results: Results) -> None:
    of_c1 = [variant for variant in variants_on(results) if variant.claim == "C1"]
    choices = [variant.choice for variant in of_c1]
    assert len(choices) == len(set(choices))
    assert "the first 3 seeds" in choices
    assert "the first 5 seeds" not in choices  # these are all
    few = next(variant for variant in of_c1 if variant.choice == "the first 3 seeds")
    assert few.verdict.evidence is not None
    assert few.verdict.evidence.contrast.n == 3
    narrow = next(variant for variant in of_c1 if variant.choice == "a margin of 0.25 floors")
    assert narrow.verdict.evidence is not None
    assert narrow.verdict.evidence.scale.margin == 0.25
    assert not narrow.sign_changes


def test_a_sign_that_depends_on_a_choice_is_said_in_the_sentence(results: Results) -> None:
    second = results.measures["measure"] == "second_sampler"
    ours = results.measures["experiment"] == "e2e"
    other = replace(results, measures=results.measures.assign(ratio=results.measures["ratio"].mask(second & ours, 9.0)))
    sentence = next(verdict.sentence for verdict in verdicts_on(other) if verdict.name == "C1")
    assert sentence.endswith("; the sign changes with the second sampler.")


def test_song_families_that_change_the_sign_are_counted(results: Results) -> None:
    table = results.jackknife
    first, second, *_ = sorted(table["song"].unique())

    def with_worse(songs: list[int]) -> Results:
        worse = table["song"].isin(songs) & (table["experiment"] == "e2e")
        return replace(results, jackknife=table.assign(distance=table["distance"].mask(worse, 99.0)))

    def sentence(results: Results) -> str:
        return next(verdict.sentence for verdict in verdicts_on(results) if verdict.name == "C1")

    assert sentence(with_worse([first])).endswith(f"; the sign changes with song family {first} left out.")
    assert sentence(with_worse([first, second])).endswith(
        "; the sign changes with any one of 2 song families left out."
    )
