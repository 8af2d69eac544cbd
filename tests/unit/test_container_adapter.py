"""The pure parts of the container adapter: what is ignored, what a log says, what a container is set to."""

import pytest

from interlock.adapters.containers.configuration import container_configuration, user_of
from interlock.adapters.containers.connection import Refusal
from interlock.adapters.containers.failures import as_error, no_registry
from interlock.adapters.containers.ignoring import Ignored
from interlock.adapters.containers.output import Kept, chunk
from interlock.core.errors import Invalid
from interlock.tools.containers.ports import ContainerLimits, ContainerSpec


@pytest.mark.parametrize(
    ("patterns", "path", "is_ignored"),
    [
        ("*.pyc", "a.pyc", True),
        ("*.pyc", "src/a.pyc", False),
        ("**/*.pyc", "src/deep/a.pyc", True),
        ("**/*.pyc", "a.pyc", True),
        ("node_modules", "node_modules/x/y.js", True),
        ("node_modules", "web/node_modules/x.js", False),
        ("**/node_modules", "web/node_modules/x.js", True),
        ("/build/", "build/x", True),
        ("*", "anything/at/all", True),
        ("*\n!keep", "keep/file", False),
        ("!keep\n*", "keep", True),
        ("docs/**\n!docs/README.md", "docs/README.md", False),
        ("file?.txt", "file1.txt", True),
        ("file[0-9].txt", "filex.txt", False),
        ("# comment", "# comment", False),
        ("\\!odd", "!odd", True),
        ("a/../b", "b", True),
        ("[", "[", True),
        (".", "x", False),
    ],
)
def test_ignore_files_mean_what_their_documentation_says(patterns: str, path: str, is_ignored: bool) -> None:
    assert Ignored(patterns).covers(path) is is_ignored


def test_a_chunk_cuts_no_character_in_two() -> None:
    kept = Kept(0, "aé€".encode())
    assert chunk(kept, 0, 2, [], has_ended=True).text == "a"
    assert chunk(kept, 1, 3, [], has_ended=True) == chunk(kept, 1, 2, [], has_ended=True)
    assert chunk(kept, 3, 9, [], has_ended=True).text == "€"
    assert chunk(kept, 1, 1, [], has_ended=True).next_offset == 2


def test_secrets_that_overlap_are_masked_whole() -> None:
    kept = Kept(100, b"x abcdef y")
    assert chunk(kept, 0, 100, [b"abcd", b"cdef"], has_ended=True).text == "x *** y"
    assert chunk(kept, 103, 4, [b"abcd"], has_ended=True).text == "***e"


def test_a_container_is_closed_but_for_what_is_said() -> None:
    spec = ContainerSpec(
        image="sha256:1",
        command=("serve", "--port", "8080"),
        environment={"A": "1"},
        port=18000,
        container_port=8080,
        limits=ContainerLimits(cpus=0.5, memory_mb=64, pids=50),
        writable=("/data",),
        labels={"interlock.service": "shop", "interlock.key": "forged"},
    )
    found = container_configuration("plane", "key", spec, "65532:65532")
    host = found["HostConfig"]
    assert (found["Entrypoint"], found["Cmd"]) == (["serve"], ["--port", "8080"])
    assert found["Labels"]["interlock.key"] == "key"
    assert host["PortBindings"] == {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": "18000"}]}
    assert (host["ReadonlyRootfs"], host["CapDrop"], host["SecurityOpt"]) == (True, ["ALL"], ["no-new-privileges"])
    assert (host["NanoCpus"], host["Memory"], host["MemorySwap"], host["PidsLimit"]) == (500_000_000, 1 << 26, 1 << 26, 50)
    assert host["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 5}
    assert host["LogConfig"]["Config"] == {"max-size": "4194304", "max-file": "3"}


def test_what_joins_another_container_has_its_network_and_publishes_nothing() -> None:
    found = container_configuration("plane", "key", ContainerSpec(image="sha256:1", joins="server"), "1")
    assert found["HostConfig"]["NetworkMode"] == "container:interlock.plane.server"
    assert found["HostConfig"]["PortBindings"] == {}


@pytest.mark.parametrize(
    ("image_user", "user"),
    [("", "65532:65532"), ("root", "65532:65532"), ("0:0", "65532:65532"), ("node", "node"), ("1000", "1000")],
)
def test_nothing_runs_as_root_unless_it_is_said(image_user: str, user: str) -> None:
    assert user_of(ContainerSpec(image="x"), image_user) == user
    assert user_of(ContainerSpec(image="x", user="0"), image_user) == "0"


@pytest.mark.parametrize(
    "fields",
    [
        {"image": ""},
        {"environment": {"A=B": "x"}},
        {"command": ("a\0b",)},
        {"secret_variables": ("NOWHERE",)},
        {"writable": ("data",)},
        {"writable": ("/",)},
        {"writable": ("/data/../etc",)},
        {"user": "root"},
        {"container_port": 80},
        {"joins": "server", "port": 18000},
        {"joins": "../server"},
        {"limits": ContainerLimits(memory_mb=1)},
        {"max_restarts": -1},
    ],
)
def test_a_specification_that_cannot_be_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(Invalid) as refusal:
        container_configuration("plane", "key", ContainerSpec(**({"image": "x"} | fields)), "1")  # type: ignore[arg-type]
    assert refusal.value.code in {"container_spec", "process_key"}


@pytest.mark.parametrize(
    ("status", "words", "code"),
    [
        (500, "write /x: no space left on device", "storage"),
        (404, "No such image: x:1", "image_missing"),
        (409, "conflict", "engine_refused"),
        (500, "something broke", "engine_failed"),
    ],
)
def test_an_engines_words_become_an_error_of_the_tree(status: int, words: str, code: str) -> None:
    assert as_error(Refusal(status, words), "here").code == code


def test_a_registry_that_is_away_is_told_from_one_that_refuses() -> None:
    away = Refusal(0, 'Get "http://127.0.0.1:9/v2/": dial tcp 127.0.0.1:9: connect: connection refused')
    assert no_registry(away, "x") is not None
    assert no_registry(Refusal(0, "denied: requested access to the resource is denied"), "x") is None
