"""SVG as matplotlib writes it -> SVG that follows light and dark, alone and inside a page.

Figures are drawn in the light palette; every such colour becomes a class, and a style sheet gives
the class its colour in the light and in the dark. One unit is one CSS pixel: a figure is shown at
the size it was drawn for, so that its words stay as large as the page's.
"""

import re
from xml.etree import ElementTree as ET

NAMESPACE = "http://www.w3.org/2000/svg"
_HREF = "{http://www.w3.org/1999/xlink}href"
# name -> colour in the light, colour in the dark. The first three are the page's own.
# Variants: 3 to 1 or more against both papers, in an order in which neighbours differ for the
# colour-blind as well; line styles repeat it.
COLOURS = {
    "ink": ("#1c1c1c", "#e4e4e4"),
    "soft": ("#5c5c5c", "#a6abb3"),
    "grid": ("#e2e2e2", "#343840"),
    "other": ("#8c8c8c", "#7d838c"),
    "bad": ("#b00020", "#ff8a94"),
    "v0": ("#0a6bae", "#5cb3f2"),
    "v1": ("#c65a00", "#f59a45"),
    "v2": ("#0b7f5e", "#45c79d"),
    "v3": ("#a3449c", "#e08bd8"),
    "v4": ("#8a6d00", "#d6b73c"),
    "v5": ("#7a4a2b", "#c99a78"),
    "v6": ("#3f4fb5", "#9aa6ff"),
    "v7": ("#5d7f1d", "#a5cc5c"),
}
PAPER = ("#fff", "#16181b")  # the page's own
VARIANTS = [name for name in COLOURS if re.fullmatch(r"v\d", name)]
LIGHT = {name: light for name, (light, _) in COLOURS.items()}
_NAME_OF = {light: name for name, light in LIGHT.items()}
FAMILY = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"
# A tenth of a pixel is not seen, and six decimals are most of a file.
_LONG_NUMBER = re.compile(r"-?\d+\.\d+")

_SIZE, _BOLD = re.compile(r"[\d.]+px"), re.compile(r"(bold|[67]00)\b")

ET.register_namespace("", NAMESPACE)


def css() -> str:
    """Style sheet of every figure, for a page that holds figures or for one file."""
    light = "".join(
        f".f-{name}{{fill:{light}}}.s-{name}{{stroke:{light}}}"
        for name, (light, _) in COLOURS.items()
    )
    dark = "".join(
        f".f-{name}{{fill:{dark}}}.s-{name}{{stroke:{dark}}}" for name, (_, dark) in COLOURS.items()
    )
    return (
        f"svg text{{font-family:{FAMILY}}}svg *{{stroke-linejoin:round}}{light}"
        f"@media screen and (prefers-color-scheme:dark){{{dark}}}"
    )


def finished(raw: str, name: str, alternative: str) -> str:
    """A figure's file.

    Args:
        raw: what matplotlib wrote at 72 dots per inch, with text as text.
        name: unique in the report; it keeps the figure's ids apart from those of others.
        alternative: what the figure shows, for those who do not see it.
    """
    root = ET.fromstring(raw)
    for child in [
        c for c in root if c.tag in (f"{{{NAMESPACE}}}metadata", f"{{{NAMESPACE}}}title")
    ]:
        root.remove(child)
    width, height = root.attrib["viewBox"].split()[2:]
    root.attrib.update(width=_rounded(width), height=_rounded(height), role="img")
    for parent in root.iter():
        for child in [c for c in parent if c.tag == f"{{{NAMESPACE}}}style"]:
            parent.remove(child)
    for element in root.iter():
        _element(element, name)
    title = ET.Element(f"{{{NAMESPACE}}}title")
    title.text, title.tail = alternative, "\n"
    style = ET.Element(f"{{{NAMESPACE}}}style")
    style.text, style.tail = css(), "\n"
    root[:0] = [title, style]
    return ET.tostring(root, encoding="unicode") + "\n"


def on_paper(file: str) -> str:
    """The figure on paper of its own, for a page whose colours are not known."""
    light, dark = PAPER
    paper = (
        f"svg{{background:{light}}}"
        f"@media screen and (prefers-color-scheme:dark){{svg{{background:{dark}}}}}"
    )
    return file.replace("<style>", f"<style>{paper}", 1)


def inside(file: str) -> str:
    """The figure as a part of a page, which has the style sheet itself."""
    root = ET.fromstring(file)
    for style in root.findall(f"{{{NAMESPACE}}}style"):
        root.remove(style)
    return ET.tostring(root, encoding="unicode")


def _element(element: ET.Element, name: str) -> None:
    """Own ids, short numbers, colours as classes."""
    attributes = element.attrib
    if "id" in attributes:
        attributes["id"] = f"{name}-{attributes['id']}"
    if _HREF in attributes:
        attributes["href"] = f"#{name}-{attributes.pop(_HREF).removeprefix('#')}"
    if "clip-path" in attributes:
        attributes["clip-path"] = attributes["clip-path"].replace("url(#", f"url(#{name}-")
    for key in ("d", "x", "y", "transform", "points", "width", "height"):
        if key in attributes:
            attributes[key] = _LONG_NUMBER.sub(lambda m: _rounded(m[0]), attributes[key])
    if "d" in attributes:
        attributes["d"] = " ".join(attributes["d"].split())
    if "style" in attributes:
        _colour(attributes)


def _colour(attributes: dict[str, str]) -> None:
    kept, classes = [], []
    for declaration in attributes.pop("style").split(";"):
        key, _, value = (part.strip() for part in declaration.partition(":"))
        if key in ("fill", "stroke") and value in _NAME_OF:
            classes.append(f"{key[0]}-{_NAME_OF[value]}")
        elif key == "font":  # `bold 11px 'DejaVu Sans'`
            kept += [f"font-size: {size}" for size in _SIZE.findall(value)]
            kept += ["font-weight: 600"] * bool(_BOLD.match(value))
        elif key and key != "font-family":
            kept.append(f"{key}: {value}")
    if kept:
        attributes["style"] = "; ".join(kept)
    if classes:
        attributes["class"] = " ".join(classes)


def _rounded(number: str) -> str:
    return f"{float(number):z.1f}".removesuffix(".0")
