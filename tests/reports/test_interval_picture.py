"""The picture of a claim as text and as SVG."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET

import pytest

from eval.claims.verdicts import EndpointScale, Evidence
from eval.statistics.paired import contrast
from reports.format.interval_picture import LEFT, LINE, MARGIN, MEAN, RIGHT, ZERO, svg_picture, text_picture

FLOORS = EndpointScale(unit=" floors", margin=0.5, better=-1)


def evidence(*differences: float) -> Evidence:
    return Evidence(scale=FLOORS, contrast=contrast(differences, margin=0.5))


def test_an_interval_left_of_0() -> None:
    line = text_picture(evidence(-1.0, -1.2, -0.9, -1.1))
    assert len(line) == 41
    assert line.index(LINE) < line.index(MEAN) < line.index(MARGIN) < line.index(ZERO)
    assert line[20] == ZERO


def test_an_interval_within_the_margin_covers_0() -> None:
    line = text_picture(evidence(0.1, -0.1, 0.05, -0.05))
    assert line.index(MARGIN) < line.index(LINE)
    assert line[20] == MEAN
    assert line.count(MARGIN) > 10


def test_a_long_interval_is_cut_at_the_axis() -> None:
    line = text_picture(evidence(-30.0, 30.0))
    assert line.startswith(LEFT)
    assert line.endswith(RIGHT)
    assert len(line) == 41


@pytest.mark.parametrize("differences", [(), (1.0,), (math.inf, 1.0)])
def test_without_an_interval_there_is_no_picture(differences: tuple[float, ...]) -> None:
    assert text_picture(evidence(*differences)) == svg_picture(evidence(*differences)) == ""


def test_the_svg_has_the_same_parts_in_the_same_places() -> None:
    root = ET.fromstring(svg_picture(evidence(-1.0, -1.2, -0.9, -1.1)))  # noqa: S314 - our own text
    parts = {part.get("class"): part for part in root}
    assert set(parts) == {"margin", "zero", "span", "mean"}
    assert float(parts["span"].get("x2", "")) < float(parts["margin"].get("x", ""))
    assert float(parts["zero"].get("x1", "")) == 160
