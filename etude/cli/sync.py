"""`etude sync`: update MLflow from the run folders."""

from __future__ import annotations

from pathlib import Path

from etude.cli.options import Root  # noqa: TC001 - tyro reads the annotations
from replication.util.paths import folder_at


def sync(root: Root = Path()) -> None:
    """Update MLflow from the run folders; each result is logged exactly once."""
    from eval.tracking.store import open_store

    store = open_store(folder_at(root))
    count = store.sync_all(sorted({path.parents[2] for path in store.root.glob("runs/*/*/*/*/trial.json")}))
    print(f"MLflow is up to date with {count} {'trial' if count == 1 else 'trials'}")
