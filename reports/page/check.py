"""Check that the files of a report are exactly what its results give with this code."""

from __future__ import annotations

import tempfile
from pathlib import Path

from eval.results.files import read_results
from reports.page.render import RESULTS, render


def differences(report: Path) -> list[str]:
    """Render a report again from its results and return the differences, one text per file.

    Raises:
        UserError: If the report has no results, or they are damaged.
    """
    with tempfile.TemporaryDirectory() as folder:
        rendered = Path(folder)
        render(read_results(report / RESULTS), rendered)
        found, expected = _files(report), _files(rendered)
        return [
            *(f"{path} is missing" for path in sorted(expected - found)),
            *(f"{path} is not part of the report" for path in sorted(found - expected)),
            *(
                f"{path} differs"
                for path in sorted(expected & found)
                if (report / path).read_bytes() != (rendered / path).read_bytes()
            ),
        ]


def _files(report: Path) -> set[str]:
    """Return the files of a report except its results."""
    names = {path.relative_to(report).as_posix() for path in report.rglob("*") if path.is_file()}
    return {name for name in names if not name.startswith(f"{RESULTS}/")}
