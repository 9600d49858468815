"""Whether the files of a report are what its results give: nothing in it was written by hand, or by other code."""

from __future__ import annotations

import tempfile
from pathlib import Path

from eval.results.files import read_results
from reports.page.render import RESULTS, render


def differences(report: Path) -> list[str]:
    """Return what is wrong with the files of a report, by its results; nothing if all are as they are to be.

    Raises:
        UserError: if the report has no results, or damaged ones.
    """
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder)
        render(read_results(report / RESULTS), made)
        there, wanted = _files(report), _files(made)
        return [
            *(f"{path} is missing" for path in sorted(wanted - there)),
            *(f"{path} is not part of the report" for path in sorted(there - wanted)),
            *(
                f"{path} differs"
                for path in sorted(wanted & there)
                if (report / path).read_bytes() != (made / path).read_bytes()
            ),
        ]


def _files(report: Path) -> set[str]:
    """Return the files of a report without its results."""
    names = {path.relative_to(report).as_posix() for path in report.rglob("*") if path.is_file()}
    return {name for name in names if not name.startswith(f"{RESULTS}/")}
