from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from replication.corpora.catalogue import ByHand, Published
from replication.corpora.corpus import CORPORA, folder_corpus, located
from replication.corpora.download import find
from replication.corpora.sources import Folder
from replication.tokens.encodings import encoding_on
from replication.util.errors import UserError
from replication.windows.cutting import Cutting
from replication.windows.prepared import prepare
from replication.windows.splits import SPLITS

if TYPE_CHECKING:
    from pathlib import Path

PUBLISHED = {name: corpus for name, corpus in CORPORA.items() if isinstance(corpus.source, Published)}


def test_every_corpus_is_described(tmp_path: Path) -> None:
    for name, corpus in CORPORA.items():
        assert corpus.name == name
        assert corpus.title
        assert corpus.licence.name
        assert corpus.licence.note
        assert corpus.citation
    assert folder_corpus(tmp_path).source == Folder(tmp_path)
    assert {"adl", "lakh-piano", "maestro", "giantmidi", "pop909", "pop909-cl"} < set(PUBLISHED)
    assert {"piano-midi-de", "asap-scores", "js-fakes"} < set(PUBLISHED)


def test_a_corpus_that_is_not_downloaded_is_located_unchanged() -> None:
    assert located(CORPORA["bach"]) is CORPORA["bach"]


def test_a_pack_is_located_on_the_search_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETUDE_DATA", str(tmp_path))
    monkeypatch.setenv("ETUDE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "pop909-cl").mkdir()
    corpus = located(CORPORA["pop909-cl"])
    assert isinstance(corpus.source, Folder)
    assert corpus.source.path == tmp_path / "pop909-cl"
    assert corpus.reading == CORPORA["pop909-cl"].reading
    with pytest.raises(UserError, match="--accept-licence CC-BY-NC-SA-4"):
        located(CORPORA["maestro"])


# What is left out of the five packs, by reason. In ADL: an empty file, one with a velocity of 255, one that is cut off.
DROPPED: dict[str, dict[str, int]] = {
    "adl": {"unreadable": 3},
    "pop909-cl": {"no piano": 1},
    "piano-midi-de": {},
    "asap-scores": {},
    "js-fakes": {},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", DROPPED)
def test_the_real_packs_are_read_completely_and_their_splits_share_no_song(tmp_path: Path, name: str) -> None:
    corpus = CORPORA[name]
    assert isinstance(corpus.source, Published)
    assert not isinstance(corpus.source.origin, ByHand)
    if find(corpus.source) is None:
        pytest.skip(f"{name} is not in ETUDE_DATA")
    encoding = encoding_on("paper", corpus.reading.grid)
    dataset = prepare(located(corpus), encoding, Cutting(length=66), cache=tmp_path)
    counts = dataset.counts
    assert counts["files"] == corpus.source.files
    assert Counter(dataset.dropped.values()) == DROPPED[name]
    assert counts["files"] == sum(counts[key] for key in ("dropped", "duplicates", "short", "pieces"))
    groups = [set(dataset.splits[split].groups.tolist()) for split in SPLITS]
    assert sum(map(len, groups)) == len(set.union(*groups)) <= counts["families"]
    assert dataset.leaks["cleaned"].onsets < 0.01
    assert dataset.leaks["cleaned"].windows == 0
    assert dataset.leaks["cleaned"].notes <= dataset.leaks["families"].notes <= dataset.leaks["pieces"].notes + 0.01
    for split in SPLITS:
        tokens = dataset.splits[split].tokens
        assert all(encoding.decode(row).valid for row in tokens[:: max(1, len(tokens) // 50)].tolist())
