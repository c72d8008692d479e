"""What every resource of a stage costs: one small function for each AWS service.

Each reads the resources of its types and adds lines to a bill. A type is in :data:`PRICED` or in
:data:`COSTS_NOTHING`; what is in neither is told, never left out in silence.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import Any

from mediactl.pricing.bill import Bill
from mediactl.pricing.template import Resource, Stage, TaskService, references
from mediactl.pricing.usage import HOURS, MINUTES, Month

MILLION = 1e6

_TABLE = "AWS::DynamoDB::GlobalTable"
_BUCKET = "AWS::S3::Bucket"
_FUNCTION = "AWS::Lambda::Function"
_QUEUE_POLLERS = 5
"""Pollers with which Lambda asks a queue in which there is nothing, each every 20 seconds. Source:
AWS Lambda Developer Guide, "Configuring scaling behavior for SQS event source mappings".
"""

_POLL_SECONDS = 20
_METRICS_OF_WAITING, _METRICS_OF_REQUESTS, _METRICS_OF_WORKERS, _METRICS_OF_WEBHOOKS = 7, 34, 11, 4
"""Metrics that the API emits every minute and with requests, and that workers and webhooks emit;
every combination of dimensions is one. A metric is paid for the hours in which it is sent. Source:
Amazon CloudWatch pricing, "All custom metrics charges are prorated by the hour".
"""

_INSIGHTS_OF_A_CLUSTER, _INSIGHTS_OF_A_SERVICE, _INSIGHTS_OF_A_TASK = 13, 15, 10
"""Metrics of Container Insights, which a service and the family of its task send while a task runs:
ten of each (processors, memory, network, storage and, on Fargate, ephemeral storage: two each), and
some that count. Sources: Amazon CloudWatch User Guide, "Amazon ECS Container Insights metrics";
Amazon ECS Developer Guide, "Monitor Amazon ECS containers using Container Insights".
"""

_WRITES_OF_A_VIDEO, _WRITES_OF_A_CHUNK = 60, 9
_READS_OF_A_VIDEO, _READS_OF_A_CHUNK = 60, 21
_UNITS_OF_A_WRITE = 3
"""Write units of a write: two where it is part of a transaction, and copies in indexes."""

_READS_OF_A_REQUEST = 1.0
_QUERIES_OF_A_TURN = 16
"""Queries of a function that a schedule calls, one for each shard."""

_TABLE_KILOBYTES_OF_A_VIDEO, _TABLE_KILOBYTES_OF_A_CHUNK = 30, 3
_PUTS_OF_AN_OBJECT, _GETS_OF_AN_OBJECT = 3.5, 1.2
"""Requests of workers for an object of media: playlists are written again as they grow, what is
final gets a tag, and what is uploaded is checked.
"""

_MISSES = 0.1
"""Share of the requests for media that CloudFront has to ask the bucket for."""

_CALLS_OF_A_CHUNK = 13
"""Calls of SQS for a chunk: sent, asked for, held, deleted."""

_LOG_KILOBYTES_OF_A_REQUEST = 0.4
_LOG_KILOBYTES_OF_A_CHUNK = 2.5
_LOG_KILOBYTES_OF_A_CALL = 0.4
_LOG_GB_OF_A_TASK = 0.15
"""GB of log of a task in a month in which nothing happens: mostly its metrics, every minute."""

_LOG_COMPRESSION = 0.15
"""Size at which CloudWatch stores logs. Source: Amazon CloudWatch pricing, its examples."""

_FUNCTION_SECONDS = 0.2
_CALLS_OF_FUNCTIONS_OF_A_VIDEO = 12
_ANSWER_KILOBYTES = 4
_IMAGE_GB = 0.3
_KMS_CALLS_OF_A_KEY, _KMS_CALLS_OF_A_VIDEO = 5000, 100
_READS_OF_A_TASK = 330_000
"""Read units of a task of the API that nobody asks for anything: whether the table answers."""

_SECRET_CALLS_OF_A_TASK = 100
"""Times that a task of the API reads the signing key: at its start, and when that changes."""

_FREE_DISK_GB = 20
_STANDARD_MONTHS = 1.0


def fargate(stage: Stage, month: Month, bill: Bill) -> None:
    """Tasks that always run, and those that come with the load."""
    for service in stage.services:
        if service.is_worker:
            hours = month.worker_cpu_hours / service.cpus * stage.share
            what = "workers"
        else:
            hours = _tasks(service, stage, month) * HOURS
            # Without the digits that the CDK adds to names.
            what = re.sub(r"[0-9A-F]{8}$", "", service.resource.name)
        _task_hours(service, what, hours, bill)


def _tasks(service: TaskService, stage: Stage, month: Month) -> float:
    """Return the tasks of a service that is never at zero, as many as its requests ask for."""
    if not service.target_requests:
        return service.least
    a_minute = month.workload.api_requests * stage.share / MINUTES
    asked = -(-a_minute // service.target_requests)
    return min(service.most, max(service.least, asked))


def _waiting_tasks(stage: Stage, month: Month) -> float:
    """Return the tasks of all services that are never at zero."""
    return sum(_tasks(one, stage, month) for one in stage.services if not one.is_worker)


def _task_hours(service: TaskService, what: str, hours: float, bill: Bill) -> None:
    kind = "arm" if service.arm else "x86"
    spot = bill.price("fargate-spot-share", service.region).usd
    for name, share, factor in (("", 1 - service.spot, 1.0), (" on Spot", service.spot, spot)):
        add = bill.in_region("Fargate", service.region, factor=factor)
        add(f"{what}{name}: processors", f"fargate-{kind}-vcpu", hours * service.cpus * share)
        add(f"{what}{name}: memory", f"fargate-{kind}-gb", hours * service.gb * share)
    add = bill.in_region("Fargate", service.region)
    disk = max(0.0, service.storage_gb - _FREE_DISK_GB)
    add(f"{what}: disk", "fargate-storage", hours * disk)
    if service.has_address:
        bill.add("VPC", f"{what}: public addresses", "ipv4-hour", hours, service.region)


def clusters(stage: Stage, month: Month, bill: Bill) -> None:
    """Metrics of Container Insights."""
    of_a_service = _INSIGHTS_OF_A_SERVICE + _INSIGHTS_OF_A_TASK
    for cluster in stage.of("AWS::ECS::Cluster"):
        settings = cluster.properties.get("ClusterSettings", ())
        if not any(one.get("Value") in {"enabled", "enhanced"} for one in settings):
            continue
        services = [one for one in stage.services if one.region == cluster.region]
        waiting = sum(not one.is_worker for one in services)
        working = len(services) - waiting
        add = bill.in_region("CloudWatch", cluster.region)
        add(
            "Container Insights",
            "custom-metric",
            _INSIGHTS_OF_A_CLUSTER + waiting * of_a_service,
        )
        add(
            "Container Insights of workers",
            "custom-metric",
            working * of_a_service * _worked_share(stage, month),
        )


def _worked_share(stage: Stage, month: Month) -> float:
    """Return the share of the hours of a month in which workers of a region run."""
    return min(1.0, month.worker_hours * stage.share / HOURS)


def network(stage: Stage, month: Month, bill: Bill) -> None:
    """NAT gateways, endpoints and public addresses."""
    for region in stage.regions:
        gateways = stage.of("AWS::EC2::NatGateway", region=region)
        add = bill.in_region("VPC", region)
        add("NAT gateways", "nat-hour", len(gateways) * HOURS)
        add("public addresses", "ipv4-hour", len(stage.of("AWS::EC2::EIP", region=region)) * HOURS)
        zones = sum(
            len(endpoint.properties.get("SubnetIds", ()))
            for endpoint in stage.of("AWS::EC2::VPCEndpoint", region=region)
            if endpoint.properties.get("VpcEndpointType") == "Interface"
        )
        add("endpoints", "endpoint-hour", zones * HOURS)
        # S3 and the table are reached by gateway endpoints: what goes out is logs and small calls.
        sent = _log_gb(stage, month) * stage.share
        if zones:
            add("endpoints: data", "endpoint-gb", sent)
        elif gateways:
            add("NAT gateways: data", "nat-gb", sent)


def load_balancers(stage: Stage, month: Month, bill: Bill) -> None:
    """Load balancers with their capacity units and addresses."""
    for balancer in stage.of("AWS::ElasticLoadBalancingV2::LoadBalancer"):
        add = bill.in_region("Elastic Load Balancing", balancer.region)
        add("load balancers", "alb-hour", HOURS)
        requests = month.workload.api_requests * stage.share
        gb = requests * _ANSWER_KILOBYTES / 1e6
        # A unit is 1 GB or 25 new connections a second for an hour, whichever is more.
        add("capacity units", "alb-lcu", max(gb, requests / (25 * 3600)))
        if balancer.properties.get("Scheme") == "internet-facing":
            addresses = len(balancer.properties.get("Subnets", ()))
            bill.add(
                "VPC",
                "public addresses of load balancers",
                "ipv4-hour",
                addresses * HOURS,
                balancer.region,
            )


def firewalls(stage: Stage, month: Month, bill: Bill) -> None:
    """Web ACLs, their rules and what they look at."""
    for acl in stage.of("AWS::WAFv2::WebACL"):
        rules = len(acl.properties.get("Rules", ()))
        everything = acl.properties.get("Scope") == "CLOUDFRONT"
        requests = month.workload.api_requests * (1 if everything else stage.share)
        if everything:
            requests += month.delivered_requests
        where = "distribution" if everything else "load balancer"
        add = bill.in_region("WAF", acl.region)
        add(f"web ACL of the {where}", "waf-acl", 1)
        add(f"rules of the {where}", "waf-rule", rules)
        add(f"requests to the {where}", "waf-requests", requests / MILLION)


def distributions(stage: Stage, month: Month, bill: Bill) -> None:
    """What CloudFront delivers."""
    for distribution in stage.of("AWS::CloudFront::Distribution"):
        config = distribution.properties.get("DistributionConfig", {})
        place = month.workload.viewers
        # Viewers elsewhere are served from the edges of the class, at the price of those.
        if config.get("PriceClass") == "PriceClass_100" or (
            config.get("PriceClass") == "PriceClass_200" and place == "south-america"
        ):
            place = "us-eu"
        answers = month.workload.api_requests * _ANSWER_KILOBYTES / 1e6
        bill.add(
            "CloudFront",
            f"delivered to {month.workload.viewers}",
            f"cloudfront-gb-{place}",
            month.delivered_gb + answers,
        )
        requests = month.delivered_requests + month.workload.api_requests
        bill.add("CloudFront", "requests", "cloudfront-requests", requests / MILLION)
        if stage.of("AWS::CloudFront::Function"):
            bill.add(
                "CloudFront",
                "functions",
                "cloudfront-functions",
                10 * month.workload.views / MILLION,
            )


def names(stage: Stage, month: Month, bill: Bill) -> None:
    """Hosted zones in which records are made, and health checks; queries of aliases are free."""
    del month
    records = stage.of("AWS::Route53::RecordSet")
    zones = {
        str(record.properties.get("HostedZoneId", record.properties.get("HostedZoneName")))
        for record in records
    }
    bill.add("Route 53", "hosted zones", "route53-zone", len(zones))
    for check in stage.of("AWS::Route53::HealthCheck"):
        config = check.properties.get("HealthCheckConfig", {})
        fast = config.get("RequestInterval") == 10  # noqa: PLR2004 - seconds; the other is 30
        options = [
            str(config.get("Type", "")).startswith("HTTPS"),
            bool(config.get("MeasureLatency")),
            "STR_MATCH" in str(config.get("Type", "")),
            fast,
        ]
        bill.add("Route 53", "health checks", "route53-check", 1)
        bill.add("Route 53", "options of health checks", "route53-check-option", sum(options))


def monitoring(stage: Stage, month: Month, bill: Bill) -> None:
    """Alarms by the metrics they look at, dashboards, and metrics of the platform's own."""
    for region in sorted({resource.region for resource in stage.resources}):
        alarms = stage.of("AWS::CloudWatch::Alarm", region=region)
        add = bill.in_region("CloudWatch", region)
        add("metrics of alarms", "alarm-metric", sum(map(alarm_metrics, alarms)))
        composite = stage.of("AWS::CloudWatch::CompositeAlarm", region=region)
        add("composite alarms", "composite-alarm", len(composite))
        dashboards = stage.of("AWS::CloudWatch::Dashboard", region=region)
        add("dashboards", "dashboard", len(dashboards))
        if any(service.region == region for service in stage.services):
            add("metrics of the platform", "custom-metric", _platform_metrics(stage, month))


def _platform_metrics(stage: Stage, month: Month) -> float:
    """Return the metrics that API, workers and webhooks of a region send, by the hours they do."""
    workload = month.workload
    asked = min(1.0, workload.api_requests * stage.share / HOURS)
    worked = _worked_share(stage, month)
    of_webhooks = _METRICS_OF_WEBHOOKS if workload.webhooks else 0
    return (
        _METRICS_OF_WAITING
        + _METRICS_OF_REQUESTS * asked
        + (_METRICS_OF_WORKERS + of_webhooks) * worked
    )


def alarm_metrics(alarm: Resource) -> int:
    """Return how many metrics an alarm looks at: those of an expression are each paid for."""
    metrics = alarm.properties.get("Metrics")
    return 1 if metrics is None else sum("MetricStat" in one for one in metrics)


def logs(stage: Stage, month: Month, bill: Bill) -> None:
    """Logs of tasks and functions; groups keep them as long as the template says."""
    groups = stage.of("AWS::Logs::LogGroup")
    if not groups:
        return
    taken_in = _log_gb(stage, month) * stage.share
    for region in stage.regions:
        kept = [group.number("RetentionInDays", 365) / 30 for group in groups]
        add = bill.in_region("CloudWatch", region)
        add("logs taken in", "log-gb", taken_in)
        # Most is written by tasks and functions, whose groups are those that keep the shortest.
        add("logs stored", "log-storage", taken_in * min(kept) * _LOG_COMPRESSION)


def _log_gb(stage: Stage, month: Month) -> float:
    kilobytes = (
        month.workload.api_requests * _LOG_KILOBYTES_OF_A_REQUEST
        + month.chunks * _LOG_KILOBYTES_OF_A_CHUNK
        + _function_calls(stage, month) * _LOG_KILOBYTES_OF_A_CALL
    )
    return _waiting_tasks(stage, month) * _LOG_GB_OF_A_TASK + kilobytes / 1e6


def keys(stage: Stage, month: Month, bill: Bill) -> None:
    """Keys of KMS and what is done with them; the second and third year of rotation add to it."""
    made = stage.of("AWS::KMS::Key", "AWS::KMS::ReplicaKey")
    for region, number in sorted(Counter(key.region for key in made).items()):
        bill.add("KMS", "keys", "kms-key", number, region)
    calls = len(made) * _KMS_CALLS_OF_A_KEY + month.workload.uploads * _KMS_CALLS_OF_A_VIDEO
    if made:
        bill.add("KMS", "requests", "kms-requests", calls / 1e4)


def secrets(stage: Stage, month: Month, bill: Bill) -> None:
    """Secrets with their replicas, and tasks that read them."""
    made = stage.of("AWS::SecretsManager::Secret")
    for secret in made:
        copies = 1 + len(secret.properties.get("ReplicaRegions", ()))
        bill.add("Secrets Manager", "secrets", "secret", copies, secret.region)
    if made:
        calls = _waiting_tasks(stage, month) * _SECRET_CALLS_OF_A_TASK
        bill.add("Secrets Manager", "calls", "secret-calls", calls / 1e4)


def tables(stage: Stage, month: Month, bill: Bill) -> None:
    """Reads, writes, storage and recovery of the table in each of its regions."""
    workload = month.workload
    writes = _UNITS_OF_A_WRITE * (
        workload.uploads * (_WRITES_OF_A_VIDEO + 4 * workload.webhooks)
        + month.chunks * _WRITES_OF_A_CHUNK
        # A view is counted, and what else changes is about a twentieth of the requests.
        + workload.views
        + workload.api_requests / 20
    )
    turns = sum(_turns_of(rule) for rule in stage.of("AWS::Events::Rule"))
    reads = (
        workload.uploads * _READS_OF_A_VIDEO
        + month.chunks * _READS_OF_A_CHUNK
        + workload.api_requests * _READS_OF_A_REQUEST
        + _waiting_tasks(stage, month) * _READS_OF_A_TASK
        # A query that finds nothing is half a unit, as is a read of what may be old.
        + turns * _QUERIES_OF_A_TURN / 2
    )
    stored = workload.months_kept * (
        workload.uploads * _TABLE_KILOBYTES_OF_A_VIDEO + month.chunks * _TABLE_KILOBYTES_OF_A_CHUNK
    )
    for table in stage.of(_TABLE):
        replicas = table.properties.get("Replicas", ())
        for replica in replicas:
            add = bill.in_region("DynamoDB", str(replica["Region"]))
            # Every write is paid in every region, also where it was made.
            price = "table-replicated-writes" if len(replicas) > 1 else "table-writes"
            add("writes", price, writes / MILLION)
            add("reads", "table-reads", reads / len(replicas) / MILLION)
            add("storage", "table-storage", stored / 1e6)
            recovery = replica.get("PointInTimeRecoverySpecification", {})
            if recovery.get("PointInTimeRecoveryEnabled"):
                add("point-in-time recovery", "table-recovery", stored / 1e6)


def buckets(stage: Stage, month: Month, bill: Bill) -> None:
    """Storage by class, requests, and what is copied to other regions."""
    for bucket in stage.of(_BUCKET):
        if "RawBucket" in bucket.name:
            gb, objects = month.workload.source_gb, month.workload.uploads
            _bucket(stage, bucket, month, bill, gb=gb, objects=objects)
            parts = gb * 1000 / 16  # workers read ranges of 16 MB
            add = bill.in_region("S3", bucket.region)
            add("uploads: requests", "s3-puts", (parts + 3 * objects) * stage.share / 1000)
            add("uploads: reads", "s3-gets", 2 * parts * stage.share / 1000)
        if "MediaBucket" in bucket.name:
            _bucket(stage, bucket, month, bill, gb=month.media_gb, objects=month.objects)
            add = bill.in_region("S3", bucket.region)
            puts = month.objects * _PUTS_OF_AN_OBJECT
            gets = month.objects * _GETS_OF_AN_OBJECT + month.delivered_requests * _MISSES
            add("media: requests", "s3-puts", puts * stage.share / 1000)
            add("media: reads", "s3-gets", gets * stage.share / 1000)


def _bucket(
    stage: Stage, bucket: Resource, month: Month, bill: Bill, *, gb: float, objects: float
) -> None:
    """Add storage, transitions and copies of a bucket that gets so much in a month."""
    what = "uploads" if "RawBucket" in bucket.name else "media"
    copies = _copies(bucket)
    # Where buckets copy to each other, each has everything.
    share = 1.0 if copies else stage.share
    add = bill.in_region("S3", bucket.region)
    kept = month.workload.months_kept
    standard = min(kept, _STANDARD_MONTHS)
    later = _later_class(bucket)
    old = kept - standard
    if later is None:
        standard, old = kept, 0.0
    add(f"{what}: storage", "s3-standard", gb * standard * share)
    if later == "GLACIER_IR":
        add(f"{what}: storage, Glacier Instant Retrieval", "s3-glacier-ir", gb * old * share)
        add(f"{what}: transitions", "s3-to-glacier-ir", objects * share * min(1, old) / 1000)
    if later == "INTELLIGENT_TIERING":
        add(f"{what}: storage, Intelligent-Tiering", "s3-infrequent", gb * old * share)
        add(f"{what}: transitions", "s3-to-infrequent", objects * share * min(1, old) / 1000)
        add(f"{what}: monitoring", "s3-monitoring", objects * old * share / 1000)
    for timed in copies:
        add(f"{what}: copied to other regions", "between-regions-gb", gb * stage.share)
        add(f"{what}: copies", "s3-puts", objects * stage.share / 1000)
        if timed:
            add(f"{what}: Replication Time Control", "s3-replication-time", gb * stage.share)


def _copies(bucket: Resource) -> list[bool]:
    """Return, for each region that a bucket copies to, whether within 15 minutes."""
    rules = bucket.properties.get("ReplicationConfiguration", {}).get("Rules", ())
    timed: dict[str, bool] = {}
    for rule in rules:
        destination: dict[str, Any] = rule.get("Destination", {})
        key = str(destination.get("Bucket"))
        timed[key] = timed.get(key, False) or "ReplicationTime" in destination
    return list(timed.values())


def _later_class(bucket: Resource) -> str | None:
    """Return the class into which everything in a bucket goes after a month."""
    for rule in bucket.properties.get("LifecycleConfiguration", {}).get("Rules", ()):
        for transition in rule.get("Transitions", ()):
            if "Prefix" not in rule:
                return str(transition["StorageClass"])
    return None


def functions(stage: Stage, month: Month, bill: Bill) -> None:
    """Calls of functions, and the memory that they hold meanwhile."""
    calls = _function_calls(stage, month)
    made = stage.of(_FUNCTION)
    if not made:
        return
    bill.add("Lambda", "calls", "lambda-calls", calls / MILLION)
    gb = sum(function.number("MemorySize", 128) for function in made) / len(made) / 1024
    arm = all(function.properties.get("Architectures") == ["arm64"] for function in made)
    bill.add(
        "Lambda",
        "time",
        "lambda-arm" if arm else "lambda-x86",
        calls * _FUNCTION_SECONDS * gb,
    )


def _function_calls(stage: Stage, month: Month) -> float:
    """Return how often functions are called: by schedules, for videos, and when users sign in."""
    turns = sum(_turns_of(rule) for rule in stage.of("AWS::Events::Rule"))
    workload = month.workload
    videos = workload.uploads * (_CALLS_OF_FUNCTIONS_OF_A_VIDEO + 2 * workload.webhooks)
    # A token lives for an hour; who works with the platform gets about thirty a month.
    return turns + videos + 30 * workload.users


def _turns_of(rule: Resource) -> float:
    """Return how often a schedule comes in a month."""
    text = str(rule.properties.get("ScheduleExpression", ""))
    found = re.fullmatch(r"rate\((\d+) (minute|hour|day)s?\)", text)
    if found is None:
        return 0.0
    minutes = {"minute": 1, "hour": 60, "day": 24 * 60}[found[2]]
    return MINUTES / (int(found[1]) * minutes)


def queues(stage: Stage, month: Month, bill: Bill) -> None:
    """Calls of SQS: Lambda asks queues in which there is nothing, too."""
    made = {(one.stack, one.name) for one in stage.of("AWS::SQS::Queue")}
    polled = sum(
        any(
            (mapping.stack, name) in made
            for name in references(mapping.properties.get("EventSourceArn"))
        )
        for mapping in stage.of("AWS::Lambda::EventSourceMapping")
    )
    polls = polled * _QUEUE_POLLERS * MINUTES * 60 / _POLL_SECONDS
    jobs = month.chunks * _CALLS_OF_A_CHUNK
    worker = stage.worker
    if worker is not None:
        # Workers ask both queues, the second of them for 20 seconds.
        jobs += month.worker_cpu_hours / worker.cpus * 3600 / _POLL_SECONDS * 2
    other = month.workload.uploads * 6 * (3 + 2 * month.workload.webhooks)
    if made:
        bill.add("SQS", "polls of Lambda", "queue-calls", polls / MILLION)
        bill.add("SQS", "jobs and events", "queue-calls", (jobs + other) / MILLION)
        bill.add("SQS", "jobs: fair queue", "fair-queue-calls", jobs / MILLION)


def topics(stage: Stage, month: Month, bill: Bill) -> None:
    """Domain events on SNS; what goes to queues from there is free."""
    if stage.of("AWS::SNS::Topic"):
        bill.add("SNS", "publishes", "topic-publishes", month.events / MILLION)


def events(stage: Stage, month: Month, bill: Bill) -> None:
    """Events of S3 that are asked for; those of schedules are free."""
    if any("EventPattern" in rule.properties for rule in stage.of("AWS::Events::Rule")):
        bill.add("EventBridge", "events of S3", "events", 2 * month.workload.uploads / MILLION)


def users(stage: Stage, month: Month, bill: Bill) -> None:
    """Users who are active in the month, at the price of the plan."""
    for pool in stage.of("AWS::Cognito::UserPool"):
        tier = str(pool.properties.get("UserPoolTier", "ESSENTIALS")).lower()
        bill.add("Cognito", "active users", f"users-{tier}", month.workload.users, pool.region)


def caches(stage: Stage, month: Month, bill: Bill) -> None:
    """ElastiCache Serverless: at least 100 MB, and a unit for each read."""
    for cache in stage.of("AWS::ElastiCache::ServerlessCache"):
        add = bill.in_region("ElastiCache", cache.region)
        add("storage", "cache-gb", 0.1 * HOURS)
        requests = month.workload.api_requests * stage.share
        add("units", "cache-units", 2 * requests / MILLION)


def images(stage: Stage, month: Month, bill: Bill) -> None:
    """Container images, in each region one of every kind."""
    del month
    for region in stage.regions:
        kinds = {
            str(container.get("Image"))
            for task in stage.of("AWS::ECS::TaskDefinition", region=region)
            for container in task.properties.get("ContainerDefinitions", ())
        }
        bill.add("ECR", "images", "images", len(kinds) * _IMAGE_GB, region)


def traces(stage: Stage, month: Month, bill: Bill) -> None:
    """Traces of X-Ray, where tasks send any: one in twenty requests."""
    if stage.of("AWS::XRay::SamplingRule", "AWS::XRay::Group") or any(
        "xray:PutTraceSegments" in str(policy.properties) for policy in stage.of("AWS::IAM::Policy")
    ):
        bill.add("X-Ray", "traces", "traces", month.workload.api_requests / 20 / MILLION)


Service = Callable[[Stage, Month, Bill], None]

SERVICES: dict[Service, tuple[str, ...]] = {
    fargate: ("AWS::ECS::Service", "AWS::ECS::TaskDefinition"),
    clusters: ("AWS::ECS::Cluster",),
    network: ("AWS::EC2::NatGateway", "AWS::EC2::EIP", "AWS::EC2::VPCEndpoint"),
    load_balancers: ("AWS::ElasticLoadBalancingV2::LoadBalancer",),
    firewalls: ("AWS::WAFv2::WebACL",),
    distributions: ("AWS::CloudFront::Distribution", "AWS::CloudFront::Function"),
    names: ("AWS::Route53::RecordSet", "AWS::Route53::HealthCheck"),
    monitoring: (
        "AWS::CloudWatch::Alarm",
        "AWS::CloudWatch::CompositeAlarm",
        "AWS::CloudWatch::Dashboard",
    ),
    logs: ("AWS::Logs::LogGroup",),
    keys: ("AWS::KMS::Key", "AWS::KMS::ReplicaKey"),
    secrets: ("AWS::SecretsManager::Secret",),
    tables: (_TABLE,),
    buckets: (_BUCKET,),
    functions: (_FUNCTION, "AWS::Events::Rule"),
    queues: ("AWS::SQS::Queue", "AWS::Lambda::EventSourceMapping"),
    topics: ("AWS::SNS::Topic",),
    events: (),
    users: ("AWS::Cognito::UserPool",),
    caches: ("AWS::ElastiCache::ServerlessCache",),
    images: ("AWS::ECR::Repository",),
    traces: ("AWS::XRay::SamplingRule", "AWS::XRay::Group"),
}
"""The functions of this module, with the types that each prices."""

PRICED = {kind for kinds in SERVICES.values() for kind in kinds}

_RULES = "AWS asks nothing for rules and rights"
_PARTS = "it is paid with what it is a part of"

COSTS_NOTHING: dict[str, str] = {
    "AWS::ApplicationAutoScaling::ScalableTarget": "the tasks that come are counted",
    "AWS::ApplicationAutoScaling::ScalingPolicy": "its alarms are counted",
    "AWS::Budgets::Budget": "budgets without actions are free",
    "AWS::CertificateManager::Certificate": "public certificates of services of AWS are free",
    "AWS::CloudFront::KeyGroup": _PARTS,
    "AWS::CloudFront::OriginAccessControl": _RULES,
    "AWS::CloudFront::PublicKey": _PARTS,
    "AWS::CloudFront::ResponseHeadersPolicy": _RULES,
    "AWS::CloudFront::VpcOrigin": "VPC origins are free",
    "AWS::Cognito::UserPoolClient": _PARTS,
    "AWS::Cognito::UserPoolDomain": _PARTS,
    "AWS::Cognito::UserPoolGroup": _PARTS,
    "AWS::EC2::FlowLog": "only refused connections are logged, which are few",
    "AWS::EC2::InternetGateway": "traffic is counted, the gateway is free",
    "AWS::EC2::Route": _RULES,
    "AWS::EC2::RouteTable": _RULES,
    "AWS::EC2::SecurityGroup": _RULES,
    "AWS::EC2::SecurityGroupEgress": _RULES,
    "AWS::EC2::SecurityGroupIngress": _RULES,
    "AWS::EC2::Subnet": _RULES,
    "AWS::EC2::SubnetRouteTableAssociation": _RULES,
    "AWS::EC2::VPC": _RULES,
    "AWS::EC2::VPCGatewayAttachment": _RULES,
    "AWS::ElasticLoadBalancingV2::Listener": _PARTS,
    "AWS::ElasticLoadBalancingV2::ListenerRule": _PARTS,
    "AWS::ElasticLoadBalancingV2::TargetGroup": _PARTS,
    "AWS::IAM::ManagedPolicy": _RULES,
    "AWS::IAM::Policy": _RULES,
    "AWS::IAM::Role": _RULES,
    "AWS::KMS::Alias": _PARTS,
    "AWS::Lambda::EventInvokeConfig": _PARTS,
    "AWS::Lambda::LayerVersion": _PARTS,
    "AWS::Lambda::Permission": _RULES,
    "AWS::Logs::Delivery": "logs of CloudFront go to S3, where they are few GB",
    "AWS::Logs::DeliveryDestination": _PARTS,
    "AWS::Logs::DeliverySource": _PARTS,
    "AWS::S3::BucketPolicy": _RULES,
    "AWS::SNS::Subscription": "what goes to queues and addresses of operators is free or little",
    "AWS::SNS::TopicPolicy": _RULES,
    "AWS::SQS::QueuePolicy": _RULES,
    "AWS::SSM::Parameter": "standard parameters are free",
    "AWS::WAFv2::IPSet": _PARTS,
    "AWS::WAFv2::LoggingConfiguration": "only what is refused is logged",
    "AWS::WAFv2::WebACLAssociation": _PARTS,
    "AWS::CDK::Metadata": "it is a note",
}
"""Types that cost nothing, or so little that it is not counted, with the reason."""

_CUSTOM = ("Custom::", "AWS::CloudFormation::")
"""Custom resources call a function while stacks are deployed, and then no more."""


def unpriced_types(stage: Stage) -> list[str]:
    """Return the types of a stage of which nothing is known: they may cost something."""
    return sorted(
        {
            resource.type
            for resource in stage.resources
            if resource.type not in PRICED
            and resource.type not in COSTS_NOTHING
            and not resource.type.startswith(_CUSTOM)
        }
    )
