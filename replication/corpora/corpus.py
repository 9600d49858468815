"""The table of corpora: description, licence, source of the pieces, and how files are read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from replication.corpora.archives import check_container
from replication.corpora.catalogue import PUBLISHED, Licence, Published
from replication.corpora.download import fetch
from replication.corpora.sources import Folder, Music21Bach, Synthetic
from replication.midi.piece import Seconds
from replication.midi.smf import DEFAULT_READING, Named, Reading
from replication.util.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from replication.corpora.sources import Source


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """A set of pieces and its source.

    Attributes:
        name: Name in tables and on the command line.
        title: Description in words.
        licence: Terms of use of the notes, as far as they are known.
        citation: Work to cite.
        source: Source that the pieces are read from.
        reading: Options for turning files into pieces.
    """

    name: str
    title: str
    licence: Licence
    citation: str
    source: Source | Published
    reading: Reading = DEFAULT_READING


# Performances have no beats. A step is the paper's unit at 120 beats a minute, 62.5 ms.
_PLAYED = Reading(grid=Seconds(steps_per_second=16))
# The piano parts of band arrangements. A file in which the piano plays only a few notes gives no piece.
_PIANO_PARTS = Reading(programs=(0, 7), shortest=16)

# The corpora whose files are not read in the plain way: all tracks merged, without drums and pedal, on a grid of beats.
_READINGS = {
    "lakh-piano": _PIANO_PARTS,
    "lakh-matched-piano": _PIANO_PARTS,
    "maestro": _PLAYED,
    "giantmidi": _PLAYED,
    "pop909": _PLAYED,  # its notes lie at a constant distance from its beats
    "pop909-cl": Reading(tracks=Named(("piano",))),  # the other track is an annotation of chords
}

CORPORA = {
    corpus.name: corpus
    for corpus in (
        Corpus(
            name="bach",
            title="410 scores by J. S. Bach, most of them four-part chorales, from the corpus of music21",
            licence=Licence(
                name="music21-corpus",
                note="works in the public domain; encodings distributed with music21, some not for commercial use",
                consent=False,
            ),
            citation="M. S. Cuthbert and C. Ariza, music21: a toolkit for computer-aided musicology, ISMIR 2010",
            source=Music21Bach(),
        ),
        Corpus(
            name="synthetic",
            title="40 piano pieces by rule, for tests and smoke runs",
            licence=Licence(name="Apache-2.0", note="free, as Etude itself", consent=False),
            citation="made here, by replication/midi/synthetic.py",
            source=Synthetic(count=40, seed=0),
        ),
        *(
            Corpus(
                name=name,
                title=row.title,
                licence=row.licence,
                citation=row.citation,
                source=row.source,
                reading=_READINGS.get(name, DEFAULT_READING),
            )
            for name, row in PUBLISHED.items()
        ),
    )
}


def folder_corpus(path: Path) -> Corpus:
    """Return the corpus of the MIDI files in a folder or an archive.

    Raises:
        UserError: If `path` does not exist, is neither a folder nor an archive, or has no name.
    """
    check_container(path)
    # The name is also that of a folder. A character that cannot be printed would break lines and tables.
    name = "".join(character if character.isprintable() else "_" for character in path.resolve().name)
    if not name:
        raise UserError(f"{path} has no name for its corpus: give a folder below it.")
    return Corpus(
        name=name,
        title=f"MIDI files of {name}",
        licence=Licence(name="not-stated", note="not stated", consent=False),
        citation="not stated",
        source=Folder(path),
    )


def located(corpus: Corpus, *, accepted: Collection[str] = ()) -> Corpus:
    """Return the corpus with its files on this machine: found in `ETUDE_DATA` or the cache, or downloaded.

    Args:
        corpus: Corpus to locate. One that is not published as files is returned unchanged.
        accepted: Names of the licences that the user accepts.

    Raises:
        UserError: If the files are missing and cannot be downloaded, or not without consent.
    """
    source = corpus.source
    if not isinstance(source, Published):
        return corpus
    path = fetch(source, name=corpus.name, licence=corpus.licence, citation=corpus.citation, accepted=accepted)
    return replace(corpus, source=Folder(path, members=source.members))
