"""The API: load balancer, users, service, grants, and what it refuses."""

from __future__ import annotations

import json
import re
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_ec2 as ec2
from infra_templates import Synth, Template, advice, flat

from media_platform.constructs import ApiCluster, TokenIssuer, TranscodePipeline, VideoStore
from media_platform.constructs._admin_service import AdminService
from media_platform.contract import identity, table
from media_platform.contract.environment import AdminEnvironment

CERTIFICATE = "arn:aws:acm:us-east-1:111111111111:certificate/one"
SECRETS = (
    "arn:aws:secretsmanager:us-east-1:ACCOUNT:secret:media-platform/test/playback-signing-key-"
)
ISSUER = TokenIssuer(issuer="https://issuer", jwks_url="https://issuer/keys", client_id="client")


def api(stack: cdk.Stack, **arguments: Any) -> ApiCluster:
    return ApiCluster(stack, "Api", stage="test", store=VideoStore(stack, "Store"), **arguments)


def certificate(stack: cdk.Stack) -> acm.ICertificate:
    return acm.Certificate.from_certificate_arn(stack, "Certificate", CERTIFICATE)


def variables(made: Template) -> dict[str, str]:
    (container,) = made.only("AWS::ECS::TaskDefinition")["ContainerDefinitions"]
    return {v["Name"]: flat(v["Value"]) for v in container["Environment"]}


def test_minimal_is_internal_behind_a_vpc_origin(synth: Synth) -> None:
    made = synth(api)
    balancer = made.only("AWS::ElasticLoadBalancingV2::LoadBalancer")
    assert balancer["Scheme"] == "internal"
    listener = made.only("AWS::ElasticLoadBalancingV2::Listener")
    assert (listener["Port"], listener["Protocol"]) == (80, "HTTP")
    (default,) = listener["DefaultActions"]
    assert default["FixedResponseConfig"]["StatusCode"] == "404"
    groups = made.resources("AWS::EC2::SecurityGroup").values()
    (ingress,) = [
        rule for group in groups for rule in group["Properties"].get("SecurityGroupIngress", [])
    ]
    assert flat(ingress["CidrIp"]) == "<ApiVpc.CidrBlock>"
    assert (ingress["FromPort"], ingress["ToPort"]) == (80, 80)


def attributes(made: Template) -> dict[str, Any]:
    balancer = made.only("AWS::ElasticLoadBalancingV2::LoadBalancer")
    return {a["Key"]: a["Value"] for a in balancer["LoadBalancerAttributes"]}


def test_requests_are_logged_beside_those_on_objects(synth: Synth) -> None:
    made = synth(api)
    assert attributes(made)["access_logs.s3.enabled"] == "true"
    assert flat(attributes(made)["access_logs.s3.bucket"]) == "<StoreAccessLogs>"
    assert attributes(made)["access_logs.s3.prefix"] == "load-balancer"
    (policy,) = (name for name in made.resources("AWS::S3::BucketPolicy") if "AccessLogs" in name)
    # Load balancers try at once whether they may write.
    (balancer,) = made.resources("AWS::ElasticLoadBalancingV2::LoadBalancer").values()
    assert policy in balancer["DependsOn"]
    allowed = [
        flat(statement["Resource"])
        for statement in made.resources("AWS::S3::BucketPolicy")[policy]["Properties"][
            "PolicyDocument"
        ]["Statement"]
        if statement["Action"] == "s3:PutObject"
    ]
    assert "<StoreAccessLogs.Arn>/load-balancer/AWSLogs/ACCOUNT/*" in allowed


def test_a_store_without_logs_does_not_silence_the_load_balancer(synth: Synth) -> None:
    made = synth(
        lambda stack: ApiCluster(
            stack, "Api", store=VideoStore(stack, "Store", access_logs=False), token_issuer=ISSUER
        )
    )
    assert flat(attributes(made)["access_logs.s3.bucket"]) == "<ApiAccessLogs>"


def test_logs_may_be_off_and_need_a_region(synth: Synth) -> None:
    made = synth(lambda stack: api(stack, access_logs=False, token_issuer=ISSUER))
    assert "access_logs.s3.enabled" not in attributes(made)
    nowhere = synth(
        lambda stack: api(stack, token_issuer=ISSUER, regions=["us-east-1"]), region=None
    )
    assert "access_logs.s3.enabled" not in attributes(nowhere)


def test_a_web_acl_takes_what_the_api_takes_and_trusts_no_forwarded_address(
    synth: Synth,
) -> None:
    made = synth(lambda stack: api(stack, waf=True, token_issuer=ISSUER))
    association = made.only("AWS::WAFv2::WebACLAssociation")
    assert association["ResourceArn"] == {"Ref": "ApiLoadBalancer9F78B8A1"}
    assert flat(association["WebACLArn"]) == "<ApiWebAcl.Arn>"
    acl = made.only("AWS::WAFv2::WebACL")
    assert acl["Scope"] == "REGIONAL"
    groups = {rule["Name"]: rule["Statement"]["ManagedRuleGroupStatement"] for rule in acl["Rules"]}
    assert set(groups) == {
        "AWSManagedRulesCommonRuleSet",
        "AWSManagedRulesKnownBadInputsRuleSet",
    }
    # Bodies may have 64 KiB, and webhooks an address for a host.
    overrides = groups["AWSManagedRulesCommonRuleSet"]["RuleActionOverrides"]
    assert {rule["Name"]: rule["ActionToUse"] for rule in overrides} == {
        "SizeRestrictions_BODY": {"Count": {}},
        "GenericRFI_BODY": {"Count": {}},
    }
    assert "X-Forwarded-For" not in json.dumps(acl)


def test_what_a_web_acl_refuses_is_logged_without_secrets(synth: Synth) -> None:
    made = synth(lambda stack: api(stack, waf=True, waf_logs=True, token_issuer=ISSUER))
    logging = made.only("AWS::WAFv2::LoggingConfiguration")
    assert flat(logging["ResourceArn"]) == "<ApiWebAcl.Arn>"
    ((name, group),) = (
        (name, one["Properties"])
        for name, one in made.resources("AWS::Logs::LogGroup").items()
        if name.startswith("ApiWebAcl")
    )
    # Other names, and the ARN that ends in ":*", are refused by AWS WAF.
    assert re.fullmatch(r"aws-waf-logs-[A-Za-z0-9-]+", group["LogGroupName"])
    assert group["RetentionInDays"] == 365
    (destination,) = logging["LogDestinationConfigs"]
    assert destination["Fn::Join"][1][-1] == {"Ref": name}
    assert ":log-group:" in json.dumps(destination)
    assert logging["LoggingFilter"]["DefaultBehavior"] == "DROP"
    (kept,) = logging["LoggingFilter"]["Filters"]
    assert kept["Behavior"] == "KEEP"
    assert [one["ActionCondition"]["Action"] for one in kept["Conditions"]] == ["BLOCK", "COUNT"]
    protected = made.only("AWS::WAFv2::WebACL")["DataProtectionConfig"]["DataProtections"]
    assert {one["Action"] for one in protected} == {"SUBSTITUTION"}
    assert not any(one["ExcludeRuleMatchDetails"] for one in protected)
    assert {one["Field"]["FieldType"]: one["Field"].get("FieldKeys") for one in protected} == {
        "SINGLE_HEADER": ["authorization", "cookie"],
        "SINGLE_COOKIE": None,
        "SINGLE_QUERY_ARGUMENT": ["Policy", "Signature", "Key-Pair-Id"],
    }


def test_a_web_acl_logs_nothing_unless_asked_for(synth: Synth) -> None:
    made = synth(lambda stack: api(stack, waf=True, token_issuer=ISSUER))
    assert not made.resources("AWS::WAFv2::LoggingConfiguration")


def test_only_api_paths_reach_healthy_tasks(synth: Synth) -> None:
    made = synth(api)
    rule = made.only("AWS::ElasticLoadBalancingV2::ListenerRule")
    (condition,) = rule["Conditions"]
    assert condition["PathPatternConfig"] == {"Values": ["/api/*"]}
    group = made.only("AWS::ElasticLoadBalancingV2::TargetGroup")
    assert group["HealthCheckPath"] == "/health/ready"
    assert (group["Port"], group["TargetType"]) == (8080, "ip")
    service = made.only("AWS::ECS::Service")
    (target,) = service["LoadBalancers"]
    assert target["ContainerPort"] == 8080
    assert service["DesiredCount"] == 2
    assert service["DeploymentConfiguration"]["DeploymentCircuitBreaker"] == {
        "Enable": True,
        "Rollback": True,
    }
    scaling = made.only("AWS::ApplicationAutoScaling::ScalableTarget")
    assert (scaling["MinCapacity"], scaling["MaxCapacity"]) == (2, 10)


def tracked(made: Template, service: str) -> dict[str, dict[str, Any]]:
    """Return by what a service scales: the metrics of its policies, with their configuration."""
    return {
        (configuration := policy["Properties"]["TargetTrackingScalingPolicyConfiguration"])[
            "PredefinedMetricSpecification"
        ]["PredefinedMetricType"]: configuration
        for name, policy in made.resources("AWS::ApplicationAutoScaling::ScalingPolicy").items()
        if name.startswith(service) and "TargetTracking" in str(policy["Properties"])
    }


def test_services_scale_with_what_their_size_bears(synth: Synth) -> None:
    made = synth(with_admin)
    for service, requests, targets in (
        ("ApiService", 25_200, "ApiLoadBalancerListenerApiGroup"),
        ("ApiAdminService", 12_600, "ApiLoadBalancerListenerAdminGroup"),
    ):
        policies = tracked(made, service)
        assert policies.keys() == {"ECSServiceAverageCPUUtilization", "ALBRequestCountPerTarget"}
        assert policies["ECSServiceAverageCPUUtilization"]["TargetValue"] == 60
        by_requests = policies["ALBRequestCountPerTarget"]
        assert by_requests["TargetValue"] == requests
        assert targets in json.dumps(by_requests["PredefinedMetricSpecification"]["ResourceLabel"])


def test_services_are_spread_again_and_workers_left_alone(synth: Synth) -> None:
    for name, made in synth(with_admin).resources("AWS::ECS::Service").items():
        service = made["Properties"]
        deployment = service["DeploymentConfiguration"]
        assert deployment["DeploymentCircuitBreaker"] == {"Enable": True, "Rollback": True}
        assert deployment["MaximumPercent"] == 200  # ECS moves nothing where 100 is the most
        workers = name.startswith("TranscodeWorkers")
        spread = service.get("AvailabilityZoneRebalancing")
        assert spread == (None if workers else "ENABLED")


def test_everything_on(synth: Synth) -> None:
    def build(stack: cdk.Stack) -> None:
        made = api(
            stack,
            token_issuer=ISSUER,
            vpc=ec2.Vpc(stack, "Own", max_azs=2),
            certificate=certificate(stack),
            cloudfront_prefix_list_id="pl-1",
            min_tasks=1,
            max_tasks=3,
            cpu_units=256,
            memory_mebibytes=512,
            requests_per_minute=900,
            upload_max=cdk.Size.mebibytes(1),
            upload_expiry=cdk.Duration.seconds(60),
            playback_expiry=cdk.Duration.seconds(120),
            quota_videos=5,
            quota=cdk.Size.mebibytes(2),
            quota_uploads=3,
            restore_days=0,
            webhook_allowed_networks=["127.0.0.0/8"],
            removal_policy=cdk.RemovalPolicy.DESTROY,
            deletion_protection=True,
        )
        assert made.users is None

    made = synth(build)
    assert not made.resources("AWS::Cognito::UserPool")
    assert tracked(made, "Api")["ALBRequestCountPerTarget"]["TargetValue"] == 900
    assert len(made.resources("AWS::EC2::VPC")) == 1
    balancer = made.only("AWS::ElasticLoadBalancingV2::LoadBalancer")
    assert balancer["Scheme"] == "internet-facing"
    attributes = {a["Key"]: a["Value"] for a in balancer["LoadBalancerAttributes"]}
    assert attributes["deletion_protection.enabled"] == "true"
    assert attributes["routing.http.drop_invalid_header_fields.enabled"] == "true"
    listener = made.only("AWS::ElasticLoadBalancingV2::Listener")
    assert (listener["Port"], listener["Protocol"]) == (443, "HTTPS")
    assert listener["Certificates"] == [{"CertificateArn": CERTIFICATE}]
    ingress = [
        rule["Properties"]
        for rule in made.resources("AWS::EC2::SecurityGroupIngress").values()
        if "SourcePrefixListId" in rule["Properties"]
    ]
    groups = made.resources("AWS::EC2::SecurityGroup").values()
    ingress += [
        rule for group in groups for rule in group["Properties"].get("SecurityGroupIngress", [])
    ]
    assert [rule["SourcePrefixListId"] for rule in ingress] == ["pl-1"]
    expected = {
        "TOKEN_ISSUER": "https://issuer",
        "TOKEN_JWKS_URL": "https://issuer/keys",
        "TOKEN_CLIENT_ID": "client",
        "UPLOAD_MAX_BYTES": "1048576",
        "QUOTA_VIDEOS": "5",
        "QUOTA_BYTES": "2097152",
        "QUOTA_UPLOADS": "3",
        "UPLOAD_EXPIRY_SECONDS": "60",
        "PLAYBACK_EXPIRY_SECONDS": "120",
        "WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8",
        "DELIVERY_PARAMETER": "/media-platform/test/delivery",
    }
    assert expected.items() <= variables(made).items()


def test_the_container_can_write_its_scratch_volume_only(synth: Synth) -> None:
    (container,) = synth(api).only("AWS::ECS::TaskDefinition")["ContainerDefinitions"]
    assert container["Command"] == ["python", "-m", "media_api"]
    assert container["ReadonlyRootFilesystem"] is True
    assert container["User"] == "10001:10001"
    assert [p["ContainerPort"] for p in container["PortMappings"]] == [8080]


def test_grants_of_the_api(synth: Synth) -> None:
    listed = (
        table.TENANT_VIDEOS,
        table.TENANT_STATUS_VIDEOS,
        table.OWNER_VIDEOS,
        table.OWNER_STATUS_VIDEOS,
        table.TAG_VIDEOS,
        table.WEBHOOK_DELIVERIES,
    )
    indexes = {f"<StoreTable.Arn>/index/{index.name}" for index in listed}
    assert synth(api).grants("ApiTaskTaskRole") == {
        "dynamodb:BatchGetItem": {"<StoreTable.Arn>"},
        "dynamodb:DeleteItem": {"<StoreTable.Arn>"},
        "dynamodb:GetItem": {"<StoreTable.Arn>"},
        "dynamodb:PutItem": {"<StoreTable.Arn>"},
        "dynamodb:UpdateItem": {"<StoreTable.Arn>"},
        "dynamodb:Query": {"<StoreTable.Arn>", *indexes},
        "s3:PutObject": {"<StoreRawBucket.Arn>/raw/*", "<StoreRawBucket.Arn>/thumbnails/*"},
        "s3:AbortMultipartUpload": {"<StoreRawBucket.Arn>/raw/*"},
        "s3:ListMultipartUploadParts": {"<StoreRawBucket.Arn>/raw/*"},
        "s3:ListBucket": {"<StoreMediaBucket.Arn>", "<StoreRawBucket.Arn>"},
        "s3:GetObject": {"<StoreMediaBucket.Arn>/media/*"},
        "ssm:GetParameter": {
            "arn:aws:ssm:us-east-1:ACCOUNT:parameter/media-platform/test/delivery"
        },
        "secretsmanager:GetSecretValue": {
            f"{SECRETS}a-??????",
            f"{SECRETS}b-??????",
        },
    }


def test_users_cannot_choose_their_tenant(synth: Synth) -> None:
    made = synth(api)
    client = made.only("AWS::Cognito::UserPoolClient")
    assert client["WriteAttributes"] == ["email", "name"]
    assert "custom:tenant" in client["ReadAttributes"]
    assert client["GenerateSecret"] is False
    assert client["AllowedOAuthFlowsUserPoolClient"] is False
    assert set(client["ExplicitAuthFlows"]) == {
        "ALLOW_USER_PASSWORD_AUTH",
        "ALLOW_USER_SRP_AUTH",
        "ALLOW_REFRESH_TOKEN_AUTH",
    }
    pool = made.only("AWS::Cognito::UserPool")
    assert pool["AdminCreateUserConfig"] == {"AllowAdminCreateUserOnly": True}
    assert [a["Name"] for a in pool["Schema"]] == [identity.TENANT_ATTRIBUTE]


def test_access_tokens_carry_the_tenant(synth: Synth) -> None:
    made = synth(api)
    pool = made.only("AWS::Cognito::UserPool")
    assert pool["UserPoolTier"] == "ESSENTIALS"
    trigger = pool["LambdaConfig"]["PreTokenGenerationConfig"]
    assert trigger["LambdaVersion"] == "V2_0"
    assert flat(trigger["LambdaArn"]) == "<ApiUsersAccessTokenFunction.Arn>"
    assert made.grants("ApiUsersAccessTokenRole") == {
        action: {"<ApiUsersAccessTokenLogs.Arn>"}
        for action in ("logs:CreateLogStream", "logs:PutLogEvents")
    }


def test_groups_are_those_of_the_contract(synth: Synth) -> None:
    groups = synth(api).resources("AWS::Cognito::UserPoolGroup").values()
    assert {g["Properties"]["GroupName"]: g["Properties"]["Description"] for g in groups} == (
        identity.GROUPS
    )


def test_issuer_and_keys_are_separate_settings(synth: Synth) -> None:
    settings = variables(synth(api))
    pool = "<ApiUsersUserPool>"
    assert settings["TOKEN_ISSUER"] == f"https://cognito-idp.us-east-1.amazonaws.com/{pool}"
    assert settings["TOKEN_JWKS_URL"] == ("<ApiUsersUserPool.ProviderURL>/.well-known/jwks.json")


def test_metrics(stack: cdk.Stack) -> None:
    made = api(stack)
    latency = made.metric_latency().to_metric_config().metric_stat
    errors = made.metric_errors().to_metric_config().metric_stat
    assert latency is not None
    assert errors is not None
    assert (latency.metric_name, latency.statistic) == ("TargetResponseTime", "p99")
    assert (errors.metric_name, errors.statistic) == ("HTTPCode_Target_5XX_Count", "Sum")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"upload_max": cdk.Size.tebibytes(6)},
            (
                "upload_max in bytes is 6597069766656, allowed are 1 to 5497558138880; an object "
                "of S3 has no more (path: Test/Api)"
            ),
        ),
        (
            {"quota_uploads": 0},
            (
                "quota_uploads is 0, allowed are 1 to 9007199254740992; a tenant that may have "
                "nothing needs no platform (path: Test/Api)"
            ),
        ),
        (
            {"upload_expiry": cdk.Duration.days(8)},
            (
                "upload_expiry in seconds is 691200, allowed are 1 to 604800; a presigned URL "
                "lives no longer (path: Test/Api)"
            ),
        ),
        (
            {"playback_expiry": cdk.Duration.seconds(1)},
            (
                "playback_expiry in seconds is 1, allowed are 10 to 604800; a signature outlives "
                "the deletion of its video, so keep it short (path: Test/Api)"
            ),
        ),
        (
            {"restore_days": 366},
            (
                "restore_days is 366, allowed are 0 to 365; what is deleted costs storage until it "
                "is purged (path: Test/Api)"
            ),
        ),
        (
            {"waf_logs": True},
            (
                "waf_logs is True, but waf is not; switch waf on, or leave waf_logs out "
                "(path: Test/Api)"
            ),
        ),
        (
            {"cidr": "ten"},
            (
                "cidr is 'ten', allowed are networks of /16 to /22 such as 10.0.0.0/16; write the "
                "first address and the length (path: Test/Api)"
            ),
        ),
        (
            {"cidr": "10.0.0.0/28"},
            (
                "cidr is '10.0.0.0/28', allowed are networks of /16 to /22 such as 10.0.0.0/16; "
                "write the first address and the length (path: Test/Api)"
            ),
        ),
        (
            {"availability_zones": ["us-east-1a"]},
            (
                "availability_zones is ['us-east-1a'], allowed are 2 and more, each once; a load "
                "balancer is in two (path: Test/Api)"
            ),
        ),
        (
            {"availability_zones": ["us-east-1a", "us-east-1a"]},
            (
                "availability_zones is ['us-east-1a', 'us-east-1a'], allowed are 2 and more, each "
                "once; a load balancer is in two (path: Test/Api)"
            ),
        ),
        (
            {"availability_zones": ["us-east-1a", "eu-west-1a"]},
            (
                "availability_zones contains 'eu-west-1a', which is not in 'us-east-1'; name zones "
                "of the region (path: Test/Api)"
            ),
        ),
        (
            {"upload_max": 5},
            "upload_max is 5; pass a Size, as Size.gibibytes(5) (path: Test/Api)",
        ),
        (
            {"requests_per_minute": 0},
            (
                "requests_per_minute is 0, allowed are 1 to 10000000; it is what one task gets "
                "before there is another (path: Test/Api/Api)"
            ),
        ),
        (
            {"min_tasks": 0},
            (
                "min_tasks is 0 and max_tasks 10, allowed is 1 <= min_tasks <= max_tasks; a "
                "service at zero answers nobody (path: Test/Api/Api)"
            ),
        ),
        (
            {"min_tasks": 3, "max_tasks": 2},
            (
                "min_tasks is 3 and max_tasks 2, allowed is 1 <= min_tasks <= max_tasks; a "
                "service at zero answers nobody (path: Test/Api/Api)"
            ),
        ),
    ],
)
def test_errors(stack: cdk.Stack, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        api(stack, **arguments)


@pytest.mark.parametrize(
    ("network", "placed", "interfaces"),
    [("nat", "PrivateSubnet", 0), ("public", "PublicSubnet", 0), ("endpoints", "InnerSubnet", 6)],
)
def test_a_network_of_ones_own_works_with_every_choice(
    synth: Synth, network: str, placed: str, interfaces: int
) -> None:
    kinds = {
        "Public": ec2.SubnetType.PUBLIC,
        "Private": ec2.SubnetType.PRIVATE_WITH_EGRESS,
        "Inner": ec2.SubnetType.PRIVATE_ISOLATED,
    }

    def build(stack: cdk.Stack) -> None:
        subnets = [
            ec2.SubnetConfiguration(name=name, subnet_type=kind) for name, kind in kinds.items()
        ]
        own = ec2.Vpc(stack, "Own", max_azs=2, nat_gateways=1, subnet_configuration=subnets)
        api(stack, vpc=own, network=network)

    made = synth(build)
    assert len(made.resources("AWS::EC2::VPC")) == 1
    network_of_tasks = made.only("AWS::ECS::Service")["NetworkConfiguration"]["AwsvpcConfiguration"]
    subnets = [flat(subnet) for subnet in network_of_tasks["Subnets"]]
    assert len(subnets) == 2
    assert all(subnet.startswith(f"<Own{placed}") for subnet in subnets)
    assert network_of_tasks["AssignPublicIp"] == ("ENABLED" if network == "public" else "DISABLED")
    assert len(made.resources("AWS::EC2::VPCEndpoint")) == interfaces


def test_keys_of_tokens_need_an_endpoint_where_cognito_has_them(synth: Synth) -> None:
    made = synth(lambda stack: api(stack, token_issuer=ISSUER, network="endpoints"))
    services = [
        flat(one["Properties"]["ServiceName"])
        for one in made.resources("AWS::EC2::VPCEndpoint").values()
    ]
    assert "com.amazonaws.us-east-1.ssm" in services
    assert "com.amazonaws.us-east-1.cognito-idp" not in services


def subnets_of(stack: cdk.Stack, kind: ec2.SubnetType) -> ec2.IVpc:
    configuration = [ec2.SubnetConfiguration(name="Only", subnet_type=kind)]
    return ec2.Vpc(stack, "Own", nat_gateways=0, subnet_configuration=configuration)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"network": "vpn"},
            (
                "network is 'vpn', allowed are public, nat, endpoints; say how tasks reach AWS "
                "(path: Test/Api)"
            ),
        ),
        (
            {"network": "public", "nat_gateways": 2},
            (
                "nat_gateways is 2, but network is 'public', which has none; leave one of them out "
                "(path: Test/Api)"
            ),
        ),
        (
            {"nat_gateways": 0},
            (
                "nat_gateways is 0, allowed are 1 to 6; network is 'public' or 'endpoints' where "
                "there are none, and one in a zone is enough (path: Test/Api)"
            ),
        ),
        (
            {
                "network": "endpoints",
                "token_issuer": TokenIssuer(
                    issuer="https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_1",
                    jwks_url=(
                        "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_1/"
                        ".well-known/jwks.json"
                    ),
                    client_id="client",
                ),
            },
            (
                "network is 'endpoints', but token_issuer has its keys in 'eu-west-1', which "
                "endpoints of another region do not reach; choose 'nat' or 'public' "
                "(path: Test/Api)"
            ),
        ),
    ],
)
def test_errors_of_the_network(stack: cdk.Stack, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        api(stack, **arguments)


@pytest.mark.parametrize(
    ("network", "kind", "message"),
    [
        (
            "public",
            ec2.SubnetType.PRIVATE_ISOLATED,
            "network is 'public', but vpc has no public subnets; add some, or choose another",
        ),
        (
            "nat",
            ec2.SubnetType.PUBLIC,
            "network is 'nat', but vpc has no private subnets; add some, or choose 'public'",
        ),
        (
            "endpoints",
            ec2.SubnetType.PUBLIC,
            "network is 'endpoints', but vpc has no private subnets; add some, or choose 'public'",
        ),
    ],
)
def test_a_network_must_have_the_subnets(
    stack: cdk.Stack, network: str, kind: ec2.SubnetType, message: str
) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)} \\(path: Test/Api\\)$"):
        api(stack, vpc=subnets_of(stack, kind), network=network)


def test_a_load_balancer_on_the_internet_admits_cloudfront_alone(stack: cdk.Stack) -> None:
    message = (
        "certificate is given but cloudfront_prefix_list_id is missing; pass the id of "
        "com.amazonaws.global.cloudfront.origin-facing in this region, so that nobody reaches the "
        "load balancer past CloudFront (path: Test/Api)"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        api(stack, certificate=certificate(stack))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [({}, {"@media-platform/load-balancer-waf"}), ({"waf": True}, set())],
)
def test_a_load_balancer_on_the_internet_without_waf_says_so(
    arguments: dict[str, Any], told: set[str]
) -> None:
    def facing(stack: cdk.Stack) -> None:
        api(
            stack,
            certificate=certificate(stack),
            cloudfront_prefix_list_id="pl-1",
            token_issuer=ISSUER,
            **arguments,
        )

    assert advice(facing) == told


def test_an_internal_load_balancer_needs_no_advice() -> None:
    assert advice(lambda stack: api(stack, token_issuer=ISSUER)) == set()


def with_admin(stack: cdk.Stack, *, cache: bool = False, **arguments: Any) -> AdminService:
    store = VideoStore(stack, "Store")
    cluster = ApiCluster(stack, "Api", stage="test", store=store, cache=cache)
    pipeline = TranscodePipeline(stack, "Transcode", store=store, cluster=cluster.cluster)
    return cluster.add_admin_service(pipeline=pipeline, **arguments)


def with_a_late_scanner(stack: cdk.Stack) -> AdminService:
    admin = with_admin(stack)
    pipeline = stack.node.find_child("Transcode")
    assert isinstance(pipeline, TranscodePipeline)
    pipeline.add_scanner("legal")
    return admin


def admin_task(made: Template) -> dict[str, Any]:
    (task,) = [
        made.content["Resources"][name]["Properties"]
        for name in made.resources("AWS::ECS::TaskDefinition")
        if name.startswith("ApiAdminTask")
    ]
    return dict(task)


def test_the_admin_service_is_another_command_with_a_role_of_its_own(synth: Synth) -> None:
    made = synth(with_admin)
    task = admin_task(made)
    (container,) = task["ContainerDefinitions"]
    assert container["Command"] == ["python", "-m", "media_api.admin"]
    assert (task["Cpu"], task["Memory"]) == ("256", "512")
    written = {v["Name"]: flat(v["Value"]) for v in container["Environment"]}
    assert written.keys() == AdminEnvironment.variable_names()
    assert written["USER_POOL_ID"] == "<ApiUsersUserPool>"
    assert written["OPERATOR_TENANT"] == identity.NOBODY
    images = [
        flat(container["Image"])
        for other in made.resources("AWS::ECS::TaskDefinition").values()
        for container in other["Properties"]["ContainerDefinitions"]
        if container["Name"] in {"admin", "api"}
    ]
    assert len(images) == 2
    assert len(set(images)) == 1


def test_admin_paths_come_before_those_of_the_api(synth: Synth) -> None:
    priorities = {}
    for made in synth(with_admin).resources("AWS::ElasticLoadBalancingV2::ListenerRule").values():
        (condition,) = made["Properties"]["Conditions"]
        (path,) = condition["PathPatternConfig"]["Values"]
        priorities[path] = made["Properties"]["Priority"]
    assert priorities.keys() == {"/api/admin/*", "/api/*"}
    assert priorities["/api/admin/*"] < priorities["/api/*"]


def test_grants_of_the_admin_service(synth: Synth) -> None:
    listed = (
        table.TENANT_VIDEOS,
        table.TENANT_STATUS_VIDEOS,
        table.OWNER_VIDEOS,
        table.OWNER_STATUS_VIDEOS,
        table.IN_FLIGHT,
        table.UNPUBLISHED,
        table.DIRECTORY,
    )
    on_table = {"<StoreTable.Arn>"}
    jobs = {"<TranscodeExpressJobs.Arn>", "<TranscodeJobs.Arn>"}
    work = jobs | {
        f"<Transcode{name}.Arn>"
        for name in (
            "ScanningContentRequests",
            "ScanningContentVerdicts",
            "ScanningScannerlegalRequests",
            "ScanningScannerlegalVerdicts",
            "WebhooksEvents",
            "WebhooksDeliveries",
        )
    }
    dead = {
        f"<Transcode{name}DeadLetters.Arn>"
        for name in (
            "",
            "Uploads",
            "LeftUploads",
            "LeftEvents",
            "Scanning",
            "Webhooks",
            "WebhooksDelivery",
            "OldRuns",
        )
    }
    users = (
        "AdminAddUserToGroup",
        "AdminCreateUser",
        "AdminDisableUser",
        "AdminEnableUser",
        "AdminGetUser",
        "AdminListGroupsForUser",
        "AdminRemoveUserFromGroup",
        "AdminUserGlobalSignOut",
        "ListUsers",
        "ListUsersInGroup",
    )
    assert synth(with_a_late_scanner).grants("ApiAdminTaskTaskRole") == {
        "dynamodb:BatchGetItem": on_table,
        "dynamodb:DeleteItem": on_table,
        "dynamodb:GetItem": on_table,
        "dynamodb:PutItem": on_table,
        "dynamodb:UpdateItem": on_table,
        "dynamodb:Query": on_table | {f"<StoreTable.Arn>/index/{index.name}" for index in listed},
        **{f"cognito-idp:{action}": {"<ApiUsersUserPool.Arn>"} for action in users},
        "sqs:GetQueueAttributes": work | dead,
        "sqs:SendMessage": jobs,
        "sqs:ChangeMessageVisibility": dead,
        "sqs:DeleteMessage": {"<TranscodeDeadLetters.Arn>"},
        "sqs:ReceiveMessage": dead,
    }


def test_the_admin_service_knows_every_queue_by_its_name(synth: Synth) -> None:
    made = synth(with_a_late_scanner)
    (container,) = admin_task(made)["ContainerDefinitions"]
    written = {v["Name"]: flat(v["Value"]) for v in container["Environment"]}
    assert json.loads(written["QUEUES"]) == {
        "express": "<TranscodeExpressJobs>",
        "jobs": "<TranscodeJobs>",
        "scan-requests-content": "<TranscodeScanningContentRequests>",
        "scan-requests-legal": "<TranscodeScanningScannerlegalRequests>",
        "scan-verdicts-content": "<TranscodeScanningContentVerdicts>",
        "scan-verdicts-legal": "<TranscodeScanningScannerlegalVerdicts>",
        "webhook-deliveries": "<TranscodeWebhooksDeliveries>",
        "webhook-events": "<TranscodeWebhooksEvents>",
    }
    assert json.loads(written["DEAD_LETTER_QUEUES"]).keys() == {
        "event-sweeps",
        "jobs",
        "purges",
        "scans",
        "sweeps",
        "uploads",
        "webhook-deliveries",
        "webhook-events",
    }


def test_the_size_of_the_admin_service_and_its_operators_are_arguments(synth: Synth) -> None:
    def build(stack: cdk.Stack) -> None:
        with_admin(
            stack,
            operator_tenant="operators",
            min_tasks=2,
            max_tasks=4,
            cpu_units=512,
            memory_mebibytes=1024,
        )

    made = synth(build)
    task = admin_task(made)
    written = {v["Name"]: v["Value"] for v in task["ContainerDefinitions"][0]["Environment"]}
    assert written["OPERATOR_TENANT"] == "operators"
    assert (task["Cpu"], task["Memory"]) == ("512", "1024")
    (scaling,) = [
        target["Properties"]
        for name, target in made.resources("AWS::ApplicationAutoScaling::ScalableTarget").items()
        if name.startswith("ApiAdmin")
    ]
    assert (scaling["MinCapacity"], scaling["MaxCapacity"]) == (2, 4)


def test_the_admin_service_is_where_the_users_are(stack: cdk.Stack) -> None:
    store = VideoStore(stack, "Store")
    cluster = ApiCluster(stack, "Api", stage="test", store=store, token_issuer=ISSUER)
    pipeline = TranscodePipeline(stack, "Transcode", store=store, cluster=cluster.cluster)
    message = (
        "add_admin_service is called where token_issuer was given; call it in the region of the "
        "user pool, whose users it administers (path: Test/Api)"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        cluster.add_admin_service(pipeline=pipeline)
    assert cluster.admin is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"operator_tenant": "a/b"},
            (
                "operator_tenant is 'a/b', allowed are 1 to 64 letters, digits, '_', '.', ':' and "
                "'-'; name it as the tenant of its users (path: Test/Api)"
            ),
        ),
        (
            {"min_tasks": 0},
            (
                "min_tasks is 0 and max_tasks 3, allowed is 1 <= min_tasks <= max_tasks; a "
                "service at zero answers nobody (path: Test/Api/Admin)"
            ),
        ),
    ],
)
def test_errors_of_the_admin_service(
    stack: cdk.Stack, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        with_admin(stack, **arguments)


def test_there_is_one_admin_service(stack: cdk.Stack) -> None:
    store = VideoStore(stack, "Store")
    cluster = ApiCluster(stack, "Api", stage="test", store=store)
    pipeline = TranscodePipeline(stack, "Transcode", store=store, cluster=cluster.cluster)
    cluster.add_admin_service(pipeline=pipeline)
    with pytest.raises(ValueError, match="called twice; one service serves all tenants"):
        cluster.add_admin_service(pipeline=pipeline)


def test_users_are_made_by_administrators_and_recover_by_e_mail(synth: Synth) -> None:
    made = synth(api)
    pool = made.only("AWS::Cognito::UserPool")
    assert pool["MfaConfiguration"] == "OPTIONAL"
    assert pool["EnabledMfas"] == ["SOFTWARE_TOKEN_MFA"]
    assert pool["AccountRecoverySetting"] == {
        "RecoveryMechanisms": [{"Name": "verified_email", "Priority": 1}]
    }
    assert pool["Policies"]["PasswordPolicy"] == {
        "MinimumLength": 12,
        "RequireLowercase": True,
        "RequireNumbers": True,
        "RequireSymbols": True,
        "RequireUppercase": True,
        "TemporaryPasswordValidityDays": 3,
    }
    assert pool["UserAttributeUpdateSettings"] == {
        "AttributesRequireVerificationBeforeUpdate": ["email"]
    }
    client = made.only("AWS::Cognito::UserPoolClient")
    assert client["EnableTokenRevocation"] is True
    assert client["PreventUserExistenceErrors"] == "ENABLED"
    assert client["TokenValidityUnits"] == {
        "AccessToken": "minutes",
        "IdToken": "minutes",
        "RefreshToken": "minutes",
    }
    validity = [client[f"{kind}TokenValidity"] for kind in ("Access", "Id", "Refresh")]
    assert validity == [60, 60, 30 * 24 * 60]
    assert client["AuthSessionValidity"] == 3


def test_a_region_counts_itself(stack: cdk.Stack) -> None:
    region = stack.region
    message = f"regions is ['mars-1'] without the region of the stack, {region}; add it"
    with pytest.raises(ValueError, match=re.escape(message)):
        api(stack, regions=["mars-1"])


def test_without_a_cache_each_task_keeps_its_own(synth: Synth) -> None:
    made = synth(api)
    assert variables(made)["CACHE_URL"] == "none"
    assert not made.resources("AWS::ElastiCache::ServerlessCache")


@pytest.fixture(scope="module")
def cached(synth: Synth) -> Template:
    return synth(lambda stack: with_admin(stack, cache=True))


def test_the_cache_is_a_small_valkey_in_private_subnets(cached: Template) -> None:
    made = cached.only("AWS::ElastiCache::ServerlessCache")
    assert (made["Engine"], made["MajorEngineVersion"]) == ("valkey", "8")
    assert made["CacheUsageLimits"] == {
        "DataStorage": {"Maximum": 1, "Unit": "GB"},
        "ECPUPerSecond": {"Maximum": 10_000},
    }
    assert made["SnapshotRetentionLimit"] == 0
    assert re.fullmatch(r"[a-z][a-z0-9-]{0,39}", made["ServerlessCacheName"])
    subnets = [flat(subnet) for subnet in made["SubnetIds"]]
    assert len(subnets) == 2
    assert all(subnet.startswith("<ApiVpcPrivateSubnet") for subnet in subnets)


def test_both_services_reach_the_cache_over_tls_and_nobody_else_does(cached: Template) -> None:
    urls = {
        container["Name"]: flat(variable["Value"])
        for task in cached.resources("AWS::ECS::TaskDefinition").values()
        for container in task["Properties"]["ContainerDefinitions"]
        for variable in container["Environment"]
        if variable["Name"] == "CACHE_URL"
    }
    assert urls == dict.fromkeys(("api", "admin"), "rediss://<ApiCache.Endpoint.Address>:6379")
    cache = cached.only("AWS::ElastiCache::ServerlessCache")
    assert [flat(g) for g in cache["SecurityGroupIds"]] == ["<ApiCacheSecurityGroup.GroupId>"]
    admitted = {
        (flat(rule["SourceSecurityGroupId"]), rule["FromPort"], rule["ToPort"])
        for made in cached.resources("AWS::EC2::SecurityGroupIngress").values()
        if flat((rule := made["Properties"])["GroupId"]) == "<ApiCacheSecurityGroup.GroupId>"
    }
    assert admitted == {
        ("<ApiSecurityGroup.GroupId>", 6379, 6379),
        ("<ApiAdminSecurityGroup.GroupId>", 6379, 6379),
    }
    (group,) = [
        made["Properties"]
        for name, made in cached.resources("AWS::EC2::SecurityGroup").items()
        if name.startswith("ApiCacheSecurityGroup")
    ]
    assert "SecurityGroupIngress" not in group
    (nothing,) = group["SecurityGroupEgress"]
    assert nothing["CidrIp"] == "255.255.255.255/32"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"cache_max_gibibytes": 0}, "cache_max_gibibytes is 0, allowed are 1 to 5000; "),
        (
            {"cache_max_units_per_second": 10},
            "cache_max_units_per_second is 10, allowed are 1000 to 15000000; ",
        ),
    ],
)
def test_limits_of_the_cache(stack: cdk.Stack, arguments: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        api(stack, cache=True, **arguments)
