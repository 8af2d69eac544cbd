"""Keeps one container engine and one registry for all tests of this machine, and ends them after the last one.

    users.lock    held shared by every test session that uses them, exclusively by the keeper that ends them
    keeper.lock   held by the keeper as long as it lives
    ready.json    where they are, or why they could not be started

A lock goes with its process, however that ends: so whatever becomes of the sessions, the keeper gets ``users.lock`` when the
last one is gone. It is run as a program of its own: ``engine_keeper.py FOLDER URL``. Where the URL is
empty it starts an engine.
"""

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

START_S = 60.0
END_S = 30.0
REGISTRY = """\
version: 0.1
log: {{level: warn}}
storage: {{filesystem: {{rootdirectory: {root}}}, delete: {{enabled: true}}}}
http: {{addr: 127.0.0.1:{port}}}
"""


def start_engine(folder: Path, *options: str) -> subprocess.Popen[bytes]:
    """A daemon on ``engine.sock`` in the folder, with everything that it keeps beside it. Options are added."""
    folder.mkdir(parents=True, exist_ok=True)
    places = ["--data-root", str(folder / "root"), "--exec-root", str(folder / "exec"), "-p", str(folder / "pid")]
    command = ["dockerd", *places, "-H", f"unix://{folder}/engine.sock", *options]
    with (folder / "engine.log").open("ab") as log:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)


def until_engine_answers(folder: Path, engine: subprocess.Popen[bytes]) -> str:
    """Empty, or why it does not: the last thing that the daemon said."""
    until = time.monotonic() + START_S
    while time.monotonic() < until and engine.poll() is None:
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(5)
                client.connect(f"{folder}/engine.sock")
                client.sendall(b"GET /_ping HTTP/1.0\r\nHost: engine\r\n\r\n")
                if b"200 OK" in client.recv(4096):
                    return ""
        except OSError:
            pass
        time.sleep(0.05)
    lines = (folder / "engine.log").read_text(errors="replace").strip().splitlines()
    return f"dockerd did not come up: {lines[-1][:500] if lines else 'it said nothing'}"


def end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, and SIGKILL after a while."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def end_engine(folder: Path, engine: subprocess.Popen[bytes]) -> None:
    """End the daemon, and what it started: it leaves that behind when it has to be killed."""
    end(engine)
    pid_file = folder / "exec" / "containerd" / "containerd.pid"
    if pid_file.exists():
        name = Path("/proc", pid_file.read_text().strip(), "comm")
        if name.exists() and name.read_text().startswith("containerd"):
            os.kill(int(pid_file.read_text()), signal.SIGKILL)
    _end_shims(folder)
    # What is still mounted belongs to the daemon alone.
    for line in reversed(Path("/proc/mounts").read_text().splitlines()):
        place = line.split()[1]
        if place.startswith(f"{folder}/"):
            subprocess.run(["umount", "-l", place], check=False, capture_output=True)
    shutil.rmtree(folder, ignore_errors=True)


def _end_shims(folder: Path) -> None:
    """Containers, and the processes that hold them, which outlive a daemon that was killed."""
    for place in Path("/proc").glob("[0-9]*"):
        try:
            is_engines = (place / "comm").read_text().startswith("containerd")
            if is_engines and f"{folder}/exec".encode() in (place / "cmdline").read_bytes():
                for children in place.glob("task/*/children"):
                    for child in children.read_text().split():
                        os.kill(int(child), signal.SIGKILL)
                os.kill(int(place.name), signal.SIGKILL)
        except (OSError, ValueError):
            continue


def start_registry(folder: Path, login: str = "") -> tuple[subprocess.Popen[bytes], str] | None:
    """A registry on the loopback interface and its address; None where the program is not there. ``login`` is a htpasswd line
    for the one that it lets in."""
    program = shutil.which("docker-registry") or shutil.which("registry")
    if program is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    configuration = folder / "registry.yml"
    text = REGISTRY.format(root=folder / "storage", port=port)
    if login:
        (folder / "htpasswd").write_text(login)
        text += f"auth: {{htpasswd: {{realm: tests, path: {folder / 'htpasswd'}}}}}\n"
    configuration.write_text(text)
    with (folder / "registry.log").open("ab") as log:
        process = subprocess.Popen([program, "serve", str(configuration)], stdout=log, stderr=log, start_new_session=True)
    until = time.monotonic() + START_S
    while time.monotonic() < until and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            break
    return process, f"127.0.0.1:{port}"


def main() -> None:
    folder, url = Path(sys.argv[1]), sys.argv[2]
    with (folder / "keeper.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        work = folder / "work"
        shutil.rmtree(work, ignore_errors=True)
        engine, problem = None, ""
        if not url:
            url = f"unix://{work}/engine/engine.sock"
            engine = start_engine(work / "engine", "--storage-driver", "overlay2", "--bip", "172.31.250.1/24", "--mtu", "1400")
            problem = until_engine_answers(work / "engine", engine)
        registry = None if problem else start_registry(work / "registry")
        ready = {"problem": problem, "url": url, "registry": registry[1] if registry else ""}
        (folder / "ready.new").write_text(json.dumps(ready))
        (folder / "ready.new").rename(folder / "ready.json")
        with (folder / "users.lock").open("w") as users:
            fcntl.flock(users, fcntl.LOCK_EX)
            (folder / "ready.json").unlink(missing_ok=True)
            if registry:
                end(registry[0])
            if engine:
                end_engine(work / "engine", engine)
            shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
