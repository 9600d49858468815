"""Piano rolls as small images, to show a trial's samples with its other artifacts."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from replication.util.files import atomic

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from replication.midi.piece import Piece

COLUMNS = 4
STEPS, LOW, HIGH = 256, 24, 108  # maximum length and the pitches that a roll shows
FRAME, ZOOM = 4, 2  # pixels around a roll; pixels per step
HEIGHT = ZOOM * (HIGH - LOW + 2 * FRAME)  # pixels of a row of the image


def roll(piece: Piece, *, colour: str, steps: int) -> NDArray[np.uint8]:
    """Return an image (pitches, steps, 3) of a piece: notes in `colour` (as #RRGGBB), onsets darker, C lines grey."""
    image: NDArray[Any] = np.full((HIGH - LOW, steps, 3), 255, dtype=np.uint8)
    image[[pitch - LOW for pitch in range(LOW, HIGH, 12)]] = 225
    ink = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    for onset, duration, pitch, _ in piece.notes.tolist():
        if LOW <= pitch < HIGH and onset < steps:
            image[pitch - LOW, onset : onset + duration] = ink
            image[pitch - LOW, onset] = ink // 2
    return image[::-1]


def save_rolls(pieces: Sequence[Piece], path: Path, *, colour: str) -> None:
    """Write the rolls of pieces as one PNG in rows of four, all as wide as the longest piece."""
    from matplotlib.image import imsave

    ends = [int((piece.notes["onset"] + piece.notes["duration"]).max(initial=1)) for piece in pieces]
    steps = min(STEPS, max(ends))
    cells = [roll(piece, colour=colour, steps=steps) for piece in pieces]
    cells += [np.full_like(cells[0], 255)] * (-len(cells) % COLUMNS)
    framed = [np.pad(cell, ((FRAME, FRAME), (FRAME, FRAME), (0, 0)), constant_values=200) for cell in cells]
    rows = [np.concatenate(framed[start : start + COLUMNS], axis=1) for start in range(0, len(framed), COLUMNS)]
    with atomic(path) as draft:
        imsave(draft, np.concatenate(rows).repeat(ZOOM, axis=0).repeat(ZOOM, axis=1), metadata={"Software": "Etude"})


@contextmanager
def first_images(rolls: Path, name: str) -> Iterator[list[Path]]:
    """Yield the first roll as files for MLflow: at full size, and as a thumbnail of at most 256 pixels.

    All rolls together would be illegible as a thumbnail. The files are deleted at the end of the block.

    Args:
        rolls: File that `save_rolls` wrote.
        name: Name of the files without their suffix.
    """
    from PIL import Image

    with tempfile.TemporaryDirectory() as scratch, Image.open(rolls) as image:
        files = [Path(scratch, f"{name}.png"), Path(scratch, f"{name}+compressed.webp")]
        first = image.crop((0, 0, image.width // COLUMNS, HEIGHT))
        first.save(files[0])
        first.thumbnail((256, 256))
        first.save(files[1])
        yield files
