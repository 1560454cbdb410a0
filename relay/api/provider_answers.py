"""What is answered about providers: the keys of each answer, as types for the description of the API.

Filled by the operations, named by the resource. The keys are those of the examples that clients were written against
(tests/seeds/d-*.txt), which a test compares; no answer has a password.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

PASSWORD, NEW_PASSWORD = "encrypted_password", "encrypted_new_password"  # nosec B105 - said instead of one
SHOWN_PASSWORDS = frozenset({PASSWORD, NEW_PASSWORD})

Shown = Literal["encrypted_password", ""]
Status = Literal["unknown", "healthy", "unhealthy"]
StatusDisplay = Literal["Unknown", "Healthy", "Unhealthy"]
Moment = Annotated[str, Field(json_schema_extra={"format": "date-time"}, examples=["2025-01-07T10:30:00Z"])]
Checked = Annotated[Moment | None, Field(description="null: not yet")]
Limit = Annotated[int | None, Field(description="messages; null: no limit")]


class Made(BaseModel):
    """A provider that was just made."""

    id: int
    name: str
    provider_type: str
    provider_type_display: str
    smtp_host: str
    smtp_port: int
    smtp_username: str
    smtp_password: Shown
    smtp_use_tls: bool
    smtp_use_ssl: bool
    from_email: str
    from_name: str
    reply_to: str
    daily_limit: Limit
    monthly_limit: Limit
    rate_limit_per_minute: Limit
    priority: int
    priority_display: str
    is_default: bool
    is_active: bool
    health_status: Status
    health_status_display: StatusDisplay
    emails_sent_today: int
    emails_sent_this_month: int
    created_at: Moment
    updated_at: Moment


class _Reached(BaseModel):
    id: int
    name: str
    provider_type: str
    provider_type_display: str
    smtp_host: str
    smtp_port: int
    smtp_username: str
    smtp_use_tls: bool
    smtp_use_ssl: bool
    from_email: str
    from_name: str


class Row(_Reached):
    """A provider in the list."""

    health_status: Status
    health_status_display: StatusDisplay
    is_active: bool
    priority: int


class One(Made):
    """A provider."""

    last_health_check: Checked


class Unhealthy(One):
    """A provider that is unhealthy: `health_detail` is cause and fix."""

    health_detail: str


class Updated(_Reached):
    """A provider that was just changed."""

    daily_limit: Limit
    monthly_limit: Limit
    rate_limit_per_minute: Limit
    priority: int
    is_default: bool
    is_active: bool
    health_status: Status
    updated_at: Moment


class Credentials(BaseModel):
    """How the server is reached now."""

    smtp_host: str
    smtp_port: int
    smtp_username: str
    smtp_password: Literal["encrypted_new_password", ""]
    smtp_use_tls: bool
    smtp_use_ssl: bool


class Sent(BaseModel):
    """The test mail was taken. `response_time`: seconds."""

    success: Literal[True]
    message: str
    provider_name: str
    response_time: float
    message_id: str


class NotSent(BaseModel):
    """It was not. `error`: what the server said, cause and fix."""

    success: Literal[False]
    error: str
    provider_name: str
    response_time: float


class Checkup(BaseModel):
    """What a health check found."""

    provider_id: int
    provider_name: str
    is_healthy: bool
    health_status: Status
    last_health_check: Checked


class Done(BaseModel):
    message: str


class Statistics(BaseModel):
    """Percentages of a limit that there is not are 0.0. `average_response_time`: seconds of a transaction."""

    provider_id: int
    provider_name: str
    provider_type: str
    is_active: bool
    health_status: Status
    emails_sent_today: int
    emails_sent_this_month: int
    daily_limit: Limit
    monthly_limit: Limit
    daily_usage_percentage: float
    monthly_usage_percentage: float
    last_health_check: Checked
    success_rate: float
    average_response_time: float


class HealthRow(BaseModel):
    """`can_send_email`: it is active, not known to be unhealthy, and has quota left."""

    provider_id: int
    provider_name: str
    provider_type: str
    is_healthy: bool
    health_status: Status
    last_health_check: Checked
    can_send_email: bool
