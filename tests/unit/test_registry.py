import shutil

import pytest

import tiny_models
from segloop import audit
from segloop.errors import InputError, ModelError
from segloop.infer.bundle import SHIPPED_BYTES, Bundle
from segloop.registry import Registry, Stage, shipped


@pytest.fixture(scope="module")
def versions(tmp_path_factory):
    """Two versions of one model."""
    second = tiny_models.export(tmp_path_factory.mktemp("second") / "tiny", version="2.0", inference__overlap=0.25)
    return tiny_models.bundle(), second


@pytest.fixture
def registry(tmp_path):
    return Registry(tmp_path / "registry")


@pytest.fixture
def filled(registry, versions):
    for bundle in versions:
        registry.add(bundle.path, by="ada", why="trial", runtime="openvino")
    return registry


def test_an_added_bundle_is_found_by_version_and_by_folder(filled, versions):
    one, two = versions
    assert filled.load("tiny@1.0").digest == one.digest
    assert filled.load("tiny@2.0").digest == two.digest
    assert filled.load(one.path).digest == one.digest
    assert filled.load(str(two.path)).digest == two.digest
    assert filled.load("tiny@1.0").path != one.path


def test_a_name_alone_and_a_stage_mean_what_was_promoted(filled):
    for name in ("tiny", "tiny@production", "tiny@shadow"):
        with pytest.raises(ModelError) as caught:
            filled.load(name)
        assert caught.value.code == "model.unknown"
        assert "tiny@1.0" in caught.value.expected
    filled.promote("tiny", "1.0", Stage.production, by="ada", why="passed the gate")
    filled.promote("tiny", "2.0", Stage.shadow, by="ada", why="to compare")
    assert filled.load("tiny").manifest.version == "1.0"
    assert filled.load("tiny@production").manifest.version == "1.0"
    assert filled.load("tiny@shadow").manifest.version == "2.0"
    entries = {e.version: e.stages for e in filled.list() if e.name == "tiny"}
    assert entries == {"1.0": (Stage.production,), "2.0": (Stage.shadow,)}


def test_rollback_brings_the_version_before_back(filled):
    for version in ("1.0", "2.0"):
        filled.promote("tiny", version, Stage.production, by="ada", why="newer")
    assert filled.load("tiny").manifest.version == "2.0"
    assert filled.rollback("tiny", Stage.production, by="bob", why="worse on thin slices") == "1.0"
    assert filled.load("tiny").manifest.version == "1.0"
    assert [p.version for p in filled.placements("tiny", Stage.production)] == ["1.0"]
    with pytest.raises(ModelError) as caught:
        filled.rollback("tiny", Stage.production, by="bob", why="again")
    assert caught.value.code == "model.unknown"


def test_every_change_is_in_the_history_with_who_and_why(filled, tmp_path):
    filled.promote("tiny", "1.0", Stage.production, by="ada", why="passed the gate")
    path = tmp_path / "registry" / "history.jsonl"
    assert audit.verify(path) == 3
    last = audit.AuditLog(path).tail(1)[0]
    assert (last.action, last.actor, last.subject) == ("model.promoted", "ada", "tiny")
    assert last.detail == {"version": "1.0", "stage": "production", "why": "passed the gate"}


@pytest.mark.parametrize(("by", "why"), [("", "reason"), ("ada", " ")])
def test_a_promotion_needs_a_person_and_a_reason(filled, by, why):
    with pytest.raises(InputError) as caught:
        filled.promote("tiny", "1.0", Stage.production, by=by, why=why)
    assert caught.value.code == "usage"


def test_adding_twice_changes_nothing_and_other_content_is_refused(filled, versions, tmp_path):
    before = filled.list()
    filled.add(versions[0].path, by="ada", runtime="openvino")
    assert filled.list() == before
    other = tiny_models.export(tmp_path / "other", version="1.0", inference__overlap=0.75)
    with pytest.raises(InputError) as caught:
        filled.add(other.path, by="ada", runtime="openvino")
    assert caught.value.code == "usage"


def test_a_damaged_bundle_is_neither_added_nor_loaded(filled, versions, tmp_path):
    copy = shutil.copytree(versions[0].path, tmp_path / "copy")
    (copy / "card.md").write_text("better than it is")
    with pytest.raises(ModelError, match=r"card\.md"):
        filled.add(copy, by="ada", runtime="openvino")
    (tmp_path / "registry" / "tiny" / "1.0" / "card.md").write_text("better than it is")
    with pytest.raises(ModelError, match=r"card\.md"):
        filled.load("tiny@1.0")


def test_a_bundle_exchanged_as_a_whole_is_noticed(filled, versions, tmp_path):
    place = tmp_path / "registry" / "tiny" / "1.0"
    shutil.rmtree(place)
    shutil.copytree(versions[1].path, place)
    with pytest.raises(ModelError) as caught:
        filled.load("tiny@1.0")
    assert caught.value.code == "bundle.corrupt"


def test_a_copy_that_was_interrupted_is_done_again(registry, versions, tmp_path):
    place = tmp_path / "registry" / "tiny" / "1.0"
    place.mkdir(parents=True)
    (place / "half").write_text("x")
    registry.add(versions[0].path, by="ada", runtime="openvino")
    assert registry.load("tiny@1.0").digest == versions[0].digest
    assert sorted(p.name for p in place.parent.iterdir()) == ["1.0", "stages.json"]


@pytest.mark.parametrize("model", ["nobody", "tiny@9", "../tiny", "tiny@../1.0", "", "no/such/folder"])
def test_unknown_models_are_refused_with_what_there_is(filled, model):
    with pytest.raises(ModelError) as caught:
        filled.load(model)
    assert caught.value.code == "model.unknown"
    assert "tiny@1.0" in caught.value.expected


def test_without_a_folder_the_shipped_models_are_known_and_nothing_can_be_added(versions):
    registry = Registry(None)
    assert {entry.source for entry in registry.list()} <= {"shipped"}
    with pytest.raises(InputError) as caught:
        registry.add(versions[0].path, by="ada", runtime="openvino")
    assert caught.value.code == "usage"


def test_damaged_stages_are_named(filled, tmp_path):
    (tmp_path / "registry" / "tiny" / "stages.json").write_text("{")
    with pytest.raises(ModelError, match=r"stages\.json"):
        filled.load("tiny@1.0")


@pytest.fixture
def inside_the_package(monkeypatch, versions):
    monkeypatch.setattr("segloop.registry.shipped", lambda: {"tiny": versions[0].path})


@pytest.mark.usefixtures("inside_the_package")
def test_a_shipped_model_serves_until_the_registry_has_a_production_version(filled, registry, versions):
    assert Registry(None).load("tiny").digest == versions[0].digest
    assert Registry(None).load("tiny@production").digest == versions[0].digest
    assert Registry(None).load("tiny@1.0").path == versions[0].path
    assert filled.load("tiny").path == versions[0].path
    filled.promote("tiny", "2.0", Stage.production, by="ada", why="better")
    assert registry.load("tiny").digest == versions[1].digest
    stages = [(e.source, e.version, e.stages) for e in filled.list()]
    assert ("shipped", "1.0", ()) in stages
    assert ("registry", "2.0", (Stage.production,)) in stages


@pytest.mark.parametrize("name", sorted(shipped()))
def test_each_shipped_bundle_is_whole_small_and_under_its_own_name(name):
    bundle = Bundle(shipped()[name])
    assert bundle.manifest.name == name
    assert bundle.size_bytes <= SHIPPED_BYTES
    assert "licence" in bundle.card.lower()
    assert bundle.selftest_cases()


@pytest.mark.parametrize("name", sorted(shipped()))
def test_each_shipped_bundle_passes_its_selftest_here(name):
    from segloop.infer import open_runtime, selftest

    bundle = Bundle(shipped()[name])
    assert selftest(bundle, open_runtime(bundle, "openvino")).lowest_dice >= 0.98
