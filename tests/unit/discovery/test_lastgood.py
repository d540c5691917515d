from __future__ import annotations

import pathlib

import pytest

from discovery.lastgood import LastGood, Loaded, Saved
from mesh.events import Declared, SourceSnapshot
from mesh.names import Key
from mesh.namespaces import NAMESPACE, namespace
from mesh.service import Protocol, Service, ServicePort
from mesh.workload import Health, Locality, Use, Workload, WorkloadPort

SERVICE = Service(
    Key("shop", "api"),
    (ServicePort("http", 80, Protocol.HTTP),),
    address="240.0.0.9",
    service_accounts=("a",),
    labels=(("x", "y"),),
    origin=("consul: service api",),
)
WORKLOAD = Workload(
    Key("shop", "api-1"),
    (SERVICE.key,),
    "a",
    "::1",
    (WorkloadPort("http", 9000, 15001),),
    locality=Locality("eu", "a", "r"),
    labels=(("v", "1"),),
    meshed=True,
    uses=(Use(Key("shop", "store"), "http", 9101),),
    health=Health.WARNING,
    weight=7,
    network="n",
    outbound_port=15009,
    origin=("consul: instance",),
)
SAVED = Saved(SourceSnapshot("consul", (SERVICE,), (WORKLOAD,)), held=True)


def test_what_is_saved_is_loaded_whole(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "new"
    lastgood = LastGood(folder)
    assert lastgood.load("consul").saved is None
    lastgood.save("consul", SAVED)
    lastgood.save("consul", SAVED)
    loaded = lastgood.load("consul")
    assert (loaded.saved, loaded.warning) == (SAVED, None)
    assert loaded.saved
    assert loaded.saved.snapshot.workloads[0].origin == WORKLOAD.origin
    (file,) = folder.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700


def test_labels_of_namespaces_are_kept(tmp_path: pathlib.Path) -> None:
    """A Gateway may let routes in by them: without, a start while the registry is away would take these off."""
    declared = Declared(
        NAMESPACE, namespace("shop", (("team", "a"),), ("kubernetes: Namespace shop",)), line=0
    )
    saved = Saved(SourceSnapshot("kubernetes", declared=(declared,)))
    lastgood = LastGood(tmp_path)
    lastgood.save("kubernetes", saved)
    assert lastgood.load("kubernetes") == Loaded(saved)


def test_sources_of_any_name_are_kept_apart(tmp_path: pathlib.Path) -> None:
    lastgood = LastGood(tmp_path)
    for name in ("a/b", "a_b", "../a", "ä"):
        lastgood.save(name, Saved(SourceSnapshot(name)))
    for name in ("a/b", "a_b", "../a", "ä"):
        loaded = lastgood.load(name).saved
        assert loaded
        assert loaded.snapshot.source == name
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda content: content[:-7], "checksum"),
        (lambda content: content.replace(b"api-1", b"api-2"), "checksum"),
        (lambda _: b"", "not of this version"),
        (lambda _: b"\x00\xff" * 50, "not of this version"),
        (lambda content: content.replace(b"lastgood 2", b"lastgood 9"), "not of this version"),
    ],
)
def test_a_damaged_file_is_set_aside(tmp_path: pathlib.Path, damage: object, said: str) -> None:
    lastgood = LastGood(tmp_path)
    lastgood.save("consul", SAVED)
    (file,) = tmp_path.iterdir()
    file.write_bytes(damage(file.read_bytes()))  # type: ignore[operator]
    loaded = lastgood.load("consul")
    assert loaded.saved is None
    assert said in (loaded.warning or "")
    assert [path.name for path in tmp_path.iterdir()] == ["consul.lastgood.corrupt"]
    assert lastgood.load("consul").warning is None


def test_the_state_of_another_source_is_not_used(tmp_path: pathlib.Path) -> None:
    lastgood = LastGood(tmp_path)
    lastgood.save("east", Saved(SourceSnapshot("east")))
    (tmp_path / "east.lastgood").rename(tmp_path / "west.lastgood")
    assert "the source 'east'" in (lastgood.load("west").warning or "")


def test_a_disk_that_fails_leaves_the_old_state(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lastgood = LastGood(tmp_path)
    lastgood.save("consul", SAVED)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)  # a full disk can't be had as an ordinary user
    with pytest.raises(OSError, match="No space left"):
        lastgood.save("consul", Saved(SourceSnapshot("consul")))
    monkeypatch.undo()
    assert lastgood.load("consul").saved == SAVED
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_in_its_place_is_a_warning(tmp_path: pathlib.Path) -> None:
    (tmp_path / "consul.lastgood").mkdir()
    assert "cannot be read" in (LastGood(tmp_path).load("consul").warning or "")
