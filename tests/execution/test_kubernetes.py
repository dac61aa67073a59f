"""Runs on Kubernetes as far as they go without one: manifests by the operator's schemas, and real HTTP to a stand-in.

Why a stand-in for the API server: see `kubeapi`. The pods themselves run in deploy/docker/check.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml
from support.kubeapi import Server, errors, kubeapi, lacking
from support.runs import digests, digests_of, with_backend
from support.schedulers import scheduler

from ale_dask.cli import main
from ale_dask.config.backend import Backend
from ale_dask.config.study import Study
from ale_dask.errors import BackendError
from ale_dask.execution.backends import kubernetes
from ale_dask.execution.backends.connect import connect
from ale_dask.execution.backends.kubernetes_manifests import as_yaml, job_name, manifests
from ale_dask.storage.location import place
from ale_dask.workflows.prepare import prepare
from ale_dask.workflows.run_directory import create_run

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy" / "kubernetes"
S3 = "s3://bucket/my run"
BACKEND: dict[str, Any] = {
    "name": "kubernetes",
    "workers": 2,
    "options": {"image": "registry.example/ale-dask:1", "secrets": ["s3"]},
}

needs_schemas = pytest.mark.skipif(lacking() is not None, reason=str(lacking()))


def backend(**options: Any) -> Backend:
    return Backend.model_validate(BACKEND | {"options": BACKEND["options"] | options})


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Yield an API server that this process's kubeconfig names."""
    with kubeapi() as found:
        found.write_config(tmp_path / "kubeconfig")
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        yield found


@pytest.fixture
def on_claim(tiny: Path) -> Path:
    """Return a study whose OUT is on a volume claim."""
    options = f'image = "registry.example/ale-dask:1"\nclaim = "data"\nmount = "{tiny}"\n'
    text = (tiny / "study.toml").read_text()
    table = '[backend]\nname = "kubernetes"\nworkers = "1:3"\nmemory = "1 GB"\n[backend.options]\n'
    (tiny / "study.toml").write_text(text + table + options)
    return tiny


def ale(*words: object, code: int = 0) -> str:
    said = io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["ale-dask", *map(str, words)]),
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(said),
        pytest.raises(SystemExit) as ended,
    ):
        main()
    assert (ended.value.code or 0) == code, said.getvalue()
    return said.getvalue()


@needs_schemas
@pytest.mark.parametrize("workers", [2, "1:8"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"claim": "data", "mount": "/data"},
        {"namespace": "neuro", "cpu": "1500m", "service_account": "ale", "env": {"AWS_REGION": "eu"}},
        {"pod": {"nodeSelector": {"pool": "spot"}, "tolerations": [{"key": "spot", "operator": "Exists"}]}},
    ],
    ids=lambda value: "-".join(value) or "plain",
)
def test_manifests_are_as_the_operator_and_kubernetes_want_them(workers: Any, options: dict[str, Any]) -> None:
    chosen = backend(**options).model_copy(update={"workers": workers})
    out = Path("/data/out") if "claim" in options else place(S3)
    made = manifests(chosen, out, name=job_name(out, unique="0123456789"))
    assert [errors(document) for document in made] == [[]] * (1 if workers == 2 else 2)
    assert list(yaml.safe_load_all(as_yaml(made))) == made


@needs_schemas
@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("spec", "cluster", "spec", "worker", "replicas"), "two", "replicas"),
        (("spec", "cluster", "spec", "scheduler", "service"), None, "service"),
        (("spec", "job", "spec", "containers", 0, "imge"), "x", "imge"),
        (("spec", "cluster", "spec", "worker", "spec", "containers", 0, "resorces"), {}, "resorces"),
    ],
    ids=str,
)
def test_the_schemas_find_what_is_wrong(path: tuple[Any, ...], value: Any, said: str) -> None:
    (job,) = manifests(backend(), place(S3), name="x")
    job = json.loads(json.dumps(job))
    inner = job
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    assert any(said in error for error in errors(job))


@needs_schemas
def test_what_deploy_holds_is_what_is_printed_and_valid() -> None:
    page = (DEPLOY / "README.md").read_text()
    options = tomllib.loads(re.findall(r"```toml\n(.*?)```", page, re.S)[0])["backend"]
    chosen = Backend.model_validate(options | {"workers": 16})
    made = manifests(chosen, place("s3://bucket/run"), name="ale-run-example")
    assert (DEPLOY / "daskjob.yaml").read_text() == as_yaml(made)
    assert [errors(document) for document in made] == [[]]
    rights = list(yaml.safe_load_all((DEPLOY / "access.yaml").read_text()))
    assert [document["kind"] for document in rights] == ["Role", "RoleBinding"]
    import kubernetes_validate

    for document in rights:
        kubernetes_validate.validate(document, "1.30", strict=True)


def test_a_worker_has_the_memory_of_its_pod() -> None:
    # Left to itself, Dask takes the threads' share of the CPUs it sees, and pauses for good at 80 % of that.
    (job,) = manifests(backend().model_copy(update={"memory": "600 MiB"}), place(S3), name="x")
    (worker,) = job["spec"]["cluster"]["spec"]["worker"]["spec"]["containers"]
    assert worker["resources"]["limits"]["memory"] == "600Mi"
    assert "--memory-limit=600MiB" in worker["args"]


def test_no_secret_reaches_the_scheduler_and_no_pod_has_rights() -> None:
    (job,) = manifests(backend(service_account="ale"), place(S3), name="x")
    cluster = job["spec"]["cluster"]["spec"]
    driver, chief, worker = job["spec"]["job"]["spec"], cluster["scheduler"]["spec"], cluster["worker"]["spec"]
    assert [("envFrom" in pod["containers"][0], pod.get("serviceAccountName")) for pod in (driver, chief, worker)] == [
        (True, "ale"),
        (False, None),
        (True, "ale"),
    ]
    for pod in (driver, chief, worker):
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["containers"][0]["securityContext"]["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize(
    ("out", "known"),
    [(S3, "ale-my-run-01234567"), ("s3://b/" + "é" * 90, "ale-run-01234567"), ("s3://b/" + "X." * 90, None)],
)
def test_names_are_as_services_want_them(out: str, known: str | None) -> None:
    name = job_name(place(out), unique="0123456789")
    assert known in (None, name)
    # The service's name is this and "-scheduler".
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name)
    assert len(name) <= 53


@pytest.mark.parametrize(
    ("changes", "out", "said"),
    [
        ({"options": {}}, S3, "options.image: Field required"),
        ({"options": {"image": "x", "password": "y"}}, S3, "options.password"),
        ({"options": {"image": "x", "cpu": "two"}}, S3, "options.cpu"),
        ({"options": {"image": "x", "pod": {"containers": []}}}, S3, "containers and volumes are ours"),
        ({"workers": None}, S3, "say how many workers"),
        ({}, "/data/out", "pods do not see the folder"),
        ({"options": {"image": "x", "claim": "c", "mount": "/data"}}, "/elsewhere", "must be below options.mount"),
        ({"options": {"image": "x", "claim": "c", "mount": "/data"}}, S3, "leave options.claim"),
    ],
    ids=lambda value: "" if isinstance(value, str) else str(value),
)
def test_what_does_not_fit_is_said_before_anything_is_asked(changes: dict[str, Any], out: str, said: str) -> None:
    with pytest.raises(BackendError, match=re.escape(said)):
        manifests(Backend.model_validate(BACKEND | changes), place(out), name="x")


@needs_schemas
def test_a_run_is_submitted_followed_and_cancelled(server: Server, on_claim: Path) -> None:
    out = on_claim / "out"
    assert "Kubernetes would take the job in namespace neuro" in ale("doctor", on_claim, "-o", on_claim / "o2")
    assert not server.objects
    assert re.match(r"submitted: DaskJob ale-out-\w{8} in namespace neuro\n", ale("submit", on_claim, "-o", out))
    (job,) = server.jobs
    name = job["metadata"]["name"]
    assert set(server.objects) == {("neuro", plural, name) for plural in ("daskjobs", "daskautoscalers")}
    assert job["spec"]["job"]["spec"]["containers"][0]["args"] == ["run", str(out), "-o", str(out), "-b", "kubernetes"]
    assert "a run is under way" in ale("submit", on_claim, "-o", out, code=75)
    assert "0 of         60 iterations" in ale("status", out)

    job["status"] = {"jobStatus": "Running", "jobRunnerPodName": f"{name}-runner"}
    labels = {"dask.org/cluster-name": name}
    waiting = {"name": "worker", "restartCount": 2, "ready": False, "image": "", "imageID": ""}
    waiting["state"] = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    waiting["lastState"] = {"terminated": {"reason": "OOMKilled", "exitCode": 137}}
    server.pods = {
        f"{name}-runner": {"metadata": {"name": f"{name}-runner", "labels": labels}, "status": {"phase": "Running"}},
        "worker-1": {
            "metadata": {"name": "worker-1", "labels": labels},
            "status": {"phase": "Pending", "containerStatuses": [waiting]},
        },
    }
    server.logs[f"{name}-runner"] = "kubernetes: waiting for a worker\n"
    said = ale("logs", out)
    assert "Running\nkubernetes: waiting for a worker\n" in said
    assert "Pending, 2 restart(s), ImagePullBackOff: no such image, OOMKilled" in said

    assert f"cancelled: DaskJob {name} in namespace neuro; finished blocks are kept" in ale("cancel", out)
    assert not server.objects
    assert "nothing runs any more" in ale("cancel", out, code=65)
    ale("submit", on_claim, "-o", out)
    assert [each["metadata"]["name"] for each in server.jobs] != [name]


@needs_schemas
@pytest.mark.parametrize(
    ("status", "pod", "runs"),
    [
        (None, None, True),
        ({"jobStatus": "JobCreated"}, None, True),
        ({"jobStatus": "Running", "jobRunnerPodName": "r"}, "Running", True),
        ({"jobStatus": "Running", "jobRunnerPodName": "r"}, None, False),
        ({"jobStatus": "Running", "jobRunnerPodName": "r"}, "Failed", False),
        ({"jobStatus": "Failed", "jobRunnerPodName": "r"}, "Failed", False),
        ({"jobStatus": "Successful", "jobRunnerPodName": "r"}, "Succeeded", False),
    ],
    ids=str,
)
def test_whether_a_job_goes_on(server: Server, status: Any, pod: str | None, runs: bool) -> None:
    documents = manifests(backend(), place(S3), name="x")
    where = kubernetes.create(documents, context=None)
    if status:
        server.jobs[0]["status"] = status
    if pod:
        server.pods["r"] = {"metadata": {"name": "r", "labels": {}}, "status": {"phase": pod}}
    assert kubernetes.running("x", namespace=where, context=None) is runs
    server.allowed.clear()
    assert kubernetes.running("x", namespace=where, context=None) is None


@needs_schemas
@pytest.mark.parametrize("refusal", ["no operator", "no rights", "no namespace", "expired", "invalid", "nobody there"])
def test_what_the_cluster_refuses_exits_69_and_leaves_nothing(server: Server, on_claim: Path, refusal: str) -> None:
    study = on_claim / "study.toml"
    if refusal == "no operator":
        server.installed, said = False, "installs the dask-kubernetes-operator"
    elif refusal == "no rights":
        server.allowed, said = set(), "access.yaml"
    elif refusal == "no namespace":
        study.write_text(study.read_text() + 'namespace = "nowhere"\n')
        said = 'namespaces "nowhere" not found; options.namespace names another'
    elif refusal == "expired":
        server.write_config(Path(os.environ["KUBECONFIG"]), users=[{"name": "me", "user": {"token": "old"}}])
        said = "log in again"
    elif refusal == "invalid":
        study.write_text(study.read_text() + "pod = {nodeSelecter = {}}\n")
        said = "nodeSelecter"
    else:
        with Server() as other:
            other.write_config(Path(os.environ["KUBECONFIG"]))
        said = "the API server does not answer"
    assert said in ale("submit", study, "-o", on_claim / "out", code=69)
    assert not server.objects
    assert not (on_claim / "out").exists()


@needs_schemas
def test_a_name_that_is_taken_is_said(server: Server) -> None:
    documents = manifests(backend(), place(S3), name="x")
    kubernetes.create(documents, context="here")
    with pytest.raises(BackendError, match=r'"x" already exists; .*takes another name'):
        kubernetes.create(documents, context="here")


def test_no_kubeconfig_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("kubernetes")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    for context in (None, "elsewhere"):
        with pytest.raises(BackendError, match=r"kubectl config get-contexts"):
            kubernetes.create(manifests(backend(), place(S3), name="x"), context=context)


def test_run_outside_a_pod_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DASK_SCHEDULER_ADDRESS", raising=False)
    with pytest.raises(BackendError, match="`ale-dask submit` starts it"), connect(backend()):
        pass


@pytest.mark.slow
def test_the_driver_runs_again_after_the_ends_that_pass(tiny_study: Study, tmp_path: Path) -> None:
    expected = digests(with_backend(tiny_study, name="serial"), tmp_path / "direct")
    (job,) = manifests(backend(claim="c", mount=str(tmp_path)), tmp_path / "out", name="x")
    (driver,) = job["spec"]["job"]["spec"]["containers"]
    tools = tmp_path / "bin"
    tools.mkdir()
    # The first time, as when the scheduler's pod is lost; and no waiting here.
    (tools / "ale-dask").write_text(
        f"#!/bin/sh\n[ -e {tmp_path}/lost ] || {{ touch {tmp_path}/lost; exit 75; }}\n"
        f'exec {sys.executable} -m ale_dask.cli "$@"\n'
    )
    (tools / "sleep").write_text("#!/bin/sh\n")
    for tool in tools.iterdir():
        tool.chmod(0o755)
    create_run(prepare(tiny_study), tmp_path / "out")
    with scheduler(tmp_path / "there") as there:
        environment = {"PATH": f"{tools}:{os.environ['PATH']}", "DASK_SCHEDULER_ADDRESS": there.address}
        command = [*driver["command"], *driver["args"], "--no-pictures"]
        done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert digests_of(record) == expected


@pytest.mark.parametrize("code", [0, 65, 74])
def test_the_driver_ends_with_what_would_come_back_the_same(tmp_path: Path, code: int) -> None:
    (driver,) = manifests(backend(), place(S3), name="x")[0]["spec"]["job"]["spec"]["containers"]
    (tmp_path / "ale-dask").write_text(f"#!/bin/sh\necho once\nexit {code}\n")
    (tmp_path / "ale-dask").chmod(0o755)
    done = subprocess.run(
        [*driver["command"], *driver["args"]],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert (done.returncode, done.stdout) == (code, "once\n")
