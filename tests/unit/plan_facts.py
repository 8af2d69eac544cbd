"""Facts of the small service ``shop``, from which the tests of plans lay out graphs."""

from typing import Any

from interlock.delivery.model import Deployment, Instance, Release
from interlock.delivery.steps.inputs import Place
from interlock.plans.facts import EnvironmentFacts, Facts, Origin
from interlock.plans.model import Pin
from interlock.sources.model import Analysis, Command, HealthCheck, Recipe, SmokeTest, WatchPolicy
from interlock.sources.ports import Ref

AT = "2026-01-01T00:00:00.000Z"
WATCH = WatchPolicy(window_s=4.0, interval_s=2.0, min_requests=20, error_rate=0.05, health_failures=3, restarts=3)
SMOKE = (
    SmokeTest(name="cart", path="/cart", expect_text="empty"),
    SmokeTest(
        name="order",
        command=Command(text="python order.py {port}", argv=(("python", "order.py", "{port}"),)),
        expect_text="fine",
    ),
)
ENVIRONMENTS = ("dev", "staging", "production", "eu.west")


def command(text: str) -> Command:
    """A command as it was written."""
    return Command(text=text, argv=(tuple(text.split()),))


def recipe(*, takes_port: bool = True, **fields: Any) -> Recipe:
    """A recipe with every kind of step; ``fields`` replace its own."""
    start = command("python shop.py {port}" if takes_port else "python shop.py")
    whole = {
        "install": (command("pip install ."),),
        "test": (command("pytest -q"), command("pytest -q slow")),
        "start": start,
        "health": HealthCheck(path="/health") if takes_port else None,
        "smoke": SMOKE if takes_port else SMOKE[1:],
        "env": {"MODE": "shop"},
        "secrets": {"TOKEN": "shop/token"},
    }
    return Recipe(name="shop", module_type="api", takes_port=takes_port, **(whole | fields))


def release(version: str, **fields: Any) -> Release:
    """A release of this version, each with its own content and folder."""
    about = {"release_id": f"rel_{version}", "content": f"content-{version}", "folder": f"/bundles/shop/{version}"}
    rest = {"service": "shop", "commit": version * 8, "bundle": f"bundle-{version}", "built_at": AT, "built_by": "run_0"}
    return Release(version=version, **({"recipe": recipe()} | about | rest | fields))


def deployment(version: str, environment: str, **fields: Any) -> Deployment:
    """What serves this version in the environment since its watch passed."""
    port = fields.pop("port", 20001)
    instances = fields.pop("instances", (Instance(key=f"process-{version}-{environment}", port=port),))
    about = {"release_id": f"rel_{version}", "instances": instances, "state": "good"}
    made = {"plan_id": "plan_0", "run_id": "run_0", "watch": WATCH, "started_at": AT, "live_at": AT, "good_at": AT}
    names = {"deployment_id": f"dep_{version}_{environment}", "service": "shop", "environment": environment}
    return Deployment(version=version, **(names | about | made | fields))


def place(environment: str, service: str = "shop") -> Place:
    """Two ports of the forwarder, which belong to the environment alone."""
    stable = 18100 + 2 * ENVIRONMENTS.index(environment)
    return Place(service=service, environment=environment, stable_port=stable, candidate_port=stable + 1)


def environment(name: str, serving: Release | None = None, count: int = 1) -> EnvironmentFacts:
    """An environment in which ``count`` instances of ``serving`` serve."""
    found = None
    if serving is not None:
        ports = [20000 + number if serving.recipe.takes_port else None for number in range(1, count + 1)]
        keys = [f"process-{serving.version}-{name}" + (f"-{number}" if number > 1 else "") for number in range(1, count + 1)]
        instances = tuple(Instance(key=key, port=port) for key, port in zip(keys, ports, strict=True))
        found = deployment(serving.version, name, instances=instances)
    return EnvironmentFacts(place=place(name), serving=found, fallback=serving)


def origin(**fields: Any) -> Origin:
    """What is promoted serves in dev."""
    pin = Pin(environment="dev", deployment_id="dep_v2_dev", release_id="rel_v2", version="v2", bundle="bundle-v2")
    return Origin(**({"pin": pin, "good_since": AT} | fields))


def facts(action: str = "deploy", **fields: Any) -> Facts:
    """A plan for v2 in staging, where v1 serves, blue-green; ``fields`` replace its own."""
    chosen: Recipe = fields.pop("recipe", recipe())
    built = fields.get("release")
    whole: dict[str, Any] = {
        "plan_id": "plan_1",
        "service": "shop",
        "repository": "/repositories/shop",
        "mirror": "/mirrors/shop",
        "ref": Ref(kind="tag", name="v2", commit="c" * 40, tree="t" * 40),
        "analysis": Analysis(tier=1, commit="c" * 40, tree="t" * 40, recipe=chosen),
        "content": "content-v2",
        "release": None,
        "release_id": built.release_id if built else "rel_v2",
        "version": built.version if built else "v2",
        "folder": built.folder if built else "/bundles/shop/v2",
        "environments": (environment("staging", release("v1")),),
        "watch": WATCH,
        "strategy": "blue-green" if chosen.takes_port else "recreate",
        "wants_smoke": True,
        "command_timeout_s": 1800.0,
        "reason": "",
    }
    return Facts(action=action, **(whole | fields))  # pyright: ignore[reportArgumentType]
