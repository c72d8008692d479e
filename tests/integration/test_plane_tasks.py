"""Tasks: what they are given, how they are kept, scaled and replaced."""

from __future__ import annotations

import threading
import time
from typing import Any

import psutil
from small_plane import SmallPlane
from waiting import eventually


def resource(small: SmallPlane) -> dict[str, str]:
    return {
        "ServiceNamespace": "ecs",
        "ResourceId": f"service/{small.output('ClusterName')}/{small.output('WorkerService')}",
        "ScalableDimension": "ecs:service:DesiredCount",
    }


def described(small: SmallPlane, output: str) -> dict[str, Any]:
    answer = small.client("ecs").describe_services(
        cluster=small.output("ClusterName"), services=[small.output(output)]
    )
    found: dict[str, Any] = answer["services"][0]
    return found


def running(small: SmallPlane, output: str, count: int) -> bool:
    service = small.service(output)
    return bool(service["running"] == count and service["stopping"] == 0)


def test_a_task_gets_the_deployed_environment_and_nothing_of_ours(small: SmallPlane) -> None:
    definition = small.client("ecs").describe_task_definition(
        taskDefinition=described(small, "ApiService")["taskDefinition"]
    )["taskDefinition"]
    (container,) = definition["containerDefinitions"]
    deployed = {entry["name"]: entry["value"] for entry in container["environment"]}
    seen = small.get("/api/environment").json
    assert deployed.items() <= seen.items()
    assert seen["WORD"] == "xyzzy"
    assert seen["PYTHONUNBUFFERED"] == "1"
    assert set(seen) - set(deployed) - {"WORD", "PYTHONUNBUFFERED", "LANG"} == {
        "AWS_CONTAINER_AUTHORIZATION_TOKEN",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_DEFAULT_REGION",
        "AWS_ENDPOINT_URL",
        "AWS_EXECUTION_ENV",
        "AWS_REGION",
        "ECS_AGENT_URI",
        "ECS_CONTAINER_METADATA_URI_V4",
        "HOME",
        "LISTEN_ADDRESS",
        "PATH",
        "TMPDIR",
    }


def test_credentials_are_those_of_the_task_role_and_need_the_token(small: SmallPlane) -> None:
    answer = small.get("/api/credentials").json
    assert answer["without"]["status"] == 403
    given = answer["with"]["body"]
    sts = small.client(
        "sts",
        aws_access_key_id=given["AccessKeyId"],
        aws_secret_access_key=given["SecretAccessKey"],
        aws_session_token=given["Token"],
    )
    role = given["RoleArn"].rpartition("/")[2]
    assert f":assumed-role/{role}/" in sts.get_caller_identity()["Arn"]


def test_the_secret_was_read_with_the_execution_role(small: SmallPlane) -> None:
    definition = small.client("ecs").describe_task_definition(
        taskDefinition=described(small, "ApiService")["taskDefinition"]
    )["taskDefinition"]
    role = definition["executionRoleArn"].rpartition("/")[2]
    file = small.plane.state.calls_file
    assert any(
        role in line and "secretsmanager:GetSecretValue" in line and "true" in line
        for line in file.read_text().splitlines()
    )


def test_raising_the_minimum_starts_tasks_and_ecs_shows_them(small: SmallPlane) -> None:
    scaling = small.client("application-autoscaling")
    scaling.register_scalable_target(**resource(small), MinCapacity=2)
    eventually(lambda: running(small, "WorkerService", 2), "two workers run")
    eventually(lambda: described(small, "WorkerService")["runningCount"] == 2, "ECS shows them")
    ecs = small.client("ecs")
    tasks = ecs.list_tasks(
        cluster=small.output("ClusterName"), serviceName=small.output("WorkerService")
    )["taskArns"]
    assert len(tasks) == 2
    ecs.stop_task(cluster=small.output("ClusterName"), task=tasks[0], reason="a test")

    def replaced() -> bool:
        left = ecs.list_tasks(
            cluster=small.output("ClusterName"), serviceName=small.output("WorkerService")
        )["taskArns"]
        return len(left) == 2 and tasks[0] not in left

    eventually(replaced, "a stopped task is replaced")
    scaling.register_scalable_target(**resource(small), MinCapacity=0)


def test_the_deployed_policy_follows_the_queue(small: SmallPlane) -> None:
    sqs, url = small.client("sqs"), small.output("JobQueueUrl")
    sqs.purge_queue(QueueUrl=url)
    eventually(lambda: running(small, "WorkerService", 0), "an empty queue scales to zero")
    for number in range(12):
        sqs.send_message(QueueUrl=url, MessageBody=str(number))
    eventually(lambda: running(small, "WorkerService", 2), "a backlog starts the most that may run")
    # Messages in flight are work too: nothing scales in while they are not deleted.
    received = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=600)
    assert received["Messages"]
    sqs.purge_queue(QueueUrl=url)
    eventually(lambda: running(small, "WorkerService", 0), "no work, no workers")


def test_a_protected_task_survives_scale_in_and_deployment(small: SmallPlane) -> None:
    answer = small.get(
        "/api/protect", method="PUT", body=b'{"ProtectionEnabled": true, "ExpiresInMinutes": 5}'
    ).json
    assert answer["status"] == 200
    assert answer["body"]["protection"]["ProtectionEnabled"] is True
    (before,) = small.service("ApiService")["tasks"]
    ecs, cluster = small.client("ecs"), small.output("ClusterName")
    ecs.update_service(cluster=cluster, service=small.output("ApiService"), desiredCount=0)
    eventually(lambda: small.service("ApiService")["desired"] == 0, "the runner knows")
    eventually(lambda: small.service("ApiService")["tasks"][0]["protected"], "it is protected")
    assert small.get("/api/status?200").status == 200
    assert [task["pid"] for task in small.service("ApiService")["tasks"]] == [before["pid"]]
    small.get("/api/protect", method="PUT", body=b'{"ProtectionEnabled": false}')
    eventually(lambda: running(small, "ApiService", 0), "it goes when it is free")
    assert small.get("/api/status?200").status == 503
    ecs.update_service(cluster=cluster, service=small.output("ApiService"), desiredCount=1)
    eventually(lambda: small.get("/api/status?200").status == 200, "the service is back")


def test_a_deployment_rolls_without_a_failed_request(small: SmallPlane) -> None:
    statuses: list[int] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            statuses.append(small.get("/api/status?200").status)
            time.sleep(0.01)

    emulator = small.pids()["emulator"]
    source = small.app / "service" / "server.py"
    source.write_text(source.read_text().replace('"method":', '"edition": 2, "method":'))
    viewer = threading.Thread(target=ask)
    viewer.start()
    try:
        small.up()
    finally:
        done.set()
        viewer.join()
    assert small.get("/api/anything").json["edition"] == 2
    assert set(statuses) == {200}
    assert small.pids()["emulator"] == emulator


def test_a_task_leaves_no_process_and_no_folder(small: SmallPlane) -> None:
    eventually(lambda: running(small, "ApiService", 1), "one task runs and none is stopping")
    (task,) = small.service("ApiService")["tasks"]
    scratch = small.plane.state.scratch / f"task-{task['task_id']}"
    assert scratch.is_dir()
    ecs = small.client("ecs")
    name = small.output("ApiService")
    ecs.stop_task(cluster=small.output("ClusterName"), task=task["task_id"])
    eventually(lambda: not psutil.pid_exists(task["pid"]), "the process is gone")
    eventually(lambda: not scratch.exists(), "its folder is gone")
    eventually(lambda: small.service("ApiService")["healthy"] == 1, f"{name} is back")
