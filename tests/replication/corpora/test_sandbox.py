from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from replication.corpora import sandbox
from replication.corpora.sandbox import Found, read_batch, read_guarded
from replication.midi.piece import Lost, Piece, sorted_notes
from replication.midi.smf import MidiError, Reason, write_midi

ROOT = Path(__file__).parents[3]
READ = Found(notes=1, seconds=1.5, restruck=2, unended=3)


def read(name: str, content: bytes) -> Piece:
    """Read a file whose content decides what happens to its reader."""
    match content:
        case b"hang":
            time.sleep(60)
        case b"crash":
            os.abort()
        case _ if content.startswith(b"/"):  # a path to a file that counts how often the reader was killed
            with Path(content.decode()).open("a", encoding="utf-8") as count:
                if count.tell() < len(name):
                    count.write(".")
                    count.flush()
                    os.kill(os.getpid(), signal.SIGKILL)
        case b"memory":
            bytearray(sandbox.MEMORY)
        case b"empty":
            raise MidiError(Reason.EMPTY)
    return Piece(notes=sorted_notes([(0, 1, len(content), 64)]), id=name, group=name, seconds=1.5, lost=Lost(2, 3))


def test_batches_come_back_in_order() -> None:
    batches = [[("a", b"1"), ("b", b"empty")], [], [("c", b"333")], *([("d", b"22")] for _ in range(9))]
    results = list(read_guarded(batches, read, processes=2))
    assert [result.found for result in results[:3]] == [[READ, Reason.EMPTY], [], [READ]]
    assert [result.notes["pitch"].tolist() for result in results] == [[1], [], [3], *([2] for _ in range(9))]


def test_a_file_that_hangs_or_crashes_its_reader_does_not_affect_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "TIMEOUT", 2.0)
    files = [("a", b"1"), ("b", b"hang"), ("c", b"22"), ("d", b"crash"), ("e", b"memory"), ("f", b"333")]
    first, second = read_guarded([files, [("g", b"4444")]], read, processes=2)
    assert first.found == [READ, Reason.TOO_SLOW, READ, Reason.CRASHED, Reason.TOO_LARGE, READ]
    assert first.notes["pitch"].tolist() == [1, 2, 3]
    assert second.notes["pitch"].tolist() == [4]


def test_a_file_whose_reader_is_killed_is_read_again(tmp_path: Path) -> None:
    files = [("." * kills, str(tmp_path / str(kills)).encode()) for kills in (1, 2)]
    alone, always = read_guarded([[file] for file in files], read, processes=1)
    assert isinstance(alone.found[0], tuple)
    assert always.found == [Reason.CRASHED]


@pytest.mark.parametrize("last", [b"1", b"crash"])
def test_a_process_that_is_still_starting_at_the_end_prints_no_traceback(
    last: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    for _ in range(3):  # of three processes one reads; after a crash another is started in its place
        (result,) = read_guarded([[("a", last)]], read, processes=3)
        assert len(result.found) == 1
    assert "Traceback" not in capfd.readouterr().err


def test_few_batches_are_taken_ahead() -> None:
    taken = []
    batches = ([taken.append(number) or (str(number), b"1")] for number in range(100))  # type: ignore[func-returns-value]  # counts
    results = read_guarded(batches, read, processes=1)
    next(results)
    assert len(taken) <= 4
    del results


def test_a_bug_in_the_reader_is_raised_and_drops_no_file() -> None:
    with pytest.raises(AttributeError):
        list(read_guarded([[("a", b"1")]], no_reader, processes=1))


def no_reader(name: str, content: bytes) -> Piece:
    return name.no_such_thing(content)  # type: ignore[attr-defined,no-any-return]  # the point


def test_a_batch_is_read_the_same_in_this_process() -> None:
    files = [("a", b"1"), ("b", b"empty"), ("c", b"333")]
    (there,) = read_guarded([files], read, processes=1)
    here = read_batch(files, read)
    assert here.found == there.found
    np.testing.assert_array_equal(here.notes, there.notes)


@pytest.mark.parametrize("piped", [False, True])
def test_a_script_without_a_main_guard_ends_with_a_sentence(tmp_path: Path, piped: bool) -> None:
    write_midi(read("a", b"1"), tmp_path / "music" / "a.mid")
    lines = (
        "from pathlib import Path",
        "from replication.corpora.corpus import folder_corpus",
        "from replication.corpora.reading import load",
        f"load(folder_corpus(Path({str(tmp_path / 'music')!r})), Path({str(tmp_path / 'cache')!r}))",
    )
    code = "\n".join(lines)
    (tmp_path / "script.py").write_text(code, encoding="utf-8")
    words = [sys.executable] if piped else [sys.executable, str(tmp_path / "script.py")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        words, input=code if piped else None, capture_output=True, text=True, timeout=50, env=environment, check=False
    )
    assert done.returncode != 0
    assert "below `if __name__ == '__main__':`" in done.stderr
