"""What tests of several modules share."""

from __future__ import annotations

import pytest
from killing import Place
from program import music


@pytest.fixture(scope="session")
def own_music(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Return a folder in which the program was run once on a user's own music, for tests that leave it as it is."""
    base = tmp_path_factory.mktemp("own-music")
    place = Place(folder=base / "place", corpus=music(base, 40))
    (place.corpus / "broken.mid").write_bytes(b"MThd")
    assert place.start().wait() == 0, place.log.read_text(encoding="utf-8")
    return place
