"""What may be said of providers over HTTP, as it is judged and described.

Used by the resource. Judging needs nothing but the request; what the registry or the network has to say comes later.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from relay.api.provider_answers import SHOWN_PASSWORDS
from relay.config.listen import is_host
from relay.config.types import limit as not_zero
from relay.config.types import plain_text, provider_name
from relay.model import Reply
from relay.smtp.address import parse_path

MOST = 1_000_000_000
_ENCODED_WORD = re.compile(r"=\?[^?]*\?[bq]\?[^?]*\?=", re.IGNORECASE)  # RFC 2047 2
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def _clean(value: str) -> str:
    """What becomes a header, a label or part of an SMTP command must not become two (hazard H1)."""
    if _CONTROL.search(value):
        raise ValueError("must have no control characters")
    if _ENCODED_WORD.search(value):
        raise ValueError("must have no encoded word (=?...?=): write the text itself")
    return value


def _line(value: str) -> str:
    return plain_text(_clean(value)) if value else value


def _address(value: str) -> str:
    """Empty, or one that we would take by SMTP."""
    if not value:
        return value
    found = parse_path(b"<" + _clean(value).encode(errors="surrogatepass") + b">", utf8=False, null=False)
    if isinstance(found, Reply):
        raise ValueError("must be a mail address such as me@example.com, its domain as xn-- if it is not ASCII")
    return value


def _given_address(value: str) -> str:
    if not value:
        raise ValueError("must be a mail address such as me@example.com")
    return _address(value)


def _host(value: str) -> str:
    if not is_host(value):
        raise ValueError("must be a host name or an IP address, without port or scheme")
    return value


def _kind(value: str) -> str:
    if value != "smtp":
        raise ValueError("not in this version: it must be smtp")
    return value


def _secret(value: str) -> str:
    if value in SHOWN_PASSWORDS:
        raise ValueError("is what is shown instead of a password: give the password itself")
    return value


def _unset(schema: dict[str, Any]) -> None:
    """What is left out stays as it is: a default in the description would be wrong."""
    schema.pop("default", None)


def _left_out(description: str = "", *, also: str = "") -> Any:
    """`also`: what it may be called instead. Both at once: the second is an unknown field."""
    return Field("", description=description or None, json_schema_extra=_unset, validation_alias=_also(also))


def _also(name: str) -> AliasChoices | None:
    """The names that people know from other mail settings. They are in no description, which has one name for each."""
    return AliasChoices(f"smtp_{name}", name) if name else None


Name = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_line), AfterValidator(provider_name)]
Text = Annotated[str, Field(max_length=200), AfterValidator(_line)]
Login = Annotated[str, Field(max_length=320), AfterValidator(_clean)]
Password = Annotated[str, Field(max_length=1000), AfterValidator(_clean)]
NewPassword = Annotated[Password, AfterValidator(_secret)]
Address = Annotated[str, Field(max_length=320), AfterValidator(_address)]
Host = Annotated[str, Field(min_length=1, max_length=254), AfterValidator(_host)]
Port = Annotated[int, Field(ge=1, le=65535)]
Limit = Annotated[int, BeforeValidator(not_zero), Field(ge=1, le=MOST)]
Priority = Annotated[int, Field(ge=1, le=MOST)]
Kind = Annotated[
    str, Field(max_length=100), AfterValidator(_kind), WithJsonSchema({"type": "string", "enum": ["smtp"]})
]


class _Body(BaseModel):
    """Unknown fields are refused by name; a number is not a string; what is left out is not `given`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    def given(self) -> dict[str, Any]:
        """What the request says. A password as it is shown is none: the client sends back what it read."""
        said = self.model_dump(exclude_unset=True)
        if said.get("smtp_password") in SHOWN_PASSWORDS:
            del said["smtp_password"]
        return said


class Credentials(_Body):
    """How to reach the server and log in. What is left out stays; an empty password is cleared, an empty user name
    means no AUTH. `smtp_use_tls`: STARTTLS, on port 465 TLS from the first byte; `smtp_use_ssl`: TLS from the first
    byte; never both.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "smtp_username": "new-email@gmail.com",
                "smtp_password": "new-app-password",  # nosec B105 - nobody's
            },
        }
    )

    smtp_host: Host = _left_out("a name or an address, neither resolved nor reached now", also="host")
    smtp_port: Port = _left_out("587 unless given", also="port")
    smtp_username: Login | None = _left_out(also="username")
    smtp_password: Password = _left_out("kept when left out, cleared when empty; never shown", also="password")
    smtp_use_tls: bool = _left_out("true unless given", also="use_tls")
    smtp_use_ssl: bool = _left_out("false unless given")


class ChangedProvider(Credentials):
    """What is to be changed; what is left out stays as it is. Limits: null is none."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"name": "Updated Gmail SMTP", "daily_limit": 2000, "is_active": True}}
    )

    name: Name = _left_out("unique, over the configuration file too")
    provider_type: Kind = _left_out()
    from_email: Address | None = _left_out("the sender of mail composed here, if it is the default provider")
    from_name: Text | None = _left_out()
    reply_to: Address | None = _left_out()
    daily_limit: Limit | None = _left_out("messages")
    monthly_limit: Limit | None = _left_out("messages")
    rate_limit_per_minute: Limit | None = _left_out("messages in any 60 s")
    priority: Priority = _left_out("lower goes first; 1 unless given")
    is_active: bool = _left_out("true unless given")
    is_default: bool = _left_out("one provider at most; the one before is none any more")


class NewProvider(ChangedProvider):
    """A provider. It takes part in routing at once."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "name": "Gmail SMTP",
                "provider_type": "smtp",
                "smtp_host": "smtp.gmail.com",
                "smtp_port": 587,
                "smtp_username": "your-email@gmail.com",
                "smtp_password": "your-app-password",  # nosec B105 - nobody's
                "smtp_use_tls": True,
                "smtp_use_ssl": False,
                "from_email": "your-email@gmail.com",
                "from_name": "Your Company Name",
                "daily_limit": 1000,
                "priority": 1,
            }
        }
    )

    name: Name
    smtp_host: Host = Field(validation_alias=_also("host"))
    smtp_password: NewPassword = _left_out("none unless given; never shown", also="password")


class TestMail(_Body):
    """Whom to send it to."""

    model_config = ConfigDict(json_schema_extra={"example": {"test_email": "test@example.com"}})

    test_email: Annotated[str, Field(max_length=320), AfterValidator(_given_address)]


class Filters(BaseModel):
    """All of them must hold; one given several times: any of its values."""

    model_config = ConfigDict(extra="forbid")

    provider_type: list[Kind] = Field(default_factory=list, max_length=10)
    health_status: list[Literal["healthy", "unhealthy", "unknown"]] = Field(default_factory=list, max_length=10)
    is_active: list[bool] = Field(default_factory=list, max_length=10)
    priority: list[Priority] = Field(default_factory=list, max_length=100)
