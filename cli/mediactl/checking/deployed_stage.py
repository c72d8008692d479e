"""How what is deployed does: stacks, certificates, names, images, drift, and whether it answers."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from media_platform.contract.outputs import EdgeOutput, StackPart
from mediactl.checking.findings import Finding, Patient, State
from mediactl.deployed import resources, side_by_side
from mediactl.deploying.assembly import AssemblyStack
from mediactl.deploying.settled import is_busy, remedy
from mediactl.environment import Environment, is_made
from mediactl.failures import explain, is_throttled

CERTIFICATE_WARNS = timedelta(days=30)
"""ACM renews certificates 60 days before they end; one that is older has a problem."""


DRIFT_SECONDS = 900
"""Longest wait until CloudFormation has compared a stack with what there is."""

DRIFT_POLL_SECONDS = 2.0


def stacks(patient: Patient) -> Iterator[Finding]:
    """Look whether all stacks stand, and none is stuck."""
    name = patient.environment.name
    wanted = patient.reached_templates()
    status_of = patient.environment.stack_status
    statuses = {stack.id: status_of(stack.name, stack.region) for stack in wanted}
    deployed = [stack for stack in wanted if statuses[stack.id] is not None]
    if not deployed:
        yield Finding(
            check="stacks",
            state="warn",
            seen="nothing is deployed",
            fix=f"mediactl deploy -e {name}",
        )
        return
    for stack in wanted:
        status = statuses[stack.id]
        state: State = "ok"
        fix = None
        if status is None:
            state, fix = "fail", f"mediactl deploy -e {name}"
        elif (fix := remedy(patient.environment, stack, status)) is not None:
            state = "fail"
        elif is_busy(status):
            state, fix = "warn", "wait until it is over"
        yield Finding(
            check="stacks",
            state=state,
            region=stack.region,
            seen=f"{stack.name}: {status or 'not deployed, while others are'}",
            fix=fix,
        )


def certificates(patient: Patient) -> Iterator[Finding]:
    """Look whether certificates are issued, and renewed."""
    kind = "AWS::CertificateManager::Certificate"
    found = False
    for region in patient.regions:
        for part in (StackPart.MEDIA, StackPart.EDGE):
            for one in resources(patient.environment, part, region, kind):
                found = True
                acm = patient.environment.client("acm", region)
                answer = acm.describe_certificate(CertificateArn=one.physical_id)
                yield certificate_finding(answer["Certificate"], region)
    if not found:
        has_one = any(
            resource["Type"] == kind
            for stack in patient.required_templates()
            for resource in stack.template["Resources"].values()
        )
        seen = "it is not deployed" if has_one else "the stage has none of its own"
        yield Finding(check="certificate", state="skipped", seen=seen)


def certificate_finding(certificate: dict[str, Any], region: str) -> Finding:
    """Return how a certificate is, as ACM described it."""
    domain = certificate["DomainName"]
    status = certificate["Status"]
    if status != "ISSUED":
        record = next(
            (
                f"; add the record {option['ResourceRecord']['Name']}"
                f" {option['ResourceRecord']['Type']} {option['ResourceRecord']['Value']}"
                for option in certificate.get("DomainValidationOptions", [])
                if "ResourceRecord" in option
            ),
            "",
        )
        return Finding(
            check="certificate",
            state="fail",
            region=region,
            seen=f"that of {domain} is {status}",
            fix=f"delegate its zone to Route 53{record}",
        )
    left = certificate["NotAfter"] - datetime.now(UTC)
    if left < CERTIFICATE_WARNS:
        return Finding(
            check="certificate",
            state="warn" if left > timedelta() else "fail",
            region=region,
            seen=f"that of {domain} ends on {certificate['NotAfter']:%Y-%m-%d} and was not renewed",
            fix="the records that prove the domain must be in DNS: see the certificate in ACM",
        )
    return Finding(
        check="certificate",
        state="ok",
        region=region,
        seen=f"that of {domain} is good until {certificate['NotAfter']:%Y-%m-%d}",
    )


def dns(patient: Patient) -> Iterator[Finding]:
    """Look whether the names of the stage lead to its distribution."""
    domains = [
        alias
        for stack in patient.required_templates()
        for resource in stack.template["Resources"].values()
        if resource["Type"] == "AWS::CloudFront::Distribution"
        for alias in resource["Properties"]["DistributionConfig"].get("Aliases", [])
        if isinstance(alias, str)
    ]
    if not domains:
        yield Finding(check="DNS", state="skipped", seen="the stage has no domain of its own")
        return
    distribution = _addresses(patient.environment.output(EdgeOutput.DISTRIBUTION_DOMAIN))
    for domain in domains:
        found = _addresses(domain)
        if not found:
            yield Finding(
                check="DNS",
                state="fail",
                seen=f"{domain} is not known",
                fix="delegate its zone: give the registrar the name servers of the hosted zone",
            )
        elif not found & distribution:
            # CloudFront answers with other addresses from time to time.
            yield Finding(
                check="DNS",
                state="warn",
                seen=f"{domain} leads to {min(found)}, which is not the distribution",
                fix="`dig` it twice; if it stays so, another record is in the way",
            )
        else:
            yield Finding(check="DNS", state="ok", seen=f"{domain} leads to the distribution")


def _addresses(name: str) -> set[str]:
    try:
        return {str(one[4][0]) for one in socket.getaddrinfo(name, 443, type=socket.SOCK_STREAM)}
    except OSError:
        return set()


def images(patient: Patient) -> Iterator[Finding]:
    """Look whether the images that tasks are started from are there."""
    environment = patient.environment
    for region in environment.regions:
        if region in patient.lost:
            continue
        ecs = environment.client("ecs", region)
        kind = "AWS::ECS::TaskDefinition"
        images = {
            container["image"]
            for one in resources(environment, StackPart.MEDIA, region, kind)
            for container in ecs.describe_task_definition(taskDefinition=one.physical_id)[
                "taskDefinition"
            ]["containerDefinitions"]
        }
        for image in sorted(images):
            yield image_finding(environment, image, region)


def image_finding(environment: Environment, image: str, region: str) -> Finding:
    """Return whether an image that tasks are started from is in its repository."""
    from botocore.exceptions import ClientError  # noqa: PLC0415 - slow to import

    registry, _, path = image.partition("/")
    parts = registry.split(".")
    repository, _, tag = path.rpartition(":")
    if "dkr" not in parts or not repository:
        return Finding(
            check="images", state="skipped", region=region, seen=f"{image} is in no ECR of AWS"
        )
    try:
        found = environment.client("ecr", parts[parts.index("dkr") + 2]).describe_images(
            registryId=parts[0], repositoryName=repository, imageIds=[{"imageTag": tag}]
        )["imageDetails"]
    except ClientError as error:
        if error.response["Error"]["Code"] not in {
            "ImageNotFoundException",
            "RepositoryNotFoundException",
        }:
            raise
        found = []
    if not found:
        return Finding(
            check="images",
            state="fail",
            region=region,
            seen=f"{repository}:{tag[:12]} is gone; no new task can start",
            fix=f"mediactl deploy -e {environment.name}",
        )
    return Finding(
        check="images", state="ok", region=region, seen=f"{repository}:{tag[:12]} is there"
    )


def drift(patient: Patient) -> Iterator[Finding]:
    """Look for what was changed by hand, if that is asked for."""
    if not patient.drift:
        fix = f"mediactl doctor -e {patient.environment.name} --drift"
        yield Finding(check="drift", state="skipped", seen="it takes minutes", fix=fix)
        return
    environment = patient.environment
    there = [
        stack
        for stack in patient.reached_templates()
        if is_made(environment.stack_status(stack.name, stack.region))
    ]
    for found in side_by_side(lambda stack: drift_findings(environment, stack), there):
        yield from found


def drift_findings(environment: Environment, stack: AssemblyStack) -> list[Finding]:
    """Return what differs in a stack, once CloudFormation has compared it with what there is.

    Source: AWS CloudFormation API Reference, "DetectStackDrift" and
    "DescribeStackDriftDetectionStatus".
    """
    from botocore.exceptions import ClientError  # noqa: PLC0415 - slow to import

    client = environment.client("cloudformation", stack.region)
    try:
        answer = _compared(client, stack)
        differing = (
            list(_differing(client, stack)) if answer.get("StackDriftStatus") == "DRIFTED" else []
        )
    except ClientError as error:
        return [_uncompared(stack, str(explain(error)))]
    if answer["DetectionStatus"] == "DETECTION_IN_PROGRESS":
        return [_uncompared(stack, f"not compared after {DRIFT_SECONDS // 60} minutes")]
    if answer["DetectionStatus"] == "DETECTION_FAILED":
        # Of other resources it is told all the same.
        reason = answer.get("DetectionStatusReason", "CloudFormation failed to compare it")
        return [_uncompared(stack, reason), *differing]
    if answer["StackDriftStatus"] == "IN_SYNC":
        seen = f"{stack.name}: as it was deployed"
        return [Finding(check="drift", region=stack.region, state="ok", seen=seen)]
    if answer["StackDriftStatus"] != "DRIFTED":
        return [_uncompared(stack, "CloudFormation can compare none of its resources")]
    return differing


def _compared(client: Any, stack: AssemblyStack) -> dict[str, Any]:
    """Return how the comparison of a stack ended, or that it goes on after the longest time."""
    from botocore.exceptions import ClientError  # noqa: PLC0415 - slow to import

    begun = client.detect_stack_drift(StackName=stack.name)["StackDriftDetectionId"]
    deadline = time.monotonic() + DRIFT_SECONDS
    answer: dict[str, Any] = {"DetectionStatus": "DETECTION_IN_PROGRESS"}
    while answer["DetectionStatus"] == "DETECTION_IN_PROGRESS" and time.monotonic() < deadline:
        try:
            answer = client.describe_stack_drift_detection_status(StackDriftDetectionId=begun)
        except ClientError as error:
            if not is_throttled(error):
                raise
        time.sleep(DRIFT_POLL_SECONDS)
    return answer


def _differing(client: Any, stack: AssemblyStack) -> Iterator[Finding]:
    wanted = {"StackName": stack.name, "StackResourceDriftStatusFilters": ["MODIFIED", "DELETED"]}
    while True:
        # botocore has no paginator of this.
        page = client.describe_stack_resource_drifts(**wanted)
        for one in page["StackResourceDrifts"]:
            paths = [two["PropertyPath"] for two in one.get("PropertyDifferences", [])]
            yield Finding(
                check="drift",
                region=stack.region,
                state="warn",
                seen=f"{stack.name}: {one['LogicalResourceId']} ({one['ResourceType']}) is"
                f" {one['StackResourceDriftStatus'].lower()}"
                + (f": {', '.join(paths)}" if paths else ""),
                fix="undo it by hand: a deployment changes only what differs in the template",
            )
        if "NextToken" not in page:
            return
        wanted["NextToken"] = page["NextToken"]


def _uncompared(stack: AssemblyStack, reason: str) -> Finding:
    return Finding(
        check="drift", region=stack.region, state="skipped", seen=f"{stack.name}: {reason}"
    )


def needs(patient: Patient) -> Iterator[Finding]:
    """Tell what ``mediactl status`` says needs a person."""
    from mediactl.watching.region_status import status_of  # noqa: PLC0415 - imports much

    status = status_of(patient.environment, patient.environment.regions)
    for need in status.needs:
        yield Finding(check="platform", state="fail", seen=need.text, fix=need.command)
    if not status.needs:
        yield Finding(check="platform", state="ok", seen="services, queues and alarms need nobody")


def answers(patient: Patient) -> Iterator[Finding]:
    """Look whether the services answer as users reach them."""
    from mediactl.checking.reach import reach  # noqa: PLC0415

    for one in reach(patient.environment.base_url):
        yield Finding(
            check="answers",
            state="ok" if one.ok else "fail",
            seen=f"{one.name}: {one.seen}",
            fix=None if one.ok else f"mediactl status -e {patient.environment.name}",
        )
