"""Claims: their verdicts, the distance of each model to real music, the main numbers, and numerical anomalies."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from eval.claims.claims import not_heard, primary_values
from eval.claims.declaration import status as status_of
from eval.claims.judgement import judged_on, variants_on
from eval.distances.endpoint import FAMILIES, family_ratios
from eval.metrics.table import METRICS
from eval.results.anomalies import ANOMALIES, FINITE
from eval.scoring.measures import MEASURES
from eval.statistics.intervals import Interval, positive_interval
from reports.format.captions import (
    DAGGERS,
    INTERVALS,
    INTERVALS_IN_RANGE,
    changed_shares,
    compared_windows,
    join_names,
    per_encoding,
    plural,
    setting,
)
from reports.format.figure import (
    FAINT,
    GREY,
    INK,
    LOG_FROM,
    REAL,
    CaptionedFigure,
    label_logarithmic,
    label_rows,
    new_figure,
    styled,
)
from reports.format.queries import (
    colours,
    comparable_nll,
    controls,
    deviation,
    distance_of,
    encoding_bands,
    encoding_of,
    floor_of,
    has_several_encodings,
    indistinguishable,
    labels,
    measure_of,
    measure_rows,
    measures_of,
    models,
    over_seeds,
    real_labels,
    real_scores,
    rows_of,
    validity_of,
)
from reports.format.section import FigurePart, Section, TablePart
from reports.format.table import (
    DAGGER,
    DELTA,
    DOUBLE_DAGGER,
    MISSING,
    PLUS_MINUS,
    TIMES,
    Cell,
    Table,
    interval_cell,
    number,
    number_cell,
    p_cell,
    plus_minus_cell,
    text_cell,
)
from reports.sections.likelihood import infinite_notes, likelihood_cell, nll_scale

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eval.claims.judgement import Variant
    from eval.results.anomalies import Anomaly
    from eval.results.frames import Results

_MUSIC = {"pitch_class_entropy": 2, "scale_consistency": 3, "groove_consistency": 3}  # metric: decimals
_SETS = {"classifier_auc": (1, 2), "bar_similarity": (100, 2), "chords": (1, 3)}  # measure: factor and decimals
_COPY = "copy_8"


def claims_table(results: Results) -> Table:
    """Build the table of verdicts."""
    rows = []
    for verdict, status in judged_on(results):
        found = verdict.evidence
        one = found.contrast if found else None
        span = Interval(one.difference, one.low, one.high) if one else Interval(math.nan, math.nan, math.nan)
        rows.append(
            {
                "Claim": text_cell("claim", verdict.name),
                "Statement": text_cell("statement", verdict.statement),
                "Verdict": text_cell("verdict", verdict.verdict.value),
                "Standing": text_cell("standing", status.standing.value),
                "Difference": interval_cell("difference", span, sign="+"),
                "Margin": number_cell("margin", found.scale.margin if found else math.nan, 2),
                "Seeds": text_cell("seeds", one.n if one else None),
                "p": p_cell("p_holm", verdict.p),
                "p (equivalence)": p_cell("p_equivalent_holm", verdict.p_equivalent),
                "Detectable": number_cell("detectable", verdict.detectable),
            }
        )
    caption = (
        f"Verdicts on the claims. {setting(results)} {status_of(results).reason} One primary endpoint for each claim: "
        "the difference of the distance to real music in noise floors, paired by seed; for C3, a rank correlation "
        "within models of equal age. Negative: the model of the claim is closer. Brackets: 95 % intervals over "
        "seeds, each of a single claim. p values decide, adjusted for the number of declared claims (Holm). A verdict "
        'is "no meaningful difference" if p (equivalence), of two one-sided tests against the margin, is at most 0.05, '
        'otherwise "reproduced" or "contradicted" if p, of a difference, is at most 0.05, otherwise "inconclusive". '
        "So a bracket may exclude 0 without a verdict, and leave the margin a little where methods are equivalent. "
        "Detectable: the smallest difference that this number of seeds finds with power 0.8. Secondary measures make "
        "no verdict; they are in the table of secondary measures."
    )
    notes = [*dict.fromkeys(f"{one.verdict.name}: {one.verdict.sentence}" for one in judged_on(results))]
    notes += [f"{verdict.name}: {note}." for verdict, _ in judged_on(results) for note in verdict.notes]
    reasons = {status.reason for _, status in judged_on(results) if status.reason != status_of(results).reason}
    return Table.of("claims", rows=rows, caption=caption, notes=[*notes, *sorted(reasons)])


def secondary_table(results: Results) -> Table:
    """Build the table of the secondary measures of all claims."""
    rows = [
        {
            "Claim": text_cell("claim", verdict.name),
            "Measure": text_cell("measure", measure),
            "Difference": interval_cell("difference", Interval(one.difference, one.low, one.high), 3, sign="+"),
            "p": p_cell("p", one.p),
            "Seeds": text_cell("seeds", one.n),
        }
        for verdict, _ in judged_on(results)
        if verdict.evidence
        for measure, one in verdict.evidence.secondary
    ]
    caption = (
        f"Secondary measures of the claims, which make no verdict. {setting(results)} Differences are paired by seed: "
        f"the model of the claim minus the other model; smaller is closer to real music. Brackets: {INTERVALS}; p is "
        "not adjusted. A bound on the likelihood is never ranked against an exact value."
    )
    return Table.of("secondary", rows=rows, caption=caption, notes=() if rows else ("There is nothing to compare.",))


def robustness_table(results: Results) -> Table:
    """Build the table of the verdicts under other choices."""
    rows = []
    left_out: dict[str, list[Variant]] = {}
    for variant in variants_on(results):
        if variant.song is not None:
            left_out.setdefault(variant.claim, []).append(variant)
            continue
        one = variant.verdict.evidence
        assert one is not None
        rows.append(
            {
                "Claim": text_cell("claim", variant.claim),
                "Choice": text_cell("choice", variant.choice),
                "Difference": interval_cell("difference", Interval(*one.contrast[:3]), sign="+"),
                "Unit": text_cell("unit", one.scale.unit.strip() or None),
                "Verdict": text_cell("verdict", variant.verdict.verdict.value),
                "Sign": text_cell("sign", "changes" if variant.sign_changes else "same"),
            }
        )
    for claim, variants in left_out.items():
        differences = [one.verdict.evidence.contrast.difference for one in variants if one.verdict.evidence]
        rulings = Counter(one.verdict.verdict.value for one in variants)
        rows.append(
            {
                "Claim": text_cell("claim", claim),
                "Choice": text_cell("choice", f"any one of {len(variants)} song families left out"),
                "Difference": Cell(
                    f"{number(min(differences), 2, sign='+')} to {number(max(differences), 2, sign='+')}",
                    {"lowest": min(differences), "highest": max(differences)},
                ),
                "Unit": text_cell("unit", "floors"),
                "Verdict": text_cell("verdict", ", ".join(f"{name} ({n})" for name, n in rulings.items())),
                "Sign": text_cell("sign", "changes" if any(one.sign_changes for one in variants) else "same"),
            }
        )
    rows.sort(key=lambda row: row["Claim"].text)
    caption = (
        f"How far the verdicts depend on choices. {setting(results)} Each row changes one choice and judges all claims "
        "again by the same rule, with p values adjusted for as many claims. Second sampler: the diffusion models' "
        "samples drawn again from the same weights. "
        "Likelihood bounds, in nats per token, have no margin. Leaving one song family out of the test split shows "
        f"whether a verdict rests on one song. Brackets: {INTERVALS}."
    )
    return Table.of("robustness", rows=rows, caption=caption, notes=() if rows else ("No claim was judged.",))


def endpoint_table(results: Results) -> Table:
    """Build the table of the distance by families of measures."""
    rows = []
    for name, label in labels(results).items():
        own = rows_of(results.measures, name).pivot_table(index="seed", columns="measure", values="ratio", dropna=False)
        families = [family_ratios(dict(row.dropna())) for _, row in own.iterrows()]
        means = {
            family: float(np.mean([one.get(family, math.nan) for one in families] or [math.nan])) for family in FAMILIES
        }
        distance = over_seeds(distance_of(results, name), positive_interval)
        mark = (
            DAGGER
            if distance.mean <= results.encodings.set_index("name")["floor_p95"][encoding_of(results, name)]
            else ""
        )
        rows.append(
            {
                "Model": text_cell("model", label),
                "Distance": interval_cell("distance", distance, mark=mark),
                **{family.capitalize(): number_cell(family, value, 1) for family, value in means.items()},
            }
        )
    deaf = not_heard(results)
    hears = (
        f"Here it cannot tell these from real music: {join_names(deaf)}." if deaf else "Here it hears every control."
    )
    caption = (
        f"The distance by what it hears. {setting(results)} Each family is the mean of its measures as multiples of "
        "their noise floors; the distance is the geometric mean over families, each at least 1, so that no family is "
        f"averaged away. {hears} It never hears loudness. {DAGGERS}"
    )
    return Table.of("endpoint", rows=rows, caption=caption, notes=_most_influential(results))


def _most_influential(results: Results) -> tuple[str, ...]:
    """Return a note on the song family of the test split without which the distances of models change most."""
    import pandas as pd

    table = results.jackknife
    if table.empty:
        return ()
    full = primary_values(results).set_index(["experiment", "seed"])["value"]
    rows = table.assign(full=full.reindex(pd.MultiIndex.from_frame(table[["experiment", "seed"]])).to_numpy())
    change = np.log(rows["distance"] / rows["full"]).abs()
    song = change.groupby(rows["song"]).mean().idxmax()
    means = rows[rows["song"] == song].groupby("experiment", sort=False)[["full", "distance"]].mean()
    names = labels(results)
    changes = ", ".join(
        f"{names[str(name)]} {row.distance:.2f} instead of {row.full:.2f}" for name, row in means.iterrows()
    )
    return (f"Distances depend most on song family {song} of the test split. Without it: {changes}.",)


@styled
def floor_forest(results: Results) -> CaptionedFigure:
    """Draw the distance of each model to real music, with its interval and its seeds."""
    names, p95 = labels(results), results.encodings.set_index("name")["floor_p95"]
    paint = colours(results, grey_controls=True)
    seeds = {name: distance_of(results, name) for name in names}
    found = {name: over_seeds(values, positive_interval) for name, values in seeds.items()}
    shown = np.array([1.0, *p95, *(value for values in seeds.values() for value in values)])
    shown = shown[np.isfinite(shown)]
    # Copies have distance 0, which a logarithmic axis cannot show.
    left, right = 0.8 * shown[shown > 0].min(), 1.15 * shown.max()

    figure = new_figure(7.4, 0.9 + 0.3 * len(names))
    axes = figure.subplots()
    for encoding, first, last in encoding_bands(results, names):
        axes.fill_betweenx([first, last], left, p95[encoding], color=FAINT, lw=0)
        axes.plot([p95[encoding]] * 2, [first, last], color=REAL, lw=0.8, ls=(0, (4, 2)))
    axes.axvline(1, color=REAL, lw=1)
    for row, name in enumerate(names):
        mean, low, high = found[name]
        axes.plot(seeds[name], [row + 0.22] * len(seeds[name]), ".", color=paint[name], alpha=0.5, ms=5, mew=0)
        axes.plot([max(low, left), min(high, right)], [row, row], color=paint[name], lw=2.4, solid_capstyle="butt")
        axes.plot(max(mean, left), row, "D" if name in controls(results) else "o", color=paint[name], ms=5)
        axes.text(
            1.02,
            row,
            interval_cell("", found[name]).text,
            transform=axes.get_yaxis_transform(),
            va="center",
            fontsize=8,
            color=INK,
        )
    label_rows(axes, list(names.values()), list(paint.values()))
    axes.set_xlim(left, right)
    scale = ""
    if right / left > LOG_FROM:
        axes.set_xscale("log")
        label_logarithmic(axes.xaxis)
        axes.set_xlim(left, right)
        scale = ", logarithmic"
    axes.set_xlabel(f"Distance to the test split (noise floors{scale})")
    axes.set_title("as close as real music is to itself", fontsize=8, color=GREY, fontweight="normal")
    caption = (
        f"Distance to real music, by the endpoint of the claims. {setting(results)} Large marks: means over seeds. "
        f"Small dots: single seeds. Bars (cut at the frame) and brackets (in full): {INTERVALS}, on the logarithmic "
        "scale. Line at 1: no family of measures is above its noise floor. Band and dashed line: 95 % of pairs of "
        f"halves of the test split, {per_encoding(results, 'floor_p95', 2)}. Grey: controls, which give distances a "
        "scale. Values below the axis are drawn at its edge."
    )
    return CaptionedFigure(figure, caption)


def main_table(results: Results) -> Table:
    """Build the table of the main numbers of each model and control."""
    column, unit = comparable_nll(results)
    valid, distance, nll = "Valid % \N{UPWARDS ARROW}", "Distance (floors) \N{RIGHTWARDS ARROW} 1", f"NLL (nats/{unit})"
    music = {name: digits for name, digits in _MUSIC.items() if name in results.scores}
    sets = {name: _title(name, factor) for name, (factor, _) in _SETS.items() if name in measures_of(results)}
    copies = {_COPY: f"{MEASURES[_COPY].label} ({TIMES})"} if _COPY in measures_of(results) else {}
    titles = {metric: f"{DELTA} {METRICS[metric].label}" for metric in music}
    rows = []
    for encoding, label in real_labels(results).items():
        test = real_scores(results, encoding)
        rows.append(
            {
                "Model": text_cell("model", f"{label} (floor)"),
                "Seeds": text_cell("seeds"),
                valid: number_cell("valid_percent", 100 * test["valid"].mean(), 1),
                distance: number_cell("distance", 1.0, 0),
                **{
                    title: number_cell(name, _SETS[name][0] * floor_of(results, encoding, name), _SETS[name][1])
                    for name, title in sets.items()
                },
                **{title: number_cell(f"{name}_ratio", 1.0, 0) for name, title in copies.items()},
                **{titles[name]: number_cell(name, test[name].mean(), digits) for name, digits in music.items()},
                nll: text_cell(column),
            }
        )
    p95 = results.encodings.set_index("name")["floor_p95"]
    for name, label in labels(results).items():
        found = over_seeds(distance_of(results, name), positive_interval)
        inside = DAGGER if found.mean <= p95[encoding_of(results, name)] else ""
        deviations = {metric: deviation(results, name, metric) for metric in music}
        ratios = {measure: measure_rows(results, name, measure)["ratio"] for measure in copies}
        rows.append(
            {
                "Model": text_cell("model", label),
                "Seeds": number_cell("seeds", len(rows_of(results.trials, name)), 0, mark=anomaly_mark(results, name)),
                valid: interval_cell("valid_percent", validity_of(results, name).times(100), 1),
                distance: interval_cell("distance", found, mark=inside),
                **{title: _set(results, name, measure) for measure, title in sets.items()},
                **{
                    title: number_cell(f"{measure}_ratio", ratios[measure].mean(skipna=False), 1)
                    for measure, title in copies.items()
                },
                **{
                    titles[metric]: plus_minus_cell(f"{metric}_difference", deviations[metric], digits, sign="+")
                    for metric, digits in music.items()
                },
                nll: likelihood_cell(results, name, column),
            }
        )
    anomalies = anomaly_notes(results)
    gives = "rows give" if has_several_encodings(results) else "row gives"
    caption = (
        f"Main results. {setting(results)} {compared_windows(results)} Valid: share of samples that decode without "
        "repair. Distance: to the test split, as a multiple of the noise floor, which is the distance between two "
        "halves of the test songs; the geometric mean over families of measures (see the table of the endpoint). "
        f"95 % of pairs of such halves are below {per_encoding(results, 'floor_p95', 2)}, and none is below 1. "
        f"{_measure_definitions(results)}{DELTA}: mean over pieces minus the mean of the test split, which the first "
        f"{gives}; its interval covers seeds and test songs. {nll_scale(results)} {DAGGERS} Brackets and "
        f"{PLUS_MINUS}: {INTERVALS_IN_RANGE}. Means over pieces exclude undefined values (NaN); the "
        f"table of metrics has their rates. {MISSING}: no value.{_tuned(results)}"
        + (f" {DOUBLE_DAGGER}: see the table of anomalies." if anomalies else "")
    )
    notes = [f"{row.label}: {row.note}" for row in results.experiments.itertuples()]
    notes += [*changed_shares(results), *infinite_notes(results), *anomalies]
    return Table.of("main", rows=rows, caption=caption, notes=notes)


def _set(results: Results, name: str, measure: str) -> Cell:
    """Return the main table's cell of a measure of a whole set of samples."""
    rows, (factor, digits) = measure_rows(results, name, measure), _SETS[measure]
    mark = DAGGER if indistinguishable(measure, rows) else ""
    return interval_cell(measure, measure_of(results, name, measure).times(factor), digits, mark=mark)


def _title(measure: str, factor: float) -> str:
    label = MEASURES[measure].label
    ideal = MEASURES[measure].ideal
    scale = f" ({TIMES}{factor:g})" if factor != 1 else ""
    return f"{label}{scale}" + ("" if ideal is None else f" \N{RIGHTWARDS ARROW} {ideal:g}")


def _measure_definitions(results: Results) -> str:
    """Return the definitions of the measures of sets that the results have."""
    known = measures_of(results)
    sentences = {
        "classifier_auc": "of a classifier of samples and real windows; 0.5 is chance, near copies are below",
        "bar_similarity": "mean error of the similarity of bars that are 1 to 15 bars apart",
        "chords": "Jensen-Shannon divergence of pairs of successive chords, in bits",
        _COPY: "share of runs of 8 notes that also occur in training, as a multiple of the test split's share",
    }
    return "".join(f"{MEASURES[name].label}: {text}. " for name, text in sentences.items() if name in known)


def _tuned(results: Results) -> str:
    """Return the sentence with the tuning points of each arm, if any was tuned."""
    names = labels(results)
    points = [f"{names[arm]}: {_points(chosen)}" for arm, chosen in results.about["tuned"].items() if arm in names]
    return (
        f" Tuned embeddings (d: dimensions; see the table of the tuning grid): {'; '.join(points)}." if points else ""
    )


def _points(chosen: Mapping[str, str]) -> str:
    """Return the points of an arm by seed as words, with the number of seeds at each if there are several."""
    counts = Counter(chosen.values())
    if len(counts) == 1:
        return next(iter(counts))
    return " or ".join(f"{point} ({plural(str(n), 'seed')})" for point, n in counts.most_common())


def anomalies_table(results: Results) -> Table:
    """Build the table of all anomalies of all trials; it may be empty."""
    names, found = labels(results), results.anomalies
    limits = {row.name: _limits(row) for row in ANOMALIES}
    rows = [
        {
            "Trial": Cell(
                f"{names.get(row.experiment, row.experiment)}, seed {row.seed}",
                {"experiment": row.experiment, "seed": row.seed},
            ),
            "Anomaly": text_cell("anomaly", row.anomaly),
            "Steps": Cell(_steps(row.first, row.last), {"first": row.first, "last": row.last}),
            "Value": number_cell("value", row.value, 3),
            "Limits": text_cell("limits", limits.get(row.anomaly)),
        }
        for row in found.itertuples()
    ]
    caption = (
        f"{_anomaly_lead(results)} {setting(results)} Checked: losses, gradients, likelihoods, the size and distances "
        "of the embeddings at every validation, and samples that are repeated, monotonous, empty or invalid. Trials "
        "with anomalies are included in all means, except trials that failed or did not finish. Controls that are not "
        "music are expected to have anomalies."
    )
    notes = [f"{anomaly.name}: {anomaly.meaning}" for anomaly in ANOMALIES if anomaly.name in set(found["anomaly"])]
    return Table.of("anomalies", rows=rows, caption=caption, notes=notes)


def _anomaly_lead(results: Results) -> str:
    if results.anomalies.empty:
        return "Numerical anomalies: none."
    only_controls = set(models(results)).isdisjoint(results.anomalies["experiment"])
    return f"Numerical anomalies{', none of them in a model' * only_controls}."


def anomaly_mark(results: Results, experiment: str) -> str:
    """Return the mark of an experiment whose trials have anomalies."""
    return DOUBLE_DAGGER if len(rows_of(results.anomalies, experiment)) else ""


def anomaly_notes(results: Results) -> list[str]:
    """Return a note with the anomalies of each experiment that has any, by trial."""
    return [
        f"{DOUBLE_DAGGER} {label}: {'; '.join(trials)}."
        for name, label in labels(results).items()
        if (trials := anomalies_by_trial(results, name))
    ]


def anomalies_by_trial(results: Results, experiment: str) -> list[str]:
    """Return the anomalies of an experiment, a text for each trial: seed 2 failed, loss-not-finite."""
    trials = rows_of(results.anomalies, experiment).groupby("seed")
    return [f"seed {seed} {', '.join(own['anomaly'])}" for seed, own in trials]


def _steps(first: float, last: float) -> str:
    if math.isnan(first):
        return MISSING
    return f"{first:.0f}" if first == last else f"{first:.0f} to {last:.0f}"


def _limits(anomaly: Anomaly) -> str | None:
    if anomaly.most == FINITE:
        return "finite"
    if math.isfinite(anomaly.most):
        return f"at most {number(anomaly.most, 1)}"
    return f"at least {number(anomaly.least, 1)}" if math.isfinite(anomaly.least) else None


SECTION = Section(
    title="Claims",
    parts=(
        TablePart(name="claims", build=claims_table),
        FigurePart(name="floor_forest", draw=floor_forest),
        TablePart(name="main", build=main_table),
        TablePart(name="anomalies", build=anomalies_table),
        TablePart(name="endpoint", build=endpoint_table),
        TablePart(name="robustness", build=robustness_table),
        TablePart(name="secondary", build=secondary_table),
    ),
)
