"""Compute the facts of a corpus's data card: counts of its notes, and what happened to every file."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from replication.corpora.sources import Folder
from replication.midi.piece import Lost
from replication.util.files import describe
from replication.windows.splits import find_families

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from replication.corpora.corpus import Corpus
    from replication.corpora.reading import Loaded
    from replication.windows.cutting import Cutting
    from replication.windows.prepared import Dataset

MAX_STEPS = 56  # grid steps counted individually: seven beats of the paper's grid, the longest duration of its encoding
MAX_CHORD = 20  # notes per onset counted individually
LENGTH_EDGES = np.unique(np.round(np.logspace(0, 6, 49)).astype(int))  # bins of notes per piece, eight per decade
NAMED_FAMILIES = 5  # largest families, listed by their pieces


def facts(
    corpus: Corpus, loaded: Loaded, dataset: Dataset, *, encoding: str, cutting: Cutting, cache: Path
) -> dict[str, Any]:
    """Return the facts of a data card as plain JSON data. They contain counts of notes, but no notes.

    Args:
        corpus: Row of the corpus, located on this machine.
        loaded: Pieces of the corpus.
        dataset: Windows of the corpus.
        encoding: Name of the encoding of the windows.
        cutting: Options with which the windows were cut.
        cache: Folder for prepared data.

    Returns:
        name, title, citation: From the row.
        licence: name and note.
        reading, cutting: From `replication.util.files.describe`; cutting also has the name of the encoding.
        read: pieces, notes and hours of all files that were read; hours is None if no file tells its duration.
        lost: Number of files in which notes lack their note-offs, and the numbers of these notes by how they end:
            restruck and unended, as in `replication.midi.piece.Lost`.
        counts, leaks: From the dataset.
        splits: windows and songs of each split.
        dropped: counts by reason, and files as pairs of id and reason.
        others: counts by kind of what the folder or archive holds besides; see
            `replication.corpora.archives.other_files`. Only of a folder or an archive.
        families: count, sizes, and the ids of the largest, all without duplicates.
        histograms: Of all pieces that were read; see `histograms`.
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
        "lost": {"files": int(loaded.lost.any(axis=1).sum()), **Lost(*loaded.lost.sum(axis=0).tolist())._asdict()},
        "counts": dataset.counts,
        "leaks": {name: asdict(leak) for name, leak in dataset.leaks.items()},
        "splits": {
            name: {"windows": len(part.tokens), "songs": dataset.songs[name]} for name, part in dataset.splits.items()
        },
        "dropped": {
            "counts": dict(Counter(dataset.dropped.values())),
            "files": [[name, reason] for name, reason in dataset.dropped.items()],
        },
        **({"others": corpus.source.others(cache)} if isinstance(corpus.source, Folder) else {}),
        "families": _families(loaded),
        "histograms": histograms(loaded),
    }


def histograms(loaded: Loaded) -> dict[str, Any]:
    """Count the notes of a corpus, block by block.

    Returns:
        pitch, velocity: Notes with each value, (128,).
        duration: Notes of 1 to `MAX_STEPS` grid steps, and of more.
        inter_onset: Steps from an onset to the next one of the piece: 1 to `MAX_STEPS`, and more.
        notes_per_onset: Onsets with 1 to `MAX_CHORD` notes, and with more.
        notes_per_piece: edges, which are `LENGTH_EDGES`, and counts of the pieces from each edge up to the next one,
            which only the last bin includes.
    """
    pitch, velocity = np.zeros(128, np.int64), np.zeros(128, np.int64)
    duration, inter_onset = np.zeros(MAX_STEPS + 1, np.int64), np.zeros(MAX_STEPS + 1, np.int64)
    notes_per_onset = np.zeros(MAX_CHORD + 1, np.int64)
    for notes, pieces in loaded.blocks():
        onset = np.ascontiguousarray(notes["onset"])
        starts = np.flatnonzero((np.diff(onset, prepend=-1) != 0) | (np.diff(pieces, prepend=-1) != 0))
        same_piece = np.diff(pieces[starts]) == 0
        pitch += np.bincount(notes["pitch"], minlength=128)
        velocity += np.bincount(notes["velocity"], minlength=128)
        duration += _counted(notes["duration"], MAX_STEPS)
        inter_onset += _counted(np.diff(onset[starts])[same_piece], MAX_STEPS)
        notes_per_onset += _counted(np.diff(starts, append=len(notes)), MAX_CHORD)
    return {
        "pitch": pitch.tolist(),
        "velocity": velocity.tolist(),
        "duration": duration.tolist(),
        "inter_onset": inter_onset.tolist(),
        "notes_per_onset": notes_per_onset.tolist(),
        "notes_per_piece": {
            "edges": LENGTH_EDGES.tolist(),
            "counts": np.histogram(loaded.lengths, LENGTH_EDGES)[0].tolist(),
        },
    }


def _counted(values: NDArray[Any], most: int) -> NDArray[np.int64]:
    """Count the values, which are at least 1, that are 1, 2, ... `most`, and more than that."""
    return np.bincount(np.minimum(values, most + 1), minlength=most + 2)[1:]


def _families(loaded: Loaded) -> dict[str, Any]:
    """Return the number of families, the number of each size, and the pieces of the largest; without duplicates."""
    families = find_families(loaded)
    members = np.bincount(families.family[families.unique], minlength=len(loaded.ids))
    largest = np.argsort(-members, kind="stable")[:NAMED_FAMILIES]
    return {
        "count": int(np.count_nonzero(members)),
        "sizes": {str(size): count for size, count in sorted(Counter(members[members > 0].tolist()).items())},
        "largest": [
            [loaded.ids[number] for number in np.flatnonzero(families.unique & (families.family == family))]
            for family in largest
            if members[family] > 1
        ],
    }
