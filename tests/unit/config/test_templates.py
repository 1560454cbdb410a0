"""Templates and conditions are judged as they are written: line, cause, what was meant; nothing is evaluated."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from relay.config.templates import MAX_DEPTH, MAX_LENGTH, condition_problem, problem

RIGHT = [
    "",
    "Hello!",
    "100 % of {it}",
    "Hello {{ user.name }}",
    "{# nothing #}",
    "{% for item in order.items %}{{ item.name|upper }}{% else %}none{% endfor %}",
    "{% if user is defined and user.age > 18 %}{{ user.name|default('you') }}{% endif %}",
    "{% set total = namespace(sum=0) %}{% macro m(x) %}{{ x }}{% endmacro %}{{ m(1) }}",
    "{% raw %}{{ not this }}{% endraw %}",
]

WRONG = [
    ("{{ user.name", "unexpected end of template, expected 'end of print statement'; write {{ … }}"),
    ("Hello {{ user.name }", "unexpected '}'; write {{ … }}, with two braces at each end"),
    ("{% if x %}", "unexpected end of template. Jinja was looking for the following tags: 'elif' or 'else' or 'endif'"),
    ("{% dance %}", "encountered unknown tag 'dance'"),
    ("{{ user|uper }}", "there is no filter 'uper', did you mean 'upper'?"),
    ("{% filter uper %}x{% endfilter %}", "there is no filter 'uper', did you mean 'upper'?"),
    ("{{ user is defind }}", "there is no test 'defind', did you mean 'defined'?"),
    ("{% if x %}{{ user|qqqqqq }}{% endif %}", "there is no filter 'qqqqqq'"),
    ("{% include 'x' %}", "templates stand alone: include cannot be used"),
    ("{% import 'x' as x %}", "templates stand alone: import cannot be used"),
    ("{% from 'x' import y %}", "templates stand alone: from … import cannot be used"),
    ("{% extends 'x' %}", "templates stand alone: extends cannot be used"),
    ("{% block x %}{% endblock %}", "templates stand alone: block cannot be used"),
    ("{{ " + "9" * 5000 + " }}", "a number in it is too long"),
    ("x" * (MAX_LENGTH + 1), "is longer than 64 KiB, the most that a template may have"),
]


@pytest.mark.parametrize("template", RIGHT)
def test_what_is_right(template: str) -> None:
    assert problem(template) == ""


@pytest.mark.parametrize(("template", "expected"), WRONG, ids=[expected[:40] for _, expected in WRONG])
def test_what_is_wrong(template: str, expected: str) -> None:
    assert problem(template).startswith(expected)


def test_the_line_of_a_template_with_more_than_one() -> None:
    assert problem("Hello\n\n{{ user|uper }}\n") == "line 3: there is no filter 'uper', did you mean 'upper'?"
    assert problem("Hello\n{{ user }\nBye") == "line 2: unexpected '}'; write {{ … }}, with two braces at each end"
    assert problem("{{ user } \n") == "unexpected '}'; write {{ … }}, with two braces at each end"


def test_the_first_of_many_is_told() -> None:
    assert problem("a\n{{ x|trm }}\n{{ y|uper }}") == "line 2: there is no filter 'trm', did you mean 'trim'?"


@pytest.mark.parametrize("expression", ["", "user.age > 18", "a and not b", "user.name is defined", "x in ['a', 'b']"])
def test_conditions_that_are_right(expression: str) -> None:
    assert condition_problem(expression) == ""


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (" ", "unexpected end"),
        ("a b", "there is more after the end of the expression"),
        ("a }} {{ b", "there is more after the end of the expression; a condition is an expression, write it without"),
        ("user.age >", "unexpected end"),
        ("{{ user.age }}", "expected token ':', got '}'; a condition is an expression, write it without {{ }}"),
        ("{% if x %}", "unexpected '%'; a condition is an expression, write it without {{ }}"),
        ("x is defind", "there is no test 'defind', did you mean 'defined'?"),
        ("x|lenght > 1", "there is no filter 'lenght', did you mean 'length'?"),
        ("x" * (MAX_LENGTH + 1), "is longer than 64 KiB"),
    ],
)
def test_conditions_that_are_wrong(expression: str, expected: str) -> None:
    assert condition_problem(expression).startswith(expected)


@pytest.mark.parametrize(
    "template",
    [
        "{{ 'a' * 10**10 }}",
        "{{ 10**10**10 }}",
        "{{ 'x' * 10**12 }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '{:>1000000000}'.format(1) }}",
        "{{ range(10**12)|list }}",
        "{% autoescape 'a' * 10**10 %}{% endautoescape %}",
    ],
)
def test_H3_nothing_is_worked_out_to_check_it(template: str) -> None:
    began = time.process_time()
    assert problem(template) == ""
    assert condition_problem(template.strip("{} ")) == "" or "%" in template
    assert time.process_time() - began < 0.5


NESTS = {
    "parentheses": ("{{ ", "(-", "x", ")", " }}"),
    "lists": ("{{ ", "[", "x", "]", " }}"),
    "calls": ("{{ ", "f(", "x", ")", " }}"),
    "ifs": ("", "{% if x %}", "x", "{% endif %}", ""),
    "loops": ("", "{% for a in x %}", "x", "{% endfor %}", ""),
    "nots": ("{{ ", "not ", "x", "", " }}"),
    "filters": ("{{ x", "", "", "|upper", " }}"),
    "sums": ("{{ x", "", "", "+ x", " }}"),
    "attributes": ("{{ x", "", "", ".x", " }}"),
}


@pytest.mark.parametrize("nest", NESTS.values(), ids=NESTS)
@pytest.mark.parametrize("depth", [100, 1_500, 6_000])
def test_H3_nests_end_in_a_sentence(nest: tuple[str, ...], depth: int) -> None:
    before, opening, middle, closing, after = nest
    template = before + opening * depth + middle + closing * depth + after
    found = problem(template)
    assert found in ("is nested too deeply", "is longer than 64 KiB, the most that a template may have")


def test_long_but_flat_is_no_nest() -> None:
    assert problem("{{ " + " ~ ".join(["x"] * 2 * MAX_DEPTH) + " }}") == ""
    assert problem("{% if x %}" + "{% elif y %}" * 2 * MAX_DEPTH + "{% endif %}") == ""


def test_H9_a_sentence_is_one_line_whatever_the_template_holds() -> None:
    found = problem("{{ x }}{% \x1b[31m\n %}")
    assert found and found.isprintable()


def test_the_engine_is_loaded_when_it_is_needed() -> None:
    code = (
        "import sys; from relay.config.templates import problem; problem('Hello {user} 100 %'); "
        "assert 'jinja2' not in sys.modules; problem('{{ user }}'); assert 'jinja2' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
