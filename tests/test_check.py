from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from made_up import made_up
from program import python

from eval.results_file import read_results
from replication.errors import UserError
from reports.check import differences
from reports.render import render

ROOT = Path(__file__).parent.parent
PUBLISHED = sorted(path.parent for path in (ROOT / "reports" / "published").glob("*/results"))
FEW = ("e2e-small", "gaussian", "onsets-shuffled", "pretrained", "pretrained-ar", "unigram")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    render(made_up(seeds=2, samples=16, without=FEW), folder)
    return folder


@pytest.fixture
def report(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "report"))


def test_verdicts_are_not_kept_but_judged_anew(made: Path) -> None:
    results = made_up(seeds=2, samples=16, without=FEW)
    assert read_results(made / "results").claims == results.claims


def test_what_was_changed_by_hand_is_named(report: Path) -> None:
    page = report / "report.md"
    page.write_text(page.read_text(encoding="utf-8").replace("2.", "1.", 1), encoding="utf-8")
    (report / "tables" / "main.csv").unlink()
    (report / "figures" / "better.svg").touch()
    wrong = ["tables/main.csv is missing", "figures/better.svg is not part of the report", "report.md differs"]
    done = python("reports", "--check", str(report), folder=report)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.splitlines() == [f"{report}: {line}" for line in wrong]


@pytest.mark.parametrize("name", ["facts.json", "trials.parquet"])
def test_results_that_are_damaged_or_missing_are_a_sentence(report: Path, name: str) -> None:
    path = report / "results" / name
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match=str(report)):
        differences(report)
    path.unlink()
    with pytest.raises(UserError, match="does not hold the results of a report"):
        differences(report)


@pytest.mark.parametrize("words", [(), ("--comparison", "a", "--check", "b")])
def test_a_report_is_made_or_checked(words: tuple[str, ...], tmp_path: Path) -> None:
    done = python("reports", *words, folder=tmp_path)
    assert (done.returncode, done.stderr) == (2, "etude: give --comparison or --check, one of the two\n")


@pytest.mark.slow
@pytest.mark.parametrize("published", PUBLISHED, ids=lambda path: path.name)
def test_published_reports_are_what_their_results_give(published: Path) -> None:
    words = [sys.executable, "-m", "reports", "--check", str(published)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
