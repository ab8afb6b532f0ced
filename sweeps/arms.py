"""What each variant's trials are composed of, in each stage: as written, searched or tuned."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from analysis.ablation import Ablation, Variant
from analysis.tuned import Tuned
from harness.errors import ConfigError
from harness.stages import Stage
from sweeps.overrides import UNSEARCHED, values
from sweeps.space import Arm, Dimension, assigned, space


def searched(common: Sequence[Override], stage: Stage, grid: bool) -> list[Override]:
    """Overrides of the command line that a tuning chooses from.

    Intervals, and beside +ablation listed values too: a grid's listed values are its variants.

    Raises:
        ConfigError: there is an interval, but nothing is tuned.
    """
    if stage is Stage.TUNE:
        return [o for o in common if o.is_interval_sweep() or (o.is_sweep_override() and not grid)]
    for override in common:
        if override.is_interval_sweep():
            values(override)  # says what to do instead
    return []


def arms(
    loader: ConfigLoader,
    ablation: Ablation,
    shared: Sequence[str],
    command: tuple[Sequence[str], Sequence[Override]],
    stage: Stage,
    found: Mapping[str, Tuned],
) -> dict[str, Arm]:
    """The overrides of every variant.

    Args:
        shared: those of the ablation for all variants.
        command: the command line's: those with one value, and those that are searched.
        found: variant -> its tuning, where it is confirmed.

    Raises:
        ConfigError: a variant has several values for a key, but nothing is tuned.
    """
    parser = OverridesParser.create(config_loader=loader)
    fixed, swept = command
    made = {}
    for variant in ablation.variants:
        own = parser.parse_overrides([*shared, *variant.overrides])
        _refuse_overridden(variant, own[len(shared) :], parser.parse_overrides(list(fixed)))
        several = [o for o in own if o.is_sweep_override()]
        single = [str(o.input_line) for o in own if not o.is_sweep_override()]
        own_space, chosen = [], {}
        if stage is Stage.ABLATE:
            _refuse_several(ablation, variant, several)
        elif stage is Stage.TUNE:
            own_space = space([*several, *swept])
            _refuse_nothing(variant, own_space)
            chosen = {each.key: each.ends[0] for each in own_space}
        else:
            chosen = found[variant.label].values
            _refuse_untuned(variant, several, chosen)
        made[variant.label] = Arm([*single, *fixed], own_space, chosen)
    return made


def _refuse_overridden(
    variant: Variant, own: Sequence[Override], fixed: Sequence[Override]
) -> None:
    """The command line's would win, and the variant would not be what its label says."""
    chosen = {o.get_key_element().lstrip("+"): o for o in own}
    for override in fixed:
        key = override.get_key_element().lstrip("+")
        if key in chosen:
            raise ConfigError(
                f"{override.input_line}: variant {variant.label} sets {chosen[key].input_line} "
                f"itself; leave {override.input_line} out of the command"
            )


def _refuse_several(ablation: Ablation, variant: Variant, several: Sequence[Override]) -> None:
    if several:
        raise ConfigError(
            f"ablation {ablation.name}: {variant.label}: {several[0].input_line} is several "
            f"values; search them with sweep.stage=tune, then take the best with "
            f"sweep.stage=confirm, or give one value"
        )


def _refuse_nothing(variant: Variant, own: Sequence[Dimension]) -> None:
    if not own:
        raise ConfigError(
            f"sweep.stage=tune: nothing of {variant.label} is searched; give an interval, such "
            f"as 'trainer.optimizer.learning_rate=tag(log,interval(1e-4,1e-2))', on the command "
            f"line (any key but {', '.join(UNSEARCHED)}) or in the variant's overrides"
        )


def _refuse_untuned(
    variant: Variant, several: Sequence[Override], chosen: Mapping[str, str]
) -> None:
    for override in several:
        if override.get_key_element() not in chosen:
            raise ConfigError(
                f"{variant.label}: {override.input_line} was written after the tuning, which "
                f"chose {', '.join(chosen)}; tune again: sweep.stage=tune fresh=true"
            )


def confirmed(loader: ConfigLoader, ablation: Ablation, arms: Mapping[str, Arm]) -> Ablation:
    """The question with the tuned values in it; keys in which they differ are factors."""
    parser = OverridesParser.create(config_loader=loader)

    def single(overrides: Sequence[str]) -> list[str]:
        parsed = parser.parse_overrides(list(overrides))
        return [str(o.input_line) for o in parsed if not o.is_sweep_override()]

    variants = [
        Variant(v.label, [*single(v.overrides), *assigned(arms[v.label].values)])
        for v in ablation.variants
    ]
    first = arms[ablation.baseline].values
    differing = {
        key.lstrip("+").partition("@")[0]
        for arm in arms.values()
        for key in arm.values.keys() | first.keys()
        if arm.values.get(key) != first.get(key)
    }
    return replace(
        ablation,
        variants=variants,
        overrides=single(ablation.overrides),
        factors=list(dict.fromkeys([*ablation.factors, *sorted(differing)])),
    )
