"""The tables of the report: pure functions of the results."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from eval.compare import MEAN
from eval.metrics import FEATURES, METRICS
from reports.contrasts import ablation
from reports.facts import (
    INTERVALS,
    PER_NOTE,
    between,
    by_seed,
    differences,
    each,
    encoding_of,
    is_bound,
    labels,
    nats,
    of,
    over_seeds,
    real,
    real_labels,
    setting,
    several,
)
from reports.table import (
    DELTA,
    LESS,
    MISSING,
    PLUS_MINUS,
    TIMES,
    Cell,
    Table,
    cell,
    margin,
    number,
    plain,
    span,
    thousands,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pandas as pd

    from eval.results import Results

_UNDEFINED = "Undefined % \N{DOWNWARDS ARROW}"
_MUSIC = {"pitch_class_entropy": 2, "scale_consistency": 3, "groove_consistency": 3}  # with their decimals
_TERMS = {"Prior": "nll_prior", "Diffusion": "nll_diffusion", "Rounding": "nll_rounding"}


def main(results: Results) -> Table:
    """Return what to remember of each model."""
    column, unit = nats(results)
    valid, distance, nll = "Valid % \N{UPWARDS ARROW}", "Distance (floors) \N{RIGHTWARDS ARROW} 1", f"NLL (nats/{unit})"
    titles = {metric: f"{DELTA} {METRICS[metric].label}" for metric in _MUSIC}
    rows = []
    for encoding, label in real_labels(results).items():
        test = real(results, encoding)
        rows.append(
            {
                "Model": plain("model", f"{label} (floor)"),
                "Seeds": plain("seeds"),
                valid: cell("valid_percent", 100 * test["valid"].mean(), 1),
                _UNDEFINED: cell("undefined_percent", 100 * test[list(FEATURES)].isna().any(axis=1).mean(), 1),
                distance: cell("floor_ratio", 1.0, 0),
                nll: plain(column),
                **{titles[metric]: cell(metric, test[metric].mean(), digits) for metric, digits in _MUSIC.items()},
                "Parameters": plain("parameters"),
                "Fit (s)": plain("fit_seconds"),
                "Sampling (s)": plain("sample_seconds"),
            }
        )
    for name, label in labels(results).items():
        trials = of(results.trials, name)
        parameters = trials["parameters"].mean()
        deviations = {metric: over_seeds(differences(results, name, metric)) for metric in _MUSIC}
        rows.append(
            {
                "Model": plain("model", label),
                "Seeds": plain("seeds", len(trials)),
                valid: margin("valid_percent", over_seeds(100 * by_seed(results, name, "validity")), 1),
                _UNDEFINED: margin("undefined_percent", over_seeds(_undefined(results, name)), 1),
                distance: span("floor_ratio", over_seeds(by_seed(results, name, "floor_ratio"))),
                nll: _likelihood(results, name, column),
                **{
                    titles[metric]: margin(f"{metric}_difference", deviations[metric], digits, sign="+")
                    for metric, digits in _MUSIC.items()
                },
                "Parameters": Cell(thousands(parameters), {"parameters": parameters}),
                "Fit (s)": cell("fit_seconds", trials["fit_seconds"].mean(), 0),
                "Sampling (s)": cell("sample_seconds", trials["sample_seconds"].mean(), 0),
            }
        )
    caption = (
        f"What each model is worth. {setting(results)} Valid: share of samples that can be read without repair. "
        f"Undefined: share of samples that lack one of the {len(FEATURES)} metrics, such as those without notes; "
        "distances leave those values out, so a model with many is worse than its distance says. "
        f"Distance: mean Wasserstein distance over {len(FEATURES)} metrics to the test split, as a multiple of the "
        "noise floor, the distance of one half of the test split's songs from the other; 95 % of floors are below "
        f"{each(results, 'floor_p95', 2)}. Windows of one song are alike, so windows of independent songs can "
        f"come a little below 1, as replay shows. {DELTA}: mean over pieces minus that of the test split, whose own "
        f"value the first row{'s give' if several(results) else ' gives'}. {_references(results)} Seconds are of one "
        f"trial. Brackets and {PLUS_MINUS}: {INTERVALS}. Means over pieces leave out undefined values (NaN), whose "
        f"rate the table of metrics gives; {MISSING} stands for a number that is not there."
    )
    notes = [f"{row.label}: {row.note}" for row in results.experiments.itertuples()]
    return Table.of("main", rows=rows, caption=caption, notes=[*notes, *_infinite(results)])


def _undefined(results: Results, name: str) -> pd.Series[float]:
    """Return by seed the percentage of samples for which a metric of the mean distance is not defined."""
    distances = of(results.distances, name)
    return 100 * distances[distances["metric"] == MEAN].set_index("seed")["nan_rate"]


def metrics(results: Results) -> Table:
    """Return every metric of every model: the mean over pieces, and the distance to real music."""
    rows = []
    for metric, about in METRICS.items():
        row = {
            "Metric": plain("metric", about.label),
            "Unit": plain("unit", MISSING if about.unit == "1" else about.unit),
        }
        for encoding, label in real_labels(results).items():
            key = f"test/{encoding}/mean" if several(results) else "test/mean"
            row[label] = cell(key, real(results, encoding)[metric].mean())
        for name, label in labels(results).items():
            distances = of(results.distances, name)
            row[label] = _metric(
                name, of(results.scores, name)[metric], distances[distances["metric"] == metric]["ratio"]
            )
        rows.append(row)
    caption = (
        f"Every metric: mean over the pieces of all seeds, and ({TIMES}) the Wasserstein distance to the test split "
        f"as a multiple of that metric's own noise floor, mean over seeds. {setting(results)} Pieces for which a "
        "metric is not defined are left out of both; NaN gives their share where there are any. Empty-beat rate and "
        "notes are no part of the mean distance."
        + (" The corpus has no beats: a beat is half a second here." if results.about["unit"] == "second" else "")
    )
    return Table.of("metrics", rows=rows, caption=caption)


def _metric(name: str, values: pd.Series[float], ratios: pd.Series[float]) -> Cell:
    """Return the cell of one metric of one experiment."""
    mean, ratio, missing = (
        float(values.mean()),
        over_seeds(ratios).mean if len(ratios) else math.nan,
        values.isna().mean(),
    )
    text = f"{number(mean)} ({number(ratio, 1)}{TIMES})" + (f", NaN {100 * missing:.1f} %" if missing > 0 else "")
    return Cell(text, {f"{name}/mean": mean, f"{name}/ratio": ratio, f"{name}/nan_rate": missing})


def likelihood(results: Results) -> Table:
    """Return the negative log-likelihoods and what the bounds consist of."""
    comparable, rows = _comparable(results), []
    for name, label in labels(results).items():
        values = {
            **{term: cell(key, over_seeds(by_seed(results, name, key)).mean, 4) for term, key in _TERMS.items()},
            "Total": _likelihood(results, name, "nll", 3),
            **{title: _likelihood(results, name, column) for title, column in comparable.items()},
        }
        kind = "upper bound" if is_bound(results, name) else "exact"
        seeds = len(of(results.trials, name))
        rows.append(_row(results, label, encoding_of(results, name), values, seeds=seeds, kind=kind))
    missing = {title: plain(key) for title, key in {**_TERMS, "Total": "nll", **comparable}.items()}
    for encoding in results.encodings.to_dict("records"):
        for label, key in (("Uniform (ln V)", "ln_vocabulary"), ("Unigram entropy", "unigram_entropy")):
            values = missing | {"Total": cell("nll", encoding[key], 3)}
            rows.append(_row(results, label, encoding["name"], values, seeds=None, kind="reference"))
    caption = (
        f"Negative log-likelihood of the test split in nats per token. {setting(results)} The total of a diffusion "
        f"model is an upper bound, the sum of the terms before it; others are exact. {PLUS_MINUS}: {INTERVALS}. A "
        "bound cannot be ranked against an exact value."
    )
    if comparable:
        caption += (
            f" A token says more in one encoding than in another; a note or a {results.about['unit']} does not. Each "
            "encoding has windows of its own, whose time ends with their last note: there is a little more of it where "
            "windows are shorter."
        )
    return Table.of("likelihood", rows=rows, caption=caption, notes=_infinite(results))


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


def _comparable(results: Results) -> dict[str, str]:
    """Return the titles and columns of likelihoods in units that all encodings share, where there are several."""
    unit = results.about["unit"]
    return {"Per note": "nll_note", f"Per {unit}": f"nll_{unit}"} if several(results) else {}


def _likelihood(results: Results, name: str, column: str, digits: int = 2) -> Cell:
    """Return a likelihood of an experiment, marked as a bound or as exact."""
    bound = is_bound(results, name)
    cell = margin(column, over_seeds(by_seed(results, name, column)), digits)
    text = cell.text if cell.text == MISSING else f"{LESS if bound else '='} {cell.text}"
    return Cell(text, {**cell.numbers, "exact": not bound})


def _references(results: Results) -> str:
    """Return the sentence that gives a likelihood its scale."""
    signs = f"NLL: {LESS} is an upper bound, = is exact"
    if several(results):
        return f"{signs}. {PER_NOTE}"
    return (
        f"{signs}; guessing evenly takes ln V = {each(results, 'ln_vocabulary', 2)} and token frequencies alone "
        f"{each(results, 'unigram_entropy', 2)} nats per token."
    )


def _infinite(results: Results) -> Sequence[str]:
    """Return why a likelihood may be infinite."""
    infinite = results.trials[np.isinf(results.trials["nll"])]["experiment"].unique()
    if not len(infinite):
        return []
    return [f"{between([labels(results)[name] for name in infinite])}: infinite, as it rules some test windows out."]


TABLES: dict[str, Callable[[Results], Table]] = {
    "main": main,
    "ablation": ablation,
    "metrics": metrics,
    "likelihood": likelihood,
}
