"""Manifests of a run on Kubernetes for Dask's operator: a DaskJob, and a DaskAutoscaler when workers follow the work.

The DaskJob is a driver pod that runs OUT to its end and a cluster, scheduler and workers, that is gone with it. Pods
run as a user without rights and without a token of the cluster's API; credentials of object storage come from secrets,
by their names.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from ale_dask.config.backend import Backend as Settings
from ale_dask.errors import BackendError
from ale_dask.storage.location import Place

API = "kubernetes.dask.org/v1"
_LABELS = {"app.kubernetes.io/name": "ale-dask"}
_Name = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$")]
_Memory = Annotated[str, Field(pattern=r"^\d+(\.\d+)? ?[kKMGT]i?B$")]
_PORTS = {"tcp-comm": 8786, "http-dashboard": 8787}
_SLUG = 36
"""Letters of OUT's name in a job's: with the operator's own suffixes a name may have 63."""


class Options(BaseModel):
    """`options` of [backend] for Kubernetes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    image: Annotated[str, Field(min_length=1)]
    """With this ale-dask in it, as deploy/docker makes it."""
    namespace: _Name | None = None
    context: str | None = None
    """Of the kubeconfig; its current one if not given."""
    cpu: Annotated[str, Field(pattern=r"^(\d+(\.\d+)?|\d+m)$")] = "1"
    """Of one worker, which has as many threads."""
    driver_memory: _Memory = "4 GiB"
    """Of the driver, which holds all maps at the end."""
    scheduler_memory: _Memory = "2 GiB"
    service_account: _Name | None = None
    """Which a cloud may trust with a bucket, without keys."""
    secrets: list[_Name] = []
    """Names of secrets whose entries become environment: AWS_ACCESS_KEY_ID …"""
    env: dict[Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")], str] = {}
    """What is no secret: AWS_ENDPOINT_URL, AWS_REGION …"""
    claim: _Name | None = None
    """A volume claim that holds OUT, mounted in every pod at `mount`, where this machine has it too."""
    mount: Annotated[str, Field(pattern=r"^/[^:]+$")] | None = None
    pod: dict[str, Any] = {}
    """More of each pod's spec: nodeSelector, tolerations, imagePullSecrets …"""

    @field_validator("pod")
    @classmethod
    def _leaves_containers(cls, value: dict[str, Any]) -> dict[str, Any]:
        if "containers" in value or "volumes" in value:
            raise ValueError("containers and volumes are ours; the other options change them")
        return value


def options_of(settings: Settings) -> Options:
    """Return the options of a backend.

    Raises
    ------
    BackendError
        for the first that is missing, unknown or of another form.
    """
    try:
        return Options.model_validate(settings.options or {})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(["options", *map(str, first["loc"])])
        known = ", ".join(Options.model_fields)
        raise BackendError(f"kubernetes: [backend] {key}: {first['msg']}; options are: {known}") from error


def job_name(out: Place, *, unique: str) -> str:
    """Return a name for the job of OUT that no other has."""
    slug = re.sub(r"[^a-z0-9]+", "-", out.name.lower())[:_SLUG].strip("-") or "run"
    return f"ale-{slug}-{unique[:8]}"


def manifests(settings: Settings, out: Place, *, name: str, arguments: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Return the objects that run OUT, in the order they are made; `arguments` are more of `ale-dask run`.

    Raises
    ------
    BackendError
        for options that do not fit, or an OUT that pods would not see.
    """
    if settings.least is None or settings.most is None:
        raise BackendError("kubernetes: say how many workers: `-w 16`, or `-w 4:64` to follow the work")
    options = options_of(settings)
    where = _seen_by_pods(out, options)
    meta = {"name": name, "labels": _LABELS} | ({"namespace": options.namespace} if options.namespace else {})
    run = ["run", where, "-o", where, "-b", "kubernetes", *arguments]
    driver = _container(options, "driver", memory=options.driver_memory, cpu="1") | {
        "command": ["/bin/sh", "-c", (files("ale_dask.execution.backends") / "driver.sh").read_text(), "driver"],
        "args": run,
    }
    job = {
        "apiVersion": API,
        "kind": "DaskJob",
        "metadata": meta,
        "spec": {
            "job": {"spec": _pod(options, driver, restart="Never")},
            "cluster": {
                "spec": {"scheduler": _scheduler(settings, options, name), "worker": _worker(settings, options)}
            },
        },
    }
    if settings.least == settings.most:
        return [job]
    range_ = {"cluster": name, "minimum": settings.least, "maximum": settings.most}
    return [job, {"apiVersion": API, "kind": "DaskAutoscaler", "metadata": meta, "spec": range_}]


def as_yaml(documents: Sequence[dict[str, Any]]) -> str:
    """Return manifests as `kubectl apply` reads them, scripts as blocks of lines and nothing by reference."""
    import yaml

    dumper = type("Readable", (yaml.SafeDumper,), {"ignore_aliases": lambda self, data: True})
    dumper.add_representer(  # type: ignore[attr-defined]
        str,
        lambda self, text: self.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
    )
    return str(yaml.dump_all(documents, Dumper=dumper, sort_keys=False, width=120))


def _seen_by_pods(out: Place, options: Options) -> str:
    if not isinstance(out, Path):
        if options.claim or options.mount:
            raise BackendError(f"kubernetes: {out} is object storage; leave options.claim and options.mount out")
        return str(out)
    if options.claim is None or options.mount is None:
        raise BackendError(
            f"kubernetes: pods do not see the folder {out}: put OUT in object storage (-o s3://bucket/run), or on a "
            "volume claim that this machine sees too (options.claim its name, options.mount its path)"
        )
    where = out.resolve()
    if not PurePosixPath(where).is_relative_to(PurePosixPath(options.mount)):
        raise BackendError(
            f"kubernetes: OUT must be below options.mount, {options.mount}, where this machine and the pods have the "
            f"claim '{options.claim}'; it is {where}"
        )
    return str(where)


def _mebibytes(memory: str) -> str:
    from dask.utils import parse_bytes

    return f"{math.ceil(parse_bytes(memory) / 2**20)}Mi"


def _container(options: Options, name: str, *, memory: str, cpu: str) -> dict[str, Any]:
    size = {"cpu": cpu, "memory": _mebibytes(memory)}
    mounts = [{"name": "tmp", "mountPath": "/tmp"}]
    if options.claim:
        mounts.append({"name": "out", "mountPath": str(options.mount)})
    return {
        "name": name,
        "image": options.image,
        "env": [{"name": key, "value": value} for key, value in options.env.items()],
        **({"envFrom": [{"secretRef": {"name": secret}} for secret in options.secrets]} if options.secrets else {}),
        # As much as it may have it is promised: a pod that others push out costs more than it saves.
        "resources": {"requests": size, "limits": size},
        "workingDir": "/tmp",
        "volumeMounts": mounts,
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }


def _pod(options: Options, container: dict[str, Any], *, restart: str) -> dict[str, Any]:
    volumes: list[dict[str, Any]] = [{"name": "tmp", "emptyDir": {}}]
    if options.claim:
        volumes.append({"name": "out", "persistentVolumeClaim": {"claimName": options.claim}})
    account = {"serviceAccountName": options.service_account} if options.service_account else {}
    return {
        "containers": [container],
        "restartPolicy": restart,
        "volumes": volumes,
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 1000,
            "runAsGroup": 1000,
            "fsGroup": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **account,
        **options.pod,
    }


def _scheduler(settings: Settings, options: Options, name: str) -> dict[str, Any]:
    # It never opens OUT, and gets neither its secrets nor its claim.
    options = options.model_copy(update={"secrets": [], "service_account": None, "claim": None})
    container = _container(options, "scheduler", memory=options.scheduler_memory, cpu="1")
    container["args"] = ["dask", "scheduler"]
    container["env"] += [
        # Pods go for reasons that are not the block's: drained and preempted nodes.
        {"name": "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", "value": "10"},
        # Messages that it keeps for each worker, 3 kB for each block; Dask's 1,000 for 200 workers are 600 MB.
        {"name": "DASK_DISTRIBUTED__ADMIN__LOW_LEVEL_LOG_LENGTH", "value": "100"},
        # What the autoscaler asks the scheduler for: as many workers as do the blocks in flight in this time.
        {"name": "DASK_DISTRIBUTED__ADAPTIVE__TARGET_DURATION", "value": f"{settings.block_seconds / 2}s"},
    ]
    container["ports"] = [{"name": port, "containerPort": number} for port, number in _PORTS.items()]
    health = {"httpGet": {"port": "http-dashboard", "path": "/health"}}
    container["readinessProbe"] = health | {"periodSeconds": 5}
    container["livenessProbe"] = health | {"initialDelaySeconds": 15, "periodSeconds": 20}
    return {
        "spec": _pod(options, container, restart="Always"),
        "service": {
            "type": "ClusterIP",
            "selector": {"dask.org/cluster-name": name, "dask.org/component": "scheduler"},
            "ports": [
                {"name": port, "protocol": "TCP", "port": number, "targetPort": port} for port, number in _PORTS.items()
            ],
        },
    }


def _worker(settings: Settings, options: Options) -> dict[str, Any]:
    cpus = float(options.cpu.removesuffix("m")) / (1000 if options.cpu.endswith("m") else 1)
    memory = settings.memory or "2 GiB"
    container = _container(options, "worker", memory=memory, cpu=options.cpu)
    container["args"] = [
        "dask",
        "worker",
        # The operator sets it, and retires workers by it.
        "--name=$(DASK_WORKER_NAME)",
        f"--nthreads={max(1, math.ceil(cpus))}",
        # By itself Dask takes a part of the pod's memory only, its threads' share of the CPUs that it sees.
        f"--memory-limit={_mebibytes(memory)}B",
        "--no-dashboard",
    ]
    return {"replicas": settings.least, "spec": _pod(options, container, restart="Always")}
