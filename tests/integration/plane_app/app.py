"""A small app with every kind of resource that the local plane has to play itself."""

from __future__ import annotations

import os
from pathlib import Path

import aws_cdk as cdk
from aws_cdk import aws_applicationautoscaling as autoscaling
from aws_cdk import aws_cloudfront as cloudfront
from aws_cdk import aws_cloudfront_origins as origins
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_elasticloadbalancingv2 as elb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_sqs as sqs

from media_platform.contract.site import fallback_code

HERE = Path(__file__).parent
REGION = "eu-west-1"

app = cdk.App(builtin_cloud_formation_validation=False)
stack = cdk.Stack(app, "Small", env=cdk.Environment(account="000000000000", region=REGION))
vpc = ec2.Vpc(stack, "Vpc", availability_zones=[f"{REGION}a", f"{REGION}b"], nat_gateways=1)
vpc.add_flow_log("FlowLog")
media = s3.Bucket(stack, "Media", versioned=True, enforce_ssl=True)
site = s3.Bucket(stack, "Site", enforce_ssl=True)
dead = sqs.Queue(stack, "Dead", enforce_ssl=True)
jobs = sqs.Queue(
    stack,
    "Jobs",
    enforce_ssl=True,
    dead_letter_queue=sqs.DeadLetterQueue(queue=dead, max_receive_count=3),
)
table = dynamodb.TableV2(
    stack,
    "Table",
    partition_key=dynamodb.Attribute(name="pk", type=dynamodb.AttributeType.STRING),
    time_to_live_attribute="expires",
    replicas=[dynamodb.ReplicaTableProps(region="us-west-2")],
    removal_policy=cdk.RemovalPolicy.DESTROY,
)
function = lambda_.Function(
    stack,
    "Writer",
    runtime=lambda_.Runtime.PYTHON_3_13,
    architecture=lambda_.Architecture.ARM_64,
    handler="handler.handle",
    code=lambda_.Code.from_asset(str(HERE / "function")),
    environment={"BUCKET": media.bucket_name},
)
media.grant_put(function, "allowed/*")

cluster = ecs.Cluster(stack, "Cluster", vpc=vpc)
secret = secretsmanager.Secret(
    stack, "Secret", secret_object_value={"word": cdk.SecretValue.unsafe_plain_text("xyzzy")}
)
image = ecs.ContainerImage.from_asset(str(HERE / "service"))


def task(name: str, program: str, **environment: str) -> ecs.FargateTaskDefinition:
    """Return a task definition whose tasks may protect themselves."""
    definition = ecs.FargateTaskDefinition(stack, name, cpu=256, memory_limit_mib=512)
    definition.add_container(
        "main",
        image=image,
        command=["python", program],
        environment={"VERSION": os.environ.get("SMALL_APP_VERSION", "1"), **environment},
        secrets={"WORD": ecs.Secret.from_secrets_manager(secret, "word")},
        port_mappings=[ecs.PortMapping(container_port=8080)] if program == "server.py" else None,
        stop_timeout=cdk.Duration.seconds(60),
    )
    definition.add_to_task_role_policy(
        iam.PolicyStatement(
            actions=["ecs:GetTaskProtection", "ecs:UpdateTaskProtection"],
            resources=[stack.format_arn(service="ecs", resource="task", resource_name="*")],
        )
    )
    return definition


api = ecs.FargateService(
    stack,
    "Api",
    cluster=cluster,
    task_definition=task("ApiTask", "server.py", STAGE="local"),
    desired_count=1,
    min_healthy_percent=100,
    circuit_breaker=ecs.DeploymentCircuitBreaker(rollback=False),
)
worker = ecs.FargateService(
    stack,
    "Worker",
    cluster=cluster,
    task_definition=task("WorkerTask", "worker.py"),
    desired_count=0,
    min_healthy_percent=0,
    circuit_breaker=ecs.DeploymentCircuitBreaker(rollback=False),
)
backlog = cloudwatch.MathExpression(
    expression="visible + inflight",
    using_metrics={
        "visible": jobs.metric_approximate_number_of_messages_visible(
            statistic="Maximum", period=cdk.Duration.seconds(10)
        ),
        "inflight": jobs.metric_approximate_number_of_messages_not_visible(
            statistic="Maximum", period=cdk.Duration.seconds(10)
        ),
    },
    period=cdk.Duration.seconds(10),
)
worker.auto_scale_task_count(min_capacity=0, max_capacity=2).scale_on_metric(
    "Backlog",
    metric=backlog,
    adjustment_type=autoscaling.AdjustmentType.EXACT_CAPACITY,
    scaling_steps=[
        autoscaling.ScalingInterval(upper=0, change=0),
        autoscaling.ScalingInterval(lower=1, upper=10, change=1),
        autoscaling.ScalingInterval(lower=10, change=5),
    ],
    cooldown=cdk.Duration.seconds(1),
)

balancer = elb.ApplicationLoadBalancer(stack, "Balancer", vpc=vpc, internet_facing=False)
listener = balancer.add_listener(
    "Listener", port=80, open=False, default_action=elb.ListenerAction.fixed_response(418)
)
listener.add_targets(
    "Api",
    port=8080,
    protocol=elb.ApplicationProtocol.HTTP,
    targets=[api],
    priority=10,
    conditions=[elb.ListenerCondition.path_patterns(["/api/*"])],
    health_check=elb.HealthCheck(path="/ready", interval=cdk.Duration.seconds(5)),
)
key = cloudfront.PublicKey(stack, "Key", encoded_key=(HERE / "key.pem").read_text())
media_origin = origins.S3BucketOrigin.with_origin_access_control(media)
api_behavior = cloudfront.BehaviorOptions(
    origin=origins.VpcOrigin.with_application_load_balancer(
        balancer,
        protocol_policy=cloudfront.OriginProtocolPolicy.HTTP_ONLY,
        http_port=80,
        read_timeout=cdk.Duration.seconds(5),
    ),
    allowed_methods=cloudfront.AllowedMethods.ALLOW_ALL,
    cache_policy=cloudfront.CachePolicy.CACHING_DISABLED,
    origin_request_policy=cloudfront.OriginRequestPolicy.ALL_VIEWER_EXCEPT_HOST_HEADER,
)
distribution = cloudfront.Distribution(
    stack,
    "Distribution",
    default_behavior=cloudfront.BehaviorOptions(
        origin=origins.S3BucketOrigin.with_origin_access_control(site),
        function_associations=[
            cloudfront.FunctionAssociation(
                event_type=cloudfront.FunctionEventType.VIEWER_REQUEST,
                function=cloudfront.Function(
                    stack,
                    "Fallback",
                    code=cloudfront.FunctionCode.from_inline(fallback_code("index.html")),
                    runtime=cloudfront.FunctionRuntime.JS_2_0,
                ),
            )
        ],
    ),
    additional_behaviors={
        "/media/*": cloudfront.BehaviorOptions(
            origin=media_origin,
            trusted_key_groups=[cloudfront.KeyGroup(stack, "Keys", items=[key])],
            response_headers_policy=cloudfront.ResponseHeadersPolicy(
                stack,
                "Cors",
                cors_behavior=cloudfront.ResponseHeadersCorsBehavior(
                    access_control_allow_credentials=True,
                    access_control_allow_headers=["Range"],
                    access_control_allow_methods=["GET", "HEAD"],
                    access_control_allow_origins=["https://player.example"],
                    origin_override=True,
                ),
            ),
        ),
        "/api/*": api_behavior,
        "/teapot": api_behavior,
    },
)
for name, value in {
    "ClusterName": cluster.cluster_name,
    "DeadQueueUrl": dead.queue_url,
    "FunctionName": function.function_name,
    "JobQueueUrl": jobs.queue_url,
    "KeyId": key.public_key_id,
    "MediaBucket": media.bucket_name,
    "SiteBucket": site.bucket_name,
    "TableName": table.table_name,
    "TaskRoleArn": worker.task_definition.task_role.role_arn,
    "WorkerService": worker.service_name,
    "ApiService": api.service_name,
}.items():
    cdk.CfnOutput(stack, name, value=value)
app.synth()
