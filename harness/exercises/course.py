"""All exercises of the course, by the name of their function."""

from harness.exercises import (
    a_star_po,
    advantages,
    grpo,
    mini_ppo,
    ppo,
    reinforce,
    statistics,
    values,
)

EXERCISES = {
    exercise.name: exercise
    for exercise in (
        *reinforce.EXERCISES,
        *advantages.EXERCISES,
        *ppo.EXERCISES,
        *values.EXERCISES,
        *mini_ppo.EXERCISES,
        *grpo.EXERCISES,
        *statistics.EXERCISES,
        *a_star_po.EXERCISES,
    )
}
