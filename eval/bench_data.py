"""Speed of reading and preparing on this machine: `python -m eval.bench_data --corpus adl`.

Ratios from one run mean more than the numbers.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import resource
import sys
import tarfile
import tempfile
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import tyro

if TYPE_CHECKING:
    from collections.abc import Iterable

    from replication.corpora import Corpus
    from replication.piece import Piece
    from replication.tokens import Encoding

LENGTH = 66  # tokens of a window, as at the cpu scale


def bench(
    corpus: Annotated[
        tuple[str, ...], tyro.conf.arg(metavar="NAME ...", help="corpora to prepare, from their packs")
    ] = (),
    files: Annotated[
        int, tyro.conf.arg(metavar="N", help="prepare that many files too, changed copies of the first corpus's")
    ] = 0,
    sample: Annotated[int, tyro.conf.arg(metavar="N", help="files that parsers and encoders are compared on")] = 100,
) -> None:
    """Measure parsing, encoding and preparing; print JSON."""
    from eval.trial import environment
    from replication.corpora import CORPORA, folder_corpus, located

    rows: dict[str, object] = _parsers_and_encoders(CORPORA[corpus[0]] if corpus else None, sample)
    for name in corpus:
        rows |= {f"prepare {name}, {key}": value for key, value in _prepared(located(CORPORA[name])).items()}
    if files:
        with tempfile.TemporaryDirectory() as folder:
            paths = {Path(folder) / f"{count}.tar": count for count in (files // 8, files // 4, files // 2, files)}
            _write_many(CORPORA[corpus[0]] if corpus else None, paths)
            results = {count: _prepared(folder_corpus(path)) for path, count in paths.items()}
        for count, result in results.items():
            rows |= {f"prepare {count} files, {key}": value for key, value in result.items()}
        slope, _ = np.polyfit(np.log(list(results)), np.log([result["seconds"] for result in results.values()]), 1)
        rows["prepare, exponent of time against files"] = round(float(slope), 3)
    json.dump({"rows": rows, "environment": environment()}, sys.stdout, indent=2)
    print()


def _parsers_and_encoders(corpus: Corpus | None, sample: int) -> dict[str, object]:
    """Return notes a second of one process: ours, and what people would use instead, on the same files."""
    from eval.bench import measure
    from replication.encodings import ENCODINGS
    from replication.midi import read_midi

    with tempfile.TemporaryDirectory() as folder:
        paths: list[Path] = []
        pieces: list[Piece] = []
        for number, content in enumerate(islice(_contents(corpus), sample)):
            path = Path(folder) / f"{number}.mid"
            path.write_bytes(content)
            try:
                pieces.append(read_midi(content, id="", group=""))
                _with_muspy(path)
            except Exception:  # noqa: BLE001 - mido raises of all kinds; what one of the two cannot read compares nothing
                pieces = pieces[: len(paths)]
            else:
                paths.append(path)
        contents = [path.read_bytes() for path in paths]
        notes = sum(len(piece.notes) for piece in pieces)
        rates = {
            "parse": measure(lambda: [read_midi(content, id="", group="") for content in contents], notes),
            "parse with muspy": measure(lambda: [_with_muspy(path) for path in paths], notes),
            **{f"encode {name}": measure(partial(_encode, code, pieces), notes) for name, code in ENCODINGS.items()},
        }
    rows: dict[str, object] = {f"{name}, notes/s": round(rate) for name, rate in rates.items()}
    rows["parse, ratio to muspy"] = round(rates["parse"] / rates["parse with muspy"], 1)
    rows["encode paper, ratio to MidiTok"] = round(rates["encode paper"] / rates["encode remi"], 1)
    return rows


def _encode(encoding: Encoding, pieces: list[Piece]) -> None:
    for piece in pieces:
        encoding.windows(piece.notes, LENGTH)


def _with_muspy(path: Path) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import muspy

        return muspy.read_midi(path)


def _contents(corpus: Corpus | None) -> Iterable[bytes]:
    """Yield the files of a corpus, or files with synthetic music."""
    from replication.corpora import CORPORA, located
    from replication.download import Published
    from replication.midi import write_midi
    from replication.piece import PAPER_GRID, Piece

    source = located(corpus or CORPORA["synthetic"]).source
    assert not isinstance(source, Published)
    with tempfile.TemporaryDirectory() as folder:
        for item in source.items(PAPER_GRID):
            if isinstance(item, Piece):
                path = Path(folder) / "one.mid"
                write_midi(item, path)
                yield path.read_bytes()
            elif isinstance(item[1], bytes):
                yield item[1]


def _write_many(corpus: Corpus | None, paths: dict[Path, int]) -> None:
    """Write tar archives of so many files: those of a corpus, again and again, each time with other notes changed."""
    from symusic import Score

    contents = list(_contents(corpus))
    rng = np.random.default_rng(0)
    with ExitStack() as stack:
        archives = {stack.enter_context(tarfile.open(path, "w")): count for path, count in paths.items()}
        for number, content in enumerate(islice(cycle(contents), max(paths.values()))):
            changed = content if number < len(contents) else _changed(Score, content, rng)
            info = tarfile.TarInfo(f"{number % len(contents):06d}-{number // len(contents):03d}.mid")
            info.size = len(changed)
            for archive, count in archives.items():
                if number < count:
                    archive.addfile(info, io.BytesIO(changed))


def _changed(score_type: Any, content: bytes, rng: np.random.Generator) -> bytes:  # noqa: ANN401 - no types
    """Return a file in another key, with every tenth note moved by a step or two of the scale of semitones."""
    try:
        score = score_type.from_midi(content)
    except Exception:  # noqa: BLE001 - as it is: the count of what cannot be read grows with the files
        return content
    shift = int(rng.integers(-5, 6))
    for track in score.tracks:
        columns = track.notes.numpy()
        moved = columns["pitch"].astype(int) + shift
        moved += rng.integers(-2, 3, len(moved)) * (rng.integers(10, size=len(moved)) == 0)
        columns["pitch"] = np.clip(moved, 0, 127).astype(columns["pitch"].dtype)
        track.notes = type(track.notes).from_numpy(*(columns[key] for key in ("time", "duration", "pitch", "velocity")))
    result: bytes = score.dumps_midi()
    return result


def _prepared(corpus: Corpus) -> dict[str, Any]:
    """Return what it takes to prepare a corpus from nothing, and again, in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_prepare, corpus).result()


def _prepare(corpus: Corpus) -> dict[str, Any]:
    from replication.cutting import Cutting
    from replication.data import prepare
    from replication.encodings import encoding_on

    with tempfile.TemporaryDirectory() as folder:
        seconds = []
        for _ in range(2):
            started = time.perf_counter()
            dataset = prepare(
                corpus, encoding_on("paper", corpus.reading.grid), Cutting(length=LENGTH), cache=Path(folder)
            )
            seconds.append(time.perf_counter() - started)
    own, readers = (
        resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return {
        "seconds": round(seconds[0], 2),
        "seconds again": round(seconds[1], 2),
        "peak memory, MB": round(own),
        "peak memory of a reader, MB": round(readers),
        **dataset.counts,
    }


if __name__ == "__main__":
    tyro.cli(bench, prog="python -m eval.bench_data")
