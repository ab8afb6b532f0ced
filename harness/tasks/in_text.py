r"""The last number of a running text, and what may stand beside it.

The number is written as in the table of harness.tasks.numbers, all of it: the last digit of the
text, of whatever alphabet, must be a part of it. What touches it or stands next to it on its line
must leave it as it is, else the text has no last number; no earlier one takes its place.

| text | read as |
|---|---|
| `16 - 3 = 18.`, `**Answer:** 18`, `\boxed{x = 18}`, `is "18"`, `18 eggs`, `(18 in all)` | 18 |
| `not 17 but 18`, `18, not 17`, `5 eggs of 20` | 18, 17, 20: the last |
| `<answer>18</answer>`, `18<|im_end|>`, `#### 18`, `=> 18`, `$x = 18$` | 18 |
| `16-3`, `16 - 3`, `3 * 18`, `18 / n`, `2 18`, `f(18)`, `x_18`, `= 18 + x` | nothing |
| `≈ 18`, `~18`, `< 18`, `!= 18`, `≠ 18`, `18?`, `18...`, `5!`, `- 18` | nothing |
| `negative 18`, `minus 18`, `3 million`, `2 dozen`, `18 squared`, `2 and a half` | nothing |
| `1250kg`, `x1250`, `1250²`, `1250٠`, `H2O`, `是18个` | nothing: letters touch it |
"""

import re
import unicodedata
from fractions import Fraction

from harness.tasks import numbers

# How far before a number its neighbours are looked for, in characters, and how far after it.
WINDOW = 64
_TAG = r"<[/|]?[A-Za-z][^<>\n]{0,30}>"
# Marks that open before a number; those of a formula, a box or a tag stand apart from a word.
_APART = re.compile(rf"{_TAG}|\\\(|\\\[|\$\$?|\\(?:boxed|fbox|text|textbf|mathbf|mathrm)\{{")
_APART_AND_BLANK = re.compile(rf"(?:(?:{_APART.pattern})[ \t]+)+$")
_OPENING = re.compile(rf"(?:{_APART.pattern}|[*_`\"'“‘(\[])+$")
# Marks that close after it, and what must have opened each if it is another.
_CLOSING = re.compile(rf"(?:{_TAG}|\\\)|\\\]|\$\$?|[*_`\"'”’)\]}}])*")
_OPENED_BY = {"”": "“", "’": "‘", ")": "(", "]": "[", "}": "{"}
# What may touch a number, and what may stand before it with white space between.
_EQUALS = r"(?<![!<>~≈/*+^=-])(?<!\\not)={1,2}|[-=]>|[→⇒]"
_TOUCHES = re.compile(rf"(?:{_EQUALS}|#|(?<![0-9]):)$")
_PRECEDES = re.compile(rf"(?:{_EQUALS}|[#,;:.!?\"”’|—]|{_TAG}|(?<!\\)\b[^\W\d_]+)$")
_BOLD_BEFORE = re.compile(r"([^\W\d_]{2}|[:,.;!?])[*_`]{1,3}$")
# What may touch its end, and what may stand after it with white space between.
_ENDS = re.compile(r"[.,;:!]?")
_GOES_ON = re.compile(r"$|\s|—|\\(?:[,;:! \\]|text|quad|mathrm)")
_FOLLOWS = re.compile(
    rf"$|=|[-=]>|[→⇒]|[(\[}}\"“‘,;.:|#&—]|{_TAG}|[^\W\d_]|\\(?![a-z])|\\(?:text|quad)"
)
# Space as LaTeX and HTML write it, and the column marks of aligned equations.
_BLANK = re.compile(r"\\(?:[,;:! ]|q?quad(?![a-z]))|(?<!\\)&(?![#\w]+;)|&nbsp;")
# What ends as a sentence's semicolon does: `&minus;`, `&lt;`; and what sets a number high or low.
_NO_SIGN = re.compile(r"&#?\w+;$|<su[bp]>$", re.I)
# A cut text has gone on past a number: to a line, a sentence, a word that begins no number word.
_PASSED = re.compile(
    r"\n|[.;!?][*_`\"')\]}$’”]*\s"
    r"|\ (?!(?:and|divided|multiplied|to|over|times|plus|minus)\b)[A-Za-z]{2,}\s"
)
# Words that say another number than the digits beside them.
_WORDS_BEFORE = re.compile(
    r"(?:\b(?:minus|negative|plus|times|over|(?:divided|multiplied) by|mod(?:ulo)?|power of"
    r"|roots? of|log)|[0-9]\s*point|[0-9)}\]]\s*x)$",
    re.I,
)
_WORDS_AFTER = re.compile(
    r"(?:hundreds?|thousands?|milli(?:on|ard)\w*|billi?on\w*|trillion\w*|dozens?|scores?|lakhs?"
    r"|crores?|[kmb]|bn|mn|mio|mrd|point|mod(?:ulo)?|half|halves|squared|cubed|factorial"
    r"|(?:third|quarter|fourth|fifth|sixth|seventh|eighth|ninth|tenth|hundredth|thousandth)s"
    r"|plus|minus|(?:divided|multiplied) by|to the (?:\w+ )?power"
    r"|and (?:an?|one|two|three)[ -](?:half|third|quarter|fourth|fifth)s?)\b",
    re.I,
)


def last_number(text: str, finished: bool) -> Fraction | None:
    """The last number in a text, if it is understood.

    Args:
        text: a response.
        finished: whether it ended by itself; a number at the end of a cut one is none, for it may
            go on, as 12 of 125, 1. of 1.5 and 12 of 12 million.
    """
    at = _last_digit(text)
    line = text.rfind("\n", 0, at + 1) + 1
    for start in range(max(line, at - numbers.MAX_CHARACTERS), at + 1):
        match = numbers.NUMBER.match(text, start)
        if match and match.end() > at:
            if not finished and not _PASSED.search(text, match.end()):
                return None
            before = text[max(line, start - WINDOW) : start]
            stands = _may_precede(before) and not (
                _LIST.search(before) and _THREE.match(match[0])  # `1, 250` is no 250
            )
            return numbers.value(match) if stands and _may_follow(match) else None
    return None


# A number and a comma, and what may be the rest of it behind a space.
_LIST, _THREE = re.compile(r"[0-9],[ \t]+$"), re.compile(r"[0-9]{3}(?![0-9])")


def _last_digit(text: str) -> int:
    """Where the last digit or other numeral stands, of any alphabet; -1 without one."""
    for i in range(len(text) - 1, -1, -1):
        if "0" <= text[i] <= "9":
            return i
        if text[i] > "\x7f" and unicodedata.category(text[i]) in ("Nd", "No", "Nl"):
            return i
    return -1


def _may_precede(before: str) -> bool:
    """Whether a number may follow what stands before it on its line."""
    if _NO_SIGN.search(before.rstrip(" \t")):
        return False
    before = _BLANK.sub(" ", before)
    bare = _OPENING.sub("", before)
    spaced = _APART_AND_BLANK.sub("", bare).rstrip(" \t")
    if not spaced:
        return len(before) < WINDOW
    if spaced == bare and not _APART.search(before, len(bare)):
        return _TOUCHES.search(spaced) is not None
    spaced = _BOLD_BEFORE.sub(r"\1", spaced)
    return _PRECEDES.search(spaced) is not None and not _WORDS_BEFORE.search(spaced)


def _may_follow(match: re.Match[str]) -> bool:
    """Whether a number may stand before what follows it on its line."""
    text, at = match.string, _after_closing(match, match.end())
    if at >= 0 and text.startswith("!", at) and _is_whole(match):
        return False  # a factorial, for all one knows
    if at >= 0 and (end := _ENDS.match(text, at)) is not None:
        at = _after_closing(match, end.end())
    rest = text[at : at + WINDOW].partition("\n")[0]
    if at < 0 or not _GOES_ON.match(rest):
        return False
    rest = _BLANK.sub(" ", rest).strip(" \t\r")
    words = _MARKUP.sub("", rest).lstrip()
    return not (_WORDS_AFTER.match(words) or _OTHER_SCRIPT.match(words)) and (
        _FOLLOWS.match(rest) is not None
        or (unicodedata.category(rest[0]) == "So" and rest[0] not in "°℃℉")
    )


# Around a word that follows: `}\text{ million`; and letters of which no word list is here.
_MARKUP = re.compile(r"^(?:[\s}$*_]|\\[)\]]|\\(?:text|mathrm|mbox)\{)+")
_OTHER_SCRIPT = re.compile(r"[^\W\d_a-zA-Z\u00c0-\u024f]")


def _after_closing(match: re.Match[str], at: int) -> int:
    """Where the marks that close at a place end; -1 where one of them was not opened."""
    closing = _CLOSING.match(match.string, at)
    if closing is None:
        return at
    for mark in re.sub(rf"{_TAG}|\\.|\$", "", closing[0]):
        if match.string.rfind(_OPENED_BY.get(mark, mark), 0, match.start()) < 0:
            return -1
    return closing.end()


def _is_whole(match: re.Match[str]) -> bool:
    return match[0][-1].isdigit() and "." not in match[0]
