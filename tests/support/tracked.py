"""Read the runs of MLflow as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from eval.tracking.runs import SENDING, SYNCED
from eval.tracking.store import Store

if TYPE_CHECKING:
    from pathlib import Path


def frames(root: Path) -> pd.DataFrame:
    """Return the runs, one row each: `tags.*`, `params.*`, `metrics.*` (the final values)."""
    return pd.DataFrame([_row(run) for run in Store(root).runs()])


def _row(run: Any) -> dict[str, Any]:  # noqa: ANN401 - Run is imported lazily
    tags = {key: value for key, value in run.data.tags.items() if not key.startswith(("mlflow.", SYNCED, SENDING))}
    groups = {"tags": tags, "params": run.data.params, "metrics": run.data.metrics}
    cells = {f"{group}.{key}": value for group, values in groups.items() for key, value in values.items()}
    return {"run_id": run.info.run_id, "name": run.info.run_name, "status": run.info.status, **cells}
