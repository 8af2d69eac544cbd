"""The certificates for a container engine: what is wrong with them is said at the start, file by file."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from harness.certificates import FILES, Authority
from interlock.adapters.containers.tls import client_context
from interlock.bootstrap import serving
from interlock.core.errors import Invalid


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Authority().issue(tmp_path / "tls")


def refusal(folder: Path) -> Invalid:
    with pytest.raises(Invalid) as refused:
        client_context(folder)
    assert refused.value.code == "container_tls"
    assert "INTERLOCK_CONTAINER_TLS" in refused.value.hint
    return refused.value


def test_a_whole_folder_is_taken_and_only_its_authority_trusted(folder: Path) -> None:
    context = client_context(folder)
    assert context.check_hostname
    assert len(context.get_ca_certs()) == 1


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_not_there_or_nonsense_is_named(folder: Path, name: str) -> None:
    (folder / name).write_text("nonsense")
    assert refusal(folder).where in {str(folder / name), str(folder / "cert.pem")}
    (folder / name).unlink()
    missing = refusal(folder)
    assert missing.where == str(folder / name)
    assert "No such file" in missing.message


def test_a_key_of_another_certificate_is_refused(folder: Path, tmp_path: Path) -> None:
    other = Authority().issue(tmp_path / "other")
    (other / "key.pem").replace(folder / "key.pem")
    assert "key.pem" in refusal(folder).message


def test_a_key_with_a_password_is_refused_and_nobody_is_asked_for_it(folder: Path) -> None:
    key = serialization.load_pem_private_key((folder / "key.pem").read_bytes(), None)
    locked = serialization.BestAvailableEncryption(b"open-sesame")
    form = serialization.PrivateFormat.PKCS8
    (folder / "key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, form, locked))
    assert "without a password" in refusal(folder).hint


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"TLS": "/nowhere", "ADDRESS": "10.1.2.3"}, "/nowhere/ca.pem: TLS to the container engine is not possible"),
        ({"ADDRESS": "10.1.2.3"}, "INTERLOCK_CONTAINER_TLS: whoever reaches tcp://10.1.2.3:2376"),
        ({"TLS": "/nowhere"}, "INTERLOCK_CONTAINER_ADDRESS: the engine is on another host"),
    ],
)
def test_the_server_does_not_start_with_an_engine_that_it_could_not_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], said: dict[str, str], words: str
) -> None:
    settings = {"HOME": str(tmp_path / "home"), "PORT": "0", "CONTAINER_ENGINE": "tcp://10.1.2.3:2376"}
    for name, value in (settings | {f"CONTAINER_{name}": value for name, value in said.items()}).items():
        monkeypatch.setenv(f"INTERLOCK_{name}", value)
    monkeypatch.setattr(serving.signal, "signal", lambda *_: None)
    assert serving.serve(None, None) == 1
    assert words in capsys.readouterr().err
