"""The table of contrasts: what the interval between end-to-end embeddings and another model allows to say."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from eval.compare import Contrast, Interval, contrast, detectable_effect, holm
from reports.facts import INTERVALS, by_seed, encoding_of, is_bound, labels, setting, several
from reports.table import Cell, Table, cell, plain, span

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from eval.results import Results

_MIN_SEEDS = 6  # the fewest whose sign-flip p value can reach 0.05

# Measure, column of the trials, factor to the unit shown, and the sign of a difference that speaks for e2e.
_MEASURES = (
    ("Distance (floors)", "floor_ratio", 1, -1),
    ("NLL bound (nats/token)", "nll", 1, -1),
    ("Valid (percentage points)", "validity", 100, 1),
)


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
                "p": cell("p", found.p, 3),
                "p (Holm)": cell("p_holm", adjusted, 3),
                "Detectable": cell("detectable", _detectable(pair), 2),
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
        + (" End-to-end is that of the model's own encoding." if several(results) else "")
    )
    nothing = () if rows else ("There is nothing to compare: the end-to-end model or all others have not been run.",)
    return Table.of("ablation", rows=rows, caption=caption, notes=nothing)


def _pairs(results: Results) -> Iterator[_Pair]:
    """Yield end-to-end beside each other arm and the autoregressive model of its encoding, over the seeds of both."""
    names = labels(results)
    for encoding in results.encodings["name"]:
        # An experiment in another encoding than the paper's has the name of its model, then that of the encoding.
        models = {name.removesuffix(f"-{encoding}"): name for name in names if encoding_of(results, name) == encoding}
        if "e2e" not in models:
            continue
        others = [
            model for model in models if model in {"gaussian", "autoregressive"} or model.startswith("pretrained")
        ]
        for measure, column, factor, better in _MEASURES:
            for model in others:
                one, name = models["e2e"], models[model]
                e2e, other = by_seed(results, one, column), by_seed(results, name, column)
                seeds = e2e.index.intersection(other.index)
                comparable = column != "nll" or is_bound(results, one) == is_bound(results, name)
                yield _Pair(names[name], measure, better, comparable, factor * e2e[seeds], factor * other[seeds])


def _detectable(pair: _Pair) -> float:
    n = len(pair.e2e)
    if not pair.comparable or n < 2:  # noqa: PLR2004 - a deviation takes two
        return math.nan
    return detectable_effect(n, float((pair.e2e - pair.other).std(ddof=1)))
