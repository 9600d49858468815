"""Likelihood: exact values and bounds, what bounds consist of, token likelihood by a teacher, and the audit."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import numpy as np

from eval.claims.claims import PUBLISHED
from eval.claims.number import COUNTERFACTUAL, MARGIN, POSITIVE_CONTROLS, analyse_number
from eval.scoring.bits_per_word import SAMPLES, WINDOWS
from eval.scoring.likelihood import FULL_WINDOWS
from eval.scoring.reference import REFERENCE_WINDOWS
from eval.statistics.intervals import Interval, positive_interval
from reports.format.captions import (
    INTERVALS,
    INTERVALS_IN_RANGE,
    PER_NOTE,
    join_names,
    per_encoding,
    plural,
    scale_and_corpus,
    setting,
)
from reports.format.figure import (
    FAINT,
    GREY,
    INK,
    REAL,
    CaptionedFigure,
    label_logarithmic,
    label_points,
    label_rows,
    new_figure,
    placeholder,
    styled,
)
from reports.format.queries import (
    by_seed,
    colours,
    comparable_nll,
    controls,
    encoding_of,
    floor_of,
    has_several_encodings,
    is_bound,
    labels,
    measure_rows,
    over_seeds,
    real_labels,
    rows_of,
    with_likelihood,
)
from reports.format.section import FigurePart, Section, TablePart
from reports.format.table import (
    LESS,
    MINUS,
    MISSING,
    PLUS_MINUS,
    Cell,
    Table,
    interval_cell,
    number,
    number_cell,
    p_cell,
    plus_minus_cell,
    text_cell,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from eval.results.frames import Results

_AUDITED = (
    "The denominators differ. Bits per word are means over all positions, padding included, of up to "
    f"{REFERENCE_WINDOWS:,} test windows. The bound is per token without padding, on {WINDOWS} test windows. Distances "
    f"are of at most {SAMPLES} samples."
)
_LEAST = 1e-30  # bits per word that can be told from 0 in a figure
# Whose bound it is: short for figures and the main table, and in full for the table of likelihoods.
_CHOSEN = (
    "Bounds are those of the interpolated estimator, whose constants each trial chooses on the validation split; the "
    "likelihood table has the plain one beside it."
)
_ESTIMATORS = (
    "A bound is that of an estimator of the clean embeddings, and arms may be ordered differently by another. "
    "Estimator: the network's prediction drawn towards a mean of the embeddings, by a power of the certainty with "
    "which the noisy token alone determines its word; the mean assumes a variance of the prediction. The power and the "
    "variance are those of one grid, the same for all models, with the smallest bound on the validation split, chosen "
    "for each trial; the terms and the total are with them. Plain: the bound of the network's prediction as it is."
)
_TERMS = {"Prior": "nll_prior", "Diffusion": "nll_diffusion", "Rounding": "nll_rounding"}
_ERRORS = {"Error (draws)": "nll_error", "Error (songs)": "nll_error_songs"}


@styled
def nll_bars(results: Results) -> CaptionedFigure:
    """Draw likelihoods, bounds hatched: per token, or per note where there are several encodings."""
    names, paint, (column, unit) = with_likelihood(results), colours(results), comparable_nll(results)
    found = {name: over_seeds(by_seed(results, name, column)) for name in names}
    finite = [name for name in names if math.isfinite(found[name].mean)]
    left_out = [names[name] for name in names if name not in finite]
    references = [("unigram entropy", "unigram_entropy"), ("ln V", "ln_vocabulary")]
    references = [] if has_several_encodings(results) else references
    caption = (
        f"Negative log-likelihood of the test split. {setting(results)} Filled: exact values. Hatched ({LESS}): upper "
        f"bounds, which cannot be ranked against exact values. {_CHOSEN} Lines: {INTERVALS}, cut at the frame. "
        + ("Dashed: token frequencies alone. Dotted: uniform guessing (ln V)." if references else PER_NOTE)
        + (f" Not finite, so not shown: {join_names(left_out)}." if left_out else "")
    )
    if not finite:
        return placeholder("No model has a finite likelihood.", caption)

    marks = {text: float(results.encodings[key].iloc[0]) for text, key in references}
    figure = new_figure(7.4, 1.1 + 0.36 * len(finite))
    axes = figure.subplots()
    axes.set_xlim(0, 1.22 * max([*(found[name].mean for name in finite), *marks.values()]))  # room for the numbers
    for row, name in enumerate(finite):
        bound, (mean, low, high) = is_bound(results, name), found[name]
        axes.barh(
            row,
            mean,
            height=0.62,
            facecolor="white" if bound else paint[name],
            edgecolor=paint[name],
            hatch="////" if bound else None,
        )
        axes.plot([low, high], [row, row], color=INK, lw=1.2)
        axes.text(
            0.995,
            row,
            f"{LESS if bound else '='} {number(mean)}",
            transform=axes.get_yaxis_transform(),
            ha="right",
            va="center",
            fontsize=8,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )
    for (text, value), style in zip(marks.items(), ((0, (4, 2)), ":"), strict=False):
        axes.axvline(value, color=GREY, lw=1, ls=style, zorder=0.5, label=f"{text} {number(value)}")
    if marks:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, fontsize=8, labelcolor=GREY)
    label_rows(axes, [names[name] for name in finite], [paint[name] for name in finite])
    axes.set_xlabel(f"Negative log-likelihood (nats per {unit})")
    return CaptionedFigure(figure, caption)


def likelihood_table(results: Results) -> Table:
    """Build the table of negative log-likelihoods and the terms of the bounds."""
    comparable, rows = _comparable(results), []
    for name, label in with_likelihood(results).items():
        values = {
            **{term: number_cell(key, over_seeds(by_seed(results, name, key)).mean, 4) for term, key in _TERMS.items()},
            "Total": likelihood_cell(results, name, "nll", 3),
            "Plain": likelihood_cell(results, name, "nll_plain", 3),
            "Estimator": _estimator_cell(results, name),
            **{title: number_cell(key, _error(results, name, key), 4) for title, key in _ERRORS.items()},
            **{title: likelihood_cell(results, name, column) for title, column in comparable.items()},
        }
        kind = "upper bound" if is_bound(results, name) else "exact"
        seeds = len(rows_of(results.trials, name))
        rows.append(_row(results, label, encoding_of(results, name), values, seeds=seeds, kind=kind))
    empty = {**_TERMS, "Total": "nll", "Plain": "nll_plain", "Estimator": "estimator", **_ERRORS, **comparable}
    missing = {title: text_cell(key) for title, key in empty.items()}
    for encoding in results.encodings.to_dict("records"):
        for label, key in (("Uniform (ln V)", "ln_vocabulary"), ("Unigram entropy", "unigram_entropy")):
            values = missing | {"Total": number_cell("nll", encoding[key], 3)}
            rows.append(_row(results, label, encoding["name"], values, seeds=None, kind="reference"))
    caption = (
        f"Negative log-likelihood of the test split in nats per token. {setting(results)} The total of a diffusion "
        "model is an upper bound, the sum of the terms before it. All other totals are exact. A bound cannot be ranked "
        f"against an exact value. {_ESTIMATORS} {PLUS_MINUS}: {INTERVALS}. Errors: standard errors of one seed's "
        "total, because a bound draws only some timesteps and noise (draws) and because the test split has only some "
        f"songs (songs). ln V counts all {per_encoding(results, 'vocabulary')} words of the vocabulary, of which the "
        f"test split uses {per_encoding(results, 'words_in_test')}."
    )
    if comparable:
        caption += (
            " Tokens carry different amounts of information in different encodings; notes and "
            f"{results.about['unit']}s do not. Each encoding has its own windows, whose time ends with their last "
            "note, so the total time is slightly longer where windows are shorter."
        )
    return Table.of("likelihood", rows=rows, caption=caption, notes=[*infinite_notes(results), *_exact_check(results)])


def _row(
    results: Results, label: str, encoding: str, values: Mapping[str, Cell], *, seeds: int | None, kind: str
) -> dict[str, Cell]:
    return {
        "Model": text_cell("model", label),
        **({"Encoding": text_cell("encoding", encoding)} if has_several_encodings(results) else {}),
        "Seeds": text_cell("seeds", seeds),
        **values,
        "Kind": text_cell("kind", kind),
    }


def _error(results: Results, name: str, column: str) -> float:
    """Return the standard error of one seed's estimate: the root mean square over seeds."""
    errors = by_seed(results, name, column)
    return float(np.sqrt((errors**2).mean())) if len(errors) else math.nan


def _estimator_cell(results: Results, name: str) -> Cell:
    """Return the cell of the constants of a bound's estimator, with the number of seeds if they differ."""
    chosen = rows_of(results.trials, name)["estimator"].value_counts()
    texts = [text if len(chosen) == 1 else f"{text} ({plural(str(n), 'seed')})" for text, n in chosen.items() if text]
    return text_cell("estimator", "; ".join(texts) or None)


def _comparable(results: Results) -> dict[str, str]:
    """Return the columns of likelihoods in units that all encodings share, by title; none for one encoding."""
    unit = results.about["unit"]
    return {"Per note": "nll_note", f"Per {unit}": f"nll_{unit}"} if has_several_encodings(results) else {}


def likelihood_cell(results: Results, name: str, column: str, digits: int = 2) -> Cell:
    """Return the cell of a likelihood, marked as a bound or as exact."""
    bound = is_bound(results, name)
    cell = plus_minus_cell(column, over_seeds(by_seed(results, name, column)), digits)
    text = cell.text if cell.text == MISSING else f"{LESS if bound else '='} {cell.text}"
    return Cell(text, {**cell.numbers, "exact": not bound})


def nll_scale(results: Results) -> str:
    """Return the sentences that explain a likelihood: its sign, its estimator, and the values of trivial models."""
    signs = f"NLL: {LESS} marks an upper bound, = an exact value. {_CHOSEN}"
    if has_several_encodings(results):
        return f"{signs} {PER_NOTE}"
    return (
        f"{signs} Token frequencies alone give {per_encoding(results, 'unigram_entropy', 2)} nats per token, uniform "
        f"guessing ln V = {per_encoding(results, 'ln_vocabulary', 2)} over V = {per_encoding(results, 'vocabulary')} "
        f"words, of which the test split uses {per_encoding(results, 'words_in_test')}."
    )


def infinite_notes(results: Results) -> list[str]:
    """Return a note on infinite likelihoods, if there are any."""
    infinite = results.trials[np.isinf(results.trials["nll"])]["experiment"].unique()
    if not len(infinite):
        return []
    names = join_names([labels(results)[name] for name in infinite])
    return [f"{names}: infinite, because some test windows have probability 0."]


def _exact_check(results: Results) -> list[str]:
    """Return a note that compares bounds over all timesteps with those over sampled timesteps, where computed."""
    rows = results.trials.dropna(subset="nll_every").itertuples()
    found = [
        f"{labels(results)[row.experiment]} {number(row.nll_every, 3)}, sampled timesteps {number(row.nll_drawn, 3)} "
        f"(standard error {number(row.nll_drawn_error, 3)})"
        for row in rows
    ]
    return [f"Check with all timesteps on {FULL_WINDOWS} windows: {'; '.join(found)}."] if found else []


@styled
def frontier(results: Results) -> CaptionedFigure:
    """Draw the likelihood of each model's tokens by a teacher against their entropy."""
    points = {
        name: (
            measure_rows(results, name, "token_entropy")["value"],
            measure_rows(results, name, "teacher_nll")["value"],
        )
        for name in labels(results)
    }
    points = {name: pair for name, pair in points.items() if np.isfinite([one.mean() for one in pair]).all()}
    caption = (
        "Likelihood of the tokens of samples by a teacher, which is another autoregressive model of the same data, "
        f"against the entropy of single tokens. {setting(results)} Both in nats. Cross: real music, the target. Points "
        "below it are likelier than music because they are simpler; points to the left are less varied. Marks: means "
        "over seeds. Small dots: seeds. Grey: controls."
    )
    if not points:
        return placeholder("No model was scored by the teacher.", caption)
    figure = new_figure(7.6, 0.8 + max(3.4, 0.22 * len(points)))
    axes = figure.subplots()
    paint = colours(results, grey_controls=True)
    for encoding in dict.fromkeys(encoding_of(results, name) for name in points):
        x, y = (floor_of(results, encoding, measure) for measure in ("token_entropy", "teacher_nll"))
        axes.axvline(x, color=FAINT, lw=1, zorder=0)
        axes.axhline(y, color=FAINT, lw=1, zorder=0)
        axes.plot(x, y, "P", color=REAL, ms=10, mec="white", zorder=3)
        axes.annotate(real_labels(results)[encoding], (x, y), (7, 7), textcoords="offset points", fontsize=8)
    for name, (entropy, nll) in points.items():
        axes.plot(entropy, nll, ".", color=paint[name], alpha=0.5, ms=5, mew=0)
        axes.plot(entropy.mean(), nll.mean(), "D" if name in controls(results) else "o", color=paint[name], ms=5)
    axes.margins(0.06)
    axes.set_yscale("log")
    label_logarithmic(axes.yaxis)
    axes.set_xlabel("Entropy of single tokens (nats)")
    axes.set_ylabel("Negative log-likelihood by the teacher (nats/token), logarithmic")
    means = {name: (entropy.mean(), nll.mean()) for name, (entropy, nll) in points.items()}
    label_points(axes, means, labels(results), paint)
    return CaptionedFigure(figure, caption)


@styled
def audit_figure(results: Results) -> CaptionedFigure:
    """Draw bits per word against the distance to real music for all models at all ages."""
    found, paint, names = results.audits, colours(results), labels(results)
    caption = (
        f"Bits per word and the distance to real music. {scale_and_corpus(results)} One mark per trial and age; shapes "
        "are ages in training steps, and lines join the ages of a trial. If the number measured quality, marks of one "
        f"shape would rise to the right. {_without_denoiser(results)}{_AUDITED} Values below {_LEAST:g} are drawn at "
        f"{_LEAST:g}."
    )
    if found.empty:
        return placeholder("No model was audited.", caption)
    figure = new_figure(8.6, 4.2)
    axes = figure.subplots()
    ages = sorted(found["age"].unique())
    shapes = dict(zip(ages, itertools.cycle("v^osDP"), strict=False))
    for (name, _), trial in found.groupby(["experiment", "seed"], sort=False):
        ordered = trial.sort_values("age")
        height = ordered["bits_per_word"].clip(lower=_LEAST)
        outside = name == COUNTERFACTUAL
        axes.plot(ordered["distance"], height, color=paint[name], lw=0.7, alpha=0.45, ls=":" if outside else "-")
        for age, x, y in zip(ordered["age"], ordered["distance"], height, strict=True):
            face = "white" if outside else paint[name]
            axes.plot(x, y, shapes[age], color=paint[name], mfc=face, ms=7 if outside else 4.5, mew=1)
    axes.set_yscale("log")
    label_logarithmic(axes.yaxis, subs=(1,))
    axes.set_xscale("log")
    label_logarithmic(axes.xaxis)
    axes.set_xlabel("Distance to the test split (noise floors), logarithmic")
    axes.set_ylabel("Bits per word, logarithmic")
    for age in ages:
        axes.plot([], [], shapes[age], color=GREY, ls="", ms=4.5, label=f"{age:,.0f} steps")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(ages), frameon=False, fontsize=8, labelcolor=GREY)
    last = found[found["age"] == ages[-1]].groupby("experiment", sort=False)[["distance", "bits_per_word"]].mean()
    points = {name: (row["distance"], max(row["bits_per_word"], _LEAST)) for name, row in last.iterrows()}
    points = {name: point for name, point in points.items() if all(map(math.isfinite, point))}
    if points:
        label_points(axes, points, names, paint)
    return CaptionedFigure(figure, caption)


def audit_table(results: Results) -> Table:
    """Build the table of bits per word by model and age, next to other measures of the same weights."""
    names = labels(results)
    rows = [
        _audit_row(names[name], int(age), found)
        for (name, age), found in results.audits.groupby(["experiment", "age"], sort=False)
    ]
    if rows:
        rows += [
            _audit_row(f"Published: {name}", step, None, published=value)
            for name, numbers in PUBLISHED.items()
            for step, value in numbers.items()
        ]
    caption = (
        f"Bits per word of all diffusion models at several ages. {scale_and_corpus(results)} Bits per word: the loss "
        "of decoding words from their own embeddings under the noise of the first timestep; smallest to largest over "
        f"seeds. {_without_denoiser(results)}NLL: the bound on the likelihood. Teacher gap: the difference in nats per "
        "token, by the teacher, between samples and real music. "
        f"{_AUDITED} Brackets and {PLUS_MINUS}: {INTERVALS_IN_RANGE}. Published: the numbers of Kasera, Liu and Li "
        "(2022), on other data and windows of 130 tokens. The report does not define them. They are consistent with "
        "this loss, whose size changes by orders of magnitude with the dimension of the embeddings and the vocabulary."
    )
    return Table.of("audit", rows=rows, caption=caption, notes=() if rows else ("No model was audited.",))


def _audit_row(label: str, age: int, found: pd.DataFrame | None, *, published: float = math.nan) -> dict[str, Cell]:
    measures = {"nll": math.nan, "teacher_gap": math.nan, "distance": math.nan}
    over = {name: over_seeds(found[name]) if found is not None else Interval(*[math.nan] * 3) for name in measures}
    if found is not None:
        over["distance"] = over_seeds(found["distance"], positive_interval)
    return {
        "Model": text_cell("model", label),
        "Steps": text_cell("age", age),
        "Seeds": text_cell("seeds", None if found is None else found["seed"].nunique()),
        "Bits per word": _extent("bits_per_word", [published] if found is None else found["bits_per_word"]),
        f"NLL bound {LESS} (nats/token)": plus_minus_cell("nll", over["nll"]),
        "Teacher gap (nats/token)": plus_minus_cell("teacher_gap", over["teacher_gap"]),
        "Distance (floors)": interval_cell("distance", over["distance"]),
    }


def audit_correlations_table(results: Results) -> Table:
    """Build the table of rank correlations with the distance: bits per word, and the positive controls."""
    judged = analyse_number(results.audits)
    named = {"Bits per word": judged.number}
    named |= {f"Positive control: {POSITIVE_CONTROLS[name]}": found for name, found in judged.controls.items()}
    rows = [
        {
            "Number": text_cell("number", name),
            "Rank correlation": interval_cell("rho", Interval(found.rho, found.low, found.high), sign="+"),
            "p": p_cell("p", found.p),
            "p (equivalence)": p_cell("p_equivalent", found.p_equivalent),
            "Models": text_cell("models", found.trials),
            "Arms": text_cell("arms", found.arms),
            "Ages": text_cell("ages", found.ages),
        }
        for name, found in named.items()
    ]
    caption = (
        f"Whether numbers order models of equal age as the distance to real music does. {scale_and_corpus(results)} "
        "Spearman's correlation over trials within each age, mean over ages; brackets: 95 % intervals. p: by "
        "permutations that exchange whole arms, and seeds within each arm, at all ages together, because seeds of one "
        "arm are alike and so are the ages of a trial. "
        f"p (equivalence): of two one-sided tests that the correlation lies within {MARGIN:g}, which would be no "
        "meaningful correlation. Positive controls should correlate: if neither "
        "interval lies above 0, these models cannot show such a relation, and nothing follows from the number's. Seeds "
        "that lack a value in some arm are left out."
    )
    found = len(results.audits) > 0
    return Table.of(
        "audit_correlations",
        rows=rows if found else [],
        caption=caption,
        notes=() if found else ("No model was audited.",),
    )


def _without_denoiser(results: Results) -> str:
    if COUNTERFACTUAL not in set(results.audits["experiment"]):
        return ""
    return (
        f"{labels(results)[COUNTERFACTUAL]}: trained without a denoiser, so that its samples are noise rounded to the "
        "nearest embeddings. "
    )


def _extent(key: str, values: Sequence[float] | pd.Series[float]) -> Cell:
    """Return a cell with the smallest and the largest value, in scientific notation."""
    low, high = float(min(values)), float(max(values))
    ends = dict.fromkeys(f"{value:.1e}".replace("-", MINUS) for value in (low, high))
    mean = float(sum(values) / len(values))
    return Cell(" to ".join(ends), {key: mean, f"{key}_smallest": low, f"{key}_largest": high})


SECTION = Section(
    title="Likelihood",
    parts=(
        FigurePart(name="nll_bars", draw=nll_bars),
        TablePart(name="likelihood", build=likelihood_table),
        FigurePart(name="frontier", draw=frontier),
        FigurePart(name="audit", draw=audit_figure),
        TablePart(name="audit", build=audit_table),
        TablePart(name="audit_correlations", build=audit_correlations_table),
    ),
)
