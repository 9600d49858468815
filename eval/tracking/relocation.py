"""The project moved: MLflow writes the place of every artifact into its database, as an absolute address."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

EXPERIMENT = "Etude"


def artifact_root(root: Path) -> str:
    """Return the address of the folder in which the store at `root` keeps artifacts."""
    return (root.resolve() / "mlartifacts").as_uri()


def relocate(root: Path) -> bool:
    """Point the stored artifact addresses at `root`, to which the project was moved; say whether anything changed."""
    here = artifact_root(root)
    with closing(sqlite3.connect(root / "mlflow.db")) as connection, connection:
        select = "SELECT artifact_location FROM experiments WHERE name = ?"
        (there,) = connection.execute(select, (EXPERIMENT,)).fetchone() or (here,)
        if there == here or not there.startswith("file:"):
            return False
        for update in (
            "UPDATE experiments SET artifact_location = replace(artifact_location, ?, ?)",
            "UPDATE runs SET artifact_uri = replace(artifact_uri, ?, ?)",
            "UPDATE logged_models SET artifact_location = replace(artifact_location, ?, ?)",
        ):
            connection.execute(update, (there, here))
    return True
