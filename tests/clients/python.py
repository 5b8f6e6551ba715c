"""What users of the Python client do: typed, dynamic, watch, apply, exec, logs, port-forward, leader election.

    KUBECONFIG=… python.py NAMESPACE

Exits 0 when all of it works. The image box:1 is on the node.
"""

import os
import sys
import threading
import time
import uuid

from kubernetes import client, config, dynamic, watch
from kubernetes.client.rest import ApiException
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock
from kubernetes.stream import portforward, stream

DEADLINE = 60
ns = sys.argv[1]


def until(what, ask):
    end = time.monotonic() + DEADLINE
    while True:
        found = ask()
        if found:
            return found
        assert time.monotonic() < end, what
        time.sleep(0.05)


def pod(name, script):
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "c", "image": "box:1", "imagePullPolicy": "Never", "command": ["sh", "-c", script]}],
        },
    }


def ready(core, name):
    def ask():
        conditions = core.read_namespaced_pod(name, ns).status.conditions or []
        return any(c.type == "Ready" and c.status == "True" for c in conditions)

    until(f"{name} is ready", ask)


def typed(core):
    made = core.create_namespaced_config_map(
        ns, client.V1ConfigMap(metadata=client.V1ObjectMeta(name="typed"), data={"a": "1"})
    )
    assert made.metadata.uid and made.data == {"a": "1"}
    made.data["b"] = "2"
    assert core.replace_namespaced_config_map("typed", ns, made).data == {"a": "1", "b": "2"}
    try:
        core.replace_namespaced_config_map("typed", ns, made)
        raise AssertionError("a stale update went through")
    except ApiException as e:
        assert e.status == 409, e
    patched = core.patch_namespaced_config_map("typed", ns, {"data": {"a": None, "c": "3"}})
    assert patched.data == {"b": "2", "c": "3"}, patched.data
    assert [c.metadata.name for c in core.list_namespaced_config_map(ns, field_selector="metadata.name=typed").items] == ["typed"]
    core.delete_namespaced_config_map("typed", ns)
    try:
        core.read_namespaced_config_map("typed", ns)
        raise AssertionError("it is still there")
    except ApiException as e:
        assert e.status == 404 and '"reason":"NotFound"' in e.body.replace(" ", ""), e.body


def dynamically(api):
    dyn = dynamic.DynamicClient(api)
    deployments = dyn.resources.get(api_version="apps/v1", kind="Deployment")
    labels = {"app": "dynamic"}
    body = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "dynamic"},
        "spec": {"replicas": 2, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod("x", "sleep 1000")["spec"]}},
    }
    deployments.create(body=body, namespace=ns)
    until("two replicas", lambda: deployments.get(name="dynamic", namespace=ns).status.readyReplicas == 2)
    # server-side apply, and who owns what
    apply = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "dynamic", "annotations": {"by": "python"}}}
    got = deployments.server_side_apply(body=apply, name="dynamic", namespace=ns, field_manager="py", force_conflicts=True)
    assert got.metadata.annotations["by"] == "python"
    assert any(m.manager == "py" and m.operation == "Apply" for m in got.metadata.managedFields)
    deployments.delete(name="dynamic", namespace=ns)


def watching(core):
    seen = []
    start = core.list_namespaced_config_map(ns).metadata.resource_version

    def write():
        core.create_namespaced_config_map(ns, {"metadata": {"name": "w"}, "data": {"n": "0"}})
        core.patch_namespaced_config_map("w", ns, {"data": {"n": "1"}})
        core.delete_namespaced_config_map("w", ns)

    writer = threading.Thread(target=write)
    writer.start()
    for event in watch.Watch().stream(core.list_namespaced_config_map, ns, resource_version=start, timeout_seconds=DEADLINE):
        if event["object"].metadata.name == "w":
            seen.append(event["type"])
            if event["type"] == "DELETED":
                break
    writer.join()
    assert seen == ["ADDED", "MODIFIED", "DELETED"], seen


def streams(core):
    core.create_namespaced_pod(ns, pod("streams", "mkdir /w; echo page > /w/index.html; httpd -p 80 -h /w; i=0; while true; do echo line $i; i=$((i+1)); sleep 0.1; done"))
    ready(core, "streams")
    said = stream(core.connect_get_namespaced_pod_exec, "streams", ns, command=["sh", "-c", "echo out; echo err >&2"], stderr=True, stdin=False, stdout=True, tty=False)
    assert sorted(said.split()) == ["err", "out"], said
    session = stream(core.connect_get_namespaced_pod_exec, "streams", ns, command=["sh"], stderr=True, stdin=True, stdout=True, tty=False, _preload_content=False)
    session.write_stdin("echo there and back\n")
    until("the shell answers", lambda: (session.update(timeout=1), "there and back" in session.read_stdout(timeout=1) if session.peek_stdout() else False)[1])
    session.write_stdin("exit 3\n")
    session.run_forever(timeout=DEADLINE)
    assert session.returncode == 3, session.returncode
    lines = []
    for line in watch.Watch().stream(core.read_namespaced_pod_log, "streams", ns, follow=True):
        lines.append(line)
        if len(lines) == 5:
            break
    assert lines == [f"line {i}" for i in range(5)], lines
    forward = portforward(core.connect_get_namespaced_pod_portforward, "streams", ns, ports="80")
    socket = forward.socket(80)
    socket.setblocking(True)
    socket.sendall(b"GET / HTTP/1.0\r\n\r\n")
    answer = b""
    while True:
        more = socket.recv(1024)
        if not more:
            break
        answer += more
    assert answer.startswith(b"HTTP/1.") and answer.endswith(b"page\n"), answer
    assert forward.error(80) is None


def election():
    leaders = []

    def run(name):
        def lead():
            leaders.append(name)
            raise SystemExit  # resigns by letting its lease end

        lock = LeaseLock("election", ns, name)
        settings = electionconfig.Config(lock, lease_duration=3, renew_deadline=2, retry_period=1, onstarted_leading=lead, onstopped_leading=None)
        try:
            leaderelection.LeaderElection(settings).run()
        except SystemExit:
            pass

    for name in ("a", "b"):
        threading.Thread(target=run, args=(f"{name}-{uuid.uuid4()}",), daemon=True).start()
    until("there is a leader", lambda: leaders)


def main():
    config.load_kube_config()
    api = client.ApiClient()
    core = client.CoreV1Api(api)
    for part, args in ((typed, (core,)), (dynamically, (api,)), (watching, (core,)), (streams, (core,)), (election, ())):
        began = time.monotonic()
        part(*args)
        print(f"{part.__name__}: ok, {time.monotonic() - began:.1f} s", flush=True)


main()
# the other candidate of the election is still there: an interpreter that ends in order aborts where such a thread is printing
os._exit(0)
