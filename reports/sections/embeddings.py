"""Embeddings: the geometry of pitch embeddings, tested against shuffled pitches, and the tuning of the arms."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import hsv_to_rgb
from matplotlib.lines import Line2D
from matplotlib.ticker import MultipleLocator

from eval.statistics.intervals import interval
from eval.statistics.paired import holm
from replication.training.scales import MIN_TUNING_SAMPLES, SCALES
from reports.format.captions import INTERVALS, join_names, scale_and_corpus, setting
from reports.format.figure import GREY, INK, CaptionedFigure, label_rows, new_figure, placeholder, styled
from reports.format.queries import colours, labels, models, over_seeds, rows_of
from reports.format.section import FigurePart, Section, TablePart
from reports.format.table import LESS, MISSING, Cell, Table, number, number_cell, plus_minus_cell, text_cell

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage
    from numpy.typing import NDArray

    from eval.results.frames import Results
    from eval.statistics.intervals import Interval

# The statistics that depend on which vector belongs to which pitch, with their labels.
STATISTICS = {
    "nearness": "pitch distance",
    "octave_lift": "octave lift",
    "fifth_lift": "fifth lift",
    "semitones": "circle of semitones",
    "fifths": "circle of fifths",
}
SHUFFLES = 999

_PITCH_CLASSES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
_WHEEL = [tuple(hsv_to_rgb((index / 12, 0.75, 0.82))) for index in range(12)]
_CHANCE = "#d0d0d0"
_ACROSS = 4  # the most models in a row
_DEFINITIONS = (
    "Pitch distance: Spearman's correlation between the semitones between two pitches and the distance of their "
    "embeddings. Octave lift: mean cosine of pitches 12 semitones apart minus that of pitches 11 and 13 apart. Fifth "
    "lift: the same for 7 minus 6 and 8. Circles: the share of the Fourier power of the mean directions of the pitch "
    "classes that lies in the order of semitones, or of fifths; 0.18 without structure."
)


@functools.lru_cache(maxsize=1)  # shared by the table and the figure of the same results
def _geometries(results: Results) -> dict[str, list[Geometry]]:
    """Return the geometry of each seed of each model that has embeddings of at least two pitches."""
    pitches = results.embeddings.dropna(subset="pitch")
    found = {
        name: [
            geometry(own, np.random.default_rng(int(seed)))
            for seed, own in rows_of(pitches, name).groupby("seed")
            if len(own) > 1
        ]
        for name in models(results)
    }
    return {name: seeds for name, seeds in found.items() if seeds}


def _adjusted(found: dict[str, list[Geometry]]) -> dict[str, dict[str, Tested]]:
    """Return the statistics of each model, with p values adjusted for the number of all tests."""
    every = {(name, key): one for name, seeds in found.items() for key, one in against_chance(seeds).items()}
    adjusted = holm([one.p for one in every.values()])
    result: dict[str, dict[str, Tested]] = {name: {} for name in found}
    for ((name, key), one), p in zip(every.items(), adjusted, strict=True):
        result[name][key] = replace(one, p=p)
    return result


def _p_values(found: dict[str, list[Geometry]]) -> str:
    """Return the sentence about the p values."""
    return (
        f"p: two-sided permutation test of the mean over seeds, with {SHUFFLES} shuffles of the pitches among the "
        f"embeddings of each seed, adjusted for all {len(found) * len(STATISTICS)} tests (Holm)."
    )


@styled
def embedding_geometry(results: Results) -> CaptionedFigure:
    """Draw the pitch embeddings of each arm: their principal components, their cosines, and their statistics."""
    found = _geometries(results)
    seed = results.trials["seed"].min()
    caption = (
        f"Embeddings of the pitches of the corpus. {setting(results)} Top: the first two principal components, seed "
        f"{seed}. Colour: pitch class. Lines join the octaves of a pitch class, from low (small dots) to high. "
        "Percent: share of the variance. Middle: cosine similarities of all pairs of pitches, same seed. Bottom: "
        f"statistics. Dots: means over seeds. Lines: {INTERVALS}. Small dots: seeds. Grey bars: the central 95 % of "
        f"shuffles; a dot on grey is not a finding. {_DEFINITIONS} {_p_values(found)}"
    )
    if not found:
        return placeholder("No model has embeddings.", caption)
    down = -(-len(found) // _ACROSS)
    across = -(-len(found) // down)
    against = _adjusted(found)
    shown = [value for tests in against.values() for one in tests.values() for value in (*one.seeds, one.low, one.high)]
    limit = 1.1 * max(filter(math.isfinite, map(abs, shown)), default=1.0)
    figure = new_figure(2.75 * across + 1.6, 6.9 * down + 0.3)
    grid = figure.subplots(3 * down, across, squeeze=False, height_ratios=[2.4, 2.4, 1.3] * down)
    for axes in grid.flat:
        axes.set_axis_off()
    for index, (name, seeds) in enumerate(found.items()):
        row, column = divmod(index, across)
        components, matrix, chart = grid[3 * row : 3 * row + 3, column]
        for axes in (components, matrix, chart):
            axes.set_axis_on()
        components.set_title(models(results)[name], color=colours(results)[name])
        _components(components, seeds[0])
        image = _matrix(matrix, seeds[0])
        _chart(chart, against[name], colours(results)[name], limit=limit)
        if column:
            chart.tick_params(axis="y", labelleft=False)
        else:
            matrix.set_ylabel("MIDI pitch", fontsize=8)
            figure.colorbar(image, ax=grid[3 * row + 1].tolist(), label="cosine similarity", shrink=0.8, aspect=25)
    figure.legend(
        handles=[Line2D([], [], color=colour, ls="", marker="o", ms=5) for colour in _WHEEL],
        labels=_PITCH_CLASSES,
        loc="outside lower center",
        ncols=12,
        frameon=False,
        handletextpad=0,
        columnspacing=0.9,
        fontsize=8,
    )
    return CaptionedFigure(figure, caption)


def _components(axes: Axes, found: Geometry) -> None:
    """Draw the pitches of one model on their principal components."""
    for index, colour in enumerate(_WHEEL):
        member = found.pitches % 12 == index
        points = found.points[member]
        axes.plot(points[:, 0], points[:, 1], color=colour, lw=0.8, alpha=0.45)
        sizes = 4 + 0.5 * (found.pitches[member] - found.pitches.min())
        axes.scatter(points[:, 0], points[:, 1], s=sizes, color=[colour], lw=0)
    first, second = (number(100 * share, 0) for share in found.shares)
    axes.set_xlabel(f"component 1 ({first} %)", fontsize=8)
    axes.set_ylabel(f"component 2 ({second} %)", fontsize=8)
    axes.set(xticks=[], yticks=[])
    axes.set_aspect("equal", adjustable="datalim")


def _matrix(axes: Axes, found: Geometry) -> AxesImage:
    """Draw the cosine similarities of all pairs of pitches; pitches that the corpus lacks are blank."""
    first, last = found.pitches[[0, -1]]
    cosines = np.full((last - first + 1, last - first + 1), np.nan)
    cosines[np.ix_(found.pitches - first, found.pitches - first)] = found.cosines
    image = axes.imshow(
        cosines,
        cmap="RdBu_r",
        vmin=-1,
        vmax=1,
        origin="lower",
        interpolation="none",
        extent=(first - 0.5, last + 0.5, first - 0.5, last + 0.5),
    )
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MultipleLocator(12))
    axes.tick_params(labelsize=7, length=2)
    axes.set_xlabel("MIDI pitch", fontsize=8)
    return image


def _chart(axes: Axes, tests: dict[str, Tested], colour: Any, *, limit: float) -> None:  # noqa: ANN401 - matplotlib's
    """Draw the statistics of one model next to those of shuffled pitches."""
    for row, one in enumerate(tests.values()):
        axes.plot([one.low, one.high], [row, row], color=_CHANCE, lw=7, solid_capstyle="butt")
        axes.plot(one.over[1:], [row, row], color=colour, lw=1.4)
        axes.plot(one.seeds, [row + 0.3] * len(one.seeds), ".", color=colour, alpha=0.5, ms=4, mew=0)
        axes.plot(one.over.mean, row, "o", color=colour, ms=4.5)
        text = f"p {number(one.p, 3)}"
        axes.text(1.02, row, text, transform=axes.get_yaxis_transform(), va="center", fontsize=7, color=INK)
    axes.axvline(0, color=GREY, lw=0.6, zorder=0)
    axes.set_xlim(-limit, limit)
    label_rows(axes, [label.capitalize() for label in STATISTICS.values()], [INK] * len(tests))
    axes.tick_params(labelsize=7)


def geometry_table(results: Results) -> Table:
    """Build the table of the statistics of each model's pitch embeddings, with tests against shuffled pitches."""
    found = _geometries(results)
    against = _adjusted(found)
    rows = []
    for name, seeds in found.items():
        row = {"Model": text_cell("model", models(results)[name])}
        for key, label in STATISTICS.items():
            one = against[name][key]
            shown = plus_minus_cell(key, one.over, sign="" if key in {"semitones", "fifths"} else "+")
            numbers = {**shown.numbers, f"{key}_p": one.p, f"{key}_chance_low": one.low, f"{key}_chance_high": one.high}
            row[label.capitalize()] = Cell(f"{shown.text} (p {number(one.p, 3)})", numbers)
        row["Mean cosine"] = plus_minus_cell("mean_cosine", over_seeds([one.anisotropy for one in seeds]), sign="+")
        closest = [one.closest / results.about["sigma_0"] for one in seeds]
        row["Closest pair"] = plus_minus_cell("closest_pair", over_seeds(closest), 1)
        rows.append(row)
    caption = (
        f"Geometry of the pitch embeddings. {setting(results)} Means over seeds with half the width of their "
        f"intervals. {_DEFINITIONS} {_p_values(found)} Mean cosine: of two different pitches, 0 where no direction is "
        "preferred. Closest pair: the smallest distance between two pitches, in standard deviations of the noise at "
        "the first timestep. The last two do not depend on which embedding belongs to which pitch."
    )
    return Table.of("geometry", rows=rows, caption=caption)


def _searches(results: Results) -> str:
    """Return the sentence that says with which seeds the grid was searched."""
    searched = set(results.grid["seed"].astype(str))
    compared = {seed for points in results.about["tuned"].values() for seed in points}
    if compared <= searched:
        return (
            "The search is repeated with every seed, and a seed is run in full at the point with its smallest distance."
        )
    return (
        f"One search, with seed {join_names(sorted(searched))}, chose the point with the smallest distance for all "
        "seeds, so no interval covers its noise."
    )


def tuning_grid_table(results: Results) -> Table:
    """Build the table of all tuning points of each arm; failed points have no numbers."""
    names = labels(results)
    tried = results.grid.astype({"distance": float, "nll": float})
    rows = [
        {
            "Model": text_cell("model", names.get(row.arm, row.arm)),
            "Seed": text_cell("seed", row.seed),
            "Dimensions": text_cell("dimension", row.dimension),
            "Scale": number_cell("scale", row.scale, 2),
            "Distance (floors)": number_cell("distance", row.distance),
            f"NLL bound {LESS} (nats/token)": number_cell("nll", row.nll),
            "Chosen": text_cell("chosen", "yes" if row.chosen else None),
        }
        for row in tried.itertuples()
    ]
    share = SCALES[results.about["scale"]].tuning_share
    caption = (
        f"Tuning points of the arms. {scale_and_corpus(results)} All arms have the same points and the same budget: "
        f"{max(1, results.about['steps'] // share)} steps, which is 1/{share} of the comparison, and half of the "
        f"samples (at least {MIN_TUNING_SAMPLES}). Distance: to the validation split, in its own noise floors. The "
        f"test split plays no part in the choice. {_searches(results)} Dimensions: of "
        "an embedding. Scale: its size relative to the noise, as a multiple of the arm's own. NLL bound: of the "
        "interpolated estimator, chosen and measured on the validation split. "
        f"{MISSING}: failed, never chosen."
    )
    notes = () if rows else ("The arms were not tuned; every arm is as declared.",)
    return Table.of("tuning_grid", rows=rows, caption=caption, notes=notes)


@dataclass(frozen=True, kw_only=True, eq=False)
class Geometry:
    """Geometry of one model's pitch embeddings, with the statistics of the same vectors in random order.

    Attributes:
        pitches: (n,) MIDI pitches, ascending.
        points: (n, 2) coordinates along the first two principal components.
        shares: (2,) the components' shares of the variance.
        cosines: (n, n) cosine similarities.
        anisotropy: mean cosine of two different pitches, -1 to 1; 0 where no direction is preferred.
        closest: the smallest distance between two pitches, in the unit of the embeddings.
        found: the values of `STATISTICS`; see `statistics`.
        chance: (SHUFFLES, 5) the same statistics with the pitches shuffled among the embeddings.
    """

    pitches: NDArray[np.int64]
    points: NDArray[Any]
    shares: NDArray[Any]
    cosines: NDArray[Any]
    anisotropy: float
    closest: float
    found: dict[str, float]
    chance: NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Tested:
    """A statistic over seeds, tested against shuffled pitches.

    Attributes:
        seeds: its value for each seed.
        over: their mean with its interval.
        low: the 2.5th percentile of the mean over the same number of seeds with shuffled pitches.
        high: the 97.5th percentile.
        p: the share of orders, the observed one included, whose mean over seeds is at least as far from the mean of all
            shuffles.
    """

    seeds: tuple[float, ...]
    over: Interval
    low: float
    high: float
    p: float


def geometry(embeddings: pd.DataFrame, rng: np.random.Generator) -> Geometry:
    """Measure the pitch embeddings of one model.

    Args:
        embeddings: pitch (MIDI), then one column d0, d1, ... per dimension, a row for each of two pitches or more.
        rng: Generator of the shuffles.
    """
    pitches = embeddings["pitch"].to_numpy(dtype=int)
    vectors = embeddings.filter(regex=r"^d\d+$").dropna(axis="columns", how="all").to_numpy(dtype=float)  # (n, d)
    order = np.argsort(pitches)
    pitches, vectors = pitches[order], vectors[order]

    left, singular, right = np.linalg.svd(vectors - vectors.mean(axis=0), full_matrices=False)
    # The sign of a component is arbitrary; its largest coordinate is positive.
    signs = np.sign(right[np.arange(len(right)), np.abs(right).argmax(axis=1)])
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = units @ units.T
    distances = np.linalg.norm(vectors[:, None] - vectors, axis=2)
    pairs = np.triu_indices(len(pitches), 1)
    same = np.arange(len(pitches))[None]
    shuffled = rng.permuted(np.repeat(same, SHUFFLES, axis=0), axis=1)
    # Rounded, because linear algebra libraries do not agree on the last digits.
    values = statistics(pitches, cosines, distances, np.concatenate([same, shuffled])).round(9)
    return Geometry(
        pitches=pitches,
        points=(left * singular * signs)[:, :2],
        shares=(singular**2 / np.sum(singular**2))[:2],
        cosines=cosines,
        anisotropy=round(float(cosines[pairs].mean()), 9),
        closest=round(float(distances[pairs].min()), 9),
        found=dict(zip(STATISTICS, values[0].tolist(), strict=True)),
        chance=values[1:],
    )


def statistics(
    pitches: NDArray[np.int64], cosines: NDArray[Any], distances: NDArray[Any], orders: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Compute `STATISTICS` for embeddings in S orders; returns (S, 5) values.

    nearness     Spearman's correlation of |p - q| and the distance of their embeddings, over pairs of pitches; -1 to 1
    octave_lift  mean cosine of pitches 12 semitones apart, minus that of pitches 11 and 13 apart; -2 to 2
    fifth_lift   the same for 7 semitones, minus 6 and 8
    semitones    P_1 + P_11, 0 to 1, where P_k = |sum_c m_c exp(2 pi i k c / 12)|^2 is the power of the discrete Fourier
                 transform of m_c, the mean direction of pitch class c, as a share of P_1 + ... + P_11: pitch classes
                 on a circle in the order of semitones. Vectors without structure have 2 / 11.
    fifths       P_5 + P_7: pitch classes on a circle in the order of fifths

    All are sums over pairs of embeddings, with weights that depend on the pitches. A lift is NaN where no pair of
    pitches is that far apart; the circles are NaN unless all pitch classes occur.

    Args:
        pitches: (n,) MIDI pitches.
        cosines: (n, n) of the embeddings.
        distances: (n, n) between them.
        orders: (S, n) which embedding stands at each pitch.
    """
    from scipy.stats import rankdata

    apart = pitches - pitches[:, None]  # (n, n)
    pairs = np.triu_indices(len(pitches), 1)
    ranks = np.zeros(apart.shape)
    ranks[pairs] = rankdata(distances[pairs])
    spread = len(pairs[0]) * ranks[pairs].std()
    ranks += ranks.T
    classes = pitches % 12
    size = np.bincount(classes, minlength=12)

    def mean_at(semitones: int) -> NDArray[np.float64]:
        pairs: NDArray[np.float64] = (apart == semitones) / np.count_nonzero(apart == semitones)
        return pairs

    def lift(semitones: int) -> NDArray[np.float64]:
        off = (mean_at(semitones - 1) + mean_at(semitones + 1)) / 2
        return np.subtract(mean_at(semitones), off, dtype=np.float64)

    def power(k: int) -> NDArray[Any]:
        weights: NDArray[Any] = np.cos(2 * np.pi * k * apart / 12) / np.outer(size[classes], size[classes])
        return weights

    with np.errstate(divide="ignore", invalid="ignore"):
        expected = np.zeros(apart.shape)
        ranked = rankdata(np.abs(apart[pairs]))
        expected[pairs] = (ranked - ranked.mean()) / (ranked.std() * spread)
        powers = [power(1) + power(11), power(5) + power(7), sum(power(k) for k in range(1, 12))]
        nearness = _weighted_sums(ranks, orders, [expected])
        octave, fifth, semitones, fifths, whole = _weighted_sums(cosines, orders, [lift(12), lift(7), *powers])
        whole = whole if size.all() else np.full_like(whole, np.nan)
        return np.stack([*nearness, octave, fifth, semitones / whole, fifths / whole], axis=1)


def _weighted_sums(
    values: NDArray[Any], orders: NDArray[np.int64], weights: Sequence[NDArray[Any]]
) -> NDArray[np.float64]:
    """Return the sums (k, S) of (n, n) values whose rows and columns are in S orders, with k weights (n, n)."""
    ordered = values[orders[:, :, None], orders[:, None, :]].reshape(len(orders), -1)
    sums: NDArray[np.float64] = np.stack(weights).reshape(len(weights), -1) @ ordered.T
    return sums


def against_chance(seeds: Sequence[Geometry]) -> dict[str, Tested]:
    """Test every statistic of a model, over its seeds, against shuffled pitches."""
    chance = np.mean([found.chance for found in seeds], axis=0)  # (SHUFFLES, 5)
    result = {}
    for column, name in enumerate(STATISTICS):
        values, null = tuple(found.found[name] for found in seeds), chance[:, column]
        centre = null.mean()
        # Values that are equal up to rounding count as equally far.
        farther = np.abs(null - centre) >= abs(np.mean(values) - centre) - 1e-9
        low, high = np.quantile(null, [0.025, 0.975])
        result[name] = Tested(
            seeds=values,
            over=interval(values),
            low=float(low),
            high=float(high),
            p=float((1 + np.count_nonzero(farther)) / (1 + len(null))) if np.isfinite(centre) else np.nan,
        )
    return result


SECTION = Section(
    title="Embeddings",
    parts=(
        FigurePart(name="embedding_geometry", draw=embedding_geometry),
        TablePart(name="geometry", build=geometry_table),
        TablePart(name="tuning_grid", build=tuning_grid_table),
    ),
)
