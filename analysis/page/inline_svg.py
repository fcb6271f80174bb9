"""A figure of matplotlib as a part of a page, in the page's own colours, light or dark."""

import re

from markupsafe import Markup

from analysis.figures.style import TIERS

IDS = re.compile(r'(\bid="|url\(#|href="#)')
COLOUR = re.compile(r"#[0-9a-f]{6}")
OWN_STYLE = re.compile(r"<metadata>.*?</metadata>|<style.*?</style>", re.DOTALL)
SIZE = re.compile(r'\s(?:width|height)="[^"]*"')


def inline(drawn: str, name: str, width: int) -> Markup:
    """An SVG of matplotlib, to be written into HTML.

    Its greys become shares of the page's ink, white its paper, the colours of results the page's.

    Args:
        drawn: the file.
        name: of the figure, in front of its ids, of which a page may have each once.
        width: in pixels, where there is room.
    """
    head, _, rest = drawn[drawn.index("<svg") :].partition(">")
    body = OWN_STYLE.sub("", rest)
    body = IDS.sub(rf"\g<1>{name}-", body)
    head = SIZE.sub("", head)
    return Markup(f'{head} style="width:{width}px" aria-hidden="true">{COLOUR.sub(_own, body)}')


def _own(found: re.Match[str]) -> str:
    """A colour as the page has it."""
    colour = found[0]
    if colour in TIERS:
        return f"var(--t{TIERS.index(colour)})"
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    if not red == green == blue:
        return colour
    if red == 255:
        return "var(--paper)"
    return f"color-mix(in srgb, currentColor {100 - 100 * red // 255}%, transparent)"
