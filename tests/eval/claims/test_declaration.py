"""Whether verdicts count as declared, for synthetic results."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from eval.claims import claims, declaration, judgement
from eval.claims.claims import CLAIMS, NumberClaim
from eval.claims.declaration import Standing, claim_status, declare, status
from eval.claims.judgement import verdicts_on
from eval.claims.verdicts import Ruling
from eval.results.declared import FILE, content_hash, declaration_hash
from eval.results.files import write_results
from replication.util.files import read_json
from tests.support.synthetic_results import synthetic_results

if TYPE_CHECKING:
    from eval.claims.claims import Claim
    from eval.results.frames import Results

MODELS = ["e2e", "e2e-small", "gaussian", "pretrained", "pretrained-ar"]
REFEREE = Path(__file__).parents[3] / "docs" / "referee.py"


def content(*, seeds: tuple[int, ...] = (0, 1, 2), demonstration: bool = False) -> dict[str, Any]:
    return declaration.declaration(
        scale="cpu",
        settings={"timesteps": 2000},
        corpus="bach",
        data={},
        models=MODELS,
        seeds=seeds,
        demonstration=demonstration,
    )


def started(results: Results, given: dict[str, Any], **trials: str) -> Results:
    """Return results whose trials were started under a declaration, except those that are given another hash."""
    dated = given | {"date": "2026-11-30 12:00 UTC", "commit": "abc"}
    own = content_hash(dated)
    names = [f"{row.experiment} seed {row.seed}" for row in results.trials.itertuples()]
    about = dated | {"hash": own, "trials": dict.fromkeys(names, own) | trials}
    return replace(results, about=results.about | {"declaration": about})


@pytest.fixture(scope="module")
def results() -> Results:
    return synthetic_results(seeds=3, samples=16)


def test_what_was_declared_and_run_as_declared_is_confirmatory(results: Results) -> None:
    found = status(started(results, content()))
    assert found.standing is Standing.CONFIRMATORY
    assert found.reason.startswith("Declared on 2026-11-30 12:00 UTC, before the first trial (declaration ")
    assert all(claim_status(claim, started(results, content())) == found for claim in CLAIMS)


def test_a_small_scale_declares_that_it_demonstrates(results: Results) -> None:
    found = status(started(results, content(demonstration=True)))
    assert found.standing is Standing.DEMONSTRATION
    assert found.reason.endswith("This scale is too small for verdicts: it shows how they are made.")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"seeds": [0, 1]}, "Seeds were added: 2 (declared: 0 to 1)."),
        ({"seeds": [0, 1, 2, 3, 4]}, "Interim: 3 of the 5 declared seeds are finished."),
        ({"margin": 2.0}, "Other than declared: margin."),
        ({"alpha": 0.2, "rule": "by eye"}, "Other than declared: alpha, rule."),
        ({"scale": "gpu"}, "Other than declared: scale."),
        ({"settings": {"timesteps": 100}}, "Other than declared: settings."),
        ({"tuning": {"grid": [], "share": 1}}, "Other than declared: tuning."),
        ({"data": {"paper": "another"}}, "Other than declared: data."),
        ({"endpoint": {"edition": 0}}, "Other than declared: endpoint."),
    ],
)
def test_whatever_differs_from_the_declaration_makes_verdicts_exploratory(
    results: Results, change: dict[str, Any], reason: str
) -> None:
    assert status(started(results, content() | change)) == (Standing.EXPLORATORY, reason)


def test_the_claim_on_a_number_is_about_all_declared_models(results: Results) -> None:
    (of_number,) = (claim for claim in CLAIMS if isinstance(claim, NumberClaim))
    more = claim_status(of_number, started(results, content() | {"models": sorted([*MODELS, "e2e-large"])}))
    assert more == (Standing.EXPLORATORY, "Interim: not all seeds of e2e-large are finished.")
    fewer = claim_status(of_number, started(results, content() | {"models": MODELS[1:]}))
    assert fewer == (Standing.EXPLORATORY, f"Models were added: {MODELS[0]}.")
    of_models = claim_status(CLAIMS[0], started(results, content() | {"models": MODELS[1:]}))
    assert of_models.standing is Standing.CONFIRMATORY


def test_an_unfinished_trial_makes_a_look_an_interim_one_and_a_failed_trial_does_not(results: Results) -> None:
    def without(anomaly: str) -> Results:
        lost = (results.trials["experiment"] == "e2e") & (results.trials["seed"] == 1)
        row = pd.DataFrame([{"experiment": "e2e", "seed": 1, "anomaly": anomaly}])
        some = replace(
            results, trials=results.trials[~lost], anomalies=pd.concat([results.anomalies, row], ignore_index=True)
        )
        return started(some, content())

    assert status(without("failed")).standing is Standing.CONFIRMATORY
    assert status(without("unfinished")) == (
        Standing.EXPLORATORY,
        "Interim: 2 of the 3 declared seeds are finished.",
    )


def test_results_without_a_declaration_are_exploratory(results: Results) -> None:
    assert status(results) == (Standing.EXPLORATORY, "The claims were not declared before the first trial.")


def test_a_declaration_that_was_edited_or_came_after_a_trial_does_not_count(results: Results) -> None:
    edited = started(results, content())
    about = edited.about["declaration"] | {"margin": 0.1}
    found = status(replace(results, about=results.about | {"declaration": about}))
    assert found == (Standing.EXPLORATORY, "The declaration was changed after it was written.")
    late = started(results, content(), **{"e2e seed 1": "other"})
    assert status(late) == (Standing.EXPLORATORY, "Started under another declaration or none: e2e seed 1.")


def test_a_claim_that_was_changed_or_added_later_is_exploratory_alone(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = started(results, content())
    changed: tuple[Claim, ...] = (
        replace(CLAIMS[0], statement="Something else."),
        *CLAIMS[1:],
        replace(CLAIMS[0], name="C9"),
    )
    for module in (claims, declaration, judgement):
        monkeypatch.setattr(module, "CLAIMS", changed)
    standings = {claim.name: claim_status(claim, before) for claim in changed}
    assert standings["C1"] == (Standing.EXPLORATORY, "C1 was changed after it was declared.")
    assert standings["C9"] == (Standing.EXPLORATORY, "C9 was not declared.")
    assert standings["C2"].standing is Standing.CONFIRMATORY
    # The p values of the others are adjusted for the number of declared claims, not for later ones.
    judgement.judged_on.cache_clear()
    late = {verdict.name: verdict for verdict in verdicts_on(before)}
    monkeypatch.undo()
    judgement.judged_on.cache_clear()
    early = {verdict.name: verdict for verdict in verdicts_on(before)}
    assert late["C2"].p == early["C2"].p
    judgement.judged_on.cache_clear()


def test_a_declaration_is_written_once_and_only_before_the_first_trial(tmp_path: Path) -> None:
    comparison = tmp_path / "runs" / "cpu" / "bach"
    comparison.mkdir(parents=True)
    declare(comparison, content(), commit="abc")
    written = read_json(comparison / FILE)
    assert written["hash"] == content_hash({key: value for key, value in written.items() if key != "hash"})
    assert declaration_hash(comparison) == written["hash"]
    declare(comparison, content(seeds=(7,)), commit="def")
    assert read_json(comparison / FILE) == written
    (comparison / FILE).unlink()
    (comparison / "e2e" / "0").mkdir(parents=True)
    (comparison / "e2e" / "0" / "trial.json").touch()
    declare(comparison, content(), commit="abc")
    assert not (comparison / FILE).exists()


@pytest.mark.parametrize("seeds", [3, 10])
def test_a_referee_reaches_the_same_verdicts_from_the_files_alone(tmp_path: Path, seeds: int) -> None:
    results = started(synthetic_results(seeds=seeds, samples=16), content(seeds=tuple(range(seeds))))
    write_results(results, tmp_path / "results")
    done = subprocess.run([sys.executable, REFEREE, tmp_path], check=True, capture_output=True, text=True)
    judged = [one for one in verdicts_on(results) if one.verdict not in {Ruling.NOT_TESTED, Ruling.NOT_TESTABLE}]
    standing, *lines = done.stdout.splitlines()
    assert standing == "declaration: holds"
    assert [line.partition(",")[0] for line in lines] == [f"{one.name}: {one.verdict}" for one in judged]
    assert len(judged) >= 4
    for line, one in zip(lines, judged, strict=True):
        assert one.evidence is not None
        assert f", {one.evidence.contrast.difference:+.2f} [" in line
