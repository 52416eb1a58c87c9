"""The manifests for Kubernetes fit the schemas of their kinds, fit each other, and give nobody more than it needs."""

from __future__ import annotations

import copy
import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml  # type: ignore[import-untyped]
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from cluster.head import DRIVER_RESOURCE
from scray.settings import describe

ROOT = Path(__file__).parents[2]
SCHEMAS = ROOT / "tests" / "data" / "kubernetes"
BUILTIN = json.loads((SCHEMAS / "builtin.json").read_text())
RAY_IO = yaml.safe_load((SCHEMAS / "ray_io_v1.yaml").read_text())
REGISTRY: Any = Registry().with_resources(
    [("builtin", DRAFT202012.create_resource(BUILTIN)), ("ray.io", DRAFT202012.create_resource(RAY_IO))]
)
ENVIRONMENT = {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_USAGE_STATS_ENABLED", "SCRAY_ENV_FILE"}


@functools.cache
def manifests() -> list[dict[str, Any]]:
    files = sorted((ROOT / "cluster" / "kuberay").rglob("*.yaml"))
    return [found for file in files for found in yaml.safe_load_all(file.read_text())]


def of_kind(kind: str) -> list[dict[str, Any]]:
    return [found for found in manifests() if found["kind"] == kind]


def problems(manifest: dict[str, Any]) -> list[str]:
    """What the schema of its kind says against a manifest."""
    kind = manifest["kind"]
    if manifest["apiVersion"] == "ray.io/v1":
        where = f"ray.io#/$defs/{kind}"
    else:
        [name] = [name for name in BUILTIN["$defs"] if name.startswith("io.k8s.api.") and name.endswith(f".{kind}")]
        where = f"builtin#/$defs/{name}"
    check = jsonschema.Draft202012Validator({"$ref": where}, registry=REGISTRY)
    return [f"{error.json_path}: {error.message}" for error in check.iter_errors(manifest)]


def pods(node: Any) -> Iterator[dict[str, Any]]:
    """Every pod template in a manifest."""
    if isinstance(node, dict):
        if "containers" in node.get("spec", {}):
            yield node
        for value in node.values():
            yield from pods(value)
    elif isinstance(node, list):
        for value in node:
            yield from pods(value)


PODS = [
    pytest.param(pod, id=f"{found['kind']}-{found['metadata']['name']}-{number}")
    for found in manifests()
    for number, pod in enumerate(pods(found))
]


@pytest.mark.parametrize("manifest", manifests(), ids=lambda m: f"{m['kind']}-{m['metadata']['name']}")
def test_a_manifest_fits_the_schema_of_its_kind(manifest: dict[str, Any]) -> None:
    assert problems(manifest) == []


@pytest.mark.parametrize(
    ("kind", "place", "value"),
    [
        ("RayCluster", ["spec", "rayVersion"], 2.6),
        ("RayCluster", ["spec", "authOptions", "mode"], "none"),
        ("RayCluster", ["spec", "headGroupSpec", "rayStartParams", "num-cpus"], 0),
        ("RayCluster", ["spec", "workerGroupSpecs", 0, "minReplicas"], -1),
        ("RayJob", ["spec", "submissionMode"], "HttpMode"),
        ("RayJob", ["spec", "activeDeadlineSeconds"], 0),
        ("RayJob", ["metadata", "name"], "a" * 48),
    ],
)
def test_a_value_that_the_operator_would_refuse_is_found(kind: str, place: list[Any], value: object) -> None:
    manifest = copy.deepcopy(of_kind(kind)[0])
    functools.reduce(lambda node, name: node[name], place[:-1], manifest)[place[-1]] = value
    assert problems(manifest)


@pytest.mark.parametrize("path", ["spec", "spec/headGroupSpec", "spec/headGroupSpec/template/spec", "metadata"])
def test_a_word_that_the_kind_does_not_know_is_found(path: str) -> None:
    manifest = copy.deepcopy(of_kind("RayCluster")[0])
    place = manifest
    for name in path.split("/"):
        place = place[name]
    place["colour"] = "red"
    assert any("colour" in problem for problem in problems(manifest))


def test_all_that_was_asked_for_is_there() -> None:
    kinds = {found["kind"] for found in manifests()}
    assert kinds == {"RayCluster", "RayJob", "Deployment", "Service", "NetworkPolicy", "PersistentVolumeClaim"}


@pytest.mark.parametrize("pod", PODS)
def test_a_pod_is_confined(pod: dict[str, Any]) -> None:
    spec = pod["spec"]
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in spec["containers"]:
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["resources"]["limits"]["memory"]


@pytest.mark.parametrize("pod", PODS)
def test_a_pod_mounts_what_it_has_and_has_what_it_mounts(pod: dict[str, Any]) -> None:
    volumes = {volume["name"] for volume in pod["spec"]["volumes"]}
    mounts = {mount["name"] for container in pod["spec"]["containers"] for mount in container["volumeMounts"]}
    assert volumes == mounts
    claims = {v["persistentVolumeClaim"]["claimName"] for v in pod["spec"]["volumes"] if "persistentVolumeClaim" in v}
    assert claims <= {claim["metadata"]["name"] for claim in of_kind("PersistentVolumeClaim")}


@pytest.mark.parametrize("pod", PODS)
def test_images_come_from_no_named_place_and_secrets_are_not_values(pod: dict[str, Any]) -> None:
    known = ENVIRONMENT | {name for name, *_ in describe()}
    for container in pod["spec"]["containers"]:
        assert re.fullmatch(r"[a-z-]+:[0-9][\w.-]*", container["image"])
        for variable in container.get("env", []):
            assert variable["name"] in known
            assert "value" not in variable or not re.search("TOKEN|SECRET|KEY|URL", variable["name"])


def test_ray_asks_for_a_token_and_the_driver_has_a_place() -> None:
    [service], [batch] = of_kind("RayCluster"), of_kind("RayJob")
    for cluster in (service["spec"], batch["spec"]["rayClusterSpec"]):
        assert cluster["authOptions"] == {"mode": "token"}
    head = service["spec"]["headGroupSpec"]["rayStartParams"]
    assert json.loads(json.loads(head["resources"])) == {DRIVER_RESOURCE: 1}


def test_the_driver_is_submitted_to_the_cluster_with_the_secret_that_kuberay_made() -> None:
    [driver] = [found for found in of_kind("Deployment") if found["metadata"]["name"] == "scray-driver"]
    [container] = driver["spec"]["template"]["spec"]["containers"]
    [cluster] = of_kind("RayCluster")
    name = cluster["metadata"]["name"]
    assert f"http://{name}-head-svc:8265" in container["command"]
    assert container["env"][1]["valueFrom"]["secretKeyRef"] == {"name": name, "key": "auth_token"}


@pytest.mark.parametrize("kind", ["Deployment", "Service"])
def test_selectors_meet_the_labels_of_pods(kind: str) -> None:
    labels = [pod["metadata"]["labels"] for found in of_kind("Deployment") for pod in pods(found)]
    for found in of_kind(kind):
        selector = found["spec"]["selector"]
        wanted = selector.get("matchLabels", selector)
        assert sum(wanted.items() <= one.items() for one in labels) == 1


def test_every_pod_is_behind_a_policy_that_lets_nobody_in_by_default() -> None:
    policies = of_kind("NetworkPolicy")
    [nobody] = [policy for policy in policies if "ingress" not in policy["spec"]]
    wanted = nobody["spec"]["podSelector"]["matchLabels"].items()
    assert all(wanted <= pod["metadata"]["labels"].items() for found in manifests() for pod in pods(found))


@pytest.mark.parametrize("pod", [pod for found in of_kind("RayCluster") + of_kind("RayJob") for pod in pods(found)])
def test_ray_is_asked_how_it_is_without_a_tool_that_the_image_lacks(pod: dict[str, Any]) -> None:
    [container] = pod["spec"]["containers"]
    for probe in ("readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"] == {
            "path": "/api/healthz",
            "port": 52365,
        }  # Ray's agent; open without a token


def test_probes_ask_what_they_should() -> None:
    [api] = [found for found in of_kind("Deployment") if found["metadata"]["name"] == "scray-api"]
    [container] = api["spec"]["template"]["spec"]["containers"]
    asked = {name: container[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert [one["path"] for one in asked.values()] == ["/healthz", "/healthz", "/health"]
    assert all(one["httpHeaders"] == [{"name": "Host", "value": "localhost"}] for one in asked.values())
