"""Piano rolls that play in a browser: markup, style and script, for the folder of a trial and for the report."""

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
TEMPO = 100  # beats a minute: models do not choose a tempo
_TOP = 127  # the highest MIDI pitch, in row 0
_GAP = 0.06  # beats or seconds by which notes end early, so that repeated ones are told apart, by eye and by ear
_ROOM = 2  # semitones above and below the notes
_BAR = 4  # beats or seconds from a line to the next


@dataclass(frozen=True, kw_only=True)
class Frame:
    """What is the same for all rolls of a page, so that they can be compared.

    Attributes:
        end: beats or seconds; later notes are neither drawn nor played.
        low: the lowest MIDI pitch that is drawn.
        high: the highest.
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
        """The part of the plane that SVG shows: x in beats or seconds, y in semitones from the highest pitch down."""
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
        index: which sample of its model, or which window of real music, from 0.
        count: how many notes.
        path: "M onset row h duration" for each note by onset, which is both the drawing and the score.
        velocities: of these notes, 1 to 127, with spaces between.
    """

    index: int
    count: int
    path: str
    velocities: str


def end_of(notes: pd.DataFrame) -> float:
    """Return the beats or seconds after which the last note ends; 1 without notes, for a frame needs some room."""
    return float((notes["onset"] + notes["duration"]).max()) if len(notes) else 1.0


def clips(notes: pd.DataFrame, frame: Frame, *, count: int) -> list[Clip]:
    """Return the first pieces of a set.

    Args:
        notes: sample (from 0), onset and duration (beats or seconds), pitch (0 to 127), velocity (1 to 127).
        frame: what is cut off.
        count: how many pieces there are; one without rows has no notes.
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
    """Return how long a "beat" or a "second" lasts when it is played."""
    return 60 / TEMPO if unit == "beat" else 1.0


def templates(*folders: Path) -> Environment:
    """Return the templates of the player and of other folders; what they are given is escaped: it may be anybody's."""
    return Environment(
        loader=FileSystemLoader([*folders, ASSETS]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def style(*others: Path) -> Markup:
    """Return the player's style sheet, and others after it."""
    return _joined(ASSETS / "player.css", *others)


def script(*others: Path) -> Markup:
    """Return the synthesiser, the player, and other scripts after them."""
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
    """Write a page, whole in itself, that plays the first samples of a trial, unpicked.

    Args:
        notes: see `clips`.
        path: the .html file to create or replace.
        title: whose samples they are.
        colour: of the notes, as #RRGGBB.
        unit: of time: beat or second.
        count: how many samples to show.
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
