"""Likelihood: exact values and bounds, what bounds consist of, token likelihood by a teacher, and the audit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from eval.claims.claims import PUBLISHED
from eval.scoring.bits_per_word import SAMPLES, WINDOWS
from eval.scoring.likelihood import FULL_WINDOWS
from eval.scoring.reference import REFERENCE_WINDOWS
from eval.statistics.intervals import positive_interval
from reports.format.captions import (
    INTERVALS,
    INTERVALS_IN_RANGE,
    PER_NOTE,
    join_names,
    per_encoding,
    scale_and_corpus,
    setting,
)
from reports.format.figure import (
    FAINT,
    GREY,
    INK,
    REAL,
    CaptionedFigure,
    draw_seeds,
    label_curves,
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
    plus_minus_cell,
    text_cell,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from eval.results.frames import Results

_AUDITED = (
    "The denominators differ. Bits per word are means over all positions, padding included, of up to "
    f"{REFERENCE_WINDOWS:,} test windows. The bound is per token without padding, on {WINDOWS} test windows. Distances "
    f"are of {SAMPLES} samples."
)
_TERMS = {"Prior": "nll_prior", "Diffusion": "nll_diffusion", "Rounding": "nll_rounding"}
_ERRORS = {"Error (steps)": "nll_error", "Error (songs)": "nll_error_songs"}


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
        f"bounds, which cannot be ranked against exact values. Lines: {INTERVALS}, cut at the frame. "
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
            **{title: number_cell(key, _error(results, name, key), 4) for title, key in _ERRORS.items()},
            **{title: likelihood_cell(results, name, column) for title, column in comparable.items()},
        }
        kind = "upper bound" if is_bound(results, name) else "exact"
        seeds = len(rows_of(results.trials, name))
        rows.append(_row(results, label, encoding_of(results, name), values, seeds=seeds, kind=kind))
    missing = {title: text_cell(key) for title, key in {**_TERMS, "Total": "nll", **_ERRORS, **comparable}.items()}
    for encoding in results.encodings.to_dict("records"):
        for label, key in (("Uniform (ln V)", "ln_vocabulary"), ("Unigram entropy", "unigram_entropy")):
            values = missing | {"Total": number_cell("nll", encoding[key], 3)}
            rows.append(_row(results, label, encoding["name"], values, seeds=None, kind="reference"))
    caption = (
        f"Negative log-likelihood of the test split in nats per token. {setting(results)} The total of a diffusion "
        "model is an upper bound, the sum of the terms before it. All other totals are exact. A bound cannot be ranked "
        f"against an exact value. {PLUS_MINUS}: {INTERVALS}. Errors: standard errors of one seed's value, because only "
        "some timesteps of the diffusion are sampled (steps) and because the test split has only some songs (songs)."
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
    """Return the sentence that explains a likelihood: its sign, and the values of trivial models."""
    signs = f"NLL: {LESS} marks an upper bound, = an exact value"
    if has_several_encodings(results):
        return f"{signs}. {PER_NOTE}"
    return (
        f"{signs}. Uniform guessing gives ln V = {per_encoding(results, 'ln_vocabulary', 2)}, token frequencies alone "
        f"{per_encoding(results, 'unigram_entropy', 2)} nats per token."
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
    """Draw the published bits per word over training, next to a likelihood, and against the distance to real music."""
    found = results.audits[["seed", "step", "bits_per_word", "nll", "distance"]].astype(float)
    found["bound"] = found["nll"] / math.log(2)
    caption = (
        f"What the published bits per word measure. {scale_and_corpus(results)} Training follows the report's own "
        "recipe; all its milestones are shown. Left: bits per word, which is the loss of decoding words from their own "
        "embeddings, and a bound on the likelihood, also in bits. Right: bits per word against the distance of samples "
        f"to real music at the same steps. A measure of quality would rise to the right. {_AUDITED} Thin lines: seeds. "
        "Thick lines and dots: their mean."
    )
    if found.empty:
        return placeholder("The report's recipe was not run.", caption)
    figure = new_figure(9.2, 3.2)
    left, right = figure.subplots(1, 2)
    for column, colour in (("bits_per_word", INK), ("bound", GREY)):
        draw_seeds(left, found.pivot_table(index="step", columns="seed", values=column), colour)
    for axes in (left, right):
        axes.set_yscale("log")
        label_logarithmic(axes.yaxis, subs=(1,))
    last = found[found["step"] == found["step"].max()].mean()
    label_curves(
        left,
        {"bits per word": last["bits_per_word"], f"NLL {LESS}": last["bound"]},
        {"bits per word": INK, f"NLL {LESS}": GREY},
    )
    left.set_xlabel("Training step")
    left.set_ylabel("Bits, logarithmic")
    for _, seed in found.groupby("seed"):
        right.plot(seed["distance"], seed["bits_per_word"], color=INK, lw=0.7, alpha=0.45)
    mean = found.groupby("step").mean()
    right.plot(mean["distance"], mean["bits_per_word"], "o", color=INK, ms=4)
    for step, row in mean.iterrows():
        right.annotate(
            f"{step:.0f}",
            (row["distance"], row["bits_per_word"]),
            (4, 3),
            textcoords="offset points",
            fontsize=7,
            color=GREY,
        )
    right.set_xlabel("Distance to the test split (noise floors)")
    right.set_ylabel("Bits per word, logarithmic")
    return CaptionedFigure(figure, caption)


def audit_table(results: Results) -> Table:
    """Build the table of the report's bits per word by iteration, next to a likelihood and a distance."""
    bits, bound = "Bits per word", f"NLL bound {LESS} (nats/token)"
    rows = []
    for step, found in results.audits.groupby("step"):
        rows.append(
            {
                "Iteration": text_cell("step", int(step)),
                "Seeds": text_cell("seeds", found["seed"].nunique()),
                bits: _extent("bits_per_word", found["bits_per_word"]),
                "As published": number_cell("published", PUBLISHED["BERT-base"].get(int(step), math.nan), 5),
                bound: plus_minus_cell("nll", over_seeds(found["nll"])),
                "Distance (floors)": interval_cell("distance", over_seeds(found["distance"], positive_interval)),
            }
        )
    caption = (
        f"What the published bits per word measure. {scale_and_corpus(results)} Training follows the report's own "
        "recipe; all its milestones are shown. Bits per word: the loss of decoding words from their own embeddings. It "
        "is not a likelihood: it is small as soon as the embeddings lie apart, whatever the model generates. NLL: a "
        f"bound on the likelihood, 1 nat = {1 / math.log(2):.3f} bits. {_AUDITED} Distance: to the test split. Bits "
        f"per word: smallest to largest over seeds. Brackets and {PLUS_MINUS}: {INTERVALS_IN_RANGE}. As published: "
        "with BERT-base on other data and windows of 130 tokens (Kasera, Liu and Li 2022)."
    )
    notes = () if rows else ("The report's recipe was not run.",)
    return Table.of("audit", rows=rows, caption=caption, notes=notes)


def _extent(key: str, values: pd.Series[float]) -> Cell:
    """Return a cell with the smallest and the largest value, in scientific notation."""
    low, high = float(values.min()), float(values.max())
    ends = dict.fromkeys(f"{value:.1e}".replace("-", MINUS) for value in (low, high))
    return Cell(" to ".join(ends), {key: float(values.mean()), f"{key}_smallest": low, f"{key}_largest": high})


SECTION = Section(
    title="Likelihood",
    parts=(
        FigurePart(name="nll_bars", draw=nll_bars),
        TablePart(name="likelihood", build=likelihood_table),
        FigurePart(name="frontier", draw=frontier),
        FigurePart(name="audit", draw=audit_figure),
        TablePart(name="audit", build=audit_table),
    ),
)
