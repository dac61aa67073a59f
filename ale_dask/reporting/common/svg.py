"""Write SVG figures as text: without a library, and with equal bytes for equal input."""

from __future__ import annotations

from html import escape

from ale_dask.reporting.common.palette import INK

WIDTH = 760
"""Width in units; at a font size of 12 a line of text holds about 115 characters."""


def svg(parts: list[str], *, height: float, title: str, alt: str, width: int = WIDTH) -> str:
    """Return a figure on white as an SVG document that holds its title and its description in words."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height:g}" width="{width}" '
        f'height="{height:g}" role="img" font-family="system-ui, sans-serif" font-size="12" fill="{INK}">'
        f'<title>{escape(title)}</title><desc>{escape(alt)}</desc><rect width="100%" height="100%" fill="#fff"/>'
        f"{text(14, 24, title, size=15)}{''.join(parts)}</svg>\n"
    )


def text(
    x: float, y: float, words: str, *, size: int = 12, fill: str = INK, anchor: str = "start", bold: bool = False
) -> str:
    """Return words with their baseline at y."""
    anchored = "" if anchor == "start" else f' text-anchor="{anchor}"'
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{fill}"{anchored}{weight}>{escape(words)}</text>'


def box(x: float, y: float, width: float, height: float, fill: str, *, opacity: float = 1.0, alt: str = "") -> str:
    """Return a filled rectangle; `alt` is shown where a pointer rests on it."""
    faint = "" if opacity == 1 else f' fill-opacity="{opacity:g}"'
    words = f"<title>{escape(alt)}</title>" if alt else ""
    return f'<rect x="{x:.4g}" y="{y:g}" width="{width:.4g}" height="{height:g}" fill="{fill}"{faint}>{words}</rect>'


def short(name: str, most: int) -> str:
    """Return a name, cut to `most` characters."""
    return name if len(name) <= most else f"{name[: most - 1].rstrip()}…"


_EM = {
    **dict.fromkeys(" ,.;:'|!ijlIJf/\\·²³", 0.41),
    **dict.fromkeys("`()[]-_rts", 0.53),
    **dict.fromkeys("ABCDEFGHKLNOPQRSTUVXYZ&=<>+−→#^~×≤", 0.84),
    **dict.fromkeys("mwMW@%…", 1.0),
}
"""Widths of letters as parts of their size, at least those of DejaVu Sans, which is wider than the usual fonts."""


def width_of(words: str, size: float) -> float:
    """Return the most that words are wide in a reader's sans-serif font."""
    return size * sum(_EM.get(character, 0.645) for character in words)


def lines_of(words: str, *, width: float, size: float) -> list[str]:
    """Return words broken into lines that fit a width; a word that is longer than a line is broken, too."""
    lines = [""]
    for word in words.split():
        longer = f"{lines[-1]} {word}".strip()
        if width_of(longer, size) <= width:
            lines[-1] = longer
            continue
        if lines[-1]:
            lines.append("")
        for character in word:
            if width_of(lines[-1] + character, size) > width:
                lines.append("")
            lines[-1] += character
    return [line for line in lines if line]


def fitting(words: str, *, width: float, size: float) -> str:
    """Return words, cut in their middle so that they fit a width: names often differ at their ends."""
    if width_of(words, size) <= width:
        return words
    for kept in range(len(words) - 1, 1, -1):
        short = f"{words[: kept - kept // 2].rstrip()}…{words[len(words) - kept // 2 :].lstrip()}"
        if width_of(short, size) <= width:
            return short
    return "…"


def titled(parts: list[str], *, lines: list[str], height: float, alt: str, width: int = WIDTH) -> str:
    """Return a figure as `svg` does, with a title in several lines, 18 units each."""
    first, *more = lines
    below = [text(14, 24 + 18 * k, line, size=15) for k, line in enumerate(more, 1)]
    return svg([*below, *parts], height=height, title=first, alt=alt, width=width)
