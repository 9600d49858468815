from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from eval.claims.judgement import verdicts_on
from eval.results.files import read_results, write_results
from replication.util.errors import UserError
from reports.page.check import differences
from reports.page.render import render
from tests.support.program import python
from tests.support.synthetic_results import synthetic_results

PUBLISHED = Path(__file__).parents[2] / "reports" / "published"
# Exploratory reports are kept as they were published, and this version cannot read their results.
RESULTS = sorted(path for path in PUBLISHED.glob("*/results") if not path.parent.name.endswith("-exploratory"))


@pytest.fixture(params=RESULTS, ids=lambda path: path.parent.name)
def report(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return a copy of a published report, or the report of published results."""
    folder = tmp_path / "report"
    if (request.param.parent / "report.md").exists():
        return Path(shutil.copytree(request.param.parent, folder))
    render(read_results(request.param), folder)
    return folder


@pytest.mark.slow
def test_check_compares_a_published_report_with_its_results_and_names_changed_files(report: Path) -> None:
    page = report / "report.md"
    page.write_text(page.read_text(encoding="utf-8").replace("2.", "1.", 1), encoding="utf-8")
    (report / "tables" / "main.csv").unlink()
    (report / "figures" / "better.svg").touch()
    done = python("reports", "--check", str(report), folder=report)
    wrong = ["tables/main.csv is missing", "figures/better.svg is not part of the report", "report.md differs"]
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.splitlines() == [f"{report}: {line}" for line in wrong]


def test_verdicts_are_not_stored_but_computed_from_the_results(tmp_path: Path) -> None:
    results = synthetic_results(samples=16)
    write_results(results, tmp_path)
    # As text, since NaN differs from itself.
    assert repr(verdicts_on(read_results(tmp_path))) == repr(verdicts_on(results))
    assert any(verdict.verdict != "not tested" for verdict in verdicts_on(results))


@pytest.mark.parametrize("name", ["facts.json", "trials.parquet"])
def test_damaged_or_missing_results_are_a_user_error(report: Path, name: str) -> None:
    path = report / "results" / name
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match=str(report)):
        differences(report)
    path.unlink()
    with pytest.raises(UserError, match="does not hold the results of a report"):
        differences(report)


@pytest.mark.parametrize("words", [(), ("--comparison", "a", "--check", "b")])
def test_a_report_is_written_or_checked(words: tuple[str, ...], tmp_path: Path) -> None:
    done = python("reports", *words, folder=tmp_path)
    assert (done.returncode, done.stderr) == (2, "etude: give either --comparison or --check\n")
