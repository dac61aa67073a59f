"""Print what Dask's operator makes of the manifests on standard input, as pods for one machine with podman.

The scheduler's pod, one worker's and the driver's; a claim becomes the folder of this machine that has its path.
"""

import sys

import yaml

job = next(each for each in yaml.safe_load_all(sys.stdin) if each["kind"] == "DaskJob")
name, cluster = job["metadata"]["name"], job["spec"]["cluster"]["spec"]
specs = {role: part["spec"] for role, part in {**cluster, "driver": job["spec"]["job"]}.items()}
for role, spec in specs.items():
    (container,) = spec["containers"]
    # The operator sets both of these; podman fills in no variables.
    address = {"name": "DASK_SCHEDULER_ADDRESS", "value": f"tcp://{name}-scheduler:8786"}
    container["env"] = [*container.get("env", []), address]
    container["args"] = [word.replace("$(DASK_WORKER_NAME)", name) for word in container["args"]]
    container["imagePullPolicy"] = "Never"
    # Probes of podman's need systemd.
    container = {key: value for key, value in container.items() if not key.endswith("Probe")}
    # podman of 2023 has no emptyDir; /tmp is the container's own then.
    mounts = [mount for mount in container["volumeMounts"] if mount["name"] == "out"]
    container["volumeMounts"] = mounts
    spec["containers"] = [container]
    spec["volumes"] = [{"name": "out", "hostPath": {"path": mount["mountPath"]}} for mount in mounts]
    specs[role] = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"{name}-{role}"}, "spec": spec}
print(yaml.safe_dump_all(specs.values(), sort_keys=False))
