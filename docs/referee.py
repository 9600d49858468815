"""Reach the verdicts of a published study again, from its files alone, with numpy, pandas and scipy.

    python docs/referee.py reports/published/study-bach

Nothing of Etude is imported. The first line says whether the declaration holds for these results. Then there is one
line for each claim: name, verdict, difference and 95 % interval.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

folder = Path(sys.argv[1]) / "results"
about = json.loads((folder / "facts.json").read_text())["about"]
declared = about["declaration"]
measures, audits = (pd.read_parquet(folder / f"{name}.parquet") for name in ("measures", "audits"))
endpoint = measures[measures["measure"] == "distance"].assign(value=lambda rows: rows["ratio"].clip(lower=1))
distance = endpoint.pivot_table(index="seed", columns="experiment", values="value")


def broken():
    """Return why the declaration does not hold for these results; empty if it does."""
    body = [{key: value for key, value in declared.items() if key not in {"hash", "trials"}}]
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    if hashlib.sha256(text.encode()).hexdigest() != declared["hash"]:
        return "it was changed after it was written"
    if any(found != declared["hash"] for found in declared["trials"].values()):
        return "a trial was started under another one"
    if declared.get("settings") != about["configuration"]:
        return "the settings are others"
    compared = {claim[side] for claim in declared["claims"].values() for side in ("ours", "other") if side in claim}
    complete = (
        distance[[name for name in distance if name in compared]].reindex(declared["seeds"]).notna().all(axis=None)
    )
    return "" if complete and set(distance.index) >= set(declared["seeds"]) else "seeds are missing"


def hears():
    """Return whether the distance tells the declared controls from real music."""
    means = endpoint.groupby("experiment")[["ratio", "floor_p95"]].mean().reindex(declared["endpoint"]["must_hear"])
    return bool((means["ratio"] > means["floor_p95"]).all())


def paired(claim, margin):
    """Return the mean difference over seeds, its 95 % interval, and the p values of difference and equivalence."""
    d = (distance[claim["ours"]] - distance[claim["other"]]).dropna().to_numpy()
    test = stats.ttest_1samp(d, 0)
    below, above = (
        stats.ttest_1samp(d, margin, alternative="less"),
        stats.ttest_1samp(d, -margin, alternative="greater"),
    )
    return d.mean(), *test.confidence_interval(), test.pvalue, max(below.pvalue, above.pvalue), True


def correlation(pool, column, margin):
    """Return the mean Spearman correlation with the distance within ages likewise; arms, and seeds in them, permute."""
    tables = [pool.pivot_table(index="age", columns=["experiment", "seed"], values=c) for c in (column, "distance")]
    ranks = [stats.zscore(stats.rankdata(table, axis=1), axis=1) for table in tables]
    arms, seeds = (len(level) for level in tables[0].columns.levels)
    trials, rng = np.arange(arms * seeds).reshape(arms, seeds), np.random.default_rng(0)
    orders = [trials, *(rng.permuted(trials, axis=1)[rng.permutation(arms)] for _ in range(9999))]
    rho, *null = np.clip([np.mean(ranks[0][:, order.ravel()] * ranks[1]) for order in orders], -0.9999, 0.9999)
    z, null, stretch = math.atanh(rho), np.abs(np.arctanh([rho, *null])), math.sqrt(1 + rho**2 / 2)
    wide, room = stretch * np.quantile(null, 0.95), (math.atanh(margin) - abs(z)) / stretch
    beyond = np.mean(null >= abs(room)) / 2
    p = np.mean(null >= abs(z)), beyond if room > 0 else 1 - beyond
    return rho, math.tanh(z - wide), math.tanh(z + wide), *p


def ranked(claim, margin):
    """Return the correlation of a number likewise, and whether a positive control works."""
    pool = audits[audits["experiment"] != "embeddings-only"]
    power = max(correlation(pool, control, margin)[1] for control in ("nll", "teacher_gap")) > 0
    return *correlation(pool, claim["number"], margin), power


def holm(p):
    """Return p values adjusted for the number of declared claims."""
    p = pd.Series(p).sort_values()
    return (p * (len(declared["claims"]) - np.arange(len(p)))).cummax().clip(upper=1)


rows = {name: c for name, c in declared["claims"].items() if "number" in c or {c["ours"], c["other"]} <= set(distance)}
margins = {
    name: declared["margin"] if "ours" in claim else declared["margin_of_correlation"] for name, claim in rows.items()
}
found = {name: (paired if "ours" in claim else ranked)(claim, margins[name]) for name, claim in rows.items()}
different, equal = (holm({name: one[place] for name, one in found.items()}) for place in (3, 4))
heard = hears()
print(f"declaration: {broken() or 'holds'}")
for name, (mean, low, high, *_, usable) in found.items():
    better = mean < 0 if "ours" in rows[name] else mean > 0
    verdict = "inconclusive"
    if not heard:
        verdict = "not testable here"
    elif usable and equal[name] <= declared["alpha"]:
        verdict = "no meaningful difference"
    elif usable and different[name] <= declared["alpha"]:
        verdict = "reproduced" if better else "contradicted"
    print(f"{name}: {verdict}, {mean:+.2f} [{low:+.2f}, {high:+.2f}]")
