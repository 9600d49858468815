"""Made-up results and their tables and figures, made once for all tests of the report, which only read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
import pytest

from reports.sections.contents import build_tables, draw_figures
from tests.support.synthetic_results import synthetic_results

if TYPE_CHECKING:
    from eval.results.frames import Results
    from reports.format.figure import CaptionedFigure
    from reports.format.table import Table


@pytest.fixture(scope="session")
def results() -> Results:
    """Return results with every experiment, three seeds each."""
    return synthetic_results()


@pytest.fixture(scope="session")
def tables(results: Results) -> dict[str, Table]:
    """Return all tables of `results`."""
    return build_tables(results)


@pytest.fixture(scope="session")
def figures(results: Results) -> dict[str, CaptionedFigure]:
    """Return all figures of `results`, drawn without changing the settings of the process."""
    before = {**mpl.rcParams, "backend": ""}  # the backend is resolved on first use
    drawn = draw_figures(results)
    assert {**mpl.rcParams, "backend": ""} == before
    return drawn
