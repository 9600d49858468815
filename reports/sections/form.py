"""Form: how much bars are like those before them, and what music repeats after how long."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.ticker import MaxNLocator

from reports.format.facts import TEST, colours, encoding_of, labels, models, of, real_labels, setting
from reports.format.picture import FAINT, REAL, Picture, draw_seeds, look, name_curves, nothing, sheet

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from eval.results.frames import Results

_REACH = 0.5  # of the test windows: a lag that fewer are long enough for is told by a few songs
_BARS = 4  # that windows must hold for form to be there at all


@look
def form(results: Results) -> Picture:
    """Draw the similarity of bars against their distance, beside that of real music."""
    music = _reached(of(results.form, TEST))
    panels = {
        encoding: label
        for encoding, label in real_labels(results).items()
        if (music["encoding"] == encoding).sum() >= _BARS - 1
    }
    caption = (
        f"Form: how alike bars are that are so many bars apart. {setting(results)} Alike: notes that two bars share "
        "in place, pitch and duration, as a share of those of both, mean over all pairs of bars. Thin lines: seeds; "
        "thick: their mean. Grey: the test split, mean and 95 % interval over songs. Bars of 4 beats from the first "
        "onset on; distances that at least half the test windows are long enough for."
    )
    if results.about["unit"] != "beat":
        return nothing("The corpus has no beats, and so no bars.", caption)
    if not panels:
        return nothing(f"Fewer than half the windows hold {_BARS} bars: too short to have a form.", caption)
    figure = sheet(5.6 * len(panels) + 0.6, 3.6)
    for axes, (encoding, label) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        _panel(axes, results, music[music["encoding"] == encoding])
        axes.set_title(label)
        axes.set_xlabel("Bars apart")
        axes.set_ylabel("Similarity of bars")
    return Picture(figure, caption)


def _reached(form: pd.DataFrame) -> pd.DataFrame:
    """Return the lags that enough windows are long enough for."""
    return form[form["reach"].astype(float) >= _REACH].astype({"lag": int, "value": float, "error": float})


def _panel(axes: Axes, results: Results, music: pd.DataFrame) -> None:
    """Draw the models of one encoding."""
    text, paint, encoding, ends = labels(results), colours(results), music["encoding"].iloc[0], {}
    axes.fill_between(
        music["lag"], music["value"] - 1.96 * music["error"], music["value"] + 1.96 * music["error"], color=FAINT, lw=0
    )
    axes.plot(music["lag"], music["value"], color=REAL, lw=1.4, ls=(0, (4, 2)))
    for name in models(results):
        own = of(results.form, name)
        own = own[own["lag"].isin(music["lag"])].astype({"lag": int, "value": float})
        if encoding_of(results, name) != encoding or own.empty:
            continue
        seeds = own.pivot_table(index="lag", columns="seed", values="value")
        ends[text[name]] = float(draw_seeds(axes, seeds, paint[name]).iloc[-1])
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.set_xlim(1, music["lag"].max())
    axes.set_ylim(bottom=0)
    axes.autoscale(enable=False)
    name_curves(axes, ends, {text[name]: paint[name] for name in models(results)})
