"""What the plane adds to the emulator: types of CloudFormation, scaling, and IAM that holds."""

from __future__ import annotations

import json
import time
from typing import Any

import boto3
import pytest
import urllib3
from botocore.config import Config
from botocore.exceptions import ClientError
from small_plane import SmallPlane
from waiting import eventually

from mediactl.local.aws import ROOT_ACCESS_KEY, ROOT_SECRET_KEY
from mediactl.local.recorded_calls import read_calls

STACK = "Additions"


def template(*, version: int, pem: str) -> str:
    """Return a template with every type that is added; versions differ in every property."""
    network = {
        "Vpc": {"Type": "AWS::EC2::VPC", "Properties": {"CidrBlock": "10.9.0.0/16"}},
        "Subnet": {
            "Type": "AWS::EC2::Subnet",
            "Properties": {"VpcId": {"Ref": "Vpc"}, "CidrBlock": "10.9.0.0/24"},
        },
        "Address": {"Type": "AWS::EC2::EIP", "Properties": {"Domain": "vpc"}},
        "Nat": {
            "Type": "AWS::EC2::NatGateway",
            "Properties": {
                "SubnetId": {"Ref": "Subnet"},
                "AllocationId": {"Fn::GetAtt": ["Address", "AllocationId"]},
            },
        },
        "Flow": {
            "Type": "AWS::EC2::FlowLog",
            "Properties": {
                "ResourceId": {"Ref": "Vpc"},
                "ResourceType": "VPC",
                "TrafficType": "REJECT" if version == 1 else "ALL",
                "LogGroupName": "flow",
            },
        },
        "Group": {
            "Type": "AWS::EC2::SecurityGroup",
            "Properties": {"GroupDescription": "g", "VpcId": {"Ref": "Vpc"}},
        },
        "In": {
            "Type": "AWS::EC2::SecurityGroupIngress",
            "Properties": {
                "GroupId": {"Fn::GetAtt": ["Group", "GroupId"]},
                "IpProtocol": "tcp",
                "FromPort": 8000 + version,
                "ToPort": 8000 + version,
                "CidrIp": {"Fn::GetAtt": ["Vpc", "CidrBlock"]},
            },
        },
    }
    delivery = {
        "Key": {
            "Type": "AWS::CloudFront::PublicKey",
            "Properties": {
                "PublicKeyConfig": {
                    "CallerReference": "r",
                    "Name": "additions",
                    "EncodedKey": pem,
                    "Comment": f"version {version}",
                }
            },
        },
        "Keys": {
            "Type": "AWS::CloudFront::KeyGroup",
            "Properties": {
                "KeyGroupConfig": {
                    "Name": "additions",
                    "Items": [{"Ref": "Key"}],
                    "Comment": f"version {version}",
                }
            },
        },
        "Balancer": {
            "Type": "AWS::ElasticLoadBalancingV2::LoadBalancer",
            "Properties": {"Scheme": "internal", "Subnets": [{"Ref": "Subnet"}]},
        },
        "Origin": {
            "Type": "AWS::CloudFront::VpcOrigin",
            "Properties": {
                "VpcOriginEndpointConfig": {
                    "Name": "additions",
                    "Arn": {"Ref": "Balancer"},
                    "HTTPPort": 8000 + version,
                    "OriginProtocolPolicy": "http-only",
                }
            },
        },
    }
    delivery["Check"] = {
        "Type": "AWS::Route53::HealthCheck",
        "Properties": {
            "HealthCheckConfig": {
                "Type": "HTTPS",
                "FullyQualifiedDomainName": {"Fn::GetAtt": ["Balancer", "DNSName"]},
                "Port": 443,
                "ResourcePath": f"/ready/{version}",
            }
        },
    }
    logs = {
        "LogSource": {
            "Type": "AWS::Logs::DeliverySource",
            "Properties": {
                "Name": "additions",
                "ResourceArn": "arn:aws:cloudfront::000000000000:distribution/E1",
                "LogType": "ACCESS_LOGS",
            },
        },
        "LogDestination": {
            "Type": "AWS::Logs::DeliveryDestination",
            "Properties": {
                "Name": "additions",
                "DestinationResourceArn": {"Fn::GetAtt": ["Target", "Arn"]},
                "OutputFormat": "json" if version == 1 else "w3c",
            },
        },
        "LogDelivery": {
            "Type": "AWS::Logs::Delivery",
            "DependsOn": ["LogSource"],
            "Properties": {
                "DeliverySourceName": "additions",
                "DeliveryDestinationArn": {"Fn::GetAtt": ["LogDestination", "Arn"]},
                "RecordFields": [f"field-{version}"],
            },
        },
    }
    data = {
        "Secret": {
            "Type": "AWS::SecretsManager::Secret",
            "Properties": {"SecretString": f"version {version}"},
        },
        "Pool": {"Type": "AWS::Cognito::UserPool", "Properties": {"UserPoolName": "additions"}},
        "Target": {"Type": "AWS::S3::Bucket", "Properties": VERSIONED},
        "Role": {
            "Type": "AWS::IAM::Role",
            "Properties": {"AssumeRolePolicyDocument": trust("s3.amazonaws.com")},
        },
        "Source": {
            "Type": "AWS::S3::Bucket",
            "Properties": {
                **VERSIONED,
                "ReplicationConfiguration": {
                    "Role": {"Fn::GetAtt": ["Role", "Arn"]},
                    "Rules": [
                        {
                            "Id": "copies",
                            "Status": "Enabled",
                            "Priority": 1,
                            "Filter": {"Prefix": f"v{version}/"},
                            "DeleteMarkerReplication": {"Status": "Disabled"},
                            "Destination": {"Bucket": {"Fn::GetAtt": ["Target", "Arn"]}},
                        }
                    ],
                },
            },
        },
        "Table": {
            "Type": "AWS::DynamoDB::GlobalTable",
            "Properties": {
                "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
                "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
                "BillingMode": "PAY_PER_REQUEST",
                "StreamSpecification": {"StreamViewType": "NEW_AND_OLD_IMAGES"},
                "TimeToLiveSpecification": {"AttributeName": f"ttl{version}", "Enabled": True},
                "Replicas": [
                    {"Region": region}
                    for region in ("eu-west-1", "us-west-2" if version == 1 else "us-east-2")
                ],
            },
        },
    }
    outputs = {
        "SecretRef": {"Value": {"Ref": "Secret"}},
        "Provider": {"Value": {"Fn::GetAtt": ["Pool", "ProviderURL"]}},
        "Source": {"Value": {"Ref": "Source"}},
        "Target": {"Value": {"Ref": "Target"}},
        "Table": {"Value": {"Ref": "Table"}},
        "Stream": {"Value": {"Fn::GetAtt": ["Table", "StreamArn"]}},
        "Key": {"Value": {"Ref": "Key"}},
        "Keys": {"Value": {"Ref": "Keys"}},
        "Origin": {"Value": {"Fn::GetAtt": ["Origin", "Id"]}},
        "Check": {"Value": {"Fn::GetAtt": ["Check", "HealthCheckId"]}},
        "Group": {"Value": {"Fn::GetAtt": ["Group", "GroupId"]}},
        "Flow": {"Value": {"Ref": "Flow"}},
        "Nat": {"Value": {"Ref": "Nat"}},
    }
    return json.dumps({"Resources": {**network, **delivery, **logs, **data}, "Outputs": outputs})


VERSIONED = {"VersioningConfiguration": {"Status": "Enabled"}}


def trust(service: str) -> dict[str, Any]:
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": service},
        "Action": "sts:AssumeRole",
    }
    return {"Version": "2012-10-17", "Statement": [statement]}


def outputs_of(small: SmallPlane) -> dict[str, str]:
    (stack,) = small.client("cloudformation").describe_stacks(StackName=STACK)["Stacks"]
    assert stack["StackStatus"] in {"CREATE_COMPLETE", "UPDATE_COMPLETE"}, stack
    return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}


def test_the_added_types_are_created_updated_and_deleted(small: SmallPlane) -> None:
    pem = (small.app / "key.pem").read_text()
    formation = small.client("cloudformation")
    capabilities = ["CAPABILITY_IAM"]

    def body(version: int) -> dict[str, Any]:
        text = template(version=version, pem=pem)
        return {"StackName": STACK, "TemplateBody": text, "Capabilities": capabilities}

    formation.create_stack(**body(1))
    formation.get_waiter("stack_create_complete").wait(StackName=STACK, WaiterConfig={"Delay": 1})
    first = outputs_of(small)
    check(small, first, version=1)

    formation.update_stack(**body(2))
    formation.get_waiter("stack_update_complete").wait(StackName=STACK, WaiterConfig={"Delay": 1})
    second = outputs_of(small)
    check(small, second, version=2)
    kept = ("Check", "Key", "Keys", "Origin", "Group", "Source", "Table", "SecretRef", "Nat")
    assert {name: first[name] for name in kept} == {name: second[name] for name in kept}
    assert first["Flow"] != second["Flow"]
    ec2 = small.client("ec2")
    assert ec2.describe_flow_logs(FlowLogIds=[first["Flow"]])["FlowLogs"] == []

    formation.delete_stack(StackName=STACK)
    formation.get_waiter("stack_delete_complete").wait(StackName=STACK, WaiterConfig={"Delay": 1})
    cloudfront = small.client("cloudfront")
    for call, arguments in (
        (cloudfront.get_public_key, {"Id": second["Key"]}),
        (cloudfront.get_key_group, {"Id": second["Keys"]}),
        (cloudfront.get_vpc_origin, {"Id": second["Origin"]}),
        (small.client("route53").get_health_check, {"HealthCheckId": second["Check"]}),
        (small.client("dynamodb").describe_table, {"TableName": second["Table"]}),
        (small.client("s3").head_bucket, {"Bucket": second["Source"]}),
    ):
        with pytest.raises(ClientError):
            call(**arguments)
    assert ec2.describe_flow_logs(FlowLogIds=[second["Flow"]])["FlowLogs"] == []
    logs = small.client("logs")
    assert logs.describe_deliveries()["deliveries"] == []
    assert logs.describe_delivery_sources()["deliverySources"] == []
    assert logs.describe_delivery_destinations()["deliveryDestinations"] == []


def check(small: SmallPlane, found: dict[str, str], *, version: int) -> None:
    ec2, cloudfront, s3 = (small.client(name) for name in ("ec2", "cloudfront", "s3"))
    (group,) = ec2.describe_security_groups(GroupIds=[found["Group"]])["SecurityGroups"]
    (rule,) = group["IpPermissions"]
    assert rule["FromPort"] == 8000 + version
    assert rule["IpRanges"][0]["CidrIp"] == "10.9.0.0/16"
    (nat,) = ec2.describe_nat_gateways(NatGatewayIds=[found["Nat"]])["NatGateways"]
    assert nat["State"] == "available"

    config = cloudfront.get_key_group(Id=found["Keys"])["KeyGroup"]["KeyGroupConfig"]
    assert config["Items"] == [found["Key"]]
    assert config["Comment"] == f"version {version}"
    origin = cloudfront.get_vpc_origin(Id=found["Origin"])["VpcOrigin"]
    assert origin["VpcOriginEndpointConfig"]["HTTPPort"] == 8000 + version

    checked = small.client("route53").get_health_check(HealthCheckId=found["Check"])
    assert checked["HealthCheck"]["HealthCheckConfig"]["ResourcePath"] == f"/ready/{version}"

    logs = small.client("logs")
    (delivery,) = logs.describe_deliveries()["deliveries"]
    assert delivery["recordFields"] == [f"field-{version}"]
    (destination,) = logs.describe_delivery_destinations()["deliveryDestinations"]
    assert destination["arn"] == delivery["deliveryDestinationArn"]
    assert destination["outputFormat"] == ("json" if version == 1 else "w3c")

    assert found["SecretRef"].startswith("arn:aws:secretsmanager:eu-west-1:")
    secrets = small.client("secretsmanager")
    value = secrets.get_secret_value(SecretId=found["SecretRef"])["SecretString"]
    assert value == f"version {version}"
    assert found["Provider"].startswith(small.endpoints.emulator_url)

    prefix = f"v{version}/"
    s3.put_object(Bucket=found["Source"], Key=f"{prefix}copied", Body=b"x")
    s3.put_object(Bucket=found["Source"], Key="not copied", Body=b"x")

    def copies() -> set[str]:
        listed = s3.list_objects_v2(Bucket=found["Target"]).get("Contents", [])
        return {entry["Key"] for entry in listed}

    eventually(lambda: f"{prefix}copied" in copies(), "the object is copied")
    assert "not copied" not in copies()

    other = "us-west-2" if version == 1 else "us-east-2"
    home = small.client("dynamodb")
    home.put_item(TableName=found["Table"], Item={"pk": {"S": str(version)}})
    replica = small.client("dynamodb", other)
    key = {"pk": {"S": str(version)}}
    eventually(
        lambda: replica.get_item(TableName=found["Table"], Key=key).get("Item"),
        "the item arrives in the other region",
    )
    ttl = home.describe_time_to_live(TableName=found["Table"])["TimeToLiveDescription"]
    assert ttl["AttributeName"] == f"ttl{version}"
    assert f":table/{found['Table']}/stream/" in found["Stream"]


def role_client(
    small: SmallPlane, name: str, service: str, statements: list[dict[str, Any]]
) -> Any:
    """Return a client of a role that may do ``statements`` and nothing else."""
    iam = small.client("iam")
    role = iam.create_role(
        RoleName=name, AssumeRolePolicyDocument=json.dumps(trust("ecs-tasks.amazonaws.com"))
    )["Role"]
    if statements:
        policy = {"Version": "2012-10-17", "Statement": statements}
        iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=json.dumps(policy))
    session = small.client("sts").assume_role(RoleArn=role["Arn"], RoleSessionName="test")
    given = session["Credentials"]
    return small.client(
        service,
        aws_access_key_id=given["AccessKeyId"],
        aws_secret_access_key=given["SecretAccessKey"],
        aws_session_token=given["SessionToken"],
    )


def scalable_target(small: SmallPlane) -> dict[str, str]:
    return {
        "ServiceNamespace": "ecs",
        "ResourceId": f"service/{small.output('ClusterName')}/{small.output('WorkerService')}",
        "ScalableDimension": "ecs:service:DesiredCount",
    }


def refused(call: Any, **arguments: Any) -> bool:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return "AccessDenied" in str(caught.value.response["Error"]["Code"])


def test_scaling_needs_a_grant_on_the_very_target(small: SmallPlane) -> None:
    target = scalable_target(small)
    root = small.client("application-autoscaling")
    (known,) = root.describe_scalable_targets(
        ServiceNamespace="ecs", ResourceIds=[target["ResourceId"]]
    )["ScalableTargets"]
    action = "application-autoscaling:RegisterScalableTarget"

    def statement(resource: str) -> list[dict[str, Any]]:
        return [{"Effect": "Allow", "Action": action, "Resource": resource}]

    nothing = role_client(small, "scaling-nothing", "application-autoscaling", [])
    assert refused(nothing.register_scalable_target, **target, MaxCapacity=2)
    other = role_client(
        small,
        "scaling-other",
        "application-autoscaling",
        statement(known["ScalableTargetARN"][:-1]),
    )
    assert refused(other.register_scalable_target, **target, MaxCapacity=2)
    granted = role_client(
        small, "scaling-granted", "application-autoscaling", statement(known["ScalableTargetARN"])
    )
    answer = granted.register_scalable_target(**target, MaxCapacity=2)
    assert answer["ScalableTargetARN"] == known["ScalableTargetARN"]
    assert refused(granted.describe_scalable_targets, ServiceNamespace="ecs")


def test_ecs_is_granted_by_service(small: SmallPlane) -> None:
    cluster, service = small.output("ClusterName"), small.output("WorkerService")
    arn = f"arn:aws:ecs:eu-west-1:000000000000:service/{cluster}/{service}"
    actions = ["ecs:UpdateService", "ecs:DescribeServices"]
    ecs = role_client(
        small, "waker", "ecs", [{"Effect": "Allow", "Action": actions, "Resource": arn}]
    )
    ecs.update_service(cluster=cluster, service=service, desiredCount=0)
    assert ecs.describe_services(cluster=cluster, services=[service])["services"]
    other = small.output("ApiService")
    assert refused(ecs.update_service, cluster=cluster, service=other, desiredCount=0)


def test_the_deployed_policy_is_described_with_its_steps(small: SmallPlane) -> None:
    scaling = small.client("application-autoscaling")
    policies = scaling.describe_scaling_policies(
        ServiceNamespace="ecs", ResourceId=scalable_target(small)["ResourceId"]
    )["ScalingPolicies"]
    assert {policy["PolicyType"] for policy in policies} == {"StepScaling"}
    adjustments = {
        step["ScalingAdjustment"]
        for policy in policies
        for step in policy["StepScalingPolicyConfiguration"]["StepAdjustments"]
    }
    assert adjustments == {0, 1, 5}


def test_a_function_may_do_what_its_role_may_and_all_is_recorded(small: SmallPlane) -> None:
    before = time.time() - 1
    answer = small.client("lambda").invoke(FunctionName=small.output("FunctionName"))
    assert json.load(answer["Payload"]) == {
        "allowed/x": "written",
        "elsewhere/x": "AccessDenied",
    }
    bucket = small.output("MediaBucket")
    puts = [
        call
        for call in read_calls(small.plane.state.calls_file, since=before)
        if call.action == "s3:PutObject" and "Writer" in call.role
    ]
    assert [(call.resource, call.allowed) for call in puts] == [
        (f"arn:aws:s3:::{bucket}/allowed/x", True),
        (f"arn:aws:s3:::{bucket}/elsewhere/x", False),
    ]
    assert {call.region for call in puts} == {"eu-west-1"}


def test_the_root_user_is_not_recorded(small: SmallPlane) -> None:
    before = time.time()
    small.client("s3").list_buckets()
    assert not [
        call
        for call in read_calls(small.plane.state.calls_file, since=before)
        if call.action == "s3:ListAllMyBuckets"
    ]


def test_an_unknown_key_opens_nothing(small: SmallPlane) -> None:
    stranger = small.client(
        "dynamodb", aws_access_key_id="AKIAIOSFODNN7EXAMPLE", aws_secret_access_key="guess"
    )
    with pytest.raises(ClientError) as caught:
        stranger.list_tables()
    assert caught.value.response["Error"]["Code"] == "UnrecognizedClientException"


def test_a_wrong_secret_opens_nothing(small: SmallPlane) -> None:
    role = small.output("TaskRoleArn")
    given = small.client("sts").assume_role(RoleArn=role, RoleSessionName="test")["Credentials"]
    forged = small.client(
        "ecs",
        aws_access_key_id=given["AccessKeyId"],
        aws_secret_access_key="guess",
        aws_session_token=given["SessionToken"],
    )
    with pytest.raises(ClientError) as caught:
        forged.list_clusters()
    assert "Signature" in caught.value.response["Error"]["Code"]


@pytest.mark.parametrize("listed", [None, ["email", "name"]])
def test_users_write_only_what_their_app_client_may(
    small: SmallPlane, listed: list[str] | None
) -> None:
    cognito = small.client("cognito-idp")
    pool = cognito.create_user_pool(
        PoolName="writers",
        Schema=[{"Name": "tenant", "AttributeDataType": "String", "Mutable": True}],
    )["UserPool"]["Id"]
    options = {} if listed is None else {"WriteAttributes": listed}
    client = cognito.create_user_pool_client(
        UserPoolId=pool,
        ClientName="c",
        ExplicitAuthFlows=["ALLOW_USER_PASSWORD_AUTH"],
        **options,
    )["UserPoolClient"]["ClientId"]
    tenant = {"Name": "custom:tenant", "Value": "acme"}
    cognito.admin_create_user(UserPoolId=pool, Username="ada", UserAttributes=[tenant])
    password = "Correct-horse-1"
    cognito.admin_set_user_password(
        UserPoolId=pool, Username="ada", Password=password, Permanent=True
    )
    token = cognito.initiate_auth(
        ClientId=client,
        AuthFlow="USER_PASSWORD_AUTH",
        AuthParameters={"USERNAME": "ada", "PASSWORD": password},
    )["AuthenticationResult"]["AccessToken"]
    other = {"Name": "custom:tenant", "Value": "other"}
    for call, arguments in (
        (cognito.update_user_attributes, {"AccessToken": token}),
        (cognito.sign_up, {"ClientId": client, "Username": "eve", "Password": password}),
    ):
        with pytest.raises(cognito.exceptions.NotAuthorizedException, match="unauthorized attr"):
            call(**arguments, UserAttributes=[{"Name": "name", "Value": "x"}, other])
    cognito.update_user_attributes(
        AccessToken=token, UserAttributes=[{"Name": "name", "Value": "Ada"}]
    )
    kept = {a["Name"]: a["Value"] for a in cognito.get_user(AccessToken=token)["UserAttributes"]}
    assert (kept["custom:tenant"], kept["name"]) == ("acme", "Ada")
    users = cognito.list_users(UserPoolId=pool)["Users"]
    assert [user["Username"] for user in users] == ["ada"]


def test_a_presigned_request_carries_only_headers_that_were_signed(small: SmallPlane) -> None:
    s3 = boto3.client(
        "s3",
        region_name="eu-west-1",
        endpoint_url=small.endpoints.emulator_url,
        aws_access_key_id=ROOT_ACCESS_KEY,
        aws_secret_access_key=ROOT_SECRET_KEY,
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )
    bucket = small.output("MediaBucket")
    url = s3.generate_presigned_url(
        "put_object", {"Bucket": bucket, "Key": "signed", "Metadata": {"a": "1"}}
    )
    signed = {"x-amz-meta-a": "1", "content-type": "text/plain"}

    def put(headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
        return urllib3.request("PUT", url, body=b"x", headers=headers, retries=False)

    refusal = put({**signed, "x-amz-tagging": "a=b"})
    assert refusal.status == 403
    assert b"AccessDenied" in refusal.data
    assert b"headers present in the request which were not signed" in refusal.data
    assert put(signed).status == 200
    assert s3.head_object(Bucket=bucket, Key="signed")["Metadata"] == {"a": "1"}


def test_the_control_door_is_closed_without_the_token(small: SmallPlane) -> None:
    emulator = small.plane.emulator()
    assert emulator.control("identity")["pid"] == small.pids()["emulator"]
    wrong = type(emulator)(emulator.port, emulator.edge_port, "guess")
    with pytest.raises(OSError, match="403"):
        wrong.control("identity")
    functions = small.client("lambda").get_function_configuration(
        FunctionName=small.output("FunctionName")
    )
    assert emulator.control_token not in json.dumps(functions, default=str)
