"""The program as a user runs it: its exit codes and its output."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from replication.util.program import PIPE_CLOSED
from tests.support.program import PATHS, assert_user_error, etude, music, python, remote_hosts
from tests.support.small_trials import ONE_THREAD, results

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.killed_program import Workspace


def test_list_names_experiments_scales_and_corpora(tmp_path: Path) -> None:
    done = etude("list", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    for name in ("e2e", "gaussian", "autoregressive", "replay", "cpu", "gpu", "bach", "lakh-matched-piano"):
        assert name in done.stdout


def test_a_reader_that_closes_the_pipe_ends_the_program_quietly(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    environment = os.environ | {"PYTHONPATH": PATHS}
    words = [sys.executable, "-m", "etude", "list"]
    done = subprocess.run(words, cwd=tmp_path, env=environment, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (PIPE_CLOSED, b"")


def test_help_explains_every_option(tmp_path: Path) -> None:
    done = etude("run", "--help", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    for option in ("--scale", "--corpus", "--only", "--seeds", "--dry-run", "--accept-licence"):
        assert option in done.stdout
    assert "List, download, verify or describe corpora." in etude("--help", folder=tmp_path).stdout


def test_a_users_own_music_goes_from_files_to_the_report(
    own_music: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    observed = own_music.folder.with_name("observed")
    monkeypatch.setenv("CONNECTIONS", str(observed))
    words, corpus, folder = own_music.words, str(own_music.corpus), own_music.folder
    planned = python("etude", *words, "--dry-run", folder=tmp_path)
    assert planned.returncode == 0, planned.stderr
    assert planned.stdout.count("pending") == 2
    output = folder / "reports" / "output"
    assert "Diffusion-LM, end-to-end" in (output / "index.html").read_text(encoding="utf-8")
    for name in (
        "tables/main.md",
        "tables/main.tex",
        "tables/main.csv",
        "figures/floor_forest.svg",
        "figures/piano_rolls.png",
    ):
        assert (output / name).stat().st_size > 100, name
    assert python("etude", *words, "--dry-run", folder=folder).stdout.count("done") == 2
    synced = python("etude", "sync", folder=folder)
    assert "MLflow is up to date with 2 trials" in synced.stdout, synced.stderr
    scored = python("etude", "score", corpus, "--scale", "smoke", "--corpus", corpus, folder=folder)
    assert scored.returncode == 0, scored.stderr
    assert "41 files: 40 give a window, 1 unreadable" in scored.stdout
    assert remote_hosts(observed) == set()  # no connection to anywhere


def test_results_do_not_depend_on_settings_folders_or_workers(own_music: Workspace, tmp_path: Path) -> None:
    report = own_music.folder / "reports" / "output"
    # A locale without UTF-8 in which the lower case of I is another letter, if the system can build one.
    locale = tmp_path / "locales" / "tr_TR.ISO-8859-9"
    locale.parent.mkdir()
    made = shutil.which("localedef") and subprocess.run(
        ["localedef", "-i", "tr_TR", "-f", "ISO-8859-9", str(locale)], capture_output=True, check=False
    )
    settings = {"LC_ALL": locale.name if made and locale.exists() else "C", "LOCPATH": str(locale.parent)}
    settings |= {"PYTHONHASHSEED": "2", "TZ": "Asia/Kolkata"}
    elsewhere = tmp_path / "some where else"
    elsewhere.mkdir()
    umask = os.umask(0o077)
    try:
        done = python("etude", *own_music.words, "--workers", str(ONE_THREAD + 1), folder=elsewhere, **settings)
        checked = python("reports", "--check", str(report), folder=elsewhere, **settings)
    finally:
        os.umask(umask)
    assert done.returncode == 0, done.stderr
    places = (folder / "runs" / "smoke" / "music" for folder in (own_music.folder, elsewhere))
    ours, theirs = (results(place, "*/0/**/*") for place in places)
    assert [name for name in ours | theirs if ours.get(name) != theirs.get(name)] == []
    assert {"e2e/0/checkpoint/model.safetensors", "e2e/0/samples.npz", "ngram/0/scores.json"} <= ours.keys()
    assert (checked.returncode, checked.stderr) == (0, ""), checked.stdout


def test_a_damaged_model_gives_a_one_line_error_and_nothing_else_is_lost(own_music: Workspace, tmp_path: Path) -> None:
    words, place = own_music.words, shutil.copytree(own_music.folder, tmp_path / "place")
    folder = place / "runs" / "smoke" / "music" / "e2e" / "0"
    weights = folder / "checkpoint" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    for name in ("samples.npz", "scores.json"):
        (folder / name).unlink()
    done = etude(*words, folder=place)
    assert done.returncode == 2
    assert "model.safetensors does not match its checksum in fit.sha256" in done.stderr
    assert "delete it" in done.stderr
    assert "Traceback" not in done.stderr
    weights.unlink()  # as the message asks
    assert etude(*words, folder=place).returncode == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("run", "--scale", "huge"), "unknown scale 'huge'"),
        (("run", "--scale", "smoke", "--only", "gan"), "unknown experiment 'gan'"),
        (("run", "--scale", "smoke", "--corpus", "nowhere"), "unknown corpus 'nowhere'"),
        (("run", "--scale", "smoke", "--corpus", "empty"), "holds no MIDI files"),
        (("run", "--scale", "smoke", "--corpus", "broken"), "no MIDI file that gives a piece"),
        (("run", "--scale", "smoke", "--corpus", "music"), "corpus music is too small"),
        (("run", "--scale", "smoke", "--corpus", "adl"), "add --accept-licence none-stated"),
        (("score", "music", "--scale", "smoke", "--corpus", "maestro"), "add --accept-licence CC-BY-NC-SA-4.0"),
        (("report", "--scale", "smoke"), "holds no finished trial"),
        (("verify", "--scale", "smoke"), "holds no finished trial"),
        (("verify", "--scale", "paper"), "give --reference, a report of the same scale and corpus"),
        (("ui",), "etude run` first"),
    ],
)
def test_mistakes_give_a_one_line_error_and_exit_code_2(words: tuple[str, ...], message: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.mid").write_bytes(b"not music")
    if "music" in words:
        music(tmp_path, 2)
    assert_user_error(etude(*words, folder=tmp_path), message)
