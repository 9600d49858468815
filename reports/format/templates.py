"""The templates of the report, and the texts that they take in."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.listening import player

if TYPE_CHECKING:
    from jinja2 import Environment

ASSETS = Path(__file__).parent / "assets"


def rendered(template: str, **shown: Any) -> str:  # noqa: ANN401 - whatever a template shows
    """Return a template of the report, filled; everything shown is escaped."""
    return _environment().get_template(template).render(**shown)


def led(caption: str) -> dict[str, str]:
    """Return the first sentence of a caption as `lead` and the others as `rest`, as templates take them."""
    lead, point, rest = caption.partition(". ")
    return {"lead": lead + point.rstrip(), "rest": rest}


@cache
def _environment() -> Environment:
    return player.templates(ASSETS)
