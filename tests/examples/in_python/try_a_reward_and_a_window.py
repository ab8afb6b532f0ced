"""A reward and a window tried by hand, on three responses as a rollout would bring them."""

import torch

from harness.rewards.overlong import Overlong
from harness.types import Estimates, Grade, Graded, Outcome, Prompt, Rollout, Sampling, Scores
from harness.windows.adaptive import Adaptive


def main() -> None:
    sampling = Sampling(max_new_tokens=10)
    lengths_B = torch.tensor([4, 9, 10])
    mask_BT = torch.arange(sampling.max_new_tokens) < lengths_B[:, None]
    prompt = Prompt(text="Q1 2=3?", item=0, problem="1 2=3", difficulty=2, answer=3)
    rollout = Rollout(
        prompts=(prompt,) * 3,
        prompt_ids=((1, 2, 3),) * 3,
        group_B=torch.zeros(3, dtype=torch.int64),
        tokens_BT=torch.ones(3, 10, dtype=torch.int64),
        mask_BT=mask_BT,
        logprobs_BT=torch.zeros(3, 10),
        finished_B=torch.tensor([True, True, False]),
        texts=("A1+2", "1+2=3!A1+2", "1+2=3;1+2="),
    )
    right, wrong = Grade(correct=True, formatted=True), Grade(correct=False, formatted=False)
    graded = Graded(
        rollout=rollout, grades=(right, right, wrong), budget=10, seed=0, step=1, first=0
    )
    scores: Scores = Overlong(buffer_share=0.4).score(graded)
    print(scores.per_response_B)  # 0 up to 6 tokens, then falling to -1 at 10
    estimates = Estimates(advantages_BT=mask_BT * scores.rewards[:, None])
    print(estimates.advantages_BT.sum(-1))
    window = Adaptive(initial=8, minimum=4, maximum=10, update_frequency=1, min_samples=1)
    correct_B = torch.tensor([grade.correct for grade in graded.grades])
    window.observe(Outcome(lengths_B=rollout.lengths_B, correct_B=correct_B, progress=0.1))
    print(window.window(seed=0))


main()
