"""`etude ui`: MLflow's page on the trials."""

from __future__ import annotations

from pathlib import Path

from etude.cli.options import Root  # noqa: TC001 - tyro reads the annotations
from replication.util.paths import folder_at


def ui(port: int = 5000, root: Root = Path()) -> int:
    """Open MLflow on the trials."""
    from eval.tracking.ui import serve

    return serve(folder_at(root), port)
