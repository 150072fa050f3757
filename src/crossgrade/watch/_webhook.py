"""Sends alarms and tests of new offers to a webhook, signed for the receiver to check origin and age.

The header `Crossgrade-Signature` is `t=SECONDS,v1=HEX`. HEX is the HMAC-SHA256, under the shared secret, of
the seconds, a full stop and the body. The receiver should compare it in constant time, and refuse a message
that is older than a few minutes, because it may be a replay.
"""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import aiohttp
import msgspec

from crossgrade.domain import Reason, Watching
from crossgrade.errors import UsageError
from crossgrade.store import Alarm, OnboardingStep, Store

SIGNATURE_HEADER = "Crossgrade-Signature"
TIMEOUT_S = 10.0
KEPT_FOR = timedelta(days=7)
"""An alarm that could not be delivered is sent again at every check, until it is this old."""


def signature(secret: str, body: bytes, at: datetime) -> str:
    """Return the value of the signature header for a body sent at a time."""
    seconds = str(int(at.timestamp()))
    digest = hmac.new(secret.encode(), seconds.encode() + b"." + body, hashlib.sha256).hexdigest()
    return f"t={seconds},v1={digest}"


async def deliver(
    store: Store, watching: Watching, environ: Mapping[str, str], *, now: datetime
) -> Sequence[Reason]:
    """Send the alarms and the tests of new offers that were not delivered yet, and return the failures.

    Raises `UsageError` if the environment variable of the secret is not set.
    """
    if watching.webhook_url is None:
        return []
    alarms = [each for each in store.alarms.without_event("delivered") if each.at > now - KEPT_FOR]
    tests = _untold_tests(store, after=now - KEPT_FOR)
    if not alarms and not tests:
        return []
    secret = environ.get(watching.webhook_secret_env or "")
    if not secret:
        raise UsageError(
            f"the environment variable {watching.webhook_secret_env} is not set, so alarms cannot be signed",
            code="webhook-secret-not-set",
            hint="set it to the secret that the receiver of `watch.webhook_url` knows",
        )
    unmarked = {each.id for each in store.alarms.without_event("undelivered")}
    problems: list[Reason] = []
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as session:
        for alarm in alarms:
            error = await _post(session, watching.webhook_url, secret, alarm_body(alarm), now)
            if error is None:
                store.alarms.append_event(alarm.id, "delivered")
                continue
            problems.append(Reason("alarm-undelivered", f"alarm {alarm.id} was not delivered: {error}"))
            if alarm.id in unmarked:  # the failure is recorded once, though every check tries again
                store.alarms.append_event(alarm.id, "undelivered", {"error": error})
        for body, told in tests:
            error = await _post(session, watching.webhook_url, secret, body, now)
            if error is None:
                store.onboardings.append(replace(told, at=now))
            else:
                text = f"the test of {told.offer} on {told.workload} was not delivered: {error}"
                problems.append(Reason("test-undelivered", text))
    return problems


def _untold_tests(store: Store, *, after: datetime) -> list[tuple[bytes, OnboardingStep]]:
    """Return the body of each test of a new offer that was not delivered, and the step to record then."""
    steps = store.onboardings.of_kinds("spent", "canary", "delivered", after=after)
    told = {str(step.detail["test"]) for step in steps if step.kind == "delivered"}
    found = []
    for step in steps:
        if step.kind != "spent" or step.detail["test"] in told:
            continue
        canary = any(
            (each.kind, each.offer, each.workload) == ("canary", step.offer, step.workload)
            and each.at >= step.at
            for each in steps
        )
        body = msgspec.json.encode(
            {
                "schema_version": 1,
                "id": step.detail["test"],
                "at": step.at,
                "kind": "renewal",
                "offer": step.offer,
                "workload": step.workload,
                "verdict_id": step.detail["verdict"],
                "verdict": step.detail["name"],
                "problem": step.detail["problem"],
                "spent_usd": step.detail["usd"],
                "canary": canary,
            }
        )
        found.append((body, replace(step, kind="delivered", detail={"test": step.detail["test"]})))
    return found


def alarm_body(alarm: Alarm) -> bytes:
    """Return the JSON body of an alarm. It has numbers and names, and no text of a request or answer."""
    return msgspec.json.encode(
        {
            "schema_version": 1,
            "id": alarm.id,
            "at": alarm.at,
            "kind": alarm.kind,
            "route": alarm.route,
            "segment": alarm.segment,
            "verdict_id": alarm.verdict_id,
            "detail": alarm.detail,
        }
    )


async def _post(
    session: aiohttp.ClientSession, url: str, secret: str, body: bytes, now: datetime
) -> str | None:
    headers = {"Content-Type": "application/json", SIGNATURE_HEADER: signature(secret, body, now)}
    try:
        async with session.post(url, data=body, headers=headers, allow_redirects=False) as response:
            return None if 200 <= response.status < 300 else f"HTTP {response.status}"
    except (aiohttp.ClientError, TimeoutError) as error:
        return type(error).__name__
