"""Everything there is to say about a provider, as JSON-able data; an answer takes of it the keys that it has.

Called by the operations; pure. It never holds a password, only whether there is one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from relay.api.provider_answers import NEW_PASSWORD, PASSWORD
from relay.delivery.explain import moment
from relay.delivery.status import ProviderStatus
from relay.model import Counts, Health, Registered

_PRIORITIES = {1: "Primary", 2: "Secondary", 3: "Tertiary"}
_HEALTH = {None: "unknown", True: "healthy", False: "unhealthy"}
_OUT_OF_QUOTA = ("day", "month")


def health_of(one: Registered, status: ProviderStatus | None) -> Health:
    """What is known of it now: what delivery has found out since it was checked counts as well."""
    if one.locked:
        return Health(healthy=False, checked_at=one.health.checked_at, detail=one.locked)
    if status is not None and status.out:
        return Health(healthy=False, checked_at=one.health.checked_at, detail=status.detail)
    return one.health


def facts(one: Registered, counts: Counts, status: ProviderStatus | None) -> dict[str, Any]:
    """Of one provider, by all names that answers use."""
    settings, health = one.settings, health_of(one, status)
    word = _HEALTH[health.healthy]
    secret = bool(settings.password or one.locked)
    return {
        "id": one.id,
        "provider_id": one.id,
        "name": settings.name,
        "provider_name": settings.name,
        "provider_type": "smtp",
        "provider_type_display": "Custom SMTP",
        "smtp_host": settings.host,
        "smtp_port": settings.port,
        "smtp_username": settings.username,
        "smtp_password": PASSWORD if secret else "",
        "smtp_use_tls": settings.use_tls,
        "smtp_use_ssl": settings.use_ssl,
        "from_email": settings.from_email,
        "from_name": settings.from_name,
        "reply_to": settings.reply_to,
        "daily_limit": settings.daily_limit,
        "monthly_limit": settings.monthly_limit,
        "rate_limit_per_minute": settings.rate_limit_per_minute,
        "priority": settings.priority,
        "priority_display": _PRIORITIES.get(settings.priority, f"Priority {settings.priority}"),
        "is_default": one.default,
        "is_active": settings.active,
        "is_healthy": health.healthy is True,
        "health_status": word,
        "health_status_display": word.capitalize(),
        "health_detail": health.detail,
        "last_health_check": moment(health.checked_at) if health.checked_at else None,
        "can_send_email": can_send(one, health, status),
        "created_at": moment(one.created_at),
        "updated_at": moment(one.updated_at),
        **_figures(one, counts),
    }


def can_send(one: Registered, health: Health, status: ProviderStatus | None) -> bool:
    spent = status is not None and status.obstacle in _OUT_OF_QUOTA
    return one.settings.active and health.healthy is not False and not spent


def _figures(one: Registered, counts: Counts) -> dict[str, Any]:
    """Without a limit nothing of it is used; before the first attempt none has failed."""
    settings = one.settings
    return {
        "emails_sent_today": counts.today,
        "emails_sent_this_month": counts.month,
        "daily_usage_percentage": _percentage(counts.today, settings.daily_limit),
        "monthly_usage_percentage": _percentage(counts.month, settings.monthly_limit),
        "success_rate": round(100.0 * counts.accepted / counts.attempts, 1) if counts.attempts else 100.0,
        "average_response_time": round(counts.seconds / counts.attempts, 2) if counts.attempts else 0.0,
    }


def _percentage(used: int, limit: int | None) -> float:
    return round(100.0 * used / limit, 2) if limit else 0.0


def taken(answer: type[BaseModel], everything: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of this answer, in its order."""
    return {name: everything[name] for name in answer.model_fields}


def new_password(everything: Mapping[str, Any]) -> dict[str, Any]:
    """As `update_credentials` shows it."""
    return {**everything, "smtp_password": NEW_PASSWORD if everything["smtp_password"] else ""}
