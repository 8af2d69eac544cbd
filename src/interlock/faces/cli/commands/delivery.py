"""Services, releases, what serves where and the quarantine."""

from typing import Annotated

import typer

from interlock.core.clock import SystemClock
from interlock.faces.cli.api import api_of
from interlock.faces.cli.failures import REFUSED
from interlock.faces.cli.options import AsJson, Limit
from interlock.faces.cli.output import show
from interlock.faces.cli.repository import repository_of
from interlock.faces.cli.views import delivery as views

ServiceOption = Annotated[str | None, typer.Option(help="Only this service.")]


def add_service(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Lower-case letters, digits and hyphens.")],
    repo: Annotated[str, typer.Option(metavar="PATH_OR_URL", help="Its git repository.")],
    as_json: AsJson = False,
) -> None:
    """Register a service. Its repository is fetched first; one that cannot be reached is not registered."""
    added = api_of(ctx).post("services", name=name, repository=repository_of(repo))
    show(added, views.service_added, as_json=as_json)


def list_services(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List the services."""
    page = api_of(ctx).get("services")
    show(page, lambda found: views.services(found, SystemClock().now()), as_json=as_json)


def set_watch(  # noqa: PLR0913, PLR0917 - an option for each threshold
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME")],
    window_s: Annotated[float | None, typer.Option(help="How long a deployment is watched, in seconds.")] = None,
    interval_s: Annotated[float | None, typer.Option(help="Seconds between two looks.")] = None,
    min_requests: Annotated[int | None, typer.Option(help="With fewer requests nothing is concluded.")] = None,
    error_rate: Annotated[float | None, typer.Option(help="Share of answers 500-599, such as 0.05.")] = None,
    p95_ms: Annotated[float | None, typer.Option(help="95th percentile of the answers' time.")] = None,
    health_failures: Annotated[int | None, typer.Option(help="Failed health checks in a row.")] = None,
    restarts: Annotated[int | None, typer.Option(help="Restarts within the window.")] = None,
    as_json: AsJson = False,
) -> None:
    """Set a service's own thresholds, which go before those of its module file; a threshold that is not given
    is the module's again."""
    given = {
        "window_s": window_s,
        "interval_s": interval_s,
        "min_requests": min_requests,
        "error_rate": error_rate,
        "p95_ms": p95_ms,
        "health_failures": health_failures,
        "restarts": restarts,
    }
    service = api_of(ctx).put("services", name, "watch", **given)
    show(service, views.thresholds, as_json=as_json)


def status(
    ctx: typer.Context,
    service: ServiceOption = None,
    env: Annotated[str | None, typer.Option(help="Only this environment.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what serves where, as observed now."""
    page = api_of(ctx).get("status", service=service, environment=env)
    show(page, lambda found: views.status(found, SystemClock().now()), as_json=as_json)


def drift(
    ctx: typer.Context,
    service: ServiceOption = None,
    env: Annotated[str | None, typer.Option(help="Only this environment.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show where what runs is not what should run. Ends with exit code 1 where something differs."""
    page = api_of(ctx).get("drift", service=service, environment=env)
    show(page, lambda found: views.drift(found, SystemClock().now()), as_json=as_json)
    if any(item["drifts"] for item in page["items"]):
        raise typer.Exit(REFUSED)


def releases(ctx: typer.Context, service: ServiceOption = None, limit: Limit = 50, as_json: AsJson = False) -> None:
    """List releases, newest first: where they serve, and which are in quarantine."""
    page = api_of(ctx).get("releases", service=service, limit=limit)
    show(page, lambda found: views.releases(found, SystemClock().now()), as_json=as_json)


def list_quarantine(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List the content that was rolled back and must not be deployed again."""
    page = api_of(ctx).get("quarantine")
    show(page, lambda found: views.quarantine(found, SystemClock().now()), as_json=as_json)


def lift_quarantine(
    ctx: typer.Context,
    service: Annotated[str, typer.Argument(metavar="SERVICE")],
    version: Annotated[str, typer.Argument(metavar="VERSION")],
    as_json: AsJson = False,
) -> None:
    """Allow a quarantined version again."""
    show(api_of(ctx).post("quarantine", service, version, "lift"), views.lifted, as_json=as_json)
