"""The HTML templates of the report."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.listening import player

if TYPE_CHECKING:
    from jinja2 import Environment

ASSETS = Path(__file__).parent / "assets"


def render_template(template: str, **values: Any) -> str:  # noqa: ANN401 - templates take values of any type
    """Render a template of the report; all values are escaped."""
    return _environment().get_template(template).render(**values)


def split_lead(caption: str) -> dict[str, str]:
    """Return the first sentence of a caption as `lead` and the other sentences as `rest`."""
    lead, point, rest = caption.partition(". ")
    return {"lead": lead + point.rstrip(), "rest": rest}


@cache
def _environment() -> Environment:
    return player.templates(ASSETS)
