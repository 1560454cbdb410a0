"""What is wrong with a template or a condition as it is written, before anything is rendered.

Called where rules are taken: the configuration and the API; by the sandbox before it compiles. It only parses: nothing
of a template is evaluated, not even what is constant, so that `{{ 'a' * 10**10 }}` costs nothing here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import cache
from typing import TYPE_CHECKING

from relay.config.words import did_you_mean

if TYPE_CHECKING:
    from jinja2 import Environment
    from jinja2.nodes import Node
    from jinja2.parser import Parser

MAX_LENGTH = 64 * 1024
"""Characters of one template."""

MAX_DEPTH = 60
"""Things inside one another. Compiled, each is a parenthesis or an indentation or two, of which Python takes 100."""

MAX_LOOPS = 15
"""Loops inside one another, of which Python takes 20."""

_TOO_LONG = f"is longer than {MAX_LENGTH // 1024} KiB, the most that a template may have"
_TOO_DEEP = "is nested too deeply"
_MARKS = ("{{", "{%", "{#")
_OPEN = ("unexpected '}'", "expected 'end of print statement'")
"""What the engine says where braces do not match, which only those understand who know it."""
_MAX_MESSAGE = 300

Finding = tuple[int, str]
"""A line of the template, from 1, and what is wrong there."""


def problem(template: str) -> str:
    """What is wrong with a template, with its line when it has more than one; "" when nothing is."""
    if len(template) > MAX_LENGTH:
        return _TOO_LONG
    if not any(mark in template for mark in _MARKS):
        return ""  # plain text: the engine is not even loaded
    found = _judged(template, _template)
    return f"{found}; write {{{{ … }}}}, with two braces at each end" if found.endswith(_OPEN) else found


def condition_problem(expression: str) -> str:
    """What is wrong with the expression of an `if`, "" when nothing is. "" is no condition, and right."""
    if len(expression) > MAX_LENGTH:
        return _TOO_LONG
    if not expression:
        return ""
    found = _judged(expression, _expression).replace("'end of template'", "end")
    if found and any(mark in expression for mark in _MARKS):
        return f"{found}; a condition is an expression, write it without {{{{ }}}} and {{% %}}"
    return found


def _judged(source: str, parse: Callable[[str], Node]) -> str:
    from jinja2 import TemplateSyntaxError

    try:
        found = next(_findings(parse(source)), None)
    except TemplateSyntaxError as error:
        found = (error.lineno, _sentence(error.message or "cannot be understood"))
    except RecursionError:
        found = (0, _TOO_DEEP)
    except ValueError:  # Python refuses to read a number of more than 4,300 digits
        found = (0, "a number in it is too long")
    if found is None:
        return ""
    line, message = found
    return f"line {line}: {message}" if line and "\n" in source.strip("\n") else message


@cache
def _environment() -> Environment:
    from jinja2 import Environment

    return Environment(optimized=False, autoescape=False)  # nosec B701: it renders nothing


def _template(source: str) -> Node:
    return _parser(source, None).parse()


def _expression(source: str) -> Node:
    parser = _parser(source, "variable")
    expression = parser.parse_expression()
    if not parser.stream.eos:
        parser.fail("there is more after the end of the expression")
    return expression


def _parser(source: str, state: str | None) -> Parser:
    from jinja2.parser import Parser

    return Parser(_environment(), source, state=state)


def _findings(root: Node) -> Iterator[Finding]:
    """What the engine would only say when it compiles, or not at all."""
    from jinja2 import nodes

    known = {nodes.Filter: ("filter", _environment().filters), nodes.Test: ("test", _environment().tests)}
    apart: dict[type[nodes.Node], str] = {
        nodes.Include: "include",
        nodes.Import: "import",
        nodes.FromImport: "from … import",
        nodes.Extends: "extends",
        nodes.Block: "block",
    }
    for node, depth, loops in _walk(root):
        if depth > MAX_DEPTH or loops > MAX_LOOPS:
            yield node.lineno, _TOO_DEEP
        if type(node) in apart:
            yield node.lineno, f"templates stand alone: {apart[type(node)]} cannot be used"
        if isinstance(node, nodes.Filter | nodes.Test):
            yield from _named(node.lineno, node.name, *known[type(node)])


def _named(line: int, name: str, kind: str, known: Collection[str]) -> Iterator[Finding]:
    if name not in known:
        yield line, _sentence(f"there is no {kind} {name!r}") + did_you_mean(name[:100], known)


def _walk(root: Node) -> Iterator[tuple[Node, int, int]]:
    """Every node in the order of the text, how deep it is and in how many loops. Without recursion: it may be deep."""
    from jinja2.nodes import For

    waiting = [(root, 1, 0)]
    while waiting:
        node, depth, loops = waiting.pop()
        loops += isinstance(node, For)
        yield node, depth, loops
        waiting.extend((child, depth + 1, loops) for child in reversed(list(node.iter_child_nodes())))


def _sentence(message: str) -> str:
    """The engine's words as part of a sentence of ours, and as one line whatever the template holds."""
    words = "".join(c if c.isprintable() else "?" for c in message[:_MAX_MESSAGE]).rstrip(". ")
    return words[:1].lower() + words[1:]
