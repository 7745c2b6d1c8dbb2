"""A mounted secret: which of its files are options, which are passed over, and that no content is ever told."""

import os
from pathlib import Path

import pytest

from worker.core.errors import BadSettings
from worker.kafka import client_config as client, options
from worker.settings import load
from worker.settings.secret_files import read

PEM = "-----BEGIN CERTIFICATE-----\nS3CRET\n-----END CERTIFICATE-----\n"
STRIMZI = {
    "ca.crt": PEM.encode(), "user.crt": PEM.encode(), "user.key": PEM.encode(), "user.p12": bytes(range(128, 256)),
    "user.password": b"S3CRET",
}  # fmt: skip
SCRAM = {"password": b"S3CRET", "sasl.jaas.config": b'org.apache.kafka... password="S3CRET";'}


def folder(tmp_path: Path, files: dict[str, bytes]) -> Path:
    path = tmp_path / "secret"
    path.mkdir()
    for name, data in files.items():
        (path / name).write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("content", "value"),
    [(b"bob\n", "bob"), (b"bob\r\n", "bob"), (b" b o b ", " b o b "), (b"\xef\xbb\xbfbob", "bob"), (b"", "")],
)
def test_an_option_is_the_text_of_its_file(tmp_path: Path, content: bytes, value: str) -> None:
    assert read(folder(tmp_path, {"sasl.username": content})).options == {"sasl.username": value}


@pytest.mark.parametrize("files", [STRIMZI, SCRAM, {"tls.crt": b"x", "tls.key": b"y", "keystore.jks": b"\xfe\xed"}])
def test_files_of_other_tools_are_passed_over_by_name(tmp_path: Path, files: dict[str, bytes]) -> None:
    found = read(folder(tmp_path, {**files, "security.protocol": b"SSL"}))
    assert (found.options, found.passed_over, found.problems) == (
        {"security.protocol": "SSL"},
        tuple(sorted(files)),
        (),
    )


@pytest.mark.parametrize("name", ["ssl.ca.location", "ssl.keystore.location", "sasl.kerberos.keytab"])
@pytest.mark.parametrize("content", [PEM.encode(), bytes(range(128, 256)), b"", b"no such file", b"a\0b"])
def test_an_option_by_path_is_the_file_itself(tmp_path: Path, name: str, content: bytes) -> None:
    path = folder(tmp_path, {name: content})
    assert read(path).options == {name: str(path / name)}


@pytest.mark.parametrize("content", ["/etc/ssl/ca.pem", "/etc/ssl/ca.pem\n", "probe", "{there}"])
def test_an_option_by_path_may_hold_another_path(tmp_path: Path, content: str) -> None:
    other = tmp_path / "other.pem"
    other.write_text(PEM)
    text = content.format(there=os.path.relpath(other))
    assert read(folder(tmp_path, {"ssl.ca.location": text.encode()})).options == {"ssl.ca.location": text.strip()}


@pytest.mark.parametrize("content", [bytes(range(128, 256)), b"a\0b", b"x" * (1 << 20) + b"y"])
def test_an_option_that_is_no_text_is_told_by_its_name(tmp_path: Path, content: bytes) -> None:
    found = read(folder(tmp_path, {"sasl.password": content, "sasl.username": b"bob"}))
    assert [problem.partition(" is not")[0] for problem in found.problems] == ["kafka_secrets: sasl.password"]
    assert found.options == {"sasl.username": "bob"}


def test_what_the_mount_has_of_its_own_is_not_looked_at(tmp_path: Path) -> None:
    path = folder(tmp_path, {".hidden": b"x"})
    (path / "..2026_11_28").mkdir()
    (path / "folder").mkdir()
    (path / "..2026_11_28" / "sasl.username").write_text("bob")
    (path / "sasl.username").symlink_to(path / "..2026_11_28" / "sasl.username")
    assert read(path).options == {"sasl.username": "bob"}


def test_a_file_takes_no_guarantee_away(tmp_path: Path) -> None:
    found = read(folder(tmp_path, {"enable.idempotence": b"false", "bootstrap.servers": b"other:9092"}))
    assert found.options == {}
    assert [problem.split(": ")[1] for problem in found.problems] == ["bootstrap.servers", "enable.idempotence"]


def test_a_worker_refuses_what_no_option_is_and_tells_no_content(tmp_path: Path) -> None:
    path = folder(tmp_path, {"sasl.pasword": b"S3CRET", "notes.txt": b"S3CRET", "sasl.username": b"bob"})
    settings = load(None, {"kafka_secrets": path}, files=True)
    with pytest.raises(BadSettings) as caught:
        client.common(settings)
    assert str(caught.value).splitlines() == [
        "kafka_secrets: notes.txt: is not a librdkafka option",
        "kafka_secrets: sasl.pasword: is not a librdkafka option; did you mean sasl.password?",
    ]


def test_a_binary_file_is_one_sentence_at_start(tmp_path: Path) -> None:
    path = folder(tmp_path, {"other.p12": bytes(range(128, 256))})
    with pytest.raises(BadSettings, match=r"kafka_secrets: other.p12 is not a text file"):
        load(None, {"kafka_secrets": path}, files=True)


def test_an_option_with_two_values_is_refused_and_neither_told(tmp_path: Path) -> None:
    path = folder(tmp_path, {"sasl.password": b"S3CRET-1"})
    with pytest.raises(BadSettings) as caught:
        load(None, {"kafka_secrets": path, "kafka_options": {"sasl.password": "S3CRET-2"}}, files=True)
    assert "kafka_options.sasl.password: kafka_secrets has a file of this name" in str(caught.value)
    assert "S3CRET" not in str(caught.value)


def test_ignored_files_are_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = load(None, {"kafka_secrets": folder(tmp_path, STRIMZI)})
    with caplog.at_level("INFO"):
        for _ in range(3):
            options.given(settings)
    assert [record.message.split(";")[0] for record in caplog.records] == [
        "kafka_secrets: ignored ca.crt, user.crt, user.key, user.p12, user.password"
    ]
