"""The data card of a corpus, written by `etude corpus describe` and shown at the end of the report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import FixedLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from replication.util.files import atomic
from replication.util.text import listed, printable
from replication.windows.data_card import MAX_CHORD, MAX_STEPS
from replication.windows.duplicates import RUN_LENGTH
from replication.windows.splits import SPLITS
from reports.format.captions import join_names
from reports.format.figure import GREY, INK, REAL, CaptionedFigure, label_rows, new_figure, styled
from reports.format.table import Cell, Table, markdown, number, text_cell

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

    Facts = Mapping[str, Any]  # the return value of `replication.windows.data_card.facts`

# The overlap of the splits is measured three times: the keys of `leaks`, with their labels.
STAGES = {
    "pieces": "piece by piece",
    "families": "by family",
    "cleaned": "by family without copies",
}
NAMED = 20  # dropped files that the card names; card.json has all
MEMBERS = 5  # pieces of a family that the card names
_OCTAVE = 12
_PALE = "#b4b4b4"
_ROWS = 4  # the fewest rows that a chart has room for, so that bars stay thin


def card(facts: Facts, figures: Mapping[str, CaptionedFigure]) -> str:
    """Return the card as Markdown: the source, the outcome of every file, the notes, the overlap of the splits.

    Args:
        facts: The return value of `replication.windows.data_card.facts`.
        figures: Figures by name; the card links to them in a folder figures/ next to it.
    """
    blocks = [
        f"# {_escaped(facts['name'])}",
        _escaped(facts["title"]),
        "\n".join(f"- **{title}:** {_escaped(text)}" for title, text in about(facts).items()),
        *(table(facts).markdown().rstrip("\n") for table in TABLES),
        *(_figure(name, figure) for name, figure in figures.items()),
        *(f"## {title}\n\n{_list(lines)}" for title, lines in lists(facts).items()),
    ]
    return "\n\n".join(blocks) + "\n"


def draw_figures(facts: Facts) -> dict[str, CaptionedFigure]:
    """Draw all figures, by name."""
    return {name: draw(facts) for name, draw in FIGURES.items()}


def summary(facts: Facts) -> str:
    """Return the card as a few lines of text for a terminal."""
    parts = " + ".join(f"{count:,} {text}" for text, count in file_counts(facts).items())
    sizes = ", ".join(f"{facts['splits'][name]['windows']:,} {name}" for name in SPLITS)
    copies = ", ".join(f"{_percent(facts['leaks'][stage]['onsets'])} {text}" for stage, text in STAGES.items())
    lines = about(facts) | {
        "Files": f"{facts['counts']['files']:,} = {parts}",
        "Splits": f"{sizes} windows; {facts['counts']['copied']:,} copies excluded from training",
        "Shared": f"runs of {RUN_LENGTH} onsets of the test split that also occur in training, split {copies}",
    }
    return "\n".join(printable(line) for line in (facts["title"], *(f"{key:9} {text}" for key, text in lines.items())))


def file_counts(facts: Facts) -> dict[str, int]:
    """Return the number of files by outcome; together they are all files."""
    counts, reasons = facts["counts"], facts["dropped"]["counts"]
    return {
        "pieces in windows": counts["pieces"],
        **dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0]))),
        "duplicate": counts["duplicates"],
        "too short for a window": counts["short"],
    }


def time_unit(time_grid: Mapping[str, Any]) -> str:
    """Return the unit of a time grid, given as a JSON object of its type and fields."""
    if time_grid["type"] == "Beats":
        return f"steps of 1/{time_grid['steps_per_beat']} beat"
    return f"steps of {1000 / time_grid['steps_per_second']:g} ms"


def files_table(facts: Facts) -> Table:
    """Build the table of files by outcome."""
    total = facts["counts"]["files"]
    rows = file_counts(facts) | {"all": total}
    return Table.of(
        "files",
        rows=[
            {
                "Files": text_cell("what", text),
                "Number": Cell(f"{count:,}", {"files": count}),
                "Share": Cell(_percent(count / total), {"share": count / total}),
            }
            for text, count in rows.items()
        ],
        caption=(
            "Outcome of every file. A duplicate equals a kept piece in everything except key, loudness and starting "
            "time."
        ),
    )


def splits_table(facts: Facts) -> Table:
    """Build the table of the sizes of the splits."""
    copied = facts["counts"]["copied"]
    return Table.of(
        "splits",
        rows=[
            {
                "Split": text_cell("split", name),
                "Windows": Cell(f"{part['windows']:,}", {"windows": part["windows"]}),
                "Families": Cell(f"{part['songs']:,}", {"families": part["songs"]}),
            }
            for name, part in ((name, facts["splits"][name]) for name in SPLITS)
        ],
        caption=(
            "The splits. Pieces with one title, with much of one tune or with many notes in common are one family. "
            f"Each family is in one split. {copied:,} windows are excluded from training because they hold a run of "
            f"{RUN_LENGTH} onsets that also occurs in another split."
        ),
    )


def shared_table(facts: Facts) -> Table:
    """Build the table of the overlap of test split and training, before and after splitting by family and cleaning."""
    return Table.of(
        "shared",
        rows=[
            {
                "Split": text_cell("stage", text),
                f"Runs of {RUN_LENGTH} onsets": Cell(_percent(leak["onsets"]), {"onsets": leak["onsets"]}),
                f"Runs of {RUN_LENGTH} notes": Cell(_percent(leak["notes"]), {"notes": leak["notes"]}),
                "Test windows": Cell(f"{leak['windows']:,}", {"windows": leak["windows"]}),
            }
            for leak, text in ((facts["leaks"][stage], text) for stage, text in STAGES.items())
        ],
        caption=(
            f"Overlap of the test split with training, in any key: the share of its runs of {RUN_LENGTH} onsets "
            f"(with all "
            f"their notes), the share of its runs of {RUN_LENGTH} notes, and the number of its windows that hold "
            f"such a run "
            f"of onsets. In chorales {RUN_LENGTH} notes are three chords, which many pieces share."
        ),
    )


@styled
def draw_notes(facts: Facts) -> CaptionedFigure:
    """Draw the distributions of the notes of a corpus."""
    counts, unit = facts["histograms"], time_unit(facts["reading"]["grid"])
    figure = new_figure(8.4, 4.6)
    (pitch, duration, velocity), (length, onset, inter_onset) = figure.subplots(2, 3)
    _bars(pitch, counts["pitch"], "Notes (%)")
    pitch.xaxis.set_major_locator(FixedLocator(range(0, 128, 2 * _OCTAVE)))
    pitch.set_xlim(-1, 128)
    pitch.set_title("Pitch")
    pitch.set_xlabel("MIDI number (60 is middle C)")
    _bars(velocity, counts["velocity"], "Notes (%)")
    velocity.xaxis.set_major_locator(FixedLocator(range(0, 129, 32)))
    velocity.set_xlim(-1, 128)
    velocity.set_title("Velocity")
    velocity.set_xlabel("MIDI velocity")
    for axes, key, title in ((duration, "duration", "Duration"), (inter_onset, "inter_onset", "From onset to onset")):
        _bars(axes, counts[key][:-1], "Notes (%)" if key == "duration" else "Pairs of onsets (%)", rest=counts[key][-1])
        axes.set_title(title)
        axes.set_xlabel(unit.capitalize())
    _bars(onset, counts["notes_per_onset"][:-1], "Onsets (%)", rest=counts["notes_per_onset"][-1])
    onset.set_title("Notes per onset")
    onset.set_xlabel("Notes that start together")
    _lengths(length, counts["notes_per_piece"])
    read = facts["read"]
    caption = (
        f"The music of corpus {facts['name']}: {read['notes']:,} notes of {read['pieces']:,} pieces, which is all that "
        f"was read, including duplicates. Pale bars: values over {MAX_STEPS} steps or {MAX_CHORD} notes. Notes per "
        f"piece are "
        "counted in eight bins per factor of ten."
    )
    return CaptionedFigure(figure, caption)


def _bars(axes: Axes, counts: Sequence[int], unit: str, *, rest: int | None = None) -> None:
    """Draw the shares of the values 0, 1, ..., or 1, 2, ... with `rest`, the count of all larger values."""
    total = max(1, sum(counts) + (rest or 0))
    first = 0 if rest is None else 1
    axes.bar(range(first, first + len(counts)), 100 * np.array(counts) / total, width=1, color=REAL, lw=0)
    if rest is not None:
        axes.bar(len(counts) + 2, 100 * rest / total, width=1, color=_PALE, lw=0)
        axes.set_xlim(0, len(counts) + 3)
        ticks = np.linspace(0, len(counts), 5).astype(int).tolist()
        axes.set_xticks([1, *ticks[1:]])
    axes.set_ylabel(unit)
    axes.yaxis.set_major_locator(MaxNLocator(4))


def _lengths(axes: Axes, histogram: Mapping[str, Sequence[int]]) -> None:
    counts, edges = np.array(histogram["counts"]), np.array(histogram["edges"])
    axes.stairs(100 * counts / max(1, counts.sum()), edges, fill=True, color=REAL)
    some = np.flatnonzero(counts)
    axes.set_xlim(min([10, *edges[some]]), max([10_000, *edges[some + 1]]))
    axes.set_xscale("log")
    _powers(axes.xaxis)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.set_title("Notes per piece")
    axes.set_xlabel("Notes (logarithmic)")
    axes.set_ylabel("Pieces (%)")


def _powers(axis: Axis) -> None:
    """Label a logarithmic axis with whole numbers at the powers of ten."""
    axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axis.set_minor_formatter(NullFormatter())


@styled
def draw_left_out(facts: Facts) -> CaptionedFigure:
    """Draw the files without windows, the sizes of families, and the overlap of the test split with training."""
    figure = new_figure(8.4, 2.9)
    reasons, families, leaks = figure.subplots(1, 3)
    _reasons(reasons, facts)
    _families(families, facts["families"])
    _leaks(leaks, facts["leaks"])
    figure.legend(loc="outside lower right", ncols=2, fontsize=8, frameon=False)
    caption = (
        f"Exclusions from corpus {facts['name']}. Left: files without a window, of {facts['counts']['files']:,}. "
        "Middle: families by their number of pieces, without duplicates; each family is in one split. Right: overlap "
        f"of the test split with training, as shares of its runs of {RUN_LENGTH} onsets (with all their notes) and "
        f"of its "
        f"runs of {RUN_LENGTH} notes, in any key."
    )
    return CaptionedFigure(figure, caption)


def _reasons(axes: Axes, facts: Facts) -> None:
    rows = {text: count for text, count in list(file_counts(facts).items())[1:] if count}
    axes.set_title("Files left out")
    if not rows:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "none", ha="center", va="center", color=GREY, transform=axes.transAxes)
        return
    axes.barh(range(len(rows)), list(rows.values()), height=0.62, color=REAL)
    for row, count in enumerate(rows.values()):
        axes.annotate(f"{count:,}", (count, row), (4, 0), textcoords="offset points", va="center", fontsize=8)
    label_rows(axes, list(rows), [INK] * len(rows))
    axes.set_ylim(max(_ROWS, len(rows)) - 0.5, -0.5)
    axes.set_xlim(0, 1.25 * max(rows.values()))
    axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
    axes.set_xlabel("Files")


def _families(axes: Axes, families: Mapping[str, Any]) -> None:
    sizes = {int(size): count for size, count in families["sizes"].items()}
    axes.bar(list(sizes), list(sizes.values()), width=0.8, color=REAL)
    axes.set_yscale("log")
    axes.set_xlim(0.4, max(_ROWS, *sizes) + 0.6)
    axes.set_ylim(0.7, None)
    _powers(axes.yaxis)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_title("Families")
    axes.set_xlabel("Pieces in the family")
    axes.set_ylabel("Families (logarithmic)")


def _leaks(axes: Axes, leaks: Mapping[str, Any]) -> None:
    kinds = {"onsets": REAL, "notes": _PALE}
    for index, (kind, colour) in enumerate(kinds.items()):
        rows = np.arange(len(STAGES)) + 0.4 * index - 0.2
        shares = [100 * leaks[stage][kind] for stage in STAGES]
        axes.barh(rows, shares, height=0.38, color=colour, label=f"runs of {RUN_LENGTH} {kind}")
        for row, share in zip(rows, shares, strict=True):
            axes.annotate(number(share), (share, row), (4, 0), textcoords="offset points", va="center", fontsize=8)
    label_rows(axes, list(STAGES.values()), [INK] * len(STAGES))
    axes.margins(x=0.2)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.set_title("Shared with training")
    axes.set_xlabel("Share of the test split (%)")


FIGURES: dict[str, Callable[[Facts], CaptionedFigure]] = {"notes": draw_notes, "left_out": draw_left_out}
TABLES = (files_table, splits_table, shared_table)


def lists(facts: Facts) -> dict[str, list[str]]:
    """Return the lists of the card by title: the largest families and the first dropped files."""
    families = [f"{len(ids):,} pieces: {'; '.join(_first(ids, MEMBERS))}" for ids in facts["families"]["largest"]]
    dropped = [f"{name}: {reason}" for name, reason in facts["dropped"]["files"]]
    return {"Largest families": families, "Dropped files": _first(dropped, NAMED)}


def about(facts: Facts) -> dict[str, str]:
    """Return the description of the corpus by title."""
    licence, cutting, read = facts["licence"], facts["cutting"], facts["read"]
    policy = "the first of each piece" if cutting["first_only"] else "all of each piece"
    keys = {"AsWritten": "in the keys as written", "OneKey": "in one key", "EveryKey": "in several keys for training"}
    ends = ""
    if (lost := facts.get("lost")) and lost["files"]:  # a card of an earlier version has no counts
        ends = (
            f"missing in {lost['files']:,} files: {lost['restruck']:,} notes end where their key is struck again, "
            f"{lost['unended']:,} at the end of their track"
        )
    hours = "" if read["hours"] is None else f", {number(read['hours'], 1)} hours"
    others = listed(facts.get("others", {}))
    return {
        "Licence": f"{licence['name']}: {licence['note']}",
        "Citation": facts["citation"],
        "Read": _reading(facts["reading"]),
        "Windows": (
            f"{cutting['length']} tokens in encoding {cutting['encoding']}, {policy}, {keys[cutting['keys']['type']]}"
        ),
        "Size": f"{read['notes']:,} notes in {read['pieces']:,} pieces{hours}",
        **({"Not read": others} if others else {}),
        **({"Note-offs": ends} if ends else {}),
    }


def _reading(reading: Mapping[str, Any]) -> str:
    """Return how files become pieces, as text."""
    tracks = {
        "Merged": "all tracks as one",
        "First": "the first track that has notes",
        "Named": f"the tracks named {join_names(reading['tracks'].get('names', ['']))}",
    }
    first, last = reading["programs"]
    words = [
        tracks[reading["tracks"]["type"]],
        "with drums" if reading["drums"] else "without drums",
        "pedal applied" if reading["pedal"] else "pedal ignored",
        f"in {time_unit(reading['grid'])}",
    ]
    if (first, last) != (0, 127):
        words.append(f"programs {first} to {last} only")
    if reading["shortest"] > 1:
        words.append(f"at least {reading['shortest']} notes")
    if reading["aligned"]:
        words.append(f"at least {100 * reading['aligned']:g} % of onsets on the grid of beats")
    return ", ".join(words)


def _percent(share: float) -> str:
    return f"{number(100 * share)} %"


def _figure(name: str, figure: CaptionedFigure) -> str:
    """Return a figure by a relative link, with its caption."""
    title = markdown(name.replace("_", " "))
    return f"![{title}](figures/{name}.svg)\n\n**Figure: {title}.** {_escaped(figure.caption)}"


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {_escaped(line)}" for line in lines) or "None."


def _first(texts: Sequence[str], count: int) -> list[str]:
    """Return the first `count` texts, and a line with the number of the others."""
    more = [f"and {len(texts) - count:,} more"] if len(texts) > count else []
    return [*texts[:count], *more]


def _escaped(text: str) -> str:
    return markdown(printable(text))


def render(facts: Facts, output: Path) -> list[Path]:
    """Write card.md and figures/ below `output`; equal facts give equal bytes. Return the files, card.md first."""
    figures, path = draw_figures(facts), output / "card.md"
    with atomic(path) as draft:
        draft.write_text(card(facts, figures), encoding="utf-8", newline="\n")
    images = {output / "figures" / f"{name}{end}": one for name, one in figures.items() for end in (".svg", ".png")}
    for image, figure in images.items():
        figure.save(image)
    return [path, *images]
