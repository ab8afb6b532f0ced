"""Grades of the tasks and rewards made of them."""

import torch

from harness.commands.parity_ops.common import Inputs, Outputs
from harness.measure import evaluation
from harness.rewards import overlong
from harness.rewards.binary import Binary
from harness.rewards.cosine import Cosine
from harness.tasks.countdown import Countdown, CountdownAnswer
from harness.tasks.gsm8k import Gsm8k, Method
from harness.tasks.multiplication import Multiplication
from harness.tasks.templates import Hashes, TinyZeroBase
from harness.types import Prompt

# TinyZero's reward for a closed answer with a wrong equation.
TINYZERO_FORMAT_SCORE = 0.1


def countdown_score(inputs: Inputs, params: Inputs) -> Outputs:
    answer = CountdownAnswer(tuple(inputs["numbers"]), inputs["target"])
    prompt = Prompt(text="", item=0, problem="", difficulty=len(answer.numbers), answer=answer)
    task = Countdown(template=TinyZeroBase())
    grade = task.grade(prompt, inputs["response"], finished=True)
    return {"score": Binary(format_score=TINYZERO_FORMAT_SCORE).value(grade)}


def multiply_score(inputs: Inputs, params: Inputs) -> Outputs:
    prompt = Prompt(text="", item=0, problem="", difficulty=6, answer=inputs["answer"])
    task = Multiplication(template=TinyZeroBase())
    grade = task.grade(prompt, inputs["response"], finished=True)
    return {"score": Binary(format_score=TINYZERO_FORMAT_SCORE).value(grade)}


def gsm8k_score(inputs: Inputs, params: Inputs) -> Outputs:
    prompt = Prompt(text="", item=0, problem="", difficulty=1, answer=inputs["answer"])
    task = Gsm8k(template=Hashes(), method=Method(params["method"]))
    return {"score": Binary().value(task.grade(prompt, inputs["response"], finished=True))}


def gsm8k_numbers(inputs: Inputs, params: Inputs) -> Outputs:
    prompt = Prompt(text="", item=0, problem="", difficulty=1, answer=inputs["answer"])
    task = Gsm8k(template=Hashes(), method=Method(params["method"]))
    grade = task.grade(prompt, inputs["response"], finished=True)
    return {"correct": grade.correct, "formatted": grade.formatted}


def cosine_reward(inputs: Inputs, params: Inputs) -> Outputs:
    names = ("correct_short", "correct_long", "wrong_short", "wrong_long", "exceed")
    reward = Cosine(*(params[f"r_{name}"] for name in names))
    lengths_B, correct_B = torch.tensor(inputs["lengths"]), torch.tensor(inputs["correct"]).bool()
    return {"rewards": reward.values(lengths_B, correct_B, params["L_max"])}


def overlong_penalty(inputs: Inputs, params: Inputs) -> Outputs:
    limits = (params["max_length"], params["buffer"], params["factor"])
    return {"penalty": overlong.overlong_penalty(torch.tensor(inputs["lengths"]), *limits)}


def pass_at_k(inputs: Inputs, params: Inputs) -> Outputs:
    rows = zip(inputs["n"], inputs["c"], strict=True)
    values = [evaluation.pass_at_k(n, c, params["k"]) for n, c in rows]
    return {"value": sum(values) / len(values)}
