import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from segloop.errors import InputError
from segloop.settings import Destination, Settings, is_loopback

DOCS = Path(__file__).parents[2] / "docs" / "reference" / "settings.md"

TOML = """
data_dir = "/srv/segloop"
[node]
port = 0
[study]
quiet_seconds = 2
[[destination]]
name = "pacs"
kind = "dicom"
aet = "ORTHANC"
port = 4242
[[destination]]
name = "files"
kind = "folder"
folder = "/srv/out"
[[rule]]
model = "hippocampus-mr@production"
when = { modalities = ["MR"], description_contains = ["crop"] }
destinations = ["pacs"]
"""


def test_defaults_need_nothing() -> None:
    settings = Settings.load(None, {})
    assert (settings.node.aet, settings.node.host, settings.node.port) == ("SEGLOOP", "127.0.0.1", 11112)
    assert (settings.web.port, settings.study.quiet_seconds) == (8080, 30.0)
    assert settings.data_dir.is_absolute()


def test_file_and_variables(tmp_path: Path) -> None:
    path = tmp_path / "segloop.toml"
    path.write_text(TOML, encoding="utf-8")
    settings = Settings.load(path, {"SEGLOOP_NODE__PORT": "104", "SEGLOOP_REQUIRE_PEERS": "1", "HOME": "/root"})
    assert settings.node.port == 104
    assert settings.destination[0].aet == "ORTHANC"
    assert settings.rule[0].when.modalities == ("MR",)
    listed = Settings.load(None, {"SEGLOOP_DESTINATION": '[{"name": "a", "kind": "folder", "folder": "/x"}]'})
    assert listed.destination[0].folder == Path("/x")
    assert Settings.load(None, {"SEGLOOP_DATA_DIR": "/d"}).data_dir == Path("/d")


@pytest.mark.parametrize(
    ("document", "mentions"),
    [
        ({"nodes": {}}, "nodes"),
        ({"node": {"prot": 1}}, "node.prot"),
        ({"node": {"port": 70000}}, "node.port"),
        ({"node": {"aet": "MUCH_TOO_LONG_TITLE"}}, "node.aet"),
        ({"study": {"quiet_seconds": -1}}, "quiet_seconds"),
        ({"destination": [{"name": "a", "kind": "folder"}]}, "folder"),
        ({"destination": [{"name": "a", "kind": "fax"}]}, "kind"),
        ({"destination": [{"name": "a", "kind": "dicom"}, {"name": "a", "kind": "dicom"}]}, "repeat"),
        ({"rule": [{"model": "m", "destinations": ["nowhere"]}]}, "nowhere"),
        ({"destination": [{"name": "a", "kind": "hl7"}]}, "port"),
        ({"orders": {"port": 2576, "host": "0.0.0.0"}}, "orders.certificate"),
        ({"destination": [{"name": "a", "kind": "hl7", "port": 2575, "host": "his.example"}]}, "tls = true"),
        ({"destination": [{"name": "a", "kind": "dicom", "tls": True}]}, "tls"),
        ({"destination": [{"name": "a", "kind": "fhir"}]}, "url"),
        ({"destination": [{"name": "a", "kind": "fhir", "url": "http://his.example/r4"}]}, "https"),
        ({"destination": [{"name": "a", "kind": "stow", "url": "http://10.0.0.5/dicom-web"}]}, "https"),
        ({"destination": [{"name": "a", "kind": "webhook", "url": "http://u:p@127.0.0.1/"}]}, "url"),
        ({"destination": [{"name": "a", "kind": "webhook", "url": "file:///etc/passwd"}]}, "url"),
        ({"destination": [{"name": "a", "kind": "fhir", "url": "http://h.example", "plaintext": "yes"}]}, "plaintext"),
        ({"database": {"url": "postgresql://x"}}, "database.url"),
        ({"destination": [{"name": "a", "kind": "hl7", "port": 1, "seg": "labelmap"}]}, "seg"),
        ({"destination": [{"name": "a", "kind": "webhook", "url": "http://127.0.0.1/", "rtstruct": True}]}, "rtstruct"),
        ({"destination": [{"name": "a", "kind": "dicom", "gate": "approval"}]}, "gate"),
    ],
)
def test_a_fault_is_named(document: dict[str, object], mentions: str) -> None:
    with pytest.raises(InputError) as caught:
        Settings.parse(document)
    assert caught.value.code == "usage"
    assert mentions in str(caught.value)


@pytest.mark.parametrize(
    ("goal", "is_open"),
    [
        ({"kind": "hl7", "port": 1, "host": "his.example", "tls": True}, False),
        ({"kind": "hl7", "port": 1, "host": "::1"}, False),
        ({"kind": "hl7", "port": 1, "host": "his.example", "plaintext": "accepted by Dr Roe on 2026-11-22"}, True),
        ({"kind": "fhir", "url": "https://his.example/r4"}, False),
        ({"kind": "fhir", "url": "http://[::1]:8080/r4"}, False),
        ({"kind": "stow", "url": "http://his.example", "plaintext": "accepted by Dr Roe on 2026-11-22"}, True),
    ],
)
def test_results_leave_encrypted_or_by_somebodys_word(goal: dict[str, object], is_open: bool) -> None:
    assert Destination.model_validate({"name": "a", **goal}).is_open is is_open


@pytest.mark.parametrize("name", ["SEGLOOP_NODES__PORT", "SEGLOOP_PORT"])
def test_an_unknown_variable_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=name):
        Settings.load(None, {name: "1"})


def test_a_file_that_is_absent_or_no_toml(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        Settings.load(tmp_path / "none.toml", {})
    (tmp_path / "bad.toml").write_text("a = ", encoding="utf-8")
    with pytest.raises(InputError, match="not valid TOML"):
        Settings.load(tmp_path / "bad.toml", {})


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "hospital.example"])
def test_beyond_loopback_is_refused(host: str) -> None:
    assert not is_loopback(host)
    for section in ("web", "node"):
        with pytest.raises(InputError, match="TLS"):
            Settings.parse({section: {"host": host}})
    with pytest.raises(InputError, match="TLS"):
        Settings.parse({"destination": [{"name": "a", "kind": "dicom", "aet": "P", "host": host}]})


@pytest.mark.parametrize("host", ["127.0.0.1", "127.5.5.5", "::1", "localhost", "LOCALHOST"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)


def test_a_person_can_accept_plaintext_per_peer() -> None:
    peer = {"aet": "CT1", "host": "10.0.0.7", "plaintext": "accepted by Li Wei on 2026-11-22"}
    settings = Settings.parse({"node": {"host": "0.0.0.0"}, "peer": [peer]})
    assert settings.accepts_plaintext("CT1", "10.0.0.7")
    assert not settings.accepts_plaintext("CT1", "10.0.0.8")
    assert not settings.accepts_plaintext("CT2", "10.0.0.7")
    with pytest.raises(InputError, match="plaintext"):
        Settings.parse({"peer": [{**peer, "plaintext": "yes"}]})


def keys(model: type[BaseModel], prefix: str) -> set[str]:
    found: set[str] = set()
    for name, field in model.model_fields.items():
        inner = next(
            (
                kind
                for kind in (field.annotation, *getattr(field.annotation, "__args__", ()))
                if isinstance(kind, type) and issubclass(kind, BaseModel)
            ),
            None,
        )
        found |= keys(inner, f"{prefix}{name}.") if inner else {prefix + name}
    return found


def test_every_key_is_documented_and_no_other() -> None:
    documented = set(re.findall(r"^\| `([\w.]+)` \|", DOCS.read_text("utf-8"), re.MULTILINE))
    assert documented == keys(Settings, "")


def test_defaults_in_the_documentation_are_the_real_ones() -> None:
    rows = dict(re.findall(r"^\| `([\w.]+)` \| `([^`]*)` \|", DOCS.read_text("utf-8"), re.MULTILINE))
    assert rows["node.port"] == str(Settings().node.port)
    assert rows["web.port"] == str(Settings().web.port)
    assert rows["study.quiet_seconds"] == str(int(Settings().study.quiet_seconds))
    assert rows["destination.attempts"] == str(Destination(name="a", kind="dicom").attempts)
