"""Piano rolls that play: what they hold, and a trial's page of them where others show it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.listening.player import Frame, clips, end_of, save_player
from tests.support.browser import chromium, opened, overflow, violations

if TYPE_CHECKING:
    from pathlib import Path

COLUMNS = ["sample", "onset", "duration", "pitch", "velocity"]
NOTE = st.tuples(
    st.integers(0, 2),
    st.integers(0, 400).map(lambda step: step / 8),
    st.integers(1, 64).map(lambda step: step / 8),
    st.integers(0, 127),
    st.integers(1, 127),
)


def table(*rows: tuple[float, ...]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=COLUMNS)


CHORDS = table(
    *((sample, beat, 1.0, 48 + 5 * beat + voice, 64) for sample in (0, 2) for beat in range(6) for voice in (0, 7))
)


def read(path: str) -> list[tuple[float, int, float]]:
    """Return (onset, pitch, duration) of the notes of a drawing."""
    return [(float(x), 127 - int(row), float(h)) for x, row, h in re.findall(r"M(\S+) (\d+)h([^M]+)", path)]


@given(st.lists(NOTE, max_size=30))
def test_a_drawing_shows_the_notes(rows: list[tuple[float, ...]]) -> None:
    notes = table(*rows)
    frame = Frame.around(notes, end=end_of(notes))
    found = clips(notes, frame, count=3)
    for clip in found:
        own = notes[notes["sample"] == clip.index].sort_values(["onset", "pitch"], kind="stable")
        played = read(clip.path)
        assert [note[:2] for note in played] == list(zip(own["onset"], own["pitch"], strict=True))
        assert sorted(map(int, clip.velocities.split())) == sorted(own["velocity"])
        assert clip.count == len(own) == len(clip.velocities.split())
        assert all(length > 0 for *_, length in played)
        assert sum(length for *_, length in played) <= own["duration"].sum()


def test_touching_notes_are_separated_and_notes_beyond_the_frame_are_cut() -> None:
    notes = table((0, 0, 1, 60, 64), (0, 1, 4, 60, 64), (0, 3, 1, 62, 64))
    frame = Frame(end=2.5, low=58, high=64)
    (clip,) = clips(notes, frame, count=1)
    (first, second) = read(clip.path)
    assert first[0] + first[2] == pytest.approx(0.94)
    assert second[0] + second[2] == pytest.approx(2.44)


def test_a_frame_holds_every_pitch() -> None:
    assert Frame.around(table((0, 0, 1, 60, 64), (0, 0, 1, 72, 64)), end=8).box == "0 52.5 8 17"
    assert Frame.around(table((0, 0, 1, 127, 64)), end=8).box == "0 -0.5 8 3"
    assert Frame.around(table(), end=1).lines == ""
    assert Frame(end=9, low=60, high=61).lines == "M4 65.5V67.5M8 65.5V67.5"


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "samples.html"
    save_player(CHORDS, path, title="<b>Tom & 'Jerry'</b>", colour="#0072B2", unit="beat", count=3)
    return path


def test_the_page_of_a_trial_is_small_and_deterministic(saved: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.html"
    save_player(CHORDS, again, title="<b>Tom & 'Jerry'</b>", colour="#0072B2", unit="beat", count=3)
    assert saved.read_bytes() == again.read_bytes()
    assert len(saved.read_bytes()) < 150_000


def test_the_page_of_a_trial_plays_in_a_frame_that_may_only_run_scripts(saved: Path, tmp_path: Path) -> None:
    outer = tmp_path / "outer.html"
    outer.write_text(
        f'<!doctype html><html lang="en"><title>x</title><iframe sandbox="allow-scripts" title="samples" width="900"'
        f' height="700" src="{saved.name}"></iframe></html>',
        encoding="utf-8",
    )
    with chromium() as browser, opened(browser, outer.as_uri()) as watched:
        frame = watched.page.frame_locator("iframe")
        assert frame.locator("h1").inner_text() == "<b>Tom & 'Jerry'</b>"
        assert frame.locator(".roll").count() == 2
        assert frame.locator(".silent").inner_text() == "no notes"
        frame.locator(".roll").last.click()
        sounding = frame.locator(".sounding").last
        seen: set[str | None] = set()
        while len(seen) < 3:
            seen.add(sounding.get_attribute("d"))
            watched.page.wait_for_timeout(20)
        assert frame.locator(".playing").inner_text() == "Playing sample 2"
        frame.get_by_role("button", name="Stop").click()
        assert frame.locator('.roll[aria-pressed="true"]').count() == 0
        assert watched.complaints == []
        assert watched.requests == [outer.as_uri(), saved.as_uri()]


@pytest.mark.parametrize("dark", [False, True])
def test_the_page_of_a_trial_is_accessible(saved: Path, *, dark: bool) -> None:
    with chromium() as browser, opened(browser, saved.as_uri(), width=390, dark=dark) as watched:
        assert violations(watched.page) == []
        assert overflow(watched.page) == 0
