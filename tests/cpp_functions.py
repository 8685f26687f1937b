"""Finds the functions of C++ sources by their brackets, for the rules in test_codebase.py.

It is no parser: comments, literals and preprocessor lines are blanked out, then every pair of
braces is a function's if the text before it ends in a parameter list.
"""

import re
from bisect import bisect_right
from typing import NamedTuple

OPENS = {"(": ")", "[": "]", "{": "}"}
CLOSES = {close: opens for opens, close in OPENS.items()}
# These have parentheses before a brace, but no parameters.
STATEMENTS = {"if", "for", "while", "switch", "catch", "constexpr"}
QUALIFIERS = {"noexcept", "requires", "alignas", "decltype", "__attribute__"}

BLANKED = re.compile(
    r"""//[^\n]* | /\*.*?\*/                     # comments
      | R"(\w*)\(.*?\)\1"                        # raw strings
      | "(?:\\.|[^"\\\n])*"                      # strings
      | (?<![0-9a-fA-F])'(?:\\.|[^'\\\n])+'      # characters, but no digit separators
      | ^[ \t]*\#(?:\\\n|[^\n])*                 # preprocessor lines
    """,
    re.X | re.S | re.M,
)


class Function(NamedTuple):
    name: str  # "lambda" where it has none
    line: int
    parameters: int
    body_lines: int  # between its braces


def functions(text):
    """The functions and lambdas that are defined in a C++ text, in the order of their ends."""
    code = BLANKED.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)
    newlines = [i for i, char in enumerate(code) if char == "\n"]
    found = []
    stack = []  # (bracket, its position, the function head before it)
    begin = 0  # of the statement that is being read, in the innermost bracket
    begins = []
    for at, char in enumerate(code):
        if char in OPENS:
            before = code[begin:at]
            head = None if char != "{" or _is_value(before) else _head(before)
            stack.append((char, at, head))
            begins.append(begin)
            begin = at + 1
        elif char in CLOSES:
            opened, start, head = stack.pop()
            assert opened == CLOSES[char], f"unbalanced {char} in line {code.count(chr(10), 0, at)}"
            outer = begins.pop()
            begin = outer if char != "}" or _is_value(code[outer:start]) else at + 1
            if head is not None:
                first, last = bisect_right(newlines, start), bisect_right(newlines, at)
                found.append(Function(*head[:1], first + 1, head[1], max(0, last - first - 1)))
        elif char == ";" and not (stack and stack[-1][0] == "("):
            begin = at + 1
    assert not stack, "unbalanced brackets"
    return found


def _is_value(before):
    """Whether a brace after this text opens a list of values rather than a block."""
    before = before.rstrip()
    if re.search(r"\b(else|do|try|const|noexcept|override|final|mutable)$", before):
        return False
    if re.search(r"\b(namespace|struct|class|union|enum|concept|extern)\b[^()=]*$", before):
        return False
    return re.search(r"[\w>=,(\[?:&|+*]$", before) is not None and not re.search(
        r"\)\s*((const|mutable|noexcept)\s*)*->[\w:<>,\s*&]+$|:$", before
    )


def _head(before):
    """(name, number of parameters) where this text ends in a function's head, else None."""
    groups = _groups(before)
    for number, (_, end) in enumerate(groups):  # a constructor's initialisers come after ":"
        if re.match(r"\s*(noexcept\s*)?:(?!:)", before[end:]):
            groups = groups[: number + 1]
            before = before[:end]
            break
    while groups:
        start, end = groups.pop()
        tail = before[end:].strip()
        if tail and not re.fullmatch(
            r"((const|noexcept|override|final|mutable|&&?)\s*)*(->.*)?", tail, re.S
        ):
            return None
        name = before[:start].rstrip()
        if name.endswith("]"):
            return "lambda", _count(before[start + 1 : end - 1])
        word = re.search(r"(?:[\w:~]|operator\s*\W+?)+$", name)
        if word is None or word[0] in STATEMENTS:
            return None
        if word[0] in QUALIFIERS:
            before = name[: word.start()]
            continue
        return word[0], _count(before[start + 1 : end - 1])
    if re.search(r"\]\s*(mutable)?\s*$", before) and not re.search(r"\w\s*\[[^\]]*\]\s*$", before):
        return "lambda", 0
    return None


def _groups(text):
    """Where the outermost parentheses of a text begin and end."""
    groups, depth, start = [], 0, 0
    for at, char in enumerate(text):
        if char in "([{":
            if depth == 0:
                start = at
            depth += 1
        elif char in ")]}":
            depth -= 1
            if depth == 0 and char == ")":
                groups.append((start, at + 1))
    return groups


def _count(parameters):
    """The number of parameters in the text between the parentheses."""
    if parameters.strip() in ("", "void"):
        return 0
    depth, count = 0, 1
    for char in re.sub(r"->|[<>]=|<<|(?<=\s)[<>](?=\s)", "", parameters):
        depth += (char in "([{<") - (char in ")]}>")
        count += char == "," and depth == 0
    return count
