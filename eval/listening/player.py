"""Piano rolls that play in a browser: markup, style and script for trial folders and for the report."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from replication.util.files import atomic

if TYPE_CHECKING:
    import pandas as pd

ASSETS = Path(__file__).parent / "assets"
TEMPO = 100  # beats per minute; models do not choose a tempo
_TOP = 127  # the highest MIDI pitch, in row 0
_GAP = 0.06  # beats or seconds by which notes end early, so that repeated notes can be seen and heard
_ROOM = 2  # semitones above and below the notes
_BAR = 4  # beats or seconds from a line to the next


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The range of time and pitch that all rolls of a page share, so that they can be compared.

    Attributes:
        end: End in beats or seconds; later notes are neither drawn nor played.
        low: Lowest MIDI pitch that is drawn.
        high: Highest MIDI pitch that is drawn.
    """

    end: float
    low: int
    high: int

    @classmethod
    def around(cls, notes: pd.DataFrame, *, end: float) -> Frame:
        """Return the frame that holds all pitches of notes."""
        low, high = (int(notes["pitch"].min()), int(notes["pitch"].max())) if len(notes) else (60, 60)
        return cls(end=end, low=max(0, low - _ROOM), high=min(_TOP, high + _ROOM))

    @property
    def box(self) -> str:
        """The SVG view box: x in beats or seconds, y in semitones from the highest pitch down."""
        return f"0 {_TOP - self.high - 0.5:g} {self.end:g} {self.high - self.low + 1}"

    @property
    def lines(self) -> str:
        """A path of vertical lines, one every 4 beats or seconds."""
        rows = f"{_TOP - self.high - 0.5:g}V{_TOP - self.low + 0.5:g}"
        return "".join(f"M{time:g} {rows}" for time in np.arange(_BAR, self.end, _BAR))


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One piece as it is drawn and played.

    Attributes:
        index: Index of the sample of its model, or of the window of real music, from 0.
        count: Number of notes.
        path: "M onset row h duration" for each note by onset; it is both drawn and played.
        velocities: Velocities of these notes, 1 to 127, separated by spaces.
    """

    index: int
    count: int
    path: str
    velocities: str


def end_of(notes: pd.DataFrame) -> float:
    """Return the beats or seconds after which the last note ends; 1 without notes, because a frame needs a width."""
    return float((notes["onset"] + notes["duration"]).max()) if len(notes) else 1.0


def clips(notes: pd.DataFrame, frame: Frame, *, count: int) -> list[Clip]:
    """Return the first pieces of a set.

    Args:
        notes: sample (from 0), onset and duration (beats or seconds), pitch (0 to 127), velocity (1 to 127).
        frame: Range to which notes are cut.
        count: Number of pieces; a piece without rows has no notes.
    """
    inside = notes[notes["onset"] < frame.end].sort_values(["sample", "onset", "pitch"])
    length = np.minimum(inside["duration"], frame.end - inside["onset"])
    inside = inside.assign(length=length - np.minimum(_GAP, length / 4), row=_TOP - inside["pitch"])
    return [_clip(index, inside[inside["sample"] == index]) for index in range(count)]


def _clip(index: int, notes: pd.DataFrame) -> Clip:
    lines = zip(notes["onset"], notes["row"], notes["length"], strict=True)
    return Clip(
        index=index,
        count=len(notes),
        path="".join(f"M{onset:.5g} {row}h{length:.5g}" for onset, row, length in lines),
        velocities=" ".join(map(str, notes["velocity"])),
    )


def seconds_per(unit: str) -> float:
    """Return the seconds that a "beat" or a "second" lasts in playback."""
    return 60 / TEMPO if unit == "beat" else 1.0


def templates(*folders: Path) -> Environment:
    """Return the templates of the player and of other folders, with escaping, since values may be untrusted."""
    return Environment(
        loader=FileSystemLoader([*folders, ASSETS]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def style(*others: Path) -> Markup:
    """Return the player's style sheet, followed by others."""
    return _joined(ASSETS / "player.css", *others)


def script(*others: Path) -> Markup:
    """Return the synthesiser and the player, followed by other scripts."""
    return _joined(ASSETS / "tinysynth.min.js", ASSETS / "player.js", *others)


def _joined(*files: Path) -> Markup:
    return Markup("\n".join(file.read_text(encoding="utf-8").strip() for file in files))  # noqa: S704 - files of ours


def policy(*, style: str, script: str) -> str:
    """Return the content security policy of a page: this style, this script, images inside it, and nothing else."""

    def allowed(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    sources = f"img-src data:; style-src {allowed(style)}; script-src {allowed(script)}"
    return f"default-src 'none'; {sources}; base-uri 'none'; form-action 'none'"


def save_player(notes: pd.DataFrame, path: Path, *, title: str, colour: str, unit: str, count: int) -> None:
    """Write a self-contained page that plays the first samples of a trial, without selection.

    Args:
        notes: see `clips`.
        path: The .html file to create or replace.
        title: Title of the page.
        colour: Colour of the notes, as #RRGGBB.
        unit: Unit of time: beat or second.
        count: Number of samples to show.
    """
    frame = Frame.around(notes, end=end_of(notes))
    looks, plays = style(ASSETS / "samples.css"), script()
    text = (
        templates()
        .get_template("samples.html.j2")
        .render(
            title=title,
            colour=colour,
            frame=frame,
            clips=clips(notes, frame, count=count),
            unit=unit,
            tempo=TEMPO,
            seconds_per_unit=seconds_per(unit),
            style=looks,
            script=plays,
            policy=policy(style=looks, script=plays),
        )
    )
    with atomic(path) as draft:
        draft.write_text(text, encoding="utf-8", newline="\n")
