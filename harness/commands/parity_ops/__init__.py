"""The ops of the parity command: each names the production function for one golden file.

An adapter computes nothing itself. It calls, in float64, what the training loop calls: a loss goes
plug-in -> core reduction -> autograd. A later op is one more function and one more line in `OPS`;
tests hold every adapter to ten lines.
"""

from collections.abc import Callable

from harness.commands.parity_ops import algorithms, scores, statistics, tensors, values
from harness.commands.parity_ops.common import Inputs, Outputs

__all__ = ["OPS", "Inputs", "Outputs"]

_ADAPTERS: tuple[Callable[[Inputs, Inputs], Outputs], ...] = (
    tensors.masked_mean,
    tensors.masked_whiten,
    tensors.entropy,
    tensors.kl_estimate,
    tensors.aggregate,
    tensors.sequence_balance,
    algorithms.policy_loss,
    algorithms.group_advantage,
    algorithms.reinforce_plus_plus,
    algorithms.gspo_loss,
    algorithms.cispo_loss,
    algorithms.dynamic_sampling_keep,
    algorithms.tis_weights,
    algorithms.adaptive_window,
    values.gae,
    values.value_loss,
    values.adaptive_kl,
    values.length_adaptive_lambda,
    values.remax,
    values.v_star,
    values.a_star_po_loss,
    values.weighted_ce_weights,
    scores.countdown_score,
    scores.multiply_score,
    scores.gsm8k_score,
    scores.gsm8k_numbers,
    scores.cosine_reward,
    scores.overlong_penalty,
    scores.pass_at_k,
    statistics.welch_t,
    statistics.paired_t,
    statistics.permutation_exact,
    statistics.paired_sign_flip_exact,
    statistics.holm,
    statistics.benjamini_hochberg,
    statistics.iqm,
    statistics.optimality_gap,
    statistics.performance_profile,
    statistics.probability_of_improvement,
)
OPS = {adapter.__name__: adapter for adapter in _ADAPTERS}
