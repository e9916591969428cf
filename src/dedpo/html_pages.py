"""Pages of one file, without script and request: they open from disk, on a phone and on paper."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def render(template: Path, charts: Mapping[str, str], filters: Mapping[str, Any], **values: Any) -> str:
    """Fill a template <name>.html.j2 with the style sheet <name>.css beside it; every text in it is escaped.

    Args:
        charts: SVG by name, as `dedpo.charts` draws it: with its own texts escaped.
        filters: the template's own, beside 'percent', 'brief' and 'asides'.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(template.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "brief": brief, "asides": _asides, **filters}
    style = template.with_name(template.name.replace(".html.j2", ".css"))
    css = Markup(style.read_text(encoding="utf-8"))  # noqa: S704 (it ships with the package)
    drawn = {name: Markup(svg) for name, svg in charts.items()}  # noqa: S704
    return environment.get_template(template.name).render(css=css, charts=drawn, **values)


def percent(value: float | None, decimals: int = 0) -> str:
    """A share as '62 %', unbreakable; '–' for None or NaN."""
    return "–" if value is None or value != value else f"{100 * value:.{decimals}f}\u00a0%"


def brief(text: str, limit: int = 240) -> str:
    """`text`, cut at `limit` characters with a note of its whole length."""
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text):,} characters)"


def _asides(text: str) -> Any:
    """What stands in brackets, in a <span>."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"\([^()]*\)", r"<span>\g<0></span>", str(escape(text))))  # noqa: S704
