"""Tables in LaTeX that need no package. Letters beyond ASCII stay as they are: use xelatex."""

from collections.abc import Sequence

from harness.machine import shown

SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "−": "$-$",
    "±": r"$\pm$",
    "–": "--",
}


def prose(value: object) -> str:
    """One line of text that LaTeX prints as it is."""
    return "".join(SPECIAL.get(character, character) for character in shown.line(value))


def table(header: Sequence[str], rows: Sequence[Sequence[object]], caption: str) -> str:
    """A `table` float; cells and caption are plain text."""
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{prose(caption)}}}"]
    lines += [rf"\begin{{tabular}}{{{'l' * len(header)}}}", r"\hline", _row(header), r"\hline"]
    lines += [_row(row) for row in rows]
    return "\n".join([*lines, r"\hline", r"\end{tabular}", r"\end{table}"]) + "\n"


def _row(cells: Sequence[object]) -> str:
    # A row that begins with [ would be taken for the length that \\ accepts.
    return " & ".join(f"{{{prose(cell)}}}" for cell in cells) + r" \\"
