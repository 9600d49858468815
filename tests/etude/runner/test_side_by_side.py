"""Experiments in different encodings, side by side."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from inspect import unwrap  # draws without the layout, which takes most of the time
from typing import TYPE_CHECKING

import pytest

from etude.runner.plan import make_plan, prepare
from eval.scoring.experiments import EXPERIMENTS
from eval.scoring.likelihood import _music
from replication.corpora.sources import Synthetic
from replication.midi.piece import Beats, Seconds, sorted_notes
from replication.tokens.encodings import ENCODINGS
from replication.training.scales import SCALES
from replication.util.errors import UserError
from replication.util.files import read_json
from reports.sections.contents import FIGURES, TABLES
from tests.support.synthetic_results import synthetic_results

if TYPE_CHECKING:
    from pathlib import Path

    from eval.results.frames import Results
    from reports.format.table import Table


def rows_of(table: Table) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(table.csv())))


def test_experiments_and_their_needs_use_one_encoding() -> None:
    for name, row in EXPERIMENTS.items():
        assert row.encoding in ENCODINGS
        assert row.encoding == "paper" or name.endswith(f"-{row.encoding}")  # tables find the model's name by that
        assert all(EXPERIMENTS[needed].encoding == row.encoding for needed in row.model.needs)
    for distinct in ("label", "colour"):
        assert len({getattr(row, distinct) for row in EXPERIMENTS.values()}) == len(EXPERIMENTS)


@pytest.mark.parametrize("name", SCALES)
def test_other_encodings_run_only_when_named(name: str, tmp_path: Path) -> None:
    assert make_plan(scale=name, root=tmp_path).encodings == ("paper",)
    mixed = make_plan(scale=name, only=["e2e", "autoregressive-remi", "e2e-remi"], root=tmp_path)
    assert mixed.encodings == ("paper", "remi")


def test_another_encoding_joins_a_comparison_only_with_the_same_music(tmp_path: Path) -> None:
    first = make_plan(scale="smoke", only=["ngram"], root=tmp_path)
    prepare(first)
    second = make_plan(scale="smoke", only=["e2e-triples"], root=tmp_path)
    assert list(prepare(second)) == ["triples"]
    assert set(read_json(second.comparison / "data.json")["encodings"]) == {"paper", "triples"}
    assert list(prepare(first)) == ["paper"]
    assert set(read_json(second.comparison / "data.json")["encodings"]) == {"paper", "triples"}
    third = make_plan(scale="smoke", only=["e2e-remi"], root=tmp_path)
    grown = dataclasses.replace(third, corpus=dataclasses.replace(third.corpus, source=Synthetic(count=50, seed=0)))
    with pytest.raises(UserError, match="holds trials of other data named synthetic"):
        prepare(grown)


def test_music_without_beats_is_measured_in_seconds() -> None:
    one = sorted_notes([(8, 4, 60, 64), (10, 6, 64, 64)])
    two = sorted_notes([(0, 4, 60, 64)])
    assert _music([one, two], Beats(steps_per_beat=4)) == {"note": 3, "beat": 3, "second": None}
    assert _music([one, two], Seconds(steps_per_second=8)) == {"note": 3, "beat": None, "second": 1.5}


@pytest.fixture(scope="module")
def mixed() -> Results:
    return synthetic_results(seeds=2, samples=16, triples=True)


def test_with_one_encoding_no_text_mentions_encodings() -> None:
    results = synthetic_results(seeds=2, samples=16)
    texts = [build(results).markdown() for build in TABLES.values()] + [
        unwrap(draw)(results).caption for draw in FIGURES.values()
    ]
    assert not [text for text in texts if "encoding" in text.lower() or "per note" in text.lower()]


def test_likelihoods_of_several_encodings_are_compared_per_note_and_per_beat(mixed: Results) -> None:
    table = TABLES["likelihood"](mixed)
    frame = table.frame.set_index("Model")
    assert list(frame.columns) == [
        *("Encoding", "Seeds", "Prior", "Diffusion", "Rounding", "Total", "Plain", "Estimator", "Error (draws)"),
        *("Error (songs)", "Per note", "Per beat", "Kind"),
    ]
    assert frame.loc["Diffusion-LM, triples", "Encoding"] == "triples"
    means = mixed.trials.groupby("experiment")[["nll_note", "nll_beat"]].mean()
    bound, exact = means.loc["e2e-triples", "nll_note"], means.loc["autoregressive-triples", "nll_beat"]
    assert frame.loc["Diffusion-LM, triples", "Per note"].startswith(f"\N{LESS-THAN OR EQUAL TO} {bound:.2f} ")
    assert frame.loc["Autoregressive, triples", "Per beat"].startswith(f"= {exact:.2f} ")
    assert list(frame.loc["Unigram entropy", "Encoding"]) == ["paper", "triples"]
    rows = {row["model"]: row for row in rows_of(table)}
    trials = mixed.trials[mixed.trials["experiment"] == "autoregressive-triples"]
    assert float(rows["Autoregressive, triples"]["nll_note"]) == pytest.approx(trials["nll_note"].mean())
    main = TABLES["main"](mixed).frame.set_index("Model")
    assert main.loc["Diffusion-LM, triples", "NLL (nats/note)"] == frame.loc["Diffusion-LM, triples", "Per note"]
    bars = FIGURES["nll_bars"](mixed)
    assert bars.figure.axes[0].get_xlabel() == "Negative log-likelihood (nats per note)"
    assert "tokens carry different amounts of information in different encodings" in bars.caption


def test_a_corpus_without_beats_gives_likelihoods_per_second(mixed: Results) -> None:
    trials = mixed.trials.assign(nll_second=2 * mixed.trials["nll_beat"], nll_beat=math.nan)
    played = dataclasses.replace(mixed, about=mixed.about | {"unit": "second"}, trials=trials)
    frame = TABLES["likelihood"](played).frame.set_index("Model")
    exact = trials[trials["experiment"] == "autoregressive-triples"]["nll_second"].mean()
    assert frame.loc["Autoregressive, triples", "Per second"].startswith(f"= {exact:.2f}")
    assert "grey line every 4 seconds" in FIGURES["piano_rolls"](played).caption


def test_models_are_shown_with_the_test_split_in_their_own_encoding(mixed: Results) -> None:
    frame = TABLES["main"](mixed).frame
    assert list(frame["Model"][:2]) == ["Test split, paper (floor)", "Test split, triples (floor)"]
    rows = {row["model"]: row for row in rows_of(TABLES["main"](mixed))}
    real = mixed.scores[mixed.scores["experiment"] == "test"].groupby("encoding")["scale_consistency"].mean()
    own = mixed.scores.groupby("experiment")["scale_consistency"].mean()
    for label, name, encoding in (
        ("Diffusion-LM, end-to-end", "e2e", "paper"),
        ("Diffusion-LM, triples", "e2e-triples", "triples"),
    ):
        difference = float(rows[label]["scale_consistency_difference"])
        assert difference == pytest.approx(own[name] - real[encoding])
    assert "80 (paper) and 120 (triples) test windows from 37 songs" in TABLES["metrics"](mixed).caption
    rolls = FIGURES["piano_rolls"](mixed).figure.axes
    assert [axes.get_title(loc="left") for axes in rolls[:10:5]] == ["Test split, paper", "Test split, triples"]
    for name, draw in FIGURES.items():
        assert ("in its own encoding" in unwrap(draw)(mixed).caption) is (name != "audit")
