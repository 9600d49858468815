"""A claim that is changed after a run started is exploratory in the report, on the terminal and in MLflow."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

from eval.claims import claims, declaration, judgement
from eval.claims.claims import CLAIMS
from eval.tracking import notes
from eval.tracking.store import open_store
from replication.util.files import read_json
from reports.page.render import make_report
from tests.support.tracking_stores import runs_table

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.support.killed_program import Workspace


def test_a_claim_changed_after_the_run_started_is_exploratory_everywhere(
    own_music: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    root = tmp_path / "place"
    shutil.copytree(own_music.folder / "runs", root / "runs")
    comparison = root / "runs" / "smoke" / own_music.corpus.name
    written = read_json(comparison / "declaration.json")
    assert read_json(comparison / "e2e" / "0" / "trial.json")["declaration"] == written["hash"]

    def shown(folder: Path) -> tuple[str, str, str]:
        """Return what report, terminal and MLflow say."""
        judgement.judged_on.cache_clear()
        make_report(comparison, folder)
        store = open_store(root)
        store.sync_all([comparison])
        tags = runs_table(root).set_index("tags.variant")["tags.claims"]
        return (folder / "index.html").read_text(encoding="utf-8"), capsys.readouterr().out, tags["e2e"]

    page, terminal, tag = shown(tmp_path / "before")
    assert "Demonstration verdicts." in page
    assert "Demonstration verdicts." in terminal
    assert tag == "demonstration"
    assert "xploratory" not in page + terminal

    changed = (replace(CLAIMS[0], statement="They are worse."), *CLAIMS[1:])
    for module in (claims, declaration, judgement, notes):
        monkeypatch.setattr(module, "CLAIMS", changed)
    page, terminal, tag = shown(tmp_path / "after")
    assert "Exploratory: C1 was changed after it was declared." in page
    assert "Exploratory (C1 was changed after it was declared.)" in " ".join(terminal.split())
    assert "exploratory" in (tmp_path / "after" / "tables" / "claims.md").read_text(encoding="utf-8")
    assert tag == "exploratory"
    judgement.judged_on.cache_clear()
