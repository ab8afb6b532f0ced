"""A grader and a reward for questions.jsonl; both get text that the model wrote."""

import re


def grade(response: str, answer: str) -> bool:
    """Right where the whole response is the number, whatever white space stands around it."""
    return response.strip() == answer


def score(prompt: str, response: str, answer: str, correct: bool) -> float:
    """1 for a right response, 0.2 for one of the two numbers, 0 for anything else."""
    if correct:
        return 1.0
    return 0.2 if response.strip() in re.findall(r"\d+", prompt) else 0.0
