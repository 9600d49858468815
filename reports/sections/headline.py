"""The tables of what the models are worth: the main one, the rest of the panel, and what it cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eval.distances.copying import COPYING
from eval.metrics.table import METRICS
from eval.scoring.measures import MEASURES
from reports.format.facts import (
    INTERVALS,
    by_seed,
    changed,
    count,
    deviation,
    distance_of,
    each,
    encoding_of,
    features,
    floor_of,
    labels,
    measures_of,
    models,
    nats,
    near,
    of,
    over_seeds,
    panel_of,
    real,
    real_labels,
    setting,
    several,
)
from reports.format.table import (
    DAGGER,
    DELTA,
    DOUBLE_DAGGER,
    MISSING,
    PLUS_MINUS,
    TIMES,
    Cell,
    Table,
    cell,
    margin,
    plain,
    probability,
    span,
    thousands,
)
from reports.sections.anomalies import mark, remarks
from reports.sections.likelihood import infinite, likelihood_cell, references

if TYPE_CHECKING:
    from eval.results.frames import Results

_MUSIC = {"pitch_class_entropy": 2, "scale_consistency": 3, "groove_consistency": 3}  # with their decimals
_JUDGED = ("teacher_nll", "teacher_ruled_out", "token_entropy")
_SETS = {"classifier_auc": (1, 2), "bar_similarity": (100, 2), "chords": (1, 3)}  # factor to the unit shown, decimals
_COPY = "copy_8"
DAGGERS = (
    f"{DAGGER}: no further from its ideal than 95 % of floors and, where there is a test, p above 0.05: not to be told "
    "from real music by this measure, which does not mean that it is real music's equal."
)


def main(results: Results) -> Table:
    """Return what to remember of each model, and of each control."""
    column, unit = nats(results)
    valid, distance, nll = "Valid % \N{UPWARDS ARROW}", "Distance (floors) \N{RIGHTWARDS ARROW} 1", f"NLL (nats/{unit})"
    music = {name: digits for name, digits in _MUSIC.items() if name in results.scores}
    sets = {name: _title(name, factor) for name, (factor, _) in _SETS.items() if name in measures_of(results)}
    copies = {_COPY: f"{MEASURES[_COPY].label} ({TIMES})"} if _COPY in measures_of(results) else {}
    titles = {metric: f"{DELTA} {METRICS[metric].label}" for metric in music}
    rows = []
    for encoding, label in real_labels(results).items():
        test = real(results, encoding)
        rows.append(
            {
                "Model": plain("model", f"{label} (floor)"),
                "Seeds": plain("seeds"),
                valid: cell("valid_percent", 100 * test["valid"].mean(), 1),
                distance: cell("distance", 1.0, 0),
                **{
                    title: cell(name, _SETS[name][0] * floor_of(results, encoding, name), _SETS[name][1])
                    for name, title in sets.items()
                },
                **{title: cell(f"{name}_ratio", 1.0, 0) for name, title in copies.items()},
                **{titles[metric]: cell(metric, test[metric].mean(), digits) for metric, digits in music.items()},
                nll: plain(column),
            }
        )
    p95 = results.encodings.set_index("name")["floor_p95"]
    for name, label in labels(results).items():
        found = over_seeds(distance_of(results, name))
        inside = DAGGER if found.mean <= p95[encoding_of(results, name)] else ""
        deviations = {metric: deviation(results, name, metric) for metric in music}
        rows.append(
            {
                "Model": plain("model", label),
                "Seeds": cell("seeds", len(of(results.trials, name)), 0, mark=mark(results, name)),
                valid: margin("valid_percent", over_seeds(100 * by_seed(results, name, "validity")), 1),
                distance: span("distance", found, mark=inside),
                **{title: _set(results, name, measure) for measure, title in sets.items()},
                **{
                    title: cell(f"{measure}_ratio", panel_of(results, name, measure)["ratio"].mean(skipna=False), 1)
                    for measure, title in copies.items()
                },
                **{
                    titles[metric]: margin(f"{metric}_difference", deviations[metric], digits, sign="+")
                    for metric, digits in music.items()
                },
                nll: likelihood_cell(results, name, column),
            }
        )
    wrong = remarks(results)
    caption = (
        f"What each model is worth. {setting(results)} {_size(results)} Valid: share of samples that can be read "
        "without repair. Distance: mean Wasserstein distance over metrics to the test split, as a multiple of the "
        "noise floor, the distance of one half of the test split's songs from the other; what a sample lacks counts as "
        f"one range of real music away; 95 % of floors are below {each(results, 'floor_p95', 2)}. Windows of one song "
        f"are alike, so windows of independent songs can come a little below 1. "
        f"{_explained(results)}{DELTA}: mean over pieces minus that of the test split, whose "
        f"own value the first row{'s give' if several(results) else ' gives'}, with the variation of seeds and test "
        f"songs in its interval. {references(results)} {DAGGERS} "
        f"Brackets and {PLUS_MINUS}: {INTERVALS}. Means over pieces leave out undefined values (NaN), whose "
        f"rate the table of metrics gives; {MISSING} stands for a number that is not there.{_tuned(results)}"
        + (f" {DOUBLE_DAGGER}: see the table of events." if wrong else "")
    )
    notes = [f"{row.label}: {row.note}" for row in results.experiments.itertuples()]
    return Table.of("main", rows=rows, caption=caption, notes=[*notes, *changed(results), *infinite(results), *wrong])


def panel(results: Results) -> Table:
    """Return what else was measured of each model as a whole."""
    hidden = {"distance", "nan_rate", "mmd_p", *_JUDGED, *_SETS, *COPYING}
    sets = [name for name in measures_of(results) if name not in hidden]
    judged = [name for name in _JUDGED if name in measures_of(results)]
    p = "p (MMD)" if "mmd" in sets else None
    rows = []
    for encoding, label in real_labels(results).items():
        missing = 100 * real(results, encoding)[features(results)].isna().any(axis=1).mean()
        rows.append(
            {
                "Model": plain("model", f"{label} (floor)"),
                "Undefined %": cell("undefined_percent", missing, 1),
                **{MEASURES[name].label: cell(name, floor_of(results, encoding, name), 3) for name in sets},
                **({p: plain("p_mmd")} if p else {}),
                **{f"{DELTA} {MEASURES[name].label}": cell(name, floor_of(results, encoding, name)) for name in judged},
            }
        )
    for name, label in models(results).items():
        rows.append(
            {
                "Model": plain("model", label),
                "Undefined %": cell("undefined_percent", 100 * panel_of(results, name, "nan_rate")["value"].mean(), 1),
                **{MEASURES[measure].label: value_cell(results, name, measure) for measure in sets},
                **({p: probability("p_mmd", panel_of(results, name, "mmd")["p"].median())} if p else {}),
                **{f"{DELTA} {MEASURES[measure].label}": _gap(results, name, measure) for measure in judged},
            }
        )
    caption = (
        f"What else was measured of the models. {setting(results)} {_size(results)} Means over seeds. The first row is "
        "what one half of the test split's songs has beside the other. Undefined: share of samples that lack one of "
        "the metrics of the mean distance, such as those without notes; the distance counts each missing value as one "
        "range of real music away. "
        + ("p: of the permutation test of the MMD on one window per song, median over seeds. " if p else "")
        + (
            f"{DELTA}: minus the value of the test split, which the first row gives. The teacher is another "
            "autoregressive model of the same data: noise can please it more than music, so that the gap to real "
            "music counts, beside that of the entropy of tokens, and not the lowest value; windows that break the "
            "grammar of the marks have no likelihood: Ruled out is their share. "
            if judged
            else ""
        )
        + DAGGERS
    )
    return Table.of("panel", rows=rows, caption=caption)


def cost(results: Results) -> Table:
    """Return what each model took."""
    rows = []
    for name, label in models(results).items():
        trials = of(results.trials, name)
        pieces = of(results.scores, name).groupby("seed").size().mean()
        parameters, seconds = trials["parameters"].mean(), trials["sample_seconds"].mean()
        rows.append(
            {
                "Model": plain("model", label),
                "Parameters": Cell(thousands(parameters), {"parameters": parameters}),
                "Fit (s)": cell("fit_seconds", trials["fit_seconds"].mean(), 0),
                "Sampling (s)": cell("sample_seconds", seconds, 0),
                "Seconds per sample": cell("seconds_per_sample", seconds / pieces, 3),
            }
        )
    caption = (
        f"What each model took. {setting(results)} Seconds are of one trial, mean over seeds, on one and the same "
        f"machine for all trials that it lists; diffusion takes {results.about['evaluations']} network evaluations "
        "per sample."
    )
    return Table.of("cost", rows=rows, caption=caption)


def value_cell(results: Results, experiment: str, measure: str, *, factor: float = 1, digits: int = 3) -> Cell:
    """Return the mean over seeds of a measure, marked where it cannot be told from real music."""
    rows = panel_of(results, experiment, measure)
    mark = DAGGER if near(measure, rows) else ""
    return cell(measure, factor * over_seeds(rows["value"]).mean, digits, mark=mark)


def _set(results: Results, name: str, measure: str) -> Cell:
    """Return the cell of a measure of a whole set of samples in the main table."""
    rows, (factor, digits) = panel_of(results, name, measure), _SETS[measure]
    return margin(measure, over_seeds(factor * rows["value"]), digits, mark=DAGGER if near(measure, rows) else "")


def _gap(results: Results, name: str, measure: str) -> Cell:
    """Return how much more a model has than real music."""
    rows = panel_of(results, name, measure)
    return margin(f"{measure}_gap", over_seeds(rows["value"] - rows["floor"]), 2, sign="+")


def _title(measure: str, factor: float) -> str:
    label = MEASURES[measure].label
    ideal = MEASURES[measure].ideal
    scale = f" ({TIMES}{factor:g})" if factor != 1 else ""
    return f"{label}{scale}" + ("" if ideal is None else f" \N{RIGHTWARDS ARROW} {ideal:g}")


def _explained(results: Results) -> str:
    """Return what the measures of sets are, those that are there."""
    known = measures_of(results)
    sentences = {
        "classifier_auc": "a classifier told to find the real windows, 0.5 if it cannot, below for near copies",
        "bar_similarity": "how far off the similarity of bars at distances of 1 to 15 bars is",
        "chords": "Jensen-Shannon divergence of pairs of successive chords, in bits",
        _COPY: "share of runs of 8 notes that the training split has too, as a multiple of that of the test split",
    }
    return "".join(f"{MEASURES[name].label}: {text}. " for name, text in sentences.items() if name in known)


def _tuned(results: Results) -> str:
    """Return the sentence that says at which point of the grid each arm is, if any was tuned."""
    names = labels(results)
    points = [f"{names[arm]}: {point}" for arm, point in results.about["tuned"].items() if arm in names]
    return f" Embeddings (d: dimensions), as chosen in the table of the grid: {'; '.join(points)}." if points else ""


def _size(results: Results) -> str:
    """Return how many windows distances compare."""
    sizes = results.measures[~results.measures["measure"].isin([*COPYING, "mmd_p"])]["n"].dropna().astype(int)
    return f"Sets of {count(sizes)} windows are compared." if len(sizes) else ""
