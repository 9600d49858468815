"""`etude ui`: open MLflow's page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from etude.cli.options import Root  # noqa: TC001 - tyro reads the annotations
from replication.util.paths import folder_at

Port = Annotated[int, tyro.conf.arg(metavar="N", help="port of the page on this machine")]


def ui(port: Port = 5000, root: Root = Path()) -> int:
    """Serve MLflow's page with the results of the trials."""
    from eval.tracking.ui import serve

    return serve(folder_at(root), port)
