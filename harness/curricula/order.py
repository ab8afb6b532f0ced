"""In which order prompts are seen: shuffled passes over a pool, endless and without state."""

from collections.abc import Sequence

from harness.maths import streams
from harness.types import Prompt


def next_prompts(
    pool: Sequence[Prompt], seed: int, cursor: int, count: int, stream: str = "order"
) -> list[Prompt]:
    """`count` prompts from position `cursor` of an endless sequence of shuffled passes."""
    orders = {
        p: streams.permutation(seed, stream, p, len(pool))
        for p in range(cursor // len(pool), (cursor + count - 1) // len(pool) + 1)
    }
    positions = range(cursor, cursor + count)
    return [pool[orders[i // len(pool)][i % len(pool)]] for i in positions]
