"""MkDocs calls these while it builds: generated pages and figures join the written ones."""

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # MkDocs' own command does not look where it is started

from mkdocs.structure.files import File, Files  # noqa: E402

from docs.generator import algorithms, choices, code, listings, parts  # noqa: E402

# Figures and texts that belong to other folders, and their places on the site.
FIGURES = ROOT / ".readme"


def on_config(config: Any) -> Any:
    """The algorithms are listed by the folder that holds them."""
    reference = next(each["Reference"] for each in config.nav if "Reference" in each)
    for entry in reference:
        if "Algorithms" in entry:
            entry["Algorithms"] = sorted(algorithms.pages(), key=lambda path: "index" not in path)
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add what is made."""
    pages = {
        **algorithms.pages(),
        "reference/tasks.md": choices.tasks(),
        "reference/rewards.md": choices.rewards(),
        "reference/keys.md": choices.keys(),
        "reference/metrics.md": listings.metrics(),
        "reference/errors.md": listings.errors(),
        "reference/python.md": code.python(),
    }
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    for figure in sorted(FIGURES.iterdir()):
        place = f"figures/{figure.name}"
        files.append(File.generated(config, place, abs_src_path=str(figure)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put what is made into the written page that asks for it."""
    for name, made in parts.PARTS.items():
        marker = f"<!-- made: {name} -->"
        if marker in markdown:
            markdown = markdown.replace(marker, made())
    return markdown
