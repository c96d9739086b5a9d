"""Which kubeconfig the operator uses when none is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from argosy.errors import SpecError
from argosy.kube.kubeconfig import find_kubeconfig


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / ".kube").mkdir()
    (tmp_path / ".kube" / "config").write_text("mine")
    return tmp_path


def test_in_a_pod_it_is_the_cluster_itself(home: Path) -> None:
    (home / "token").write_text("t")
    environment = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBECONFIG": str(home / "other")}
    assert find_kubeconfig(environment, home, home / "token") is None


def test_it_is_what_the_environment_names_as_for_kubectl(home: Path) -> None:
    (home / "other").write_text("other")
    assert find_kubeconfig({"KUBECONFIG": f"{home / 'gone'}:{home / 'other'}:"}, home) == home / "other"


def test_a_file_that_the_environment_names_is_not_replaced_by_the_default(home: Path) -> None:
    with pytest.raises(SpecError, match=r"^KUBECONFIG: .*gone cannot be read: No such file or directory"):
        find_kubeconfig({"KUBECONFIG": str(home / "gone")}, home)


def test_without_an_environment_it_is_the_users_own(home: Path) -> None:
    assert find_kubeconfig({"KUBECONFIG": ""}, home) == home / ".kube" / "config"


def test_several_files_are_refused_with_the_way_to_one(home: Path) -> None:
    (home / "a").write_text("a")
    (home / "b").write_text("b")
    with pytest.raises(SpecError, match=r"KUBECONFIG names 2 files.*--kubeconfig.*kubectl config view"):
        find_kubeconfig({"KUBECONFIG": f"{home / 'a'}:{home / 'b'}"}, home)


def test_where_there_is_none_the_way_out_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"runs in no cluster, KUBECONFIG is not set.*name a kubeconfig"):
        find_kubeconfig({}, tmp_path)
