"""A service in a container of 2 MB, which is built and sent in a moment: busybox, its small web server, and two files."""

import json
from typing import Any

from harness.containers import TestEngine, docker
from harness.sample import MODULE, Sample

DOCKERFILE = 'FROM {base}\nWORKDIR /srv\nCOPY . .\nEXPOSE 7000\nUSER 1000\nCMD ["httpd", "-f", "-p", "7000", "-h", "/srv"]\n'


def release(sample: Sample, tag: str, base: str, **module: Any) -> None:
    """Commit and tag a release that says its version; ``module`` is added to the module file."""
    sample.write("Dockerfile", DOCKERFILE.format(base=base))
    sample.write("index.html", tag)
    sample.write("health", "well")
    deploy = {"target": "container", "dockerfile": "Dockerfile", "drain": "1s"} | module.pop("deploy", {})
    fields = {name: value for name, value in MODULE.items() if name != "start"} | {"name": sample.name, "port": 7000}
    sample.write("ai-module.yaml", json.dumps(fields | {"deploy": deploy} | module))
    sample.commit_all(tag, tag=True)


def containers(engine: TestEngine, sample: Sample, *options: str) -> list[str]:
    """The ids of the service's containers, newest first; those that run, unless ``--all`` is among the options."""
    found = docker(
        engine.url, "ps", "--quiet", "--no-trunc", "--filter", f"label=interlock.service={sample.name}", *options
    ).stdout
    return found.split()


def forget(engine: TestEngine, image: str) -> None:
    """Remove an image with all its names, and every container that was made of it."""
    held = docker(engine.url, "ps", "--all", "--quiet", "--filter", f"ancestor={image}").stdout.split()
    if held:
        docker(engine.url, "rm", "--force", "--volumes", *held)
    docker(engine.url, "rmi", "--force", image)
