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
    wanted = [REQUIREMENTS / f"{environment}.txt", REQUIREMENTS / f"{environment}.npm.txt"]
    content = b"".join(file.read_bytes() for file in wanted if file.exists())
    folder = cache / f"{environment}-{hashlib.sha256(content).hexdigest()[:12]}"
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        print(f"making the environment of {environment} in {folder}", file=sys.stderr)
        _run(sys.executable, "-m", "venv", "--clear", str(folder))
        _run(str(python), "-m", "pip", "install", "--quiet", "--requirement", str(wanted[0]))
        if wanted[1].exists():
            # Without install scripts: what is run is the program in the package, and nothing else.
            packages = wanted[1].read_text().split()
            _run(
                "npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--silent", "--prefix", str(folder), *packages
            )
        (folder / "complete").touch()
    return python


def _run(*command: str) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise NotMade(f"{command[0]} is not on this machine") from error
    except subprocess.CalledProcessError as error:
        lines = [line for line in (error.stderr or error.stdout or "").splitlines() if "error" in line.lower()]
        raise NotMade(lines[-1] if lines else f"{command[0]} ended with {error.returncode}") from error
