"""The tables of the report: pure functions of the results."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from eval.compare import MEAN, Contrast, Interval, contrast, detectable_effect, holm
from eval.metrics import FEATURES, METRICS
from reports.facts import (
    INTERVALS,
    TEST,
    between,
    by_seed,
    differences,
    is_bound,
    labels,
    of,
    over_seeds,
    setting,
)
from reports.table import DELTA, LESS, MISSING, PLUS_MINUS, TIMES, Cell, Table, margin, number, plain, span, thousands

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import pandas as pd

    from eval.results import Results

_UNDEFINED = "Undefined % \N{DOWNWARDS ARROW}"
_MUSIC = {"pitch_class_entropy": 2, "scale_consistency": 3, "groove_consistency": 3}  # with their decimals
_MIN_SEEDS = 6  # the fewest whose sign-flip p value can reach 0.05

# Measure, column of the trials, factor to the unit shown, and the sign of a difference that speaks for e2e.
_MEASURES = (
    ("Distance (floors)", "floor_ratio", 1, -1),
    ("NLL bound (nats/token)", "nll", 1, -1),
    ("Valid (percentage points)", "validity", 100, 1),
)


def main(results: Results) -> Table:
    """Return what to remember of each model."""
    valid, distance, nll = "Valid % \N{UPWARDS ARROW}", "Distance (floors) \N{RIGHTWARDS ARROW} 1", "NLL (nats/token)"
    titles = {metric: f"{DELTA} {METRICS[metric].label}" for metric in _MUSIC}
    test = of(results.scores, TEST)
    floor = {
        "Model": plain("model", "Test split (floor)"),
        "Seeds": plain("seeds"),
        valid: _cell("valid_percent", 100 * test["valid"].mean(), 1),
        _UNDEFINED: _cell("undefined_percent", 100 * test[list(FEATURES)].isna().any(axis=1).mean(), 1),
        distance: _cell("floor_ratio", 1.0, 0),
        nll: plain("nll"),
        **{titles[metric]: _cell(metric, test[metric].mean(), digits) for metric, digits in _MUSIC.items()},
        "Parameters": plain("parameters"),
        "Fit (s)": plain("fit_seconds"),
        "Sampling (s)": plain("sample_seconds"),
    }
    rows = [floor]
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
                nll: _likelihood(results, name),
                **{
                    titles[metric]: margin(f"{metric}_difference", deviations[metric], digits, sign="+")
                    for metric, digits in _MUSIC.items()
                },
                "Parameters": Cell(thousands(parameters), {"parameters": parameters}),
                "Fit (s)": _cell("fit_seconds", trials["fit_seconds"].mean(), 0),
                "Sampling (s)": _cell("sample_seconds", trials["sample_seconds"].mean(), 0),
            }
        )
    caption = (
        f"What each model is worth. {setting(results)} Valid: share of samples that can be read without repair. "
        f"Undefined: share of samples that lack one of the {len(FEATURES)} metrics, such as those without notes; "
        "distances leave those values out, so a model with many is worse than its distance says. "
        f"Distance: mean Wasserstein distance over {len(FEATURES)} metrics to the test split, as a multiple of the "
        "noise floor, the distance of one half of the test split's songs from the other; 95 % of floors are below "
        f"{number(results.about['floor_p95'])}. Windows of one song are alike, so windows of independent songs can "
        f"come a little below 1, as replay shows. {DELTA}: mean over pieces minus that of the test split, whose own "
        f"value the first row gives. {_references(results)} Seconds are of one trial. Brackets and {PLUS_MINUS}: "
        f"{INTERVALS}. Means over pieces leave out undefined values (NaN), whose rate the table of metrics gives; "
        f"{MISSING} stands for a number that is not there."
    )
    notes = [f"{row.label}: {row.note}" for row in results.experiments.itertuples()]
    return Table.of("main", rows=rows, caption=caption, notes=[*notes, *_infinite(results)])


def _undefined(results: Results, name: str) -> pd.Series[float]:
    """Return by seed the percentage of samples for which a metric of the mean distance is not defined."""
    distances = of(results.distances, name)
    return 100 * distances[distances["metric"] == MEAN].set_index("seed")["nan_rate"]


class _Pair(NamedTuple):
    """Two samples of one measure, paired by seed: of e2e and of the model named in `label`."""

    label: str
    measure: str
    better: int
    comparable: bool
    e2e: pd.Series[float]
    other: pd.Series[float]

    def contrast(self, *, level: float = 0.95) -> Contrast:
        """Return the difference; NaN where a bound would be ranked against an exact value or a value is not finite."""
        if self.comparable and np.isfinite([self.e2e, self.other]).all():
            return contrast(self.e2e.tolist(), self.other.tolist(), level=level)
        return Contrast(math.nan, math.nan, math.nan, math.nan, len(self.e2e))

    def verdict(self, *, tests: int) -> str:
        """Say in plain words what the interval allows to say, made wide enough for this many verdicts (Bonferroni)."""
        if not self.comparable:
            return "not comparable"
        found = self.contrast(level=1 - 0.05 / tests)
        if not (found.low > 0 or found.high < 0):
            return "inconclusive"
        return "e2e better" if found.difference * self.better > 0 else "e2e worse"


def ablation(results: Results) -> Table:
    """Return the differences of end-to-end embeddings from the other arms and the autoregressive model."""
    pairs = list(_pairs(results))
    contrasts = [pair.contrast() for pair in pairs]
    tests = sum(pair.comparable for pair in pairs)
    rows = []
    for pair, found, adjusted in zip(pairs, contrasts, holm([found.p for found in contrasts]), strict=True):
        difference = Interval(found.difference, found.low, found.high)
        shown = span("difference", difference, sign="+")
        rows.append(
            {
                "Model": plain("model", pair.label),
                "Measure": plain("measure", pair.measure),
                "Seeds": plain("seeds", found.n),
                "End-to-end minus model": shown if pair.comparable else Cell("bound", shown.numbers),
                "p": _cell("p", found.p, 3),
                "p (Holm)": _cell("p_holm", adjusted, 3),
                "Detectable": _cell("detectable", _detectable(pair), 2),
                "Verdict": plain("verdict", pair.verdict(tests=tests)),
            }
        )
    caption = (
        f"Do embeddings trained end to end help? {setting(results)} Differences are paired by seed: end-to-end minus "
        f"the model of the row; brackets: {INTERVALS}. The verdict is better or worse only where the interval still "
        f"excludes 0 at level 1 - 0.05/{tests}, for {tests} verdicts. p: exact sign-flip test; Holm: adjusted for the "
        f"{tests} tests of this table; with fewer than {_MIN_SEEDS} seeds p cannot reach 0.05 whatever the "
        "data. Detectable: the smallest true difference that a paired t test finds with power 0.8 at level 0.05, "
        "with this many seeds and the deviation observed; inconclusive does not mean that there is no smaller one. A "
        "bound on the likelihood cannot be ranked against an exact value."
    )
    nothing = () if rows else ("There is nothing to compare: the end-to-end model or all others have not been run.",)
    return Table.of("ablation", rows=rows, caption=caption, notes=nothing)


def _pairs(results: Results) -> Iterator[_Pair]:
    """Yield end-to-end beside each other arm and the autoregressive model, by measure, over the seeds of both."""
    names = labels(results)
    if "e2e" not in names:
        return
    others = [name for name in names if name in {"gaussian", "autoregressive"} or name.startswith("pretrained")]
    for measure, column, factor, better in _MEASURES:
        for name in others:
            e2e, other = by_seed(results, "e2e", column), by_seed(results, name, column)
            seeds = e2e.index.intersection(other.index)
            comparable = column != "nll" or is_bound(results, "e2e") == is_bound(results, name)
            yield _Pair(names[name], measure, better, comparable, factor * e2e[seeds], factor * other[seeds])


def _detectable(pair: _Pair) -> float:
    n = len(pair.e2e)
    if not pair.comparable or n < 2:  # noqa: PLR2004 - a deviation takes two
        return math.nan
    return detectable_effect(n, float((pair.e2e - pair.other).std(ddof=1)))


def metrics(results: Results) -> Table:
    """Return every metric of every model: the mean over pieces, and the distance to real music."""
    real = of(results.scores, TEST)
    rows = []
    for metric, about in METRICS.items():
        row = {
            "Metric": plain("metric", about.label),
            "Unit": plain("unit", MISSING if about.unit == "1" else about.unit),
            "Test split": _cell("test/mean", real[metric].mean()),
        }
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
    rows = []
    for name, label in labels(results).items():
        terms = {
            term: _cell(f"nll_{term.lower()}", over_seeds(by_seed(results, name, f"nll_{term.lower()}")).mean, 4)
            for term in ("Prior", "Diffusion", "Rounding")
        }
        kind = "upper bound" if is_bound(results, name) else "exact"
        rows.append(_row(label, len(of(results.trials, name)), terms, _likelihood(results, name, 3), kind))
    missing = {term: plain(f"nll_{term.lower()}") for term in ("Prior", "Diffusion", "Rounding")}
    for label, key in (("Uniform (ln V)", "ln_vocabulary"), ("Unigram entropy", "unigram_entropy")):
        rows.append(_row(label, None, missing, _cell("nll", results.about[key], 3), "reference"))
    caption = (
        f"Negative log-likelihood of the test split in nats per token. {setting(results)} The total of a diffusion "
        f"model is an upper bound, the sum of the terms before it; others are exact. {PLUS_MINUS}: {INTERVALS}. A "
        "bound cannot be ranked against an exact value."
    )
    return Table.of("likelihood", rows=rows, caption=caption, notes=_infinite(results))


def _row(label: str, seeds: int | None, terms: Mapping[str, Cell], total: Cell, kind: str) -> dict[str, Cell]:
    return {
        "Model": plain("model", label),
        "Seeds": plain("seeds", seeds),
        **terms,
        "Total": total,
        "Kind": plain("kind", kind),
    }


def _likelihood(results: Results, name: str, digits: int = 2) -> Cell:
    """Return the total of an experiment, marked as a bound or as exact."""
    bound = is_bound(results, name)
    cell = margin("nll", over_seeds(by_seed(results, name, "nll")), digits)
    text = cell.text if cell.text == MISSING else f"{LESS if bound else '='} {cell.text}"
    return Cell(text, {**cell.numbers, "exact": not bound})


def _cell(key: str, value: float, digits: int = 2) -> Cell:
    return Cell(number(value, digits), {key: value})


def _references(results: Results) -> str:
    """Return the sentence that gives a likelihood its scale."""
    return (
        f"NLL: {LESS} is an upper bound, = is exact; guessing evenly takes ln V = "
        f"{number(results.about['ln_vocabulary'])} and token frequencies alone "
        f"{number(results.about['unigram_entropy'])} nats per token."
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
