"""The listening room: pieces of each model, of some controls and of real music, to play in the browser."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from eval.listening.player import Clip, Frame, clips, end_of
from reports.format.figure import REAL
from reports.format.piano_roll import end_of_rolls
from reports.format.queries import SOME_CONTROLS, TEST, colours, controls, models, real_labels, rows_of

if TYPE_CHECKING:
    import pandas as pd

    from eval.results.frames import Results


class Origin(StrEnum):
    """The origin of a piece; the blind test has no controls."""

    REAL = "real"
    GENERATED = "generated"
    CONTROL = "control"


@dataclass(frozen=True, kw_only=True)
class Shelf:
    """The pieces of one model, or of real music.

    Attributes:
        label: The label of the model, or of real music.
        origin: The origin of the pieces.
        colour: The colour of the notes, as #RRGGBB.
        clips: The pieces.
    """

    label: str
    origin: Origin
    colour: str
    clips: list[Clip]


@dataclass(frozen=True, kw_only=True)
class Room:
    """All pieces of the page.

    Attributes:
        shelves: The pieces by model, real music first.
        frame: The limits of all piano rolls.
        unit: The unit of time, beat or second.
        count: The number of pieces on a shelf.
        cut: Whether a piece is longer than the frame.
    """

    shelves: list[Shelf]
    frame: Frame
    unit: str
    count: int
    cut: bool


def listening_room(results: Results) -> Room:
    """Return the first samples of each model's first seed and the first windows of distinct test songs."""
    import pandas as pd

    paint: dict[str, Any] = colours(results)
    music = rows_of(results.notes, TEST)
    # Real music in every encoding: an encoding may lose something of the notes.
    found: list[tuple[str, Origin, str, pd.DataFrame]] = [
        (label, Origin.REAL, REAL, music[music["encoding"] == name]) for name, label in real_labels(results).items()
    ]
    shown = {name: label for name, label in controls(results).items() if name in SOME_CONTROLS}
    for origin, names in ((Origin.GENERATED, models(results)), (Origin.CONTROL, shown)):
        found += [(label, origin, paint[name], rows_of(results.notes, name)) for name, label in names.items()]
    longest = max([end_of(notes) for *_, notes in found])
    end = end_of_rolls(pd.concat([notes for *_, notes in found]), music)
    frame = Frame.around(results.notes, end=end)
    count = int(results.notes["sample"].max()) + 1 if len(results.notes) else 0
    return Room(
        shelves=[
            Shelf(label=label, origin=origin, colour=colour, clips=clips(notes, frame, count=count))
            for label, origin, colour, notes in found
        ],
        frame=frame,
        unit=results.about["unit"],
        count=count,
        cut=longest > end,
    )
