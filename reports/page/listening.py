"""The listening room: what is there to be heard of every model, and of real music."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from eval.listening.player import Clip, Frame, clips, end_of
from reports.format.facts import SOME_CONTROLS, TEST, colours, controls, models, of, real_labels
from reports.format.picture import REAL
from reports.sections.music import horizon

if TYPE_CHECKING:
    import pandas as pd

    from eval.results.frames import Results


class Origin(StrEnum):
    """Where music comes from; controls take no part in the blind test."""

    REAL = "real"
    GENERATED = "generated"
    CONTROL = "control"


@dataclass(frozen=True, kw_only=True)
class Shelf:
    """The pieces of one model, or of real music.

    Attributes:
        label: the name for people.
        origin: where they come from.
        colour: as #RRGGBB.
        clips: the pieces.
    """

    label: str
    origin: Origin
    colour: str
    clips: list[Clip]


@dataclass(frozen=True, kw_only=True)
class Room:
    """Everything that can be heard.

    Attributes:
        shelves: real music first.
        frame: of all rolls.
        unit: of time, beat or second.
        count: pieces on a shelf.
        cut: whether something is longer than the frame.
    """

    shelves: list[Shelf]
    frame: Frame
    unit: str
    count: int
    cut: bool


def room(results: Results) -> Room:
    """Return the first pieces of each model's first seed, and the first windows of distinct test songs: unpicked."""
    import pandas as pd

    paint: dict[str, Any] = colours(results)
    music = of(results.notes, TEST)
    # Real music in every encoding, for each may say less or more of the notes.
    found: list[tuple[str, Origin, str, pd.DataFrame]] = [
        (label, Origin.REAL, REAL, music[music["encoding"] == name]) for name, label in real_labels(results).items()
    ]
    shown = {name: label for name, label in controls(results).items() if name in SOME_CONTROLS}
    for origin, names in ((Origin.GENERATED, models(results)), (Origin.CONTROL, shown)):
        found += [(label, origin, paint[name], of(results.notes, name)) for name, label in names.items()]
    longest = max([end_of(notes) for *_, notes in found])
    end = horizon(pd.concat([notes for *_, notes in found]), music)
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
