"""The page of the findings that are kept: what holds, what does not, what stays undecided."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from analysis import text
from analysis.gains import ACCURACY, TITLE
from analysis.kept import FOLDER, estimated, everything, put
from analysis.stats import Outcome
from harness.machine import files

PAGE = "README.md"
HEAD = (
    "# Findings\n\n"
    "Written by `python -m analysis findings` from the files beside it. A claim was predicted "
    "before its runs, or is marked as not predicted; verdicts are taken over all predictions "
    "of an ablation together (Holm). A screening has fewer than five seeds: it shows what is plain "
    "and is no ground for equalities. `harness -m +ablation=NAME` runs one again and "
    "`python -m analysis findings --check NAME` says whether the new run agrees. They are about "
    "the tiny models and tasks that they name."
)
# Heading -> the verdicts that stand under it.
READ = {
    "What holds": (Outcome.SUPPORTED.value, "higher", "lower"),
    "What does not hold": (Outcome.REFUTED.value,),
    "What stays undecided": (),
}
COLUMNS = ["claim", "verdict", "difference [its interval]", "seeds", "ablation"]


def write(folder: Path = FOLDER) -> Path:
    """Write the page of a folder of findings; the same findings give the same bytes.

    Raises:
        ConfigError: a folder that cannot be written, or a finding that cannot be read.
    """
    path = files.writable_folder(folder, "--folder") / PAGE
    put(path, page(everything(folder)))
    return path


def page(kept: Sequence[Mapping[str, Any]]) -> str:
    """The page in Markdown."""
    parts = [HEAD]
    placed = [word for words in READ.values() for word in words]
    for heading, words in READ.items():
        rows = [
            _row(finding, each)
            for finding in kept
            for each in finding["verdicts"]
            if (each["verdict"] in words if words else each["verdict"] not in placed)
        ]
        parts += [f"## {heading}", text.table(COLUMNS, rows) if rows else "Nothing."]
    return "\n\n".join([*parts, *map(_one, kept)]) + "\n"


def _row(finding: Mapping[str, Any], each: Mapping[str, Any]) -> list[str]:
    word = each["verdict"] if each["predicted"] else f"{each['verdict']} (not predicted)"
    if word == Outcome.WITHHELD.value:
        word = f"{word}: {text.prose(each['reason'])}"
    seeds = " and ".join(map(str, each["n"]))
    level = f"{each['difference']} {each['level']}"
    kind = ", a screening" if finding["screening"] else ""
    return [text.prose(each["claim"]), word, level, seeds, text.code(finding["name"]) + kind]


def _one(finding: Mapping[str, Any]) -> str:
    """The section of one ablation."""
    made, budget = finding["made_of"], finding["budget"]
    kind = "A screening" if finding["screening"] else "A confirmation"
    facts = [
        f"{kind}; {budget['amount']:,g} {budget['unit']} per trial; {finding['test']}; commit "
        f"{text.code(made['git_commit'][: text.SHORT_HASH])}, code "
        f"{text.code(made['code_hash'][: text.SHORT_HASH])}, base model "
        f"{text.code(made['model_hash'][: text.SHORT_HASH])}."
    ]
    facts += [
        f"{gate['level']}: {text.prose(gate['question'])}: {text.prose(gate['detail'])}."
        for gate in finding["gates"]
    ]
    header = ["variant", "n", f"{finding['primary']['metric']} [95 %]"]
    rows = [
        [text.code(r["variant"]), str(r["n"]), text.estimate(estimated(r), ACCURACY)]
        for r in finding["results"]
    ]
    parts = [
        f"## {finding['name']}",
        text.prose(finding["question"]),
        text.code(finding["command"]),
        f"Expected: {text.prose(finding['hypothesis'])}",
        " ".join(facts),
        text.table(header, rows),
        _gains(finding["gains"]),
    ]
    return "\n\n".join(part for part in parts if part)


def _gains(gains: Mapping[str, Any]) -> str:
    """Each variant's gain and what it is made of; "" where responses are no searches."""
    if not gains:
        return ""
    parts = list(next(iter(gains.values()))["parts"])
    rows = [
        [text.code(label), _change(own["gain"]), *(_change(own["parts"][part]) for part in parts)]
        for label, own in gains.items()
    ]
    return f"{TITLE.removeprefix('## ')}:\n\n{text.table(['variant', 'gain', *parts], rows)}"


def _change(mean: Mapping[str, Any]) -> str:
    return text.change(estimated(mean), ACCURACY)
