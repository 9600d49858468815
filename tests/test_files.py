from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from replication.embeddings import Gaussian, Learned
from replication.files import atomic, describe, digest, read_json, write_json

if TYPE_CHECKING:
    from pathlib import Path


def test_a_file_is_whole_or_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file.json"
    write_json(path, {"a": 1})

    def fail_half_way() -> None:
        with atomic(path) as draft:
            draft.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    assert read_json(path) == {"a": 1}
    assert list(path.parent.iterdir()) == [path]


def test_a_description_keeps_class_names() -> None:
    assert describe(Learned(scale=2.0)) == {"type": "Learned", "scale": 2.0, "trainable": True}
    assert digest(Learned()) != digest(Gaussian())
    assert digest({"b": 1, "a": (2,)}) == digest({"a": [2], "b": 1})
