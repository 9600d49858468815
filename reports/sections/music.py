"""Music: metrics and measures of the samples, their form, piano rolls, and the way from noise to music."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from matplotlib.ticker import MaxNLocator

from eval.distances.copying import COPYING
from eval.metrics.table import METRICS
from eval.scoring.measures import MEASURES
from eval.scoring.trajectory import LEVELS, WINDOWS
from reports.format.captions import DAGGERS, compared_windows, setting
from reports.format.figure import (
    FAINT,
    GREY,
    REAL,
    CaptionedFigure,
    draw_seeds,
    label_curves,
    label_rows,
    new_figure,
    placeholder,
    styled,
)
from reports.format.piano_roll import draw_roll, end_of_rolls, set_limits
from reports.format.queries import (
    TEST,
    colours,
    controls,
    encoding_bands,
    encoding_of,
    features,
    floor_of,
    has_several_encodings,
    indistinguishable,
    labels,
    measure_rows,
    measures_of,
    metric_distance,
    metrics_of,
    models,
    over_seeds,
    real_labels,
    real_scores,
    rows_of,
    undefined_share,
)
from reports.format.section import FigurePart, Section, TablePart
from reports.format.table import (
    CLIFF,
    DAGGER,
    DELTA,
    MINUS,
    MISSING,
    TIMES,
    Cell,
    Table,
    number,
    number_cell,
    p_cell,
    plus_minus_cell,
    text_cell,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

    from eval.results.frames import Results

_MAIN = ("distance", "classifier_auc", "bar_similarity", "chords")  # measures that the main table shows
_TEACHER = ("teacher_nll", "teacher_ruled_out", "token_entropy")  # measures shown as differences from real music
_SAMPLES = 5
_REACH = 0.5  # the least share of test windows that span a lag: otherwise a few songs decide its value
_BARS = 4  # the fewest bars in a window that has a form
_CURVES = {
    "flips": "Tokens that change (%)",
    "margin": "Rounding margin",
    "entropy": "Pitch-class entropy (bits)",
    "validity": "Valid samples (%)",
}
_PERCENT = ("flips", "validity")


@styled
def metric_distributions(results: Results) -> CaptionedFigure:
    """Draw the distribution over pieces of each metric of the mean distance, for each model and for real music."""
    names, paint, metrics = models(results), colours(results), features(results)
    caption = (
        f"Metrics over pieces. {setting(results)} Violins: pieces of all seeds from the 1st to the 99th percentile, "
        "all scaled to the same width. Dots: medians. Line and band: mean and standard deviation of the test split. "
        "Grey ticks: means of the controls that lie within the frame. Pieces without a defined value are excluded; the "
        "table of metrics has their share."
    )
    if not names:
        return placeholder("No model was run.", caption)
    across = 4
    down = -(-len(metrics) // across)
    figure = new_figure(10.5, down * (0.65 + 0.19 * (len(names) + 1)))
    grid = figure.subplots(down, across, squeeze=False)
    for axes, metric in zip(grid.flat, metrics, strict=False):
        for encoding, first, last in encoding_bands(results, names):
            music = real_scores(results, encoding)[metric].dropna()
            mean, sd = music.mean(), music.std()
            axes.fill_betweenx([first, last], mean - sd, mean + sd, color=FAINT, lw=0)
            axes.plot([mean, mean], [first, last], color=REAL, lw=1)
        for row, name in enumerate(names):
            _violin(axes, row, rows_of(results.scores, name)[metric].dropna(), paint[name])
        axes.set_xlim(axes.get_xlim())  # fixed here: the controls would squeeze everything else
        means = [rows_of(results.scores, name)[metric].mean() for name in controls(results)]
        axes.plot(means, [len(names)] * len(means), "|", color=GREY, ms=7)
        label_rows(axes, [*names.values(), "Controls"], [*(paint[name] for name in names), GREY])
        axes.tick_params(axis="y", labelleft=axes in grid[:, 0])
        axes.xaxis.set_major_locator(MaxNLocator(4))
        unit = METRICS[metric].unit
        axes.set_title(METRICS[metric].label, fontsize=8.5)
        axes.set_xlabel("share" if unit == "1" else unit, fontsize=8)
    for axes in grid.flat[len(metrics) :]:
        axes.set_axis_off()
    return CaptionedFigure(figure, caption)


def _violin(axes: Axes, row: int, values: pd.Series[float], colour: Any) -> None:  # noqa: ANN401 - matplotlib's
    """Draw one distribution; only its median if all values are equal."""
    if values.empty:
        return
    low, high = values.quantile([0.01, 0.99])
    inner = values[values.between(low, high)]
    if inner.min() < inner.max():
        # A quarter of the default points looks as smooth at this size and halves the file.
        options: Any = {"orientation": "horizontal", "widths": 0.85, "showextrema": False, "points": 25}
        parts: Any = axes.violinplot([inner], [row], **options)
        parts["bodies"][0].set(facecolor=colour, edgecolor=colour, alpha=0.55, linewidth=0.6)
    axes.plot(values.median(), row, "o", color=colour, ms=3.5, mec="white", mew=0.6)


def metrics_table(results: Results) -> Table:
    """Build the table of all metrics: the mean over pieces of each model, and the distance to real music."""
    rows = []
    for metric in metrics_of(results):
        about = METRICS[metric]
        row = {
            "Metric": text_cell("metric", about.label),
            "Unit": text_cell("unit", MISSING if about.unit == "1" else about.unit),
        }
        for encoding, label in real_labels(results).items():
            key = f"test/{encoding}/mean" if has_several_encodings(results) else "test/mean"
            row[label] = number_cell(key, real_scores(results, encoding)[metric].mean())
        for name, label in models(results).items():
            row[label] = _metric_cell(results, name, metric)
        rows.append(row)
    outside = [METRICS[name].label for name in metrics_of(results) if name not in features(results)]
    caption = (
        f"All metrics. {setting(results)} Mean over the pieces of all seeds; in brackets, means over seeds: ({TIMES}) "
        "the Wasserstein distance to the test split as a multiple of the metric's own noise floor, and "
        f"{CLIFF}, Cliff's delta, the probability that a sample has a larger value than a test window minus the "
        f"probability of a smaller one, {MINUS}1 to 1. Pieces without a defined value are excluded from all three. "
        "NaN: their share, if any." + (f" Not part of the mean distance: {'; '.join(outside)}." if outside else "")
    )
    refused = results.about["refused"]
    notes = [f"{METRICS[name].label}: not measured, since {reason}" for name, reason in refused.items()]
    return Table.of("metrics", rows=rows, caption=caption, notes=notes)


def _metric_cell(results: Results, name: str, metric: str) -> Cell:
    """Return the cell of one metric of one experiment."""
    values = rows_of(results.scores, name)[metric]
    ratio, cliff = (metric_distance(results, name, metric, column) for column in ("ratio", "cliff"))
    mean, missing = float(values.mean()), float(values.isna().mean())
    text = f"{number(mean)} ({number(ratio, 1)}{TIMES}, {CLIFF} {number(cliff, sign='+')})"
    text += f", NaN {100 * missing:.1f} %" if missing > 0 else ""
    numbers = {"mean": mean, "ratio": ratio, "cliff": cliff, "nan_rate": missing}
    return Cell(text, {f"{name}/{key}": value for key, value in numbers.items()})


def panel_table(results: Results) -> Table:
    """Build the table of all measures of sets of samples that the main table does not show."""
    hidden = {"nan_rate", "mmd_p", *_MAIN, *_TEACHER, *COPYING}
    sets = [name for name in measures_of(results) if name not in hidden]
    teacher = [name for name in _TEACHER if name in measures_of(results)]
    p = "p (MMD)" if "mmd" in sets else None
    rows = []
    for encoding, label in real_labels(results).items():
        rows.append(
            {
                "Model": text_cell("model", f"{label} (floor)"),
                "Undefined %": number_cell("undefined_percent", 100 * undefined_share(results, encoding), 1),
                **{MEASURES[name].label: number_cell(name, floor_of(results, encoding, name), 3) for name in sets},
                **({p: text_cell("p_mmd")} if p else {}),
                **{
                    f"{DELTA} {MEASURES[name].label}": number_cell(name, floor_of(results, encoding, name))
                    for name in teacher
                },
            }
        )
    for name, label in models(results).items():
        undefined = measure_rows(results, name, "nan_rate")["value"].mean()
        rows.append(
            {
                "Model": text_cell("model", label),
                "Undefined %": number_cell("undefined_percent", 100 * undefined, 1),
                **{MEASURES[measure].label: _value_cell(results, name, measure) for measure in sets},
                **({p: p_cell("p_mmd", measure_rows(results, name, "mmd")["p"].median())} if p else {}),
                **{f"{DELTA} {MEASURES[measure].label}": _gap_cell(results, name, measure) for measure in teacher},
            }
        )
    caption = (
        f"Further measures of the models. {setting(results)} {compared_windows(results)} Means over seeds. The first "
        "row compares two halves of the test songs. Undefined: share of samples that lack one of the metrics of the "
        "mean distance, for example samples without notes; the distance counts each undefined value as one range of "
        "real music. "
        + ("p: permutation test of the MMD on one window per song, median over seeds. " if p else "")
        + (
            f"{DELTA}: minus the value of the test split, which the first row gives. The teacher is another "
            "autoregressive model of the same data. It can give noise a higher likelihood than music, so the gaps to "
            "real music in likelihood and in token entropy count, not the lowest value. Windows that break the grammar "
            "of the marks have no likelihood; Ruled out is their share. "
            if teacher
            else ""
        )
        + DAGGERS
    )
    return Table.of("panel", rows=rows, caption=caption)


def _value_cell(results: Results, name: str, measure: str) -> Cell:
    """Return the mean over seeds of a measure, marked where it cannot tell the model from real music."""
    rows = measure_rows(results, name, measure)
    mark = DAGGER if indistinguishable(measure, rows) else ""
    return number_cell(measure, over_seeds(rows["value"]).mean, 3, mark=mark)


def _gap_cell(results: Results, name: str, measure: str) -> Cell:
    """Return the value of a model minus that of real music."""
    rows = measure_rows(results, name, measure)
    return plus_minus_cell(f"{measure}_gap", over_seeds(rows["value"] - rows["floor"]), 2, sign="+")


@styled
def form(results: Results) -> CaptionedFigure:
    """Draw the similarity of bars against their distance, for each model and for real music."""
    music = _spanned_lags(rows_of(results.form, TEST))
    panels = {
        encoding: label
        for encoding, label in real_labels(results).items()
        if (music["encoding"] == encoding).sum() >= _BARS - 1
    }
    caption = (
        f"Form: similarity of bars by their distance. {setting(results)} Similarity: notes that two bars share in "
        "position, pitch and duration, as a share of the notes of both, mean over all pairs of bars. Thin lines: "
        "seeds. Thick lines: their mean. Grey: the test split, mean and 95 % interval over songs. Bars have 4 beats "
        "and start at the first onset. Only distances that at least half of the test windows span are shown."
    )
    if results.about["unit"] != "beat":
        return placeholder("The corpus has no beats and therefore no bars.", caption)
    if not panels:
        return placeholder(f"Fewer than half of the windows have {_BARS} bars, too few for form.", caption)
    figure = new_figure(5.6 * len(panels) + 0.6, 3.6)
    for axes, (encoding, label) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        _form_panel(axes, results, music[music["encoding"] == encoding])
        axes.set_title(label)
        axes.set_xlabel("Bars apart")
        axes.set_ylabel("Similarity of bars")
    return CaptionedFigure(figure, caption)


def _spanned_lags(form: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the lags that enough windows span."""
    return form[form["reach"].astype(float) >= _REACH].astype({"lag": int, "value": float, "error": float})


def _form_panel(axes: Axes, results: Results, music: pd.DataFrame) -> None:
    """Draw the models of one encoding."""
    text, paint, encoding, ends = labels(results), colours(results), music["encoding"].iloc[0], {}
    axes.fill_between(
        music["lag"], music["value"] - 1.96 * music["error"], music["value"] + 1.96 * music["error"], color=FAINT, lw=0
    )
    axes.plot(music["lag"], music["value"], color=REAL, lw=1.4, ls=(0, (4, 2)))
    for name in models(results):
        own = rows_of(results.form, name)
        own = own[own["lag"].isin(music["lag"])].astype({"lag": int, "value": float})
        if encoding_of(results, name) != encoding or own.empty:
            continue
        seeds = own.pivot_table(index="lag", columns="seed", values="value")
        ends[text[name]] = float(draw_seeds(axes, seeds, paint[name]).iloc[-1])
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.set_xlim(1, music["lag"].max())
    axes.set_ylim(bottom=0)
    axes.autoscale(enable=False)
    label_curves(axes, ends, {text[name]: paint[name] for name in models(results)})


@styled
def piano_rolls(results: Results) -> CaptionedFigure:
    """Draw the first samples of each model below the first windows of the test split."""
    notes = results.notes[results.notes["sample"] < _SAMPLES]
    notes = notes.assign(stop=notes["onset"] + notes["duration"])
    music, paint = rows_of(notes, TEST), colours(results)
    lines = [(label, REAL, music[music["encoding"] == name]) for name, label in real_labels(results).items()]
    lines += [(label, paint[name], rows_of(notes, name)) for name, label in models(results).items()]
    unit = results.about["unit"]
    end = end_of_rolls(notes, music)
    caption = (
        f"The first {_SAMPLES} samples of each model's first seed, not selected, below the first windows of distinct "
        f"test songs. {setting(results)} Pitch over time in {unit}s, with a grey line every 4 {unit}s. All panels have "
        "the same axes."
    )
    if not len(notes):
        return placeholder("No sample has notes.", caption)
    if notes["stop"].max() > end:
        caption += f" Cut after {number(end, 0)} {unit}s."

    figure = new_figure(10.5, 0.4 + 0.95 * len(lines))
    grid = figure.subplots(len(lines), _SAMPLES, sharex=True, sharey=True, squeeze=False)
    set_limits(grid[0, 0], notes, end)
    for row, (label, colour, played) in zip(grid, lines, strict=True):
        row[0].set_title(label, color=colour, fontsize=8.5, pad=3)
        for sample, axes in enumerate(row):
            draw_roll(axes, played[played["sample"] == sample], colour, end)
    figure.supxlabel(f"{unit}s".capitalize(), fontsize=9)
    figure.supylabel("MIDI pitch", fontsize=9)
    return CaptionedFigure(figure, caption)


@styled
def denoising(results: Results) -> CaptionedFigure:
    """Draw the denoising of the first sample of each diffusion model, and statistics of all samples on the way."""
    names = [name for name in models(results) if name in set(results.trajectory["experiment"])]
    unit = results.about["unit"]
    caption = (
        f"From noise to music, with each model's own sampler. {setting(results)} Piano rolls: the first sample of the "
        "first seed, not selected. Each panel shows the estimate of the clean embeddings with t of T timesteps left, "
        "rounded to the nearest words; the last panel is the sample. Notes after the end of the longest sample are "
        f"cut. Pitch over time in {unit}s, with a grey line every 4 {unit}s. Curves: the first {WINDOWS} samples of "
        "each seed, or all if there are fewer (thin lines), and the mean over seeds (thick lines). Tokens that change: "
        "from one network evaluation to the next. Rounding margin (Li et al. 2022, section 4.2): how much closer the "
        "nearest embedding is to the network's prediction than the second nearest, mean over tokens, in units of the "
        "mean distance between two embeddings; near 0 the choice of the word is arbitrary. Dashed: mean of the test "
        "split."
    )
    if not names:
        return placeholder("No diffusion model was traced.", caption)
    figure = new_figure(10.5, 2.9 + 0.95 * len(names))
    halves: Any = figure.subfigures(2, 1, height_ratios=[0.4 + 0.95 * len(names), 2.5])
    above, below = halves
    _denoising_rolls(above, results, names)
    for axes, (column, title) in zip(below.subplots(1, len(_CURVES)), _CURVES.items(), strict=True):
        _denoising_curves(axes, results, names, column)
        axes.set_title(title, fontsize=8.5)
    below.supxlabel("Share t / T of the timesteps left: from noise to music", fontsize=9)
    return CaptionedFigure(figure, caption)


def _denoising_rolls(figure: SubFigure, results: Results, names: Sequence[str]) -> None:
    """Draw a row of piano rolls for each model."""
    notes = results.trajectory_notes[results.trajectory_notes["experiment"].isin(names)]
    notes = notes.assign(stop=notes["onset"] + notes["duration"])
    # The samples set the end: estimates from noise may be longer.
    end = end_of_rolls(notes[notes["level"] == min(LEVELS)], rows_of(results.notes, TEST))
    grid = figure.subplots(len(names), len(LEVELS), sharex=True, sharey=True, squeeze=False)
    set_limits(grid[0, 0], notes, end)
    for row, name in zip(grid, names, strict=True):
        for axes, level in zip(row, LEVELS, strict=True):
            own = rows_of(notes, name)
            draw_roll(axes, own[own["level"] == level], colours(results)[name], end)
        row[0].set_ylabel(models(results)[name].replace(", ", ",\n"), color=colours(results)[name], fontsize=7.5)
    for axes, level in zip(grid[0], LEVELS, strict=True):
        axes.set_title({1.0: "t = T", 0.0: "t = 0"}.get(level, f"t = {number(level, 1)} T"), fontsize=8.5)
    figure.supxlabel(f"{results.about['unit']}s".capitalize(), fontsize=9)


def _denoising_curves(axes: Axes, results: Results, names: Sequence[str], column: str) -> None:
    """Draw one statistic of all models against the share of timesteps left."""
    factor = 100 if column in _PERCENT else 1
    for name in names:
        own = rows_of(results.trajectory, name).astype({"t": float, column: float})
        seeds = factor * own.pivot_table(index="t", columns="seed", values=column)
        axes.plot(seeds.index, seeds, color=colours(results)[name], lw=0.6, alpha=0.4)
        axes.plot(seeds.index, seeds.mean(axis="columns"), color=colours(results)[name], lw=1.8)
    if column == "entropy":
        for encoding in {encoding_of(results, name): None for name in names}:
            music = real_scores(results, encoding)["pitch_class_entropy"].mean()
            axes.axhline(music, color=REAL, lw=1, ls=(0, (4, 2)))
    axes.set_xlim(1, 0)
    axes.set_ylim(0, 102 if column == "validity" else None)


SECTION = Section(
    title="Music",
    parts=(
        FigurePart(name="metric_distributions", draw=metric_distributions),
        TablePart(name="metrics", build=metrics_table),
        TablePart(name="panel", build=panel_table),
        FigurePart(name="form", draw=form),
        FigurePart(name="piano_rolls", draw=piano_rolls),
        FigurePart(name="denoising", draw=denoising),
    ),
)
