"""File systems of a few megabytes, which are filled and freed again."""

from pathlib import Path


def fill(disk: Path, but_kb: int = 0) -> None:
    """Take every free byte of the file system, ``but_kb`` KiB excepted."""
    size = 1 << 20
    with ballast(disk).open("ab", buffering=0) as file:
        while size:
            try:
                file.write(b"x" * size)
            except OSError:
                size //= 2
        file.truncate(max(0, file.tell() - (but_kb << 10)))


def free(disk: Path) -> None:
    ballast(disk).unlink()


def ballast(disk: Path) -> Path:
    return disk / "ballast"
