"""Whether two expressions are the same one, written differently.

The order of terms and factors and parentheses that change nothing are forgotten: 4+2*3, (2*3)+4
and 3*2+4 have one form. What is left is not computed: 2*3+4 and 5*2 have two.
"""

import ast
from functools import lru_cache

from harness.tasks import expressions


@lru_cache(maxsize=4096)
def form(expression: str) -> str | None:
    """What all ways to write an expression have in common; None when the text is none."""
    if expressions.parse(expression) is None:
        return None
    # Only parsed, never evaluated: the grammar is a part of Python's.
    return _sum(ast.parse("".join(expression.split()), mode="eval").body)


@lru_cache(maxsize=4096)
def bare(expression: str) -> str | None:
    """The expression without the parentheses that it can do without, its order kept."""
    if expressions.parse(expression) is None:
        return None
    return ast.unparse(ast.parse("".join(expression.split()), mode="eval"))


def _sum(node: ast.expr) -> str:
    terms = sorted(_terms(node, "+"))
    return f"({''.join(terms)})"


def _terms(node: ast.expr, sign: str) -> list[str]:
    """The signed terms of a sum."""
    other = "-" if sign == "+" else "+"
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
        right = sign if isinstance(node.op, ast.Add) else other
        return _terms(node.left, sign) + _terms(node.right, right)
    if isinstance(node, ast.UnaryOp):
        return _terms(node.operand, other)
    return [sign + "".join(sorted(_factors(node, "*")))]


def _factors(node: ast.expr, sign: str) -> list[str]:
    """The factors of a product, and what it is divided by."""
    other = "/" if sign == "*" else "*"
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult | ast.Div):
        right = sign if isinstance(node.op, ast.Mult) else other
        return _factors(node.left, sign) + _factors(node.right, right)
    return [sign + (ast.unparse(node) if isinstance(node, ast.Constant) else _sum(node))]
