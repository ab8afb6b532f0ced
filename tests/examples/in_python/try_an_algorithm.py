"""An algorithm tried by hand: two prompts, two responses to each, four tokens at most."""

import torch

from harness.algorithms.dr_grpo import DrGrpo
from harness.types import Batch, Loss, LossTerm, Minibatch, Reduction, RolloutPlan


def main() -> None:
    algorithm = DrGrpo(group_size=2)
    plan: RolloutPlan = algorithm.rollout_plan(progress=0.0)
    assert plan.group_size == 2
    lengths_B = torch.tensor([3, 2, 4, 1])
    mask_BT = torch.arange(4) < lengths_B[:, None]
    rewards_BT = torch.zeros(4, 4, dtype=torch.float64)
    rewards_BT[0, 2] = 1.0  # the first response is right; a reward stands on the last token
    old_BT = torch.full((4, 4), -1.0, dtype=torch.float64)
    batch = Batch(
        group_B=torch.tensor([0, 0, 1, 1]),
        mask_BT=mask_BT,
        rewards_BT=rewards_BT,
        budget=4,
        columns={"old_logprobs_BT": old_BT},
    )
    advantages_BT = algorithm.advantages(batch)
    print(advantages_BT[:, 0])  # +0.5, -0.5; and 0 where all rewards of a prompt are equal
    minibatch = Minibatch(
        logprobs_BT=old_BT.clone().requires_grad_(),
        advantages_BT=advantages_BT,
        mask_BT=mask_BT,
        budget=batch.budget,
        columns=batch.columns,
    )
    loss: Loss = algorithm.loss(minibatch)
    policy: LossTerm = loss.terms[0]
    assert policy.reduction is Reduction.CONSTANT_BUDGET  # Dr. GRPO divides by no length
    print(policy.values.shape)  # unreduced: only the core divides


main()
