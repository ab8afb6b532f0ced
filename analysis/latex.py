"""Tables in LaTeX that need no package, for pdflatex and xelatex.

Letters beyond ASCII stay as they are: accents need nothing, other scripts xelatex and their font.
"""

import re
from collections.abc import Sequence

from harness.machine import shown

SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"{\ttfamily\char34}",  # \textquotedbl is not in the encoding that LaTeX begins with
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "−": "$-$",
    "±": r"$\pm$",
    "–": "--",
}
WIDE = 32  # characters beyond which a column is broken: five columns then fit a page
BROKEN, BREAK = r"p{0.26\linewidth}", r"/\allowbreak{}"
# Where two characters would be joined into another one, such as -- into a dash.
_LIGATURE = re.compile(r"(?<=-)(?=-)|(?<=')(?=')|(?<=`)(?=`)|(?<=[?!])(?=`)")


def prose(value: object) -> str:
    """One line of text that LaTeX prints as it is."""
    return "{}".join(map(_escaped, _LIGATURE.split(shown.line(value))))


def _escaped(text: str) -> str:
    return "".join(SPECIAL.get(character, character) for character in text)


def table(header: Sequence[str], rows: Sequence[Sequence[object]], caption: str) -> str:
    """A `table` float; cells and caption are plain text, in a column of long texts broken."""
    cells = [[prose(cell) for cell in row] for row in (header, *rows)]
    broken = [max(map(len, column)) > WIDE for column in zip(*cells, strict=True)]
    columns = "".join(BROKEN if wide else "l" for wide in broken)
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{prose(caption)}}}", r"\footnotesize"]
    lines += [rf"\begin{{tabular}}{{{columns}}}", r"\hline"]
    first, *others = [_row(row, broken) for row in cells]
    lines += [first, r"\hline", *others, r"\hline", r"\end{tabular}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str], broken: Sequence[bool]) -> str:
    # A row that begins with [ would be taken for the length that \\ accepts.
    shown = [
        rf"\raggedright {cell.replace('/', BREAK)}\par" if wide else cell
        for cell, wide in zip(cells, broken, strict=True)
    ]
    return " & ".join(f"{{{cell}}}" for cell in shown) + r" \\"
