"""Where the trials ran: commit, libraries, threads, hardware.

None of it is part of the question, and none changes more than last bits where all is well. So a
mixture is a WARN, and it is a FAIL where it goes with an arm: two arms that have nothing of it in
common differ by the machine as well.
"""

import polars as pl

from analysis.gates.gate import Gate, Level, about, by_arm
from analysis.gates.tags import explained, fields, split
from analysis.study import Study

NO_COMMIT = ("", "none")  # what a record says without git
TAGS = {"torch": "torch", "libraries": "libraries", "threads": "threads", "hardware": "hardware"}
# Config keys through which a declared factor may change a tag.
FACTORS = {"threads": ("trainer.threads",), "hardware": ("trainer.device",)}
SHOWN = 60  # characters of a value


def commit(study: Study) -> Gate:
    """Whether one commit has made every result, with nothing changed beside it."""
    question, done = "One commit, clean tree", study.finished
    lacking = done.filter(pl.col("git_commit").is_in(NO_COMMIT))["trial"].to_list()
    commits = sorted(set(done["git_commit"]) - set(NO_COMMIT))
    short = ", ".join(commit[:12] for commit in commits)
    if lacking or not commits:
        detail = "no trial recorded a commit" if not commits else f"{short}, and without a commit: "
        return Gate(question, Level.WARN, detail + (", ".join(lacking) if commits else ""))
    if len(commits) > 1:
        return Gate(question, Level.WARN, f"trials ran on different commits: {short}")
    dirty = bool(done["git_dirty"].any()) or study.manifest.git_dirty
    note = " with uncommitted changes" if dirty else ""
    return Gate(question, Level.WARN if dirty else Level.OK, short + note)


def surroundings(study: Study) -> Gate:
    """Libraries, threads and hardware of arms and plan."""
    question, done = "Same libraries, threads and hardware", study.finished
    apart, guilty, mixed, lost = list[str](), set[str](), list[str](), list[str]()
    for tag, words in TAGS.items():
        rows = done["trial", "variant", tag].rows()
        if lacking := [trial for trial, _, value in rows if not value]:
            lost.append(f"{words} not recorded: {', '.join(lacking)}")
        found = {x: {v for _, arm, v in rows if arm == x and v} for x in study.labels}
        base = found[study.baseline]
        for label in study.others:
            own = found[label]
            strange = bool(own and base) and own.isdisjoint(base)
            if strange and not explained(study, label, FACTORS.get(tag, ())):
                apart.append(f"{words} of {label}: {split(min(own), min(base), SHOWN)}")
                guilty.add(label)
        if any(len(values) > 1 for values in found.values()):
            mixed.append(_mixture(study, words, found))
    mixed += _moved(study)
    if apart:
        detail = "; ".join(["goes with the arm: " + ", ".join(apart), *mixed])
        return about(study, question, Level.FAIL, detail, guilty)
    if mixed or lost or done.is_empty():
        detail = "; ".join([*mixed, *lost]) or "no trial has a result"
        return Gate(question, Level.WARN, detail)
    torch, threads, hardware = (done[tag][0] for tag in ("torch", "threads", "hardware"))
    detail = f"torch {torch}, threads {threads}, {hardware}, in {len(done)} results"
    return Gate(question, Level.OK, detail)


def _mixture(study: Study, words: str, found: dict[str, set[str]]) -> str:
    """`threads differ within arms: grpo: 1, 2; reinforce: 1, 2`."""
    shown = {x: sorted(value[:SHOWN] for value in values) for x, values in found.items()}
    return f"{words} differ within arms: {by_arm(study, shown)}"


def _moved(study: Study) -> list[str]:
    """Libraries that are not those that the plan was written under."""
    planned = study.manifest.versions
    found = {
        f"{name} {own[name]} where the plan has {planned[name]}"
        for text in study.finished["libraries"]
        for own in [fields(text or "")]
        for name in sorted(own.keys() & planned.keys())
        if own[name] != planned[name]
    }
    return sorted(found)
