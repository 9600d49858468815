"""A comparison out of MLflow: what its runs carry, laid out as the folders that they are a view of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eval.tracking import LEVEL
from eval.tuning import tuning_name
from replication.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from eval.tracking import Store


LONGEST = 255  # bytes of the name of a file


def fetch(store: Store, *, scale: str, corpus: str, root: Path) -> Path:
    """Write what the runs of a comparison, and of the grid before it, carry below `root`.

    Returns:
        The folder of the comparison; it has all that a report is made of, and no weights.

    Raises:
        UserError: if the store has no such comparison, or not all of it; or if a run is called what no folder can be.
        StoreError: if MLflow cannot be reached.
    """
    runs = [run for run in store.runs() if LEVEL in run.data.tags]
    real = [run.data.tags for run in runs if _is_real_music(run.data.tags)]
    there = sorted({(tags.get("scale", ""), tags["corpus"]) for tags in real})
    if (scale, corpus) not in there:
        found = ", ".join(" on ".join(names) for names in there) or "none"
        raise UserError(
            f"MLflow at {store.place} has no whole comparison of scale {scale} on {corpus} (there: {found}): name"
            " another, or run `etude sync` where the trials are"
        )
    for run in runs:
        tags = run.data.tags
        if tags.get("corpus") == corpus and tags.get("scale") in {scale, tuning_name(scale)}:
            own = [] if _is_real_music(tags) else [tags.get("variant", ""), tags.get("seed", "")]
            names = [tags["scale"], corpus, *own]
            if not all(map(_is_name, names)):
                raise UserError(
                    f"MLflow at {store.place} has a run of {names}, which are no names of folders: delete it"
                )
            store.download(run.info.run_id, root.joinpath("runs", *names))
    return root / "runs" / scale / corpus


def _is_name(name: str) -> bool:
    """Whether a folder below another can have the name."""
    return name not in {"", ".", ".."} and "/" not in name and name.isprintable() and len(name.encode()) <= LONGEST


def _is_real_music(tags: dict[str, str]) -> bool:
    return tags.get("kind") == "reference" and "corpus" in tags
