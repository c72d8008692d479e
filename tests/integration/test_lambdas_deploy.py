"""Custom resources in real stacks, and the trigger in a real user pool."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from emulator import ACCOUNT, OTHER_REGION, REGION, Emulator, allow, running_emulator
from waiting import eventually

from media_platform.assets import Service
from media_platform.contract.delivery import DeliveryDocument, SigningKeyPair
from media_platform.contract.identity import TENANT_CLAIM
from media_platform.contract.object_keys import EMPTIED_TAG

PARAMETER = "/media-platform/test/delivery"
SECRET = "media-platform/test/playback-signing-key-a"
TABLE = "videos"
BUCKET = "emptied"
PASSWORD = "Correct-horse-7"


@dataclass(frozen=True)
class Stage:
    """The functions, and short ways to deploy and to look."""

    emulator: Emulator
    functions: dict[str, str]
    key_id: str
    group_id: str

    def deploy(
        self, stack: str, resource_type: str, properties: dict[str, Any], region: str = REGION
    ) -> dict[str, str]:
        """Create or update a stack with one custom resource; return its outputs.

        Raises:
            AssertionError: If it fails; the message holds the reasons.
        """
        client = self.emulator.client("cloudformation", region)
        arguments = {
            "StackName": stack,
            "TemplateBody": json.dumps(self._template(resource_type, properties, region)),
        }
        try:
            client.describe_stacks(StackName=stack)
        except ClientError:
            client.create_stack(**arguments)
        else:
            client.update_stack(**arguments)
        status = self._settled(stack, region)
        if status not in {"CREATE_COMPLETE", "UPDATE_COMPLETE"}:
            events = client.describe_stack_events(StackName=stack)["StackEvents"]
            reasons = [e["ResourceStatusReason"] for e in events if "ResourceStatusReason" in e]
            raise AssertionError(f"{status}: {reasons}")
        (described,) = client.describe_stacks(StackName=stack)["Stacks"]
        return {o["OutputKey"]: o["OutputValue"] for o in described.get("Outputs", ())}

    def delete(self, stack: str, region: str = REGION) -> None:
        """Delete a stack and wait for its end."""
        self.emulator.client("cloudformation", region).delete_stack(StackName=stack)
        assert self._settled(stack, region) in {"DELETE_COMPLETE", None}

    def _settled(self, stack: str, region: str) -> str | None:
        client = self.emulator.client("cloudformation", region)

        def status() -> str:
            try:
                (described,) = client.describe_stacks(StackName=stack)["Stacks"]
            except ClientError:
                return "GONE"
            found = str(described["StackStatus"])
            return "" if found.endswith("_IN_PROGRESS") else found

        found = eventually(status, f"stack {stack} settles")
        return None if found == "GONE" else found

    def _template(
        self, resource_type: str, properties: dict[str, Any], region: str
    ) -> dict[str, Any]:
        attributes = {
            "Custom::SigningKey": ["PublicKey"],
            "Custom::DeliveryDocument": [],
            "Custom::ReplicaStream": ["StreamArn"],
            "Custom::VpcRestrictDefaultSG": [],
            "Custom::BucketContent": [],
        }
        token = self.functions[f"{resource_type}/{region}"]
        return {
            "Resources": {
                "Thing": {
                    "Type": resource_type,
                    "Properties": {"ServiceToken": token, "ServiceTimeout": 60, **properties},
                }
            },
            "Outputs": {
                name: {"Value": {"Fn::GetAtt": ["Thing", name]}}
                for name in attributes[resource_type]
            },
        }

    def secret(self, name: str = SECRET) -> SigningKeyPair:
        """Return the key pair in a secret."""
        value = self.emulator.client("secretsmanager").get_secret_value(SecretId=name)
        return SigningKeyPair.from_json(value["SecretString"])

    def document(self, region: str = REGION) -> DeliveryDocument | None:
        """Return the delivery document of a region, ``None`` if there is none."""
        client = self.emulator.client("ssm", region)
        try:
            value = client.get_parameter(Name=PARAMETER)["Parameter"]["Value"]
        except client.exceptions.ParameterNotFound:
            return None
        return DeliveryDocument.from_json(value)

    def log_text(self) -> str:
        """Return everything that the functions logged."""
        logs = self.emulator.client("logs")
        groups = [g["logGroupName"] for g in logs.describe_log_groups()["logGroups"]]
        return "\n".join(
            event["message"]
            for group in groups
            for event in logs.filter_log_events(logGroupName=group)["events"]
        )


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with running_emulator(tmp_path_factory.mktemp("emulator")) as emulator:
        kms = emulator.client("kms")
        key_id = kms.create_key()["KeyMetadata"]["KeyId"]
        key_arn = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{key_id}"
        secret = emulator.client("secretsmanager").create_secret(Name=SECRET)
        emulator.table(TABLE, replicas=[OTHER_REGION])
        table_arn = f"arn:aws:dynamodb:{OTHER_REGION}:{ACCOUNT}:table/{TABLE}"
        group_id = new_default_group(emulator)
        parameters = [
            f"arn:aws:ssm:{region}:{ACCOUNT}:parameter{PARAMETER}"
            for region in (REGION, OTHER_REGION)
        ]
        grants = {
            f"Custom::SigningKey/{REGION}": [
                allow(["kms:GenerateDataKeyPair"], key_arn),
                allow(
                    ["secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue"],
                    secret["ARN"],
                ),
            ],
            f"Custom::DeliveryDocument/{REGION}": [
                allow(["ssm:PutParameter", "ssm:DeleteParameter"], *parameters)
            ],
            f"Custom::ReplicaStream/{OTHER_REGION}": [allow(["dynamodb:DescribeTable"], table_arn)],
            f"Custom::VpcRestrictDefaultSG/{REGION}": [
                allow(
                    ["ec2:RevokeSecurityGroupEgress", "ec2:RevokeSecurityGroupIngress"],
                    f"arn:aws:ec2:{REGION}:{ACCOUNT}:security-group/{group_id}",
                )
            ],
            f"Custom::BucketContent/{REGION}": [
                allow(["s3:GetBucketTagging", "s3:ListBucketVersions"], f"arn:aws:s3:::{BUCKET}"),
                allow(["s3:DeleteObjectVersion"], f"arn:aws:s3:::{BUCKET}/*"),
            ],
        }
        modules = {
            "Custom::SigningKey": "signing_key",
            "Custom::DeliveryDocument": "delivery_document",
            "Custom::ReplicaStream": "replica_stream",
            "Custom::VpcRestrictDefaultSG": "default_group",
            "Custom::BucketContent": "bucket_content",
        }
        functions = {}
        for name, statements in grants.items():
            resource_type, _, region = name.partition("/")
            module = modules[resource_type]
            functions[name] = emulator.function(
                module,
                Service.DEPLOY_RESOURCES,
                f"deploy_resources.{module}.handle",
                statements,
                region=region,
            )
        yield Stage(emulator, functions, key_id, group_id)


def new_default_group(emulator: Emulator) -> str:
    """Return the default security group of a new network, with the rules that AWS gives it."""
    ec2 = emulator.client("ec2")
    vpc_id = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    (group,) = ec2.describe_security_groups(Filters=[{"Name": "vpc-id", "Values": [vpc_id]}])[
        "SecurityGroups"
    ]
    assert group["IpPermissionsEgress"]
    if not group["IpPermissions"]:
        itself = [{"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group["GroupId"]}]}]
        ec2.authorize_security_group_ingress(GroupId=group["GroupId"], IpPermissions=itself)
    return str(group["GroupId"])


def signing_key(stage: Stage, **changes: str) -> dict[str, str]:
    return {"KmsKeyId": stage.key_id, "SecretId": SECRET, **changes}


def test_a_signing_key_is_made_once_and_signs(stage: Stage) -> None:
    outputs = stage.deploy("signing", "Custom::SigningKey", signing_key(stage))
    pair = stage.secret()
    assert outputs["PublicKey"] == pair.public_key

    private = serialization.load_pem_private_key(pair.private_key.encode(), None)
    public = serialization.load_pem_public_key(outputs["PublicKey"].encode())
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    assert isinstance(public, ec.EllipticCurvePublicKey)
    assert isinstance(public.curve, ec.SECP256R1)
    algorithm = ec.ECDSA(hashes.SHA256())
    public.verify(private.sign(b"policy", algorithm), b"policy", algorithm)

    again = stage.deploy("signing", "Custom::SigningKey", signing_key(stage, Generation="2"))
    assert again == outputs
    assert stage.secret() == pair
    stage.delete("signing")
    assert stage.secret() == pair, "the key goes with the secret, not before"

    secret_lines = [line for line in pair.private_key.splitlines() if "-----" not in line]
    log = stage.log_text()
    assert "done" in log
    assert not any(line in log for line in secret_lines)


def test_filler_that_cloudformation_put_into_the_secret_is_replaced(stage: Stage) -> None:
    secrets = stage.emulator.client("secretsmanager")
    secrets.put_secret_value(SecretId=SECRET, SecretString="x8#kqL generated")
    outputs = stage.deploy("filler", "Custom::SigningKey", signing_key(stage))
    assert stage.secret().public_key == outputs["PublicKey"]


def test_a_slot_gets_another_key_only_after_it_was_empty(stage: Stage) -> None:
    first = stage.deploy("slot", "Custom::SigningKey", signing_key(stage, Number="1"))
    with pytest.raises(AssertionError, match="the slot has another key than 7; set its number"):
        stage.deploy("slot", "Custom::SigningKey", signing_key(stage, Number="7"))
    assert stage.secret().public_key == first["PublicKey"], "what signs is not lost by it"
    with pytest.raises(AssertionError, match="Number is 'new', allowed are whole numbers"):
        stage.deploy("slot", "Custom::SigningKey", signing_key(stage, Number="new"))
    stage.delete("slot")
    second = stage.deploy("slot", "Custom::SigningKey", signing_key(stage, Number="7"))
    assert second != first
    assert (stage.secret().number, stage.secret().public_key) == (7, second["PublicKey"])
    stage.delete("slot")


def test_a_missing_grant_fails_the_stack_with_one_clear_line(stage: Stage) -> None:
    with pytest.raises(AssertionError) as raised:
        stage.deploy("denied", "Custom::SigningKey", signing_key(stage, SecretId="another"))
    text = str(raised.value)
    assert "GetSecretValue: AccessDenied" in text
    assert "PRIVATE KEY" not in text


def test_a_missing_property_fails_the_stack_with_its_name(stage: Stage) -> None:
    with pytest.raises(AssertionError, match="Custom::SigningKey has no property 'SecretId'"):
        stage.deploy("incomplete", "Custom::SigningKey", {"KmsKeyId": stage.key_id})
    stage.delete("incomplete")


def test_the_delivery_document_follows_the_stack(stage: Stage) -> None:
    properties = {
        "Region": OTHER_REGION,
        "ParameterName": PARAMETER,
        "BaseUrl": "https://d1.cloudfront.net",
        "KeyPairId": "K1",
        "SigningSecret": SECRET,
    }
    stage.deploy("document", "Custom::DeliveryDocument", properties)
    assert stage.document(OTHER_REGION) == DeliveryDocument(
        base_url="https://d1.cloudfront.net", key_pair_id="K1", signing_secret=SECRET
    )
    assert stage.document() is None

    others = [{"KeyPairId": "K1", "SigningSecret": SECRET}]
    rotated = {**properties, "KeyPairId": "K2", "SigningSecret": "b", "OtherSecrets": others}
    stage.deploy("document", "Custom::DeliveryDocument", rotated)
    assert stage.document(OTHER_REGION) == DeliveryDocument(
        base_url="https://d1.cloudfront.net",
        key_pair_id="K2",
        signing_secret="b",
        other_secrets={"K1": SECRET},
    )

    stage.delete("document")
    assert stage.document(OTHER_REGION) is None
    # Somebody deleted it by hand before.
    stage.deploy("document", "Custom::DeliveryDocument", properties)
    stage.emulator.client("ssm", OTHER_REGION).delete_parameter(Name=PARAMETER)
    stage.delete("document")


def test_a_bucket_is_emptied_with_its_stack(stage: Stage) -> None:
    s3 = stage.emulator.client("s3")
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    for number in range(501):
        for _ in range(2):
            s3.put_object(Bucket=BUCKET, Key=f"media/{number}.m4s", Body=b"")
    s3.delete_object(Bucket=BUCKET, Key="media/0.m4s")

    # As when a stage decides to keep its data: the tag goes first.
    stage.deploy("content", "Custom::BucketContent", {"BucketName": BUCKET})
    stage.delete("content")
    assert len(s3.list_objects_v2(Bucket=BUCKET)["Contents"]) == 500

    s3.put_bucket_tagging(
        Bucket=BUCKET, Tagging={"TagSet": [{"Key": EMPTIED_TAG, "Value": "true"}]}
    )
    stage.deploy("content", "Custom::BucketContent", {"BucketName": BUCKET})
    assert len(s3.list_objects_v2(Bucket=BUCKET)["Contents"]) == 500
    stage.delete("content")
    s3.delete_bucket(Bucket=BUCKET)
    # Somebody deleted it by hand before.
    stage.deploy("content", "Custom::BucketContent", {"BucketName": BUCKET})
    stage.delete("content")


def test_a_document_that_moves_leaves_nothing_behind(stage: Stage) -> None:
    def request(kind: str, **event: Any) -> dict[str, Any]:
        return {
            "RequestType": kind,
            "RequestId": "r",
            "StackId": "s",
            "LogicalResourceId": "Thing",
            "ResourceType": "Custom::DeliveryDocument",
            # Nobody waits behind this door; what the function did is what counts here.
            "ResponseURL": f"{stage.emulator.endpoint}/_ministack/health",
            **event,
        }

    def properties(region: str) -> dict[str, str]:
        return {
            "Region": region,
            "ParameterName": PARAMETER,
            "BaseUrl": "https://d1.cloudfront.net",
            "KeyPairId": "K1",
            "SigningSecret": SECRET,
        }

    # As CloudFormation moves a resource: create the new, then delete the old by its id.
    function = "delivery_document"
    stage.emulator.invoke(function, request("Create", ResourceProperties=properties(REGION)))
    old_id = f"{REGION}:{PARAMETER}"
    stage.emulator.invoke(
        function,
        request(
            "Update",
            PhysicalResourceId=old_id,
            ResourceProperties=properties(OTHER_REGION),
            OldResourceProperties=properties(REGION),
        ),
    )
    stage.emulator.invoke(
        function,
        request("Delete", PhysicalResourceId=old_id, ResourceProperties=properties(REGION)),
    )
    assert stage.document() is None
    assert stage.document(OTHER_REGION) is not None
    for _ in range(2):
        stage.emulator.invoke(
            function,
            request(
                "Delete",
                PhysicalResourceId=f"{OTHER_REGION}:{PARAMETER}",
                ResourceProperties=properties(OTHER_REGION),
            ),
        )
    assert stage.document(OTHER_REGION) is None


def test_the_stream_of_a_replica_is_found(stage: Stage) -> None:
    outputs = stage.deploy(
        "stream", "Custom::ReplicaStream", {"TableName": TABLE}, region=OTHER_REGION
    )
    assert outputs == {"StreamArn": stage.emulator.stream(TABLE, OTHER_REGION)}
    assert outputs["StreamArn"].startswith(f"arn:aws:dynamodb:{OTHER_REGION}:")
    stage.delete("stream", OTHER_REGION)


def test_the_default_group_loses_what_aws_gave_it(stage: Stage) -> None:
    def rules() -> list[Any]:
        ec2 = stage.emulator.client("ec2")
        (group,) = ec2.describe_security_groups(GroupIds=[stage.group_id])["SecurityGroups"]
        return [*group["IpPermissions"], *group["IpPermissionsEgress"]]

    assert len(rules()) == 2
    properties = {"DefaultSecurityGroupId": stage.group_id}
    stage.deploy("group", "Custom::VpcRestrictDefaultSG", properties)
    assert rules() == []
    # Again, as CloudFormation does when it has lost the answer.
    stage.deploy("group", "Custom::VpcRestrictDefaultSG", {**properties, "Again": "yes"})
    assert rules() == []
    stage.delete("group")


def test_access_tokens_carry_the_tenant_of_the_user(stage: Stage) -> None:
    cognito = stage.emulator.client("cognito-idp")
    function_arn = stage.emulator.function(
        "access-token", Service.ACCESS_TOKEN, "access_token.handler.handle", []
    )
    pool = cognito.create_user_pool(
        PoolName="users",
        UserPoolTier="ESSENTIALS",
        Schema=[{"Name": "tenant", "AttributeDataType": "String", "Mutable": True}],
        LambdaConfig={
            "PreTokenGenerationConfig": {"LambdaVersion": "V2_0", "LambdaArn": function_arn}
        },
    )["UserPool"]
    stage.emulator.client("lambda").add_permission(
        FunctionName="access-token",
        StatementId="cognito",
        Action="lambda:InvokeFunction",
        Principal="cognito-idp.amazonaws.com",
        SourceArn=pool["Arn"],
        SourceAccount=ACCOUNT,
    )
    client_id = cognito.create_user_pool_client(
        UserPoolId=pool["Id"], ClientName="web", ExplicitAuthFlows=["ALLOW_USER_PASSWORD_AUTH"]
    )["UserPoolClient"]["ClientId"]

    def claims(user: str, **attributes: str) -> tuple[dict[str, Any], dict[str, Any]]:
        cognito.admin_create_user(
            UserPoolId=pool["Id"],
            Username=user,
            MessageAction="SUPPRESS",
            UserAttributes=[{"Name": n, "Value": v} for n, v in attributes.items()],
        )
        cognito.admin_set_user_password(
            UserPoolId=pool["Id"], Username=user, Password=PASSWORD, Permanent=True
        )
        answer = cognito.initiate_auth(
            ClientId=client_id,
            AuthFlow="USER_PASSWORD_AUTH",
            AuthParameters={"USERNAME": user, "PASSWORD": PASSWORD},
        )["AuthenticationResult"]
        return _payload(answer["AccessToken"]), _payload(answer["IdToken"])

    access, identity = claims("ada", **{"custom:tenant": "acme"})
    assert access[TENANT_CLAIM] == "acme"
    assert TENANT_CLAIM not in identity
    access, _ = claims("bob")
    assert TENANT_CLAIM not in access


def _payload(token: str) -> dict[str, Any]:
    part = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return claims
