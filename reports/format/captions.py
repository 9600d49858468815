"""Sentences that captions share: scale and corpus, sample sizes, units, and what marks mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eval.distances.copying import COPYING
from eval.results.anomalies import EXCLUDED
from reports.format.queries import controls, has_several_encodings, labels, measures_of, models
from reports.format.table import DAGGER, number

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from eval.results.frames import Results

INTERVALS = "95 % Student t intervals over seeds"
INTERVALS_IN_RANGE = (
    f"{INTERVALS}, of distances on the logarithmic scale and of shares and AUC on the logit scale, inside their range"
)
PER_NOTE = "Per note, because tokens carry different amounts of information in different encodings."
DAGGERS = (
    f"{DAGGER}: as close to the ideal as 95 % of noise floors and, where there is a test, p above 0.05. This measure "
    "cannot tell such a model from real music; that does not make the two equal."
)


def summary(results: Results) -> str:
    """Return the paragraph at the top of the report: what was trained on what, and how it was evaluated."""
    about = results.about
    rows = [
        join_names([f"{row[split]} {split}" for split in ("train", "validation", "test")])
        + f" windows of {about['length']} tokens, vocabulary {row['vocabulary']}"
        for row in results.encodings.to_dict("records")
    ]
    if has_several_encodings(results):
        rows = [f"encoding {name}: {facts}" for name, facts in zip(results.encodings["name"], rows, strict=True)]
    names = models(results)
    seeds = count(results.trials[results.trials["experiment"].isin(names)].groupby("experiment")["seed"].nunique())
    return (
        f"{plural(str(len(names)), 'model')} were trained on one split of the corpus {about['corpus']} "
        f"({'; '.join(rows)}). Models trained by gradient descent share one budget: {about['steps']} steps of "
        f"{about['batch']} windows. Each model was trained with {plural(seeds, 'seed')} and sampled (diffusion: "
        f"{about['evaluations']} network evaluations per sample). The samples are compared with the test split, next "
        f"to {plural(str(len(controls(results))), 'control')} that show what the measures can detect."
    )


def setting(results: Results) -> str:
    """Return the sentence that every caption has: scale, corpus, and the numbers of seeds, samples and windows."""
    about, names = results.about, models(results) or labels(results)
    trials = results.trials[results.trials["experiment"].isin(names)].groupby("experiment")["seed"].nunique()
    samples = results.scores[results.scores["experiment"].isin(names)].groupby(["experiment", "seed"]).size()
    sentence = (
        f"Scale {about['scale']}, corpus {about['corpus']}: {plural(count(trials), 'seed')} per model, "
        f"{plural(count(samples), 'sample')} per seed, {plural(per_encoding(results, 'test'), 'test window')} from "
        f"{plural(per_encoding(results, 'songs'), 'song')}, {about['length']} tokens per window."
        f"{_lost_trials(results)}"
    )
    if not has_several_encodings(results):
        return sentence
    return f"{sentence} A model is compared with the test split in its own encoding."


def _lost_trials(results: Results) -> str:
    """Return the sentence that names the trials which no mean includes, if there are any."""
    names, found = labels(results), results.anomalies[results.anomalies["anomaly"].isin(EXCLUDED)]
    lost = [
        f"{names.get(row.experiment, row.experiment)} seed {row.seed} ({row.anomaly})" for row in found.itertuples()
    ]
    return f" Missing: {join_names(lost)}." if lost else ""


def scale_and_corpus(results: Results) -> str:
    """Return the sentence for numbers whose sample sizes are not those of the comparison."""
    return f"Scale {results.about['scale']}, corpus {results.about['corpus']}."


def compared_windows(results: Results) -> str:
    """Return the sentence with the number of windows of the compared sets."""
    compared = set(measures_of(results)) - {*COPYING, "mmd_p"}
    sizes = results.measures[results.measures["measure"].isin(compared)]["n"].dropna().astype(int)
    return f"Sets of {count(sizes)} windows are compared." if len(sizes) else ""


def changed_shares(results: Results) -> list[str]:
    """Return a note for each control that leaves some of the test windows unchanged."""
    shares = results.trials.groupby("experiment", sort=False)["changed"].mean()
    return [
        f"{label}: {number(100 * shares[name], 1)} % of its windows are changed."
        for name, label in controls(results).items()
        if shares[name] < 1
    ]


def per_encoding(results: Results, column: str, digits: int | None = None) -> str:
    """Return a column of the encodings as text: 142, or 142 (paper) and 158 (triples) where the values differ."""
    values = [str(value) if digits is None else number(value, digits) for value in results.encodings[column]]
    if len(set(values)) == 1:
        return values[0]
    names = results.encodings["name"]
    return join_names([f"{value} ({name})" for value, name in zip(values, names, strict=True)])


def count(values: Sequence[int] | pd.Series[int]) -> str:
    """Return the common value, or the smallest and the largest: 3, or 2 to 3."""
    sizes = sorted(set(values))
    return str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}" if sizes else "0"


def plural(amount: str, thing: str) -> str:
    """Return an amount with its unit: 1 seed, 3 seeds."""
    return f"{amount} {thing}" + ("" if amount == "1" else "s")


def join_names(names: Sequence[str]) -> str:
    """Return names as a list in a sentence: a, b and c. Semicolons separate names that contain commas."""
    comma = "; " if any("," in name for name in names) else ", "
    return " and ".join([comma.join(names[:-1]), names[-1]] if len(names) > 1 else names)
