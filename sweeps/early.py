"""Results that were there before the predictions: said before a sweep, not only in its report."""

from collections.abc import Iterable
from pathlib import Path

from analysis.ablation import Ablation
from analysis.revisions import manifest_path, read_history
from harness.tracking.record import Record
from harness.wording import few
from sweeps.words import counted


def early(ablation: Ablation, runs: Path, records: Iterable[Record]) -> str:
    """A warning of trials that began under no revision of this plan; "" for none.

    The report's gate *Predictions sealed before the runs* withholds verdicts then, and new seeds
    are the remedy (`analysis.seal`): equal seeds give equal results, however often they are run.

    Args:
        records: of the plan's trials, as far as there are any.

    Raises:
        ConfigError: the plan's file is damaged or was edited.
    """
    if not ablation.predictions:
        return ""
    own = {revision.seal for revision in read_history(manifest_path(runs, ablation.name)).revisions}
    names = sorted(each.folder.name for each in records if each.seal not in own)
    if not names:
        return ""
    first = max(ablation.seeds) + 1
    unseen = ",".join(map(str, range(first, first + len(ablation.seeds))))
    return (
        f"warning: {ablation.name}: {counted(len(names), 'trial')} ({few(names)}) began before "
        f"these predictions were sealed and can confirm none of them: verdicts will be withheld; "
        f"take seeds that nobody has seen (seed={unseen}), and another name where the plan is "
        f"sealed already"
    )
