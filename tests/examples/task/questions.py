"""Writes questions.jsonl: which of two numbers is larger? Each question once."""

import json
from itertools import permutations
from pathlib import Path

rows = [
    {"prompt": f"larger of {a} and {b}?", "answer": max(a, b)}
    for a, b in permutations(range(20), 2)
]
Path("questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
