"""A figure of matplotlib as a part of a page, in the page's own colours, light or dark."""

import re

from markupsafe import Markup

from analysis.figures.style import TIERS

IDS = re.compile(r'(\bid="|url\(#|href="#)')
COLOUR = re.compile(r"#[0-9a-f]{6}")
OWN_STYLE = re.compile(r"<metadata>.*?</metadata>|<style.*?</style>", re.DOTALL)
WIDTH = re.compile(r'\swidth="([\d.]+)pt"')
HEIGHT = re.compile(r'\sheight="[^"]*"')
PIXELS = 160 / 72
"""A point of a figure, on a page: its type is then that of the page's own text."""
NARROW = 600
"""Pixels up to which a figure is shrunk on a phone, and not scrolled."""


def inline(drawn: str, name: str) -> Markup:
    """An SVG of matplotlib, to be written into HTML.

    Its greys become shares of the page's ink, white its paper, the colours of results the page's. A
    figure with others, or with pixels, keeps them all: the page inverts it in the dark.

    Args:
        drawn: the file.
        name: of the figure, in front of its ids, of which a page may have each once.
    """
    head, _, rest = drawn[drawn.index("<svg") :].partition(">")
    width = round(float(WIDTH.findall(head)[0]) * PIXELS)
    body = IDS.sub(rf"\g<1>{name}-", OWN_STYLE.sub("", rest))
    kinds = ["wide"] * (width > NARROW)
    if "<image" in body or not all(map(_own, set(COLOUR.findall(body)))):
        kinds.append("fixed")
    else:
        body = COLOUR.sub(lambda found: _own(found[0]), body)
    head = HEIGHT.sub("", WIDTH.sub("", head))
    named = f' class="{" ".join(kinds)}"' if kinds else ""
    return Markup(f'{head}{named} style="width:{width}px" aria-hidden="true">{body}')


def _own(colour: str) -> str:
    """A colour as the page has it; empty where it has none."""
    if colour in TIERS:
        return f"var(--t{TIERS.index(colour)})"
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    if not red == green == blue:
        return ""
    if red == 255:
        return "var(--paper)"
    return f"color-mix(in srgb, currentColor {100 - 100 * red // 255}%, transparent)"
