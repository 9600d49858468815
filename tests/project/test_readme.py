from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from replication.corpora.corpus import CORPORA
from replication.corpora.reading import load
from tests.support.program import python

ROOT = Path(__file__).parents[2]
PACKAGES = ("replication", "baselines", "eval", "reports", "etude")
# The line after which a row is added to each table.
TABLES = {
    "BASELINES": "BASELINES: tuple[Experiment, ...] = (\n",
    "METRICS": "METRICS: dict[str, Metric] = {\n",
    "CORPORA": "    for corpus in (\n",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with all additions that the README shows."""
    folder = tmp_path_factory.mktemp("project")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "published", "output"))
    blocks = re.findall(r"```python\n# (\S+\.py)(?:: [^\n]* of (\w+))?\n(.*?)```", _readme(), flags=re.DOTALL)
    assert [(path, table) for path, table, _ in blocks] == [
        ("baselines/positional.py", ""),
        ("baselines/__init__.py", "BASELINES"),
        ("eval/metrics/leaps.py", ""),
        ("eval/metrics/table.py", "METRICS"),
        ("replication/corpora/note_tables.py", ""),
        ("replication/corpora/corpus.py", "CORPORA"),
    ]
    for path, table, code in blocks:
        file = folder / path
        if not table:
            assert not file.exists()
            file.write_text(code, encoding="utf-8")
            continue
        imports, row = code.split("\n\n", 1)
        text = file.read_text(encoding="utf-8")
        future = "from __future__ import annotations\n"
        assert text.count(TABLES[table]) == text.count(future) == 1
        text = text.replace(future, f"{future}{imports}\n").replace(TABLES[table], f"{TABLES[table]}{row.rstrip()},\n")
        file.write_text(text, encoding="utf-8")
    (folder / "folk").mkdir()
    for piece in load(CORPORA["synthetic"], folder / "cache").pieces:
        notes = piece.notes
        columns = [notes["onset"] / 4, notes["duration"] / 4, notes["pitch"], notes["velocity"]]
        table = np.stack([column.astype(float) for column in columns], axis=1)
        header = "onset,duration,pitch,velocity"
        np.savetxt(folder / "folk" / f"{piece.id}.csv", table, delimiter=",", header=header, comments="")
    return folder


def _readme() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_additions_of_the_readme_are_trained_scored_and_reported(project: Path) -> None:
    words = ("run", "--scale", "smoke", "--corpus", "folk", "--only", "positional", "unigram", "--seeds", "1")
    done = python("etude", *words, folder=project, PYTHONPATH=str(project))
    assert done.returncode == 0, done.stderr
    trials = pd.read_csv(project / "reports" / "output" / "trials.csv").set_index("experiment")
    assert trials.loc["positional", "nll"] < 1.05 * trials.loc["unigram", "nll"]
    assert "Leap rate" in (project / "reports" / "output" / "tables" / "metrics.md").read_text(encoding="utf-8")


def test_links_of_the_readme_lead_to_files() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", _readme())
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
