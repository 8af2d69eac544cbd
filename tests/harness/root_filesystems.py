"""Root file systems for base images, put together from this machine: no registry is needed."""

import os
import re
import shutil
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

_LIBRARY = re.compile(r"(/\S+) \(0x")
_LOADED_LATER = ("libnss_dns.so.2", "libnss_files.so.2", "libresolv.so.2", "libstdc++.so.6", "libgcc_s.so.1")
_NEEDLESS = shutil.ignore_patterns("__pycache__", "test", "tests", "idlelib", "tkinter", "turtledemo", "config-*", "*.a")
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"


def busybox(root: Path) -> dict[str, str]:
    """A shell and small programs; returns the environment. Raises FileNotFoundError for what is missing here."""
    program = shutil.which("busybox")
    if program is None:
        raise FileNotFoundError("busybox")
    for folder in ("bin", "etc", "tmp", "usr/bin", "usr/local/bin"):
        (root / folder).mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    shutil.copy(program, root / "bin" / "busybox")
    for name in subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout.split():
        if name != "busybox":
            (root / "bin" / name).symlink_to("busybox")
    (root / "etc" / "passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    (root / "etc" / "group").write_text("root:x:0:\n")
    (root / "etc" / "nsswitch.conf").write_text("hosts: files dns\n")
    _copy_libraries(root, [Path(program)])
    return {"PATH": "/usr/local/bin:/usr/bin:/bin"}


def python(root: Path) -> dict[str, str]:
    """The Python that runs this, in ``/usr/local``."""
    environment = busybox(root)
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    library = Path(sys.base_prefix, "lib", version)
    program = Path(sys.base_prefix, "bin", version)
    if not (library / "ensurepip").is_dir():
        raise FileNotFoundError(f"{library}/ensurepip")
    shutil.copytree(library, root / "usr/local/lib" / version, symlinks=True, ignore=_without_packages(library))
    shutil.copy(program, root / "usr/local/bin" / version)
    for name in ("python3", "python"):
        (root / "usr/local/bin" / name).symlink_to(version)
    _copy_libraries(root, [program, *library.glob("lib-dynload/*.so")])
    _copy_certificates(root)
    return environment | {"PIP_CERT": CERTIFICATES, "SSL_CERT_FILE": CERTIFICATES}


def node(root: Path) -> dict[str, str]:
    """The Node of this machine, with npm."""
    environment = busybox(root)
    program = shutil.which("node")
    npm = shutil.which("npm")
    if program is None or npm is None:
        raise FileNotFoundError("node and npm")
    shutil.copy(Path(program).resolve(), root / "usr/local/bin/node")
    # npm-cli.js lies in the package's bin folder.
    package = Path(npm).resolve().parents[1]
    shutil.copytree(package, root / "usr/local/lib/node_modules/npm", symlinks=True)
    (root / "usr/local/bin/npm").symlink_to("../lib/node_modules/npm/bin/npm-cli.js")
    (root / "usr/bin/env").symlink_to("/bin/busybox")
    _copy_libraries(root, [Path(program).resolve()])
    _copy_certificates(root)
    return environment | {"NODE_EXTRA_CA_CERTS": CERTIFICATES}


def _without_packages(library: Path) -> Callable[[str, list[str]], set[str]]:
    def ignore(folder: str, names: list[str]) -> set[str]:
        needless = _NEEDLESS(folder, names)
        return needless | ({"site-packages", "dist-packages"} & set(names) if Path(folder) == library else set())

    return ignore


def _copy_libraries(root: Path, programs: list[Path]) -> None:
    """What the programs are linked with, the loader included, and what the C library loads when it looks up names."""
    printed = subprocess.run(["ldd", *map(str, programs)], capture_output=True, text=True, check=False).stdout
    found = {Path(path) for path in _LIBRARY.findall(printed)}
    beside = [path.parent for path in found if path.name.startswith("libc.so")]
    found |= {folder / name for folder in beside for name in _LOADED_LATER if (folder / name).exists()}
    for library in found:
        target = root / str(library).lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            shutil.copy(library, target)


def _copy_certificates(root: Path) -> None:
    given = os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile or CERTIFICATES
    source = next((place for place in (CERTIFICATES, given) if os.path.exists(place)), None)
    if source is not None:
        target = root / CERTIFICATES.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
