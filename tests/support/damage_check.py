"""Find damaged files and unfinished temporary files in a folder."""

from __future__ import annotations

import json
import os
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow.parquet
from safetensors import safe_open

from replication.util import checksums

DRAFT = re.compile(r"\.(.+)-[0-9a-f]{32}|\.tmp.*")
ARTIFACTS = "mlartifacts"  # MLflow's own copies, which are not checked
# What a whole file of a kind without a reader below ends with.
ENDS = {
    ".html": (b"</html>", b"</figure>"),
    ".svg": (b"</svg>",),
    ".png": (b"IEND\xaeB`\x82",),
    ".mid": (b"\xff\x2f\x00",),
}


def drafts(folder: Path) -> list[str]:
    """Return the temporary files of atomic writes: each is being written, or its writer was killed."""
    found = []
    for place, names, files in os.walk(folder):
        found += [str(Path(place, name)) for name in (*names, *files) if DRAFT.fullmatch(name)]
        names[:] = [name for name in names if name != ARTIFACTS and not DRAFT.fullmatch(name)]
    return sorted(found)


def damaged(folder: Path) -> list[str]:
    """Return the files under their final names that cannot be read completely, each with the reason."""
    found = []
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if ARTIFACTS in parts or any(map(DRAFT.fullmatch, parts)) or not path.is_file():
            continue
        try:
            _read(path)
        except FileNotFoundError:  # a process that is about to end removed it
            continue
        except Exception as error:  # noqa: BLE001 - any error of any reader is damage
            found.append(f"{path.relative_to(folder)}: {error!r}")
    return found


def _read(path: Path) -> None:  # noqa: C901 - one case for each kind of file
    """Read a file completely with the reader of its kind, which raises if the file is damaged."""
    content, suffix = path.read_bytes(), path.suffix
    match suffix:
        case ".json":
            json.loads(content)
        case ".jsonl":
            for line in content.split(b"\n")[:-1]:
                json.loads(line)
        case ".safetensors":
            with safe_open(path, framework="np") as file:
                for name in file.keys():  # noqa: SIM118 - not a dict
                    file.get_tensor(name)
        case ".npz" | ".npy":
            found = np.load(path, allow_pickle=False)
            for name in found if suffix == ".npz" else ():
                found[name]
        case checksums.SUFFIX:
            assert not checksums.missing(path), f"{checksums.missing(path)} missing"
        case ".parquet":
            pyarrow.parquet.read_table(path)
        case ".db":
            with closing(sqlite3.connect(path)) as connection:
                (result,) = connection.execute("PRAGMA quick_check").fetchone()
                assert result == "ok", result
        case _:
            assert content.rstrip().endswith(ENDS.get(suffix, (b"",))), f"ends with {content[-20:]!r}"
