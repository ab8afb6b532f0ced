"""What a written number is worth, once more and by other means than the grader's.

Shares no parsing code with harness.tasks.numbers. For audits, not for rewards.
"""

import ast
import re
from fractions import Fraction
from unicodedata import normalize

from harness.tasks.oracle import applied

# Powers are worked out, up to this one.
MAX_POWER = 99


def worth(content: str) -> Fraction | None:
    """What a written number is worth, read off Python's syntax tree once its markup is taken off.

    More is understood than the grader accepts (sums, products); None is what Python cannot parse.
    """
    text = re.sub(r"\\(?:boxed|fbox|text|textbf|mathbf|mathrm)(?=\{)|\*\*|[_`]", "", content)
    text = re.sub(r"\{,\}|,\\!|\\,|(?<=[0-9])[,\u00a0\u2009\u202f](?=[0-9]{3}(?![0-9]))", "", text)
    text = re.sub(r"(?:US)?\\?\$|[€£¥]|\\[()\[\]]|(?<=[0-9])(?:st|nd|rd|th)\b", "", text)
    text = re.sub(r"[⁻⁰¹²³⁴-⁹]+", lambda found: f"^{normalize('NFKC', found[0])}", text)
    text = re.sub(r"\\?%| per ?cent", "", text).replace("−", "-")
    text = re.sub(r"([0-9]) ?(?=\\[dt]?frac|[½⅓⅔¼-¾⅕-⅞])|([0-9]) (?=[0-9]+/)", r"\1\2+", text)
    text = re.sub(r"\\[dt]?frac([0-9])([0-9])", r"(\1)/(\2)", text)
    text = re.sub(r"\\[dt]?frac\{([^{}]*)\}\{([^{}]*)\}", r"(\1)/(\2)", text)
    text = normalize("NFKC", text) if re.search("[½⅓⅔¼-¾⅕-⅞]", text) else text
    text = re.sub(r"\\times|\\cdot|[×·⋅]|(?<=[0-9]) ?x ?(?=10)", "*", text).replace("⁄", "/")
    text = re.sub(r"\b0+(?=[0-9])", "", text.replace("{", "(").replace("}", ")"))
    text = text.replace("^", "**").strip(" \t\r\n*").rstrip("*. ")
    if re.search(r"[^-+*/().eE0-9 ]", text):
        return None
    try:
        return _value(ast.parse(text, mode="eval").body)
    except (SyntaxError, ZeroDivisionError, ValueError):
        return None


def _value(node: ast.expr) -> Fraction:
    match node:
        case ast.Constant(value=int(number)):
            return Fraction(number)
        case ast.Constant(value=float(number)):
            return Fraction(repr(number))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand)
        case ast.BinOp(left=left, op=operator, right=right):
            a, b = _value(left), _value(right)
            if isinstance(operator, ast.Pow) and b.denominator == 1 and abs(b) <= MAX_POWER:
                return a**b.numerator
            return applied(operator, a, b)
    raise SyntaxError
