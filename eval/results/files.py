"""Store results as files next to their report, so that it can be made again and checked without the trials."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from eval.results.frames import Results, checked
from eval.results.schema import MALFORMED
from replication.util.errors import UserError, error_text
from replication.util.files import atomic, read_json, write_parquet

if TYPE_CHECKING:
    from pathlib import Path

FACTS = "facts.json"  # everything but the frames, which have a file each


def write_results(results: Results, folder: Path) -> list[Path]:
    """Write each frame to a Parquet file of its name and the other facts to JSON; return the files."""
    import pandas as pd

    facts: dict[str, Any] = {}
    paths = [folder / FACTS]
    for field in fields(results):
        value = getattr(results, field.name)
        if isinstance(value, pd.DataFrame):
            paths.append(folder / f"{field.name}.parquet")
            write_parquet(paths[-1], value)
        else:
            facts[field.name] = value
    with atomic(paths[0]) as draft:  # unsorted: the order of keys is the order of the tables
        draft.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return paths


def read_results(folder: Path) -> Results:
    """Read what `write_results` wrote, bit for bit.

    Raises:
        UserError: if a file is missing, damaged, or from another version of Etude.
    """
    import pandas as pd

    try:
        values: dict[str, Any] = read_json(folder / FACTS)
        for name in {field.name for field in fields(Results)} - values.keys():
            values[name] = pd.read_parquet(folder / f"{name}.parquet")
        return checked(Results(**values))
    except (OSError, *MALFORMED) as error:
        raise UserError(
            f"{folder} does not hold the results of a report ({error_text(error)}); give another folder"
        ) from None
