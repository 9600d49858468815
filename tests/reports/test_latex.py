from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from reports.format.table import Table, text_cell
from reports.sections.contents import TABLES
from tests.support.synthetic_results import synthetic_results

if TYPE_CHECKING:
    from pathlib import Path

PREAMBLE = r"""\documentclass{article}
\usepackage[a3paper,landscape,margin=1cm]{geometry}
\usepackage{booktabs}
\begin{document}
"""
ODD = r"100 % & $5 #1_a {b} ~ ^ \ <i> | 'quoted' é"


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex, of texlive-latex-recommended")
@pytest.mark.parametrize("triples", [False, True])
def test_tables_compile(triples: bool, tmp_path: Path) -> None:
    results = synthetic_results(seeds=2, samples=16, triples=triples)
    odd = Table.of("odd", rows=[{ODD: text_cell("odd", ODD)}], caption=ODD, notes=[ODD])
    tables = [*(make(results) for make in TABLES.values()), odd]
    pages = "\n\\clearpage\n".join(table.latex() for table in tables)
    (tmp_path / "tables.tex").write_text(f"{PREAMBLE}{pages}\\end{{document}}\n", encoding="utf-8")
    words = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "tables.tex"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert f"Output written on tables.pdf ({len(tables)} pages" in done.stdout
