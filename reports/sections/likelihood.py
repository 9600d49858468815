"""The tables of likelihoods: what they consist of, what the published number is, and which point was chosen."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from eval.claims.claims import PUBLISHED
from eval.scoring.bits_per_word import SAMPLES, WINDOWS
from eval.scoring.likelihood import FULL_WINDOWS
from eval.scoring.reference import REFERENCE_WINDOWS
from replication.training.scales import MIN_TUNING_SAMPLES as FEWEST_SAMPLES
from replication.training.scales import TUNING_SHARE as SHARE
from reports.format.facts import (
    INTERVALS,
    PER_NOTE,
    between,
    by_seed,
    each,
    encoding_of,
    is_bound,
    labels,
    measured,
    of,
    over_seeds,
    place,
    setting,
    several,
)
from reports.format.table import LESS, MINUS, MISSING, PLUS_MINUS, Cell, Table, cell, margin, number, plain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from eval.results.frames import Results

AUDITED = (
    f"Bits per word are means over all positions, padding included, of up to {REFERENCE_WINDOWS:,} test windows; the "
    f"bound is per token said, of {WINDOWS} test windows; distances are of {SAMPLES} samples: the denominators differ."
)
_TERMS = {"Prior": "nll_prior", "Diffusion": "nll_diffusion", "Rounding": "nll_rounding"}
_ERRORS = {"Error (steps)": "nll_error", "Error (songs)": "nll_error_songs"}


def likelihood(results: Results) -> Table:
    """Return the negative log-likelihoods and what the bounds consist of."""
    comparable, rows = _comparable(results), []
    for name, label in measured(results).items():
        values = {
            **{term: cell(key, over_seeds(by_seed(results, name, key)).mean, 4) for term, key in _TERMS.items()},
            "Total": likelihood_cell(results, name, "nll", 3),
            **{title: cell(key, _error(results, name, key), 4) for title, key in _ERRORS.items()},
            **{title: likelihood_cell(results, name, column) for title, column in comparable.items()},
        }
        kind = "upper bound" if is_bound(results, name) else "exact"
        seeds = len(of(results.trials, name))
        rows.append(_row(results, label, encoding_of(results, name), values, seeds=seeds, kind=kind))
    missing = {title: plain(key) for title, key in {**_TERMS, "Total": "nll", **_ERRORS, **comparable}.items()}
    for encoding in results.encodings.to_dict("records"):
        for label, key in (("Uniform (ln V)", "ln_vocabulary"), ("Unigram entropy", "unigram_entropy")):
            values = missing | {"Total": cell("nll", encoding[key], 3)}
            rows.append(_row(results, label, encoding["name"], values, seeds=None, kind="reference"))
    caption = (
        f"Negative log-likelihood of the test split in nats per token. {setting(results)} The total of a diffusion "
        f"model is an upper bound, the sum of the terms before it; others are exact. {PLUS_MINUS}: {INTERVALS}. "
        "Errors: standard errors of one seed's value, since only some steps of the diffusion are drawn, and since only "
        "some songs are in the test split. A bound cannot be ranked against an exact value."
    )
    if comparable:
        caption += (
            f" A token says more in one encoding than in another; a note or a {results.about['unit']} does not. Each "
            "encoding has windows of its own, whose time ends with their last note: there is a little more of it where "
            "windows are shorter."
        )
    return Table.of("likelihood", rows=rows, caption=caption, notes=[*infinite(results), *_checked(results)])


def _row(
    results: Results, label: str, encoding: str, values: Mapping[str, Cell], *, seeds: int | None, kind: str
) -> dict[str, Cell]:
    return {
        "Model": plain("model", label),
        **({"Encoding": plain("encoding", encoding)} if several(results) else {}),
        "Seeds": plain("seeds", seeds),
        **values,
        "Kind": plain("kind", kind),
    }


def _error(results: Results, name: str, column: str) -> float:
    """Return the standard error of one seed's estimate: the root mean square over seeds."""
    errors = by_seed(results, name, column)
    return float(np.sqrt((errors**2).mean())) if len(errors) else math.nan


def _comparable(results: Results) -> dict[str, str]:
    """Return the titles and columns of likelihoods in units that all encodings share, where there are several."""
    unit = results.about["unit"]
    return {"Per note": "nll_note", f"Per {unit}": f"nll_{unit}"} if several(results) else {}


def likelihood_cell(results: Results, name: str, column: str, digits: int = 2) -> Cell:
    """Return a likelihood of an experiment, marked as a bound or as exact."""
    bound = is_bound(results, name)
    cell = margin(column, over_seeds(by_seed(results, name, column)), digits)
    text = cell.text if cell.text == MISSING else f"{LESS if bound else '='} {cell.text}"
    return Cell(text, {**cell.numbers, "exact": not bound})


def references(results: Results) -> str:
    """Return the sentence that gives a likelihood its scale."""
    signs = f"NLL: {LESS} is an upper bound, = is exact"
    if several(results):
        return f"{signs}. {PER_NOTE}"
    return (
        f"{signs}; guessing evenly takes ln V = {each(results, 'ln_vocabulary', 2)} and token frequencies alone "
        f"{each(results, 'unigram_entropy', 2)} nats per token."
    )


def infinite(results: Results) -> Sequence[str]:
    """Return why a likelihood may be infinite."""
    infinite = results.trials[np.isinf(results.trials["nll"])]["experiment"].unique()
    if not len(infinite):
        return []
    return [f"{between([labels(results)[name] for name in infinite])}: infinite, as it rules some test windows out."]


def _checked(results: Results) -> Sequence[str]:
    """Return what bounds are with every timestep, beside what they are with those drawn."""
    rows = results.trials.dropna(subset="nll_every").itertuples()
    found = [
        f"{labels(results)[row.experiment]} {number(row.nll_every, 3)}, of those drawn {number(row.nll_drawn, 3)} "
        f"(standard error {number(row.nll_drawn_error, 3)})"
        for row in rows
    ]
    return [f"Check with every timestep on {FULL_WINDOWS} windows: {'; '.join(found)}."] if found else []


def audit(results: Results) -> Table:
    """Return the report's bits per word at each iteration, beside a likelihood and the distance to real music."""
    bits, bound = "Bits per word", f"NLL bound {LESS} (nats/token)"
    rows = []
    for step, found in results.audits.groupby("step"):
        rows.append(
            {
                "Iteration": plain("step", int(step)),
                "Seeds": plain("seeds", found["seed"].nunique()),
                bits: _extent("bits_per_word", found["bits_per_word"]),
                "As published": cell("published", PUBLISHED["BERT-base"].get(int(step), math.nan), 5),
                bound: margin("nll", over_seeds(found["nll"])),
                "Distance (floors)": margin("distance", over_seeds(found["distance"])),
            }
        )
    caption = (
        f"What the published bits per word measure. {place(results)} Training by the report's own recipe, at every "
        "milestone of it. Bits per word: the loss of reading words back from their own embeddings, which is a "
        "likelihood of nothing: it is small as soon as embeddings lie apart, whatever the model generates. NLL: a "
        f"bound on the likelihood, 1 nat = {1 / math.log(2):.3f} bits. {AUDITED} Distance: from the test split. "
        f"Bits per word from the seed with the fewest to that with the most, {PLUS_MINUS}: {INTERVALS}. As published: "
        "with BERT-base on other data and windows of 130 tokens (Kasera, Liu and Li 2022)."
    )
    nothing = () if rows else ("The report's recipe has not been run.",)
    return Table.of("audit", rows=rows, caption=caption, notes=nothing)


def _extent(key: str, values: pd.Series[float]) -> Cell:
    """Return a cell with the smallest and the largest of numbers that differ by orders of magnitude."""
    low, high = float(values.min()), float(values.max())
    ends = dict.fromkeys(f"{value:.1e}".replace("-", MINUS) for value in (low, high))
    return Cell(" to ".join(ends), {key: float(values.mean()), f"{key}_smallest": low, f"{key}_largest": high})


def grid(results: Results) -> Table:
    """Return every point that was tried for each arm, and which was chosen; failed points have no numbers."""
    names = labels(results)
    tried = results.grid.astype({"distance": float, "nll": float})
    rows = [
        {
            "Model": plain("model", names.get(row.arm, row.arm)),
            "Dimensions": plain("dimension", row.dimension),
            "Scale": cell("scale", row.scale, 2),
            "Distance (floors)": cell("distance", row.distance),
            f"NLL bound {LESS} (nats/token)": cell("nll", row.nll),
            "Chosen": plain("chosen", "yes" if row.chosen else None),
        }
        for row in tried.itertuples()
    ]
    caption = (
        f"The points that each arm was tried at. {place(results)} Every arm has the same points and the same budget: "
        f"{max(1, results.about['steps'] // SHARE)} steps, one in {SHARE} of those of the comparison, one seed, and "
        f"half of the samples ({FEWEST_SAMPLES} at least). Distance: from the validation split, in noise floors of its "
        "own; the point nearest to it is run in full, and the test split has no part in the choice. Dimensions: of an "
        f"embedding; scale: its size against that of the noise, as a multiple of the arm's own. {MISSING}: failed, and "
        "never chosen."
    )
    nothing = () if rows else ("No points were tried: every arm is as its row says.",)
    return Table.of("grid", rows=rows, caption=caption, notes=nothing)
