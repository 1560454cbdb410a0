"""What a template can reach and what it cannot, and what its writer is told: the inner wall, without the process."""

from __future__ import annotations

from typing import Any

import pytest
from jinja2.defaults import DEFAULT_FILTERS, DEFAULT_TESTS

from relay.automation.jobs import Job, Problem, Rendered, Text
from relay.automation.sandbox.rendering import MAX_JOB, MAX_TEXT, Cache, Rendering
from relay.config.templates import MAX_DEPTH, problem

SECRET = "s3cr3t-value"

DATA: dict[str, Any] = {
    "user": {"name": "Ann", "age": 42, "token": SECRET, "address": None, "first-name": "A"},
    "order": {"items": [{"name": "tea"}, {"name": "milk"}], "keys": 7, "_id": 3},
    "html": "<b>",
    "format": "{0.__class__}",
    "dunder": "__class__",
}


def _job(source: str, *, html: bool = False) -> Rendered:
    text = Text(place=("body",), source=source, html=html)
    return Rendering().job(Job(texts=(text,)), DATA)


def _text(source: str, *, html: bool = False) -> str:
    rendered = _job(source, html=html)
    assert rendered.problem is None, rendered.problem
    return rendered.values[0]


def _told(source: str) -> str:
    rendered = _job(source)
    assert rendered.problem is not None, rendered.values
    assert rendered.problem.place == ("body",)
    return rendered.problem.text


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("Hello {{ user.name }}\n", "Hello Ann\n"),
        ("{{ user['first-name'] }}", "A"),
        ("{% for item in order.items %}{{ item.name }} {% endfor %}", "tea milk "),
        ("{% for key, value in user.items() %}{{ key }} {% endfor %}", "name age token address first-name "),
        ("{{ order.keys }} {{ order._id }}", "7 3"),
        ("{{ user.nme|default('you') }} {{ user.nme is defined }}", "you False"),
        ("{{ range(3)|join(',') }} {{ dict(a=1).a }}", "0,1,2 1"),
        ("{% set n = namespace(x=0) %}{% for i in range(3) %}{% set n.x = n.x + i %}{% endfor %}{{ n.x }}", "3"),
        ("{{ '%s is %d'|format(user.name, user.age) }} {{ '{0[name]}'.format(user) }}", "Ann is 42 Ann"),
        ("{{ 2**10 }} {{ 2.0**-1 }} {{ 1**10000000 }}", "1024 0.5 1"),
        ("{{ html }}", "<b>"),
    ],
)
def test_what_templates_do(source: str, expected: str) -> None:
    assert _text(source) == expected


@pytest.mark.parametrize("html", [False, True])
def test_null_says_nothing_and_can_be_asked_for(html: bool) -> None:
    assert _text("[{{ user.address }}]", html=html) == "[]"
    assert _text("{{ user.address is none }} {{ user.address or 'unknown' }}", html=html) == "True unknown"


def test_html_is_escaped_where_it_is_html() -> None:
    assert _text("<p>{{ html }}{{ '{}'.format(html) }}</p>", html=True) == "<p>&lt;b&gt;&lt;b&gt;</p>"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{ user.nme }}", "user.nme is missing from the event's data, did you mean 'name'?"),
        ("{{ user.nme.first }}", "user.nme is missing from the event's data, did you mean 'name'?"),
        ("{{ usr.name }}", "usr is missing from the event's data, did you mean 'user'?"),
        ("{{ qqqqqq }}", "qqqqqq is missing from the event's data"),
        ("{{ now }}", "now is missing from the event's data"),
        ("{{ user['last name'] }}", "user['last name'] is missing from the event's data"),
        ("{{ order.items[7].name }}", "order.items[7] is missing from the event's data"),
        ("{% for i in order.items %}{{ i.nam }}{% endfor %}", "order.items[0].nam is missing from the event's"),
        ("{% for i in order.lines %}{% endfor %}", "order.lines is missing from the event's data"),
        ("{% if user.nme %}{% endif %}", "user.nme is missing from the event's data"),
        ("{{ order.items|map(attribute='nam')|join }}", "order.items[0].nam is missing from the event's data"),
        ("{{ user.nme|upper }}", "user.nme is missing from the event's data"),
        ("{{ '{0.nme}'.format(user) }}", "user.nme is missing from the event's data"),
        ("{{ user.address.city }}", "city is missing: it is looked up in null"),
        ("{{ user.name.uper() }}", "text has no uper, did you mean 'upper'?"),
        ("{{ dict(a=1).b }}", "b is missing from the mapping in which it is looked up"),
        ("{{ [1][2] }}", "2 is missing from the list in which it is looked up"),
        ("{% macro m(x) %}{{ x }}{% endmacro %}{{ m() }}", "parameter 'x' was not provided"),
        ("{{ []|first }}", "no first item, sequence was empty"),
        ("one\n{{ user.name }}\n{{ user.nme }}\n", "line 3: user.nme is missing from the event's data"),
        ("one\n{{ user.name }}\n{{ user|uper }}\n", "line 3: there is no filter 'uper', did you mean 'upper'?"),
        ("{% macro m() %}\n{{ 1 // 0 }}{% endmacro %}\n\n{{ m() }}", "line 2: divides by zero"),
        ("{{ user.age + user.name }}", "a number + text is not possible"),
        ("{{ user.name + user.age }}", "text + a number is not possible: join texts with ~"),
        ("{{ user.age < user.name }}", "a number cannot be compared with text (<)"),
        ("{{ user.name() }}", "text is called like a function"),
        ("{% for x in user.age %}{% endfor %}", "a number is used like a list"),
        ("{{ '%d'|format(user.token) }}", "a value is not of the kind that is needed"),
        ("{{ '{:d}'.format(user.token) }}", "a value does not have the form that is needed"),
        ("{{ '{nothing}'.format() }}", "something is looked up that is not there"),
        ("{{ [user]|map(user.token)|list }}", "a filter or test does not exist or cannot be used so"),
        ("{{ 10**400 ** 90 }}", "a number becomes too large"),
        ("{{ 10.0**400 }}", "a number becomes too large"),
        ("{{ range(100001) }}", "a range has more than 100,000 numbers"),
        ("{{ '\\ud800' }}", "makes text that no mail can carry"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "calls itself without end, or is nested too deeply"),
        ("{{ [user.nme] }}", "user.nme is missing from the event's data, did you mean 'name'?"),
        ("{% include 'x' %}", "templates stand alone: include cannot be used"),
    ],
)
def test_who_wrote_it_is_told_cause_and_fix(source: str, expected: str) -> None:
    told = _told(source)
    assert (told + "X").startswith(expected)
    assert SECRET not in told and "Traceback" not in told and "/" not in told


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{ user[user.token] }}", "user[…] is missing from the event's data"),
        ("{{ [1][user.token] }}", "… is missing from the list in which it is looked up"),
        ("{{ [1][user.age] }}", "… is missing from the list in which it is looked up"),
        ("{{ order.items[user.age].n }}", "order.items[…] is missing from the event's data"),
        ("{{ ''|attr(user.token) }}", "text has no …"),
        ("{{ user.address[user.token] }}", "… is missing: it is looked up in null"),
        ("{{ ''|attr('__cla' ~ 'ss__') }}", "templates cannot use …"),
        ("{{ [user]|map(attribute=user.token)|list }}", "user[…] is missing from the event's data"),
        ("{{ ('{0.' ~ user.token ~ '}').format(user) }}", "user[…] is missing from the event's data"),
        ("{% for key, tea in prices|items %}{{ tea.n }}{% endfor %}", "prices[…].n is missing from the event's data"),
        ("{{ prices.s3cr3t.n }}", "prices.s3cr3t is missing from the event's data, did you mean 's3cr3t-value'?"),
    ],
)
def test_H8_what_is_looked_up_is_shown_only_if_the_template_says_it(source: str, expected: str) -> None:
    data = DATA | {"prices": {SECRET: {"m": 1}}}
    jobs = [Job(texts=(Text(place=(), source=source),))]
    if source.startswith("{{"):
        jobs += [Job(condition=f"({source[3:-3]})|string")]
    for job in jobs:
        rendered = Rendering().job(job, data)
        assert rendered.problem and rendered.problem.text == expected


ESCAPES = [
    "{{ ''.__class__ }}",
    "{{ ''['__class__'] }}",
    "{{ ''[dunder] }}",
    "{{ ''|attr('__class__') }}",
    "{{ ''|attr(dunder) }}",
    "{{ ''|attr('__cla' ~ 'ss__')|attr('__mro__') }}",
    "{{ ''|attr('\\x5f\\x5fclass\\x5f\\x5f') }}",
    "{{ ().__class__.__bases__[0].__subclasses__() }}",
    "{{ [''.__class__.mro()] }}",
    "{{ dict.mro() }}",
    "{{ dict['mro']() }}",
    "{{ dict|attr('mro') }}{{ (dict|attr('mro'))() }}",
    "{{ dict.__subclasses__() }}",
    "{{ dict.__base__ }}",
    "{{ dict.fromkeys.__self__ }}",
    "{{ range.__globals__ }}",
    "{{ range.__init__.__globals__ }}",
    "{{ range.__code__ }}",
    "{{ range(1).__class__ }}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ namespace._Namespace__attrs }}",
    "{{ namespace()['__class__'] }}",
    "{{ cycler.__init__.__globals__ }}",
    "{{ joiner.__init__.__globals__ }}",
    "{{ lipsum.__globals__ }}",
    "{{ self._TemplateReference__context }}",
    "{{ self.__init__.__globals__ }}",
    "{{ self.__dict__ }}",
    "{{ self['x'] }}",
    "{{ super.__init__ }}",
    "{{ request.application.__globals__ }}",
    "{{ config.__class__ }}",
    "{{ environment }}",
    "{{ context }}",
    "{{ __builtins__ }}",
    "{{ __import__('os') }}",
    "{{ open('/etc/passwd') }}",
    "{{ nme.__init__.__globals__ }}",
    "{{ user.nme.__class__ }}",
    "{{ (nme|default).__class__ }}",
    "{{ nme._undefined_exception }}",
    "{{ nme|attr('_undefined_obj') }}",
    "{{ '{0.__class__}'.format(1) }}",
    "{{ '{0.__class__.__mro__}'.format('') }}",
    "{{ '{0[__class__]}'.format('') }}",
    "{{ '{a.__class__}'.format(a=1) }}",
    "{{ '{a.__class__}'.format_map({'a': 1}) }}",
    "{{ format.format(1) }}",
    "{{ ('{0.__class__}'|string).format(1) }}",
    "{{ '{0.__class__}'|attr('format')(1) }}",
    "{{ ('{0.__class__}'|attr('format'))(1) }}",
    "{{ '{0.__class__}'['format'](1) }}",
    "{% set f = '{0.__class__}'.format %}{{ f(1) }}",
    "{% set f = '{a.__class__}'.format_map %}{{ f({'a': 1}) }}",
    "{% set n = namespace(f='{0.__class__}'.format) %}{{ n.f(1) }}",
    "{{ ['{0.__class__}']|map('format', 1)|list }}{{ ['']|map('attr', '__class__')|list }}",
    "{{ ['{0.__class__}'.format]|map('attr', '__self__')|list }}",
    "{% call '{0.__class__}'.format(1) %}{% endcall %}",
    "{{ ('{0.__class__}'|safe).format(1) }}",
    "{{ ('{0.__class__}'|escape).format(1) }}",
    "{{ ('{0.__class__}'|safe).format_map({0: 1}) }}{{ ('{a.__class__}'|safe).format_map({'a': 1}) }}",
    "{{ (''|safe).__html__.__globals__ }}",
    "{{ (''|safe).__class__ }}",
    "{{ ['']|map(attribute='__class__')|list }}",
    "{{ ['']|map(attribute='upper.__self__')|list }}",
    "{{ ['']|selectattr('__class__')|list }}",
    "{{ ['']|rejectattr('__class__')|list }}",
    "{{ ['']|groupby('__class__') }}",
    "{{ ['', 'a']|sort(attribute='__class__') }}",
    "{{ ['', 'a']|unique(attribute='__class__')|list }}",
    "{{ ['']|sum(attribute='__class__') }}",
    "{{ ['', 'a']|max(attribute='__class__') }}",
    "{{ ['', 'a']|min(attribute='__doc__') }}",
    "{{ ['', 'a']|join(attribute='__class__') }}",
    "{{ (['a']|map('upper')).gi_frame }}",
    "{{ (['a']|map('upper')).gi_code }}",
    "{{ (['a']|map('upper'))|attr('gi_frame') }}",
    "{{ (['a']|map('upper'))['gi_frame'] }}",
    "{{ (['a']|map('upper')).gi_frame.f_globals }}",
    "{% macro m() %}{% endmacro %}{{ m.__call__.__globals__ }}",
    "{% macro m() %}{% endmacro %}{{ m._func }}",
    "{% macro m() %}{% endmacro %}{{ m._environment }}",
    "{% macro m() %}{% endmacro %}{{ m._invoke }}",
    "{% macro m() %}{{ caller.__class__ }}{% endmacro %}{% call m() %}{% endcall %}",
    "{% for x in [1] %}{{ loop.__init__.__globals__ }}{% endfor %}",
    "{% for x in [1] %}{{ loop._iterator }}{% endfor %}",
    "{% for x in [1] %}{{ loop.cycle.__func__ }}{% endfor %}",
    "{% for x in [1] recursive %}{{ loop._recurse }}{% endfor %}",
    "{{ user.update({'name': 'Eve'}) }}",
    "{{ user.pop('name') }}",
    "{{ user.setdefault('x', 1) }}",
    "{{ user.clear() }}",
    "{{ user|attr('update')({'name': 'Eve'}) }}",
    "{{ user|attr('clear')() }}",
    "{{ user['clear']() }}",
    "{{ dict.update(user, name='Eve') }}",
    "{{ dict.clear(user) }}",
    "{{ dict.pop(user, 'name') }}",
    "{{ [].append.__self__ }}",
    "{{ order.items.append(1) }}",
    "{{ order.items|attr('clear')() }}",
    "{{ order.items.sort() }}",
    "{{ [order.items]|map('attr', 'clear')|map('attr', '__call__')|list }}",
    "{{ user.__setitem__('name', 'Eve') }}",
    "{% set user.name = 'Eve' %}",
    "{{ {'a b': 1}|xmlattr }}",
    "{{ {'a>b': 1}|xmlattr }}",
    "{{ {'a/b': 1}|xmlattr }}",
    "{{ {'a=b': 1}|xmlattr }}",
    "{{ 1 .__class__ }}{{ (1).real.__class__ }}",
    "{{ none.__class__ }}",
    "{{ true.__class__.__base__ }}",
    "{{ 'a'.encode().__class__ }}",
    "{{ 'x'.join.__self__ }}",
    "{{ ''.maketrans.__self__ }}",
    "{% filter attr('__class__') %}{% endfilter %}",
    "{% with c = ''.__class__ %}{{ c }}{% endwith %}",
    "{% import 'os' as os %}",
    "{% from 'os' import system %}",
    "{% include '/etc/passwd' %}",
    "{% extends '/etc/passwd' %}",
    "{% do user.clear() %}",
    "{% debug %}",
    "{{ _('x') }}",
    "{{ gettext('x') }}",
]


@pytest.mark.parametrize("source", ESCAPES)
def test_H3_there_is_no_way_out(source: str) -> None:
    before = repr(DATA)
    rendering = Rendering()
    for html in (False, True):
        text = Text(place=("body",), source=source, html=html)
        rendered = rendering.job(Job(texts=(text,)), DATA)
        assert rendered.problem is not None, rendered.values
        assert SECRET not in rendered.problem.text and "<" not in rendered.problem.text
    assert repr(DATA) == before  # nor is it changed


@pytest.mark.parametrize("name", ["cycler", "joiner", "lipsum", "now", "_", "os", "environment", "request", "open"])
def test_H3_there_are_three_helpers_and_no_more(name: str) -> None:
    assert _told("{{ " + name + " }}") == f"{name} is missing from the event's data"
    assert set(Rendering()._text.globals) == {"range", "dict", "namespace"}


def test_H3_one_rule_leaves_nothing_for_the_next() -> None:
    rendering = Rendering()
    first = Text(place=(0,), source="{% set x = 1 %}{% macro m() %}{% endmacro %}{{ x }}")
    second = Text(place=(1,), source="{{ x is defined }} {{ m is defined }}")
    rendered = rendering.job(Job(texts=(first, second)), DATA)
    assert rendered.values == ("1", "False False")


@pytest.mark.parametrize("size", [MAX_TEXT, MAX_TEXT + 1])
def test_H3_a_text_has_at_most_a_mebibyte(size: int) -> None:
    for source in (f"{{{{ 'a' * {size} }}}}", f"{{{{ 'ä' * {size // 2} }}}}{{{{ 'a' * {size % 2} }}}}"):
        rendered = _job(source)
        if size > MAX_TEXT:
            assert rendered.problem == Problem(place=("body",), text="is more than 1 MiB when rendered")
        else:
            assert len(rendered.values[0].encode()) == MAX_TEXT


def test_H3_a_text_that_never_ends_is_counted_while_it_grows() -> None:
    source = "{% for i in range(100000) %}{% for j in range(100000) %}0123456789{{ j }}{% endfor %}{% endfor %}"
    assert _told(source) == "is more than 1 MiB when rendered"


def test_H3_all_texts_of_a_job_have_a_bound_too() -> None:
    text = Text(place=("body",), source=f"{{{{ 'a' * {MAX_TEXT} }}}}")
    most = MAX_JOB // MAX_TEXT
    assert len(Rendering().job(Job(texts=(text,) * most), {}).values) == most
    rendered = Rendering().job(Job(texts=(text,) * (most + 1)), {})
    assert rendered.problem and rendered.problem.text.endswith("is more than 16 MiB when rendered")


@pytest.mark.parametrize(
    ("condition", "held"),
    [
        ("", True),
        ("user.age > 18", True),
        ("user.age > 99", False),
        ("user.address", False),
        ("user.nme is defined", False),
        ("order.items|length == 2 and 'Ann' in user.name", True),
        ("'{{' in user.name", False),
    ],
)
def test_a_condition_holds_or_not(condition: str, held: bool) -> None:
    rendered = Rendering().job(Job(condition=condition, texts=(Text(place=(), source="x"),)), DATA)
    assert rendered == Rendered(held=held, values=("x",) if held else ())


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("user.nme", "user.nme is missing from the event's data, did you mean 'name'?"),
        ("user.age > user.name", "a number cannot be compared with text (>)"),
        ("''.__class__", "templates cannot use __class__"),
        ("user.age >", "unexpected end"),
        ("1\n/ 0", "divides by zero"),
    ],
)
def test_a_condition_that_cannot_be_told(condition: str, expected: str) -> None:
    rendered = Rendering().job(Job(condition=condition), DATA)
    assert rendered.problem == Problem(place=("if",), text=expected)


def test_the_problem_is_of_the_text_it_is_in() -> None:
    texts = tuple(Text(place=("data", name), source=source) for name, source in [("to", "a"), ("subject", "{{ x }}")])
    problem = Rendering().job(Job(condition="1", texts=texts), {}).problem
    assert problem and problem.place == ("data", "subject")


def test_H9_names_are_shown_on_one_line_and_short() -> None:
    assert _told("{{ user['a\tb\x1b'] }}") == "user['a?b?'] is missing from the event's data"
    assert len(_told("{{ user['" + "x" * 10_000 + "'] }}")) < 200


def test_the_event_may_be_large_when_something_is_missing() -> None:
    data = {"rows": [{"n": n} for n in range(50_000)], "keys": {f"key{n}": n for n in range(50_000)}}
    job = Job(texts=(Text(place=(), source="{{ rows[40000].m }}"),))
    problem = Rendering().job(job, data).problem
    assert problem and problem.text.startswith("m is missing from the mapping")
    problem = Rendering().job(Job(texts=(Text(place=(), source="{{ keys.kex7 }}"),)), data).problem
    assert problem and problem.text.startswith("keys.kex7 is missing from the event's data, did you mean 'key")


AT_THE_BOUND = {
    "ifs": ("{% if 1 %}", "x", "{% endif %}"),
    "with": ("{% with a = 1 %}", "x", "{% endwith %}"),
    "filter blocks": ("{% filter upper %}", "x", "{% endfilter %}"),
    "macros": ("{% macro m() %}", "x", "{% endmacro %}"),
    "loops": ("{% for a in [1] %}", "x", "{% endfor %}"),
    "sets": ("{% set a %}", "x", "{% endset %}"),
    "lists": ("[", "x", "]"),
    "calls of calls": ("dict(a=", "1", ")"),
    "choices": ("(1 if ", "1", " else 2)"),
    "powers": ("(2**", "1", ")"),
    "items": ("[0, ", "1", "][1]"),
}


@pytest.mark.parametrize("kind", AT_THE_BOUND)
def test_what_is_not_nested_too_deeply_can_be_compiled(kind: str) -> None:
    opening, middle, closing = AT_THE_BOUND[kind]
    statement = opening.startswith("{%")

    def nest(depth: int) -> str:
        text = opening * depth + middle + closing * depth
        return text if statement else "{{ " + text + " }}"

    deepest = max(depth for depth in range(1, MAX_DEPTH + 1) if not problem(nest(depth)))
    rendered = _job(nest(deepest)).problem
    assert rendered is None or "nested" not in rendered.text
    assert deepest > 10


@pytest.mark.parametrize("name", sorted(DEFAULT_FILTERS))
def test_every_filter_of_the_engine_is_there(name: str) -> None:
    assert problem("{{ x|" + name + " }}") == ""
    assert name in Rendering()._text.filters


def test_every_test_of_the_engine_is_there() -> None:
    assert all(problem("{{ x is " + name + " }}") == "" for name in DEFAULT_TESTS if name.isidentifier())


def test_what_is_compiled_is_kept_within_bounds() -> None:
    made: list[str] = []

    def make(source: str) -> str:
        made.append(source)
        return source

    cache = Cache(entries=3, characters=10)
    for source in ("aa", "bb", "cc", "aa", "dd", "aa", "bb", "x" * 9, "x" * 9, "y" * 20, "y" * 20):
        assert cache.get("text", source, make) == source
    assert made == ["aa", "bb", "cc", "dd", "bb", "x" * 9, "y" * 20]
    assert cache.get("html", "y" * 20, str.upper) == "Y" * 20
