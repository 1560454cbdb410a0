"""What a template can reach: the event's data, three helpers, and Jinja's filters and tests.

Built once by `rendering`. What is missing or forbidden raises something that `faults` can put into words; nothing here
shows a value of the event.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from jinja2 import StrictUndefined, TemplateRuntimeError, UndefinedError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace, missing

MAX_RANGE = 100_000
MAX_BITS = 14_000
"""Of what a power may yield, so that Python still writes it: its own limit is 4,300 digits."""


class Refused(TemplateRuntimeError):
    """Something that is not done for a template. Its message is for people."""


class Forbidden(Refused):
    """A template uses `name`, which none may."""

    def __init__(self, name: object, message: str) -> None:
        super().__init__(message)
        self.name = name


class Absent(UndefinedError):
    """Something that a template needs is not there. `owner`: in which it was looked up, `missing` for the data itself.

    `hint`: the engine's words, where it has its own.
    """

    def __init__(self, hint: str | None, owner: object, name: object, message: str) -> None:
        super().__init__(message)
        self.hint, self.owner, self.name = hint, owner, name


class Missing(StrictUndefined):
    """Raises `Absent` as soon as it is used for anything but `is defined` and `default`."""

    __slots__ = ()
    __repr__ = StrictUndefined.__str__  # a list that holds it is shown, too

    def __init__(
        self,
        hint: str | None = None,
        obj: object = missing,
        name: str | None = None,
        exc: type[TemplateRuntimeError] = UndefinedError,
    ) -> None:
        super().__init__(hint, obj, name, exc)
        if exc is UndefinedError:
            self._undefined_exception = partial(Absent, hint, obj, name)  # type: ignore[assignment] # only called
        elif exc is Forbidden:
            self._undefined_exception = partial(Forbidden, name)  # type: ignore[assignment]

    @property
    def _undefined_message(self) -> str:
        return self._undefined_hint or ""  # the engine's own would show a value


def _said(value: Any) -> Any:
    """JSON's null says nothing: nobody is to be greeted as None."""
    return "" if value is None else value


class Environment(ImmutableSandboxedEnvironment):
    """`html`: what is put into a template is escaped."""

    intercepted_binops = frozenset({"**"})

    def __init__(self, *, html: bool) -> None:
        # Not optimized: nothing is worked out while a template is compiled, all of it while it is rendered and counted.
        super().__init__(
            optimized=False,
            autoescape=html,
            undefined=Missing,
            cache_size=0,
            keep_trailing_newline=True,
            finalize=_said,
        )
        self.globals = {"range": _range, "dict": _dict, "namespace": _namespace}

    def getattr(self, obj: Any, attribute: str) -> Any:
        """`order.items` is the order's items, where it has any; else what a dict can do."""
        if isinstance(obj, dict) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)

    def unsafe_undefined(self, obj: Any, attribute: str) -> Missing:
        return self.undefined(obj=obj, name=attribute, exc=Forbidden)  # type: ignore[return-value]

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        whole = isinstance(left, int) and isinstance(right, int)
        if whole and left.bit_length() > 1 and left.bit_length() * right > MAX_BITS:
            raise Refused("a number becomes too large")
        return super().call_binop(context, operator, left, right)


def _range(*numbers: int) -> range:
    made = range(*numbers)
    if len(made) > MAX_RANGE:
        raise Refused(f"a range has more than {MAX_RANGE:,} numbers")
    return made


def _dict(*given: Any, **more: Any) -> dict[Any, Any]:
    """Not the class itself: `dict.clear(user)` would change the event for the rules after this one."""
    return dict(*given, **more)


def _namespace(*given: Any, **more: Any) -> Namespace:
    return Namespace(*given, **more)
