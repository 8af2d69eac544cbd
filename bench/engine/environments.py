"""A virtual environment for each peer, made once, outside the repository, from the pinned requirements beside this file."""

import hashlib
import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).with_name("requirements")


class NotMade(Exception):  # noqa: N818 - a reason to tell, for one peer
    """An environment could not be made; says why."""


def python_of(environment: str, cache: Path) -> Path:
    """The interpreter of an environment; makes it at the first time. Raises NotMade."""
    if not environment:
        return Path(sys.executable)
    folder = place(environment, cache)
    python = folder / "bin" / "python"
    if not is_made(environment, cache):
        print(f"making the environment of {environment} in {folder}", file=sys.stderr)
        _run(sys.executable, "-m", "venv", "--clear", str(folder))
        _run(str(python), "-m", "pip", "install", "--quiet", "--requirement", str(_requirements(environment)[0]))
        for file in _requirements(environment)[1:]:
            # Without install scripts: what is run is the program in the package, and nothing else.
            options = ("--ignore-scripts", "--no-audit", "--no-fund", "--silent", "--prefix", str(folder))
            _run("npm", "install", *options, *file.read_text().split())
        (folder / "complete").touch()
    return python


def is_made(environment: str, cache: Path) -> bool:
    return not environment or (place(environment, cache) / "complete").exists()


def place(environment: str, cache: Path) -> Path:
    """Where an environment is kept; other requirements have another place."""
    content = b"".join(file.read_bytes() for file in _requirements(environment))
    return cache / f"{environment}-{hashlib.sha256(content).hexdigest()[:12]}"


def _requirements(environment: str) -> list[Path]:
    """For Python, and where there are any those for Node."""
    named = (REQUIREMENTS / f"{environment}{kind}.txt" for kind in ("", ".npm"))
    return [file for file in named if file.exists()]


def _run(*command: str) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise NotMade(f"{command[0]} is not on this machine") from error
    except subprocess.CalledProcessError as error:
        lines = [line for line in (error.stderr or error.stdout or "").splitlines() if "error" in line.lower()]
        raise NotMade(lines[-1] if lines else f"{command[0]} ended with {error.returncode}") from error
