"""The file of a comparison's declaration, as the trials and the results see it; see `eval.claims.declaration`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replication.util.files import digest, read_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

FILE = "declaration.json"


def content_hash(content: Mapping[str, Any]) -> str:
    """Return the hash of a declaration, which covers everything except "hash" itself and "trials"."""
    return digest({key: value for key, value in content.items() if key not in {"hash", "trials"}})


def declared(comparison: Path) -> dict[str, Any] | None:
    """Return the declaration of a comparison; None if it has none."""
    path = comparison / FILE
    return dict(read_json(path)) if path.exists() else None


def declaration_hash(comparison: Path) -> str | None:
    """Return the hash that the declaration of a comparison has; None if it has none."""
    given = declared(comparison)
    return None if given is None else str(given["hash"])


def declaration_of(comparison: Path, trials: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return the declaration of a comparison and, as "trials", the hash that each trial was started under."""
    given = declared(comparison)
    if given is None:
        return None
    hashes = {f"{about['experiment']} seed {about['seed']}": about["declaration"] for about in trials}
    return {**given, "trials": hashes}
