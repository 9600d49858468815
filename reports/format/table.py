"""Tables that render to Markdown, LaTeX, CSV and HTML; each cell holds its text and the numbers behind it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from eval.statistics.intervals import Interval

MISSING = "-"
MINUS = "\N{MINUS SIGN}"  # a hyphen is a missing number
PLUS_MINUS = "\N{PLUS-MINUS SIGN}"
TIMES = "\N{MULTIPLICATION SIGN}"
INFINITY = "\N{INFINITY}"
LESS = "\N{LESS-THAN OR EQUAL TO}"
DELTA = "\N{GREEK CAPITAL LETTER DELTA}"
CLIFF = "\N{GREEK SMALL LETTER DELTA}"
DAGGER = "\N{DAGGER}"
DOUBLE_DAGGER = "\N{DOUBLE DAGGER}"

_MARKDOWN = str.maketrans({sign: f"\\{sign}" for sign in "\\`*_|$~"} | {"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_LATEX = str.maketrans(
    {sign: f"\\{sign}" for sign in "&%$#_{}"}
    | {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        MINUS: "$-$",
        PLUS_MINUS: r"$\pm$",
        TIMES: r"$\times$",
        INFINITY: r"$\infty$",
        LESS: r"$\leq$",
        CLIFF: r"$\delta$",
        DELTA: r"$\Delta$",
        DAGGER: r"$\dagger$",
        DOUBLE_DAGGER: r"$\ddagger$",
        "\N{UPWARDS ARROW}": r"$\uparrow$",
        "\N{DOWNWARDS ARROW}": r"$\downarrow$",
        "\N{RIGHTWARDS ARROW}": r"$\rightarrow$",
    }
)


_NUMBER = re.compile(rf"[+<={LESS}{MINUS} ]*[\d{INFINITY}]")  # the start of a cell with a number
_SENTENCE = 60  # characters: LaTeX breaks the lines of columns with longer texts


class Cell(NamedTuple):
    """The text of a cell, and the numbers behind it by CSV column."""

    text: str
    numbers: Mapping[str, Any]

    @property
    def rank(self) -> float | None:
        """The sort key: the first number, or None for words and missing numbers."""
        first = next(iter(self.numbers.values()), None)
        return float(first) if isinstance(first, Real) and not math.isnan(first) else None


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """A table.

    Attributes:
        name: The name of the table's files.
        caption: The definition of the numbers, with sample sizes.
        frame: The texts of the cells.
        values: The numbers behind the cells, one row for each row of the frame.
        ranks: The sort keys of the cells; None where there is no number.
        notes: Remarks on single rows, shown below the table.
    """

    name: str
    caption: str
    frame: pd.DataFrame
    values: pd.DataFrame
    ranks: pd.DataFrame
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, name: str, *, rows: Sequence[Mapping[str, Cell]], caption: str, notes: Sequence[str] = ()) -> Table:
        """Build a table from rows of cells by column title."""
        import pandas as pd

        frame = pd.DataFrame([{title: cell.text for title, cell in row.items()} for row in rows])
        values = [{key: number for cell in row.values() for key, number in cell.numbers.items()} for row in rows]
        numbers = pd.DataFrame(values, dtype=object)  # counts stay integers even if other rows have none
        ranks = pd.DataFrame([{title: cell.rank for title, cell in row.items()} for row in rows], dtype=object)
        return cls(name=name, caption=caption, frame=frame, values=numbers, ranks=ranks, notes=tuple(notes))

    def markdown(self) -> str:
        """Return the caption, a pipe table and the notes."""
        grid = self._escaped(markdown).to_markdown(index=False, disable_numparse=True, colalign=self._alignment())
        notes = "\n".join(f"- {markdown(note)}" for note in self.notes)
        paragraphs = [f"**Table: {markdown(self.name.replace('_', ' '))}.** {markdown(self.caption)}", grid, notes]
        return "\n\n".join(filter(None, paragraphs)) + "\n"

    def latex(self) -> str:
        """Return a floating environment with booktabs rules; the notes follow the caption."""
        styler = self._escaped(latex).style.hide(axis="index")
        return str(
            styler.to_latex(
                column_format=self._columns(),
                position="t",
                position_float="centering",
                hrules=True,
                label=f"tab:{self.name}",
                caption=latex(" ".join([self.caption, *self.notes])),
                environment="table*",
            )
        )

    def csv(self) -> str:
        """Return the numbers at full precision."""
        return str(self.values.to_csv(index=False, lineterminator="\n"))

    def html(self) -> str:
        """Return a figure element with the table, its caption and its notes; cells carry their sort keys."""
        from reports.format.templates import render_template, split_lead

        sides = self._alignment()
        rows = [
            [(text, side, _rank(rank)) for text, side, rank in zip(texts, sides, ranks, strict=True)]
            for texts, ranks in zip(self.frame.to_numpy(), self.ranks.to_numpy(), strict=True)
        ]
        return render_template(
            "table.html.j2",
            name=self.name,
            title=self.name.replace("_", " "),
            columns=list(zip(self.frame, sides, strict=True)),
            rows=rows,
            **split_lead(self.caption),
            notes=self.notes,
        )

    def _escaped(self, escape: Any) -> pd.DataFrame:  # noqa: ANN401 - a function of a text
        return self.frame.map(escape).rename(columns=escape)

    def _alignment(self) -> tuple[str, ...]:
        """Return the alignment of each column: words left, numbers right."""
        numeric = [place and any(map(_NUMBER.match, self.frame[title])) for place, title in enumerate(self.frame)]
        return tuple("right" if number else "left" for number in numeric)

    def _columns(self) -> str:
        """Return the column format for LaTeX: the lines of sentences are broken, words and numbers are not."""
        longest = [self.frame[title].str.len().max() for title in self.frame]
        return "".join(
            r"p{0.3\textwidth}" if length > _SENTENCE else side[0]
            for length, side in zip(longest, self._alignment(), strict=True)
        )


def _rank(value: float | None) -> str | None:
    """Return a number in JavaScript notation."""
    return None if value is None else f"{value:.12g}".replace("inf", "Infinity")


def markdown(text: str) -> str:
    """Escape all Markdown and HTML markup."""
    return text.translate(_MARKDOWN)


def latex(text: str) -> str:
    """Escape all LaTeX commands; mathematical signs become LaTeX symbols."""
    return text.translate(_LATEX)


def number(value: float, digits: int = 2, *, sign: str = "") -> str:
    """Format a number: "-" for NaN, a sign for infinity; with `sign` "+", positive numbers have a plus sign."""
    if math.isnan(value):
        return MISSING
    text = format(value, f"{sign}z.{digits}f").replace("inf", INFINITY)
    return text.replace("-", MINUS)


def thousands(value: float) -> str:
    """Format a count with three digits and a unit: 1.53 M."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return number(value, 0)


def text_cell(title: str, value: Any = None) -> Cell:  # noqa: ANN401 - whatever a CSV file can hold
    """Return a cell with a text, "-" for None; the CSV column `title` has the value."""
    return Cell(MISSING if value is None else str(value), {title: value})


def number_cell(key: str, value: float, digits: int = 2, *, mark: str = "") -> Cell:
    """Return a cell with a number followed by a mark."""
    return Cell(number(value, digits) + mark, {key: value})


def p_cell(key: str, p: float) -> Cell:
    """Return a cell with a p value; small ones are shown as < 0.001, never as 0."""
    smallest = 0.001
    return Cell(f"< {smallest}" if p < smallest else number(p, 3), {key: p})


def interval_cell(key: str, over: Interval, digits: int = 2, *, sign: str = "", mark: str = "") -> Cell:
    """Return a cell with a mean and, if it has one, its interval: 1.53 [1.41, 1.65]."""
    if math.isnan(over.mean):
        return Cell(MISSING, _numbers(key, over))
    ends = [number(end, digits, sign=sign) for end in over[1:]]
    interval = "" if MISSING in ends else f" [{', '.join(ends)}]"
    return Cell(number(over.mean, digits, sign=sign) + mark + interval, _numbers(key, over))


def plus_minus_cell(key: str, over: Interval, digits: int = 2, *, sign: str = "", mark: str = "") -> Cell:
    """Return a cell with a mean and, if it has one, half the width of its interval: 1.53 +- 0.12."""
    if math.isnan(over.mean):
        return Cell(MISSING, _numbers(key, over))
    mean = number(over.mean, digits, sign=sign) + mark
    half = "" if math.isnan(over.high) else f" {PLUS_MINUS} {number(over.high - over.mean, digits)}"
    return Cell(mean + half, _numbers(key, over))


def _numbers(key: str, over: Interval) -> dict[str, float]:
    return {key: over.mean, f"{key}_low": over.low, f"{key}_high": over.high}
