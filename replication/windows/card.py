"""What there is to say of a corpus: aggregates of its notes, and an account of every file."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from replication.util.files import describe
from replication.windows.splits import kinship

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from replication.corpora.corpus import Corpus
    from replication.corpora.reading import Loaded
    from replication.windows.cutting import Cutting
    from replication.windows.prepared import Dataset

LONGEST = 56  # grid steps that are counted one by one: seven beats of the paper's grid; its encodings cut there
CROWD = 20  # notes of an onset that are counted one by one
LENGTHS = np.unique(np.round(np.logspace(0, 6, 49)).astype(int))  # bins of notes per piece, eight to a decade
LARGEST = 5  # families that are named


def facts(corpus: Corpus, loaded: Loaded, dataset: Dataset, *, encoding: str, cutting: Cutting) -> dict[str, Any]:
    """Return what a data card says of a corpus, as plain JSON data; it holds no notes, only counts of them.

    Args:
        corpus: the row.
        loaded: its pieces.
        dataset: its windows.
        encoding: the name of the encoding of the windows.
        cutting: how they were cut.

    Returns:
        name, title, citation, licence (name and note), reading and cutting (as `replication.util.files.describe` has
        them; cutting with the encoding's name); read (pieces, notes and hours of all files that gave a piece; hours are
        None where no file tells its time); counts and leaks of the dataset; splits (windows and songs of each); dropped
        (counts by reason, and files as pairs of id and reason); families (count, sizes, and the largest, with ids, of
        the pieces that are no duplicates); histograms (of all pieces that were read; see `histograms`).
    """
    seconds = float(loaded.seconds.sum())
    return {
        "name": corpus.name,
        "title": corpus.title,
        "licence": {"name": corpus.licence.name, "note": corpus.licence.note},
        "citation": corpus.citation,
        "reading": describe(corpus.reading),
        "cutting": {"encoding": encoding, **describe(cutting)},
        "read": {"pieces": len(loaded.ids), "notes": loaded.notes, "hours": seconds / 3600 if seconds else None},
        "counts": dataset.counts,
        "leaks": {name: asdict(leak) for name, leak in dataset.leaks.items()},
        "splits": {
            name: {"windows": len(part.tokens), "songs": dataset.songs[name]} for name, part in dataset.splits.items()
        },
        "dropped": {
            "counts": dict(Counter(dataset.dropped.values())),
            "files": [[name, reason] for name, reason in dataset.dropped.items()],
        },
        "families": _families(loaded),
        "histograms": histograms(loaded),
    }


def histograms(loaded: Loaded) -> dict[str, Any]:
    """Count the notes of a corpus, block by block.

    Returns:
        pitch (128) and velocity (128); duration and inter_onset, the steps from an onset to the next of the piece (1 to
        `LONGEST` steps, then all that are longer); notes_per_onset (1 to `CROWD`, then all that are more);
        notes_per_piece (edges: `LENGTHS`; counts: of pieces from each edge to before the next, the last included).
    """
    pitch, velocity = np.zeros(128, np.int64), np.zeros(128, np.int64)
    duration, inter_onset = np.zeros(LONGEST + 1, np.int64), np.zeros(LONGEST + 1, np.int64)
    notes_per_onset = np.zeros(CROWD + 1, np.int64)
    for notes, pieces in loaded.blocks():
        onset = np.ascontiguousarray(notes["onset"])
        starts = np.flatnonzero((np.diff(onset, prepend=-1) != 0) | (np.diff(pieces, prepend=-1) != 0))
        same_piece = np.diff(pieces[starts]) == 0
        pitch += np.bincount(notes["pitch"], minlength=128)
        velocity += np.bincount(notes["velocity"], minlength=128)
        duration += _counted(notes["duration"], LONGEST)
        inter_onset += _counted(np.diff(onset[starts])[same_piece], LONGEST)
        notes_per_onset += _counted(np.diff(starts, append=len(notes)), CROWD)
    return {
        "pitch": pitch.tolist(),
        "velocity": velocity.tolist(),
        "duration": duration.tolist(),
        "inter_onset": inter_onset.tolist(),
        "notes_per_onset": notes_per_onset.tolist(),
        "notes_per_piece": {
            "edges": LENGTHS.tolist(),
            "counts": np.histogram(loaded.lengths, LENGTHS)[0].tolist(),
        },
    }


def _counted(values: NDArray[Any], most: int) -> NDArray[np.int64]:
    """Return how many of the values, which are at least 1, are 1, 2, ... `most`, and more."""
    return np.bincount(np.minimum(values, most + 1), minlength=most + 2)[1:]


def _families(loaded: Loaded) -> dict[str, Any]:
    """Return how many families the different pieces form, how many there are of each size, and the largest."""
    kin = kinship(loaded)
    members = np.bincount(kin.families[kin.kept], minlength=len(loaded.ids))
    largest = np.argsort(-members, kind="stable")[:LARGEST]
    return {
        "count": int(np.count_nonzero(members)),
        "sizes": {str(size): count for size, count in sorted(Counter(members[members > 0].tolist()).items())},
        "largest": [
            [loaded.ids[number] for number in np.flatnonzero(kin.kept & (kin.families == family))]
            for family in largest
            if members[family] > 1
        ],
    }
