"""The distribution: behaviours, keys, delivery documents, and what it refuses."""

from __future__ import annotations

import re
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_elasticloadbalancingv2 as elbv2
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from infra_templates import Synth, Template, advice, flat

from media_platform.constructs import CdnDistribution, MediaOrigin
from media_platform.contract.site import fallback_of_code

ONE = MediaOrigin(region="us-east-1", bucket_name="media-one")
TWO = MediaOrigin(
    region="eu-west-1",
    bucket_name="media-two",
    fallback_region="us-east-1",
    fallback_bucket_name="media-one",
)


def cdn(stack: cdk.Stack, **arguments: Any) -> CdnDistribution:
    defaults: dict[str, Any] = {"media_origins": [ONE], "api_domain_name": "origin.example.com"}
    return CdnDistribution(stack, "Cdn", stage="test", **{**defaults, **arguments})


def balancer(stack: cdk.Stack) -> elbv2.IApplicationLoadBalancer:
    return elbv2.ApplicationLoadBalancer(
        stack, "Balancer", vpc=ec2.Vpc(stack, "Vpc", max_azs=2), internet_facing=False
    )


def certificate(stack: cdk.Stack) -> acm.ICertificate:
    return acm.Certificate.from_certificate_arn(
        stack, "Certificate", "arn:aws:acm:us-east-1:111111111111:certificate/one"
    )


def config(made: Template) -> dict[str, Any]:
    return dict(made.only("AWS::CloudFront::Distribution")["DistributionConfig"])


def origin(made: Template, behavior: dict[str, Any]) -> dict[str, Any]:
    (found,) = [o for o in config(made)["Origins"] if o["Id"] == behavior["TargetOriginId"]]
    return dict(found)


def behavior(made: Template, pattern: str) -> dict[str, Any]:
    (found,) = [b for b in config(made)["CacheBehaviors"] if b["PathPattern"] == pattern]
    return dict(found)


def test_media_need_a_signature_everywhere(synth: Synth) -> None:
    made = synth(cdn)
    media = behavior(made, "/media/us-east-1/*")
    default = config(made)["DefaultCacheBehavior"]
    (group,) = made.resources("AWS::CloudFront::KeyGroup")
    for signed in (media, default):
        assert signed["TrustedKeyGroups"] == [{"Ref": group}]
        assert signed["AllowedMethods"] == ["GET", "HEAD", "OPTIONS"]
        assert signed["ViewerProtocolPolicy"] == "redirect-to-https"
        bucket = origin(made, signed)
        assert bucket["DomainName"] == "media-one.s3.us-east-1.amazonaws.com"
        assert bucket["S3OriginConfig"] == {"OriginAccessIdentity": ""}
        assert flat(bucket["OriginAccessControlId"]) == "<CdnOriginAccess.Id>"


def test_the_api_gets_everything_but_the_host_and_is_not_cached(synth: Synth) -> None:
    made = synth(cdn)
    api = behavior(made, "/api/*")
    assert set(api["AllowedMethods"]) == {
        "GET", "HEAD", "OPTIONS", "PUT", "PATCH", "POST", "DELETE",
    }  # fmt: skip
    assert "TrustedKeyGroups" not in api
    # The managed policies CachingDisabled and AllViewerExceptHostHeader.
    assert api["CachePolicyId"] == "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"
    assert api["OriginRequestPolicyId"] == "b689b0a8-53d0-40ab-baf2-68738e2966ac"
    reached = origin(made, api)
    assert reached["DomainName"] == "origin.example.com"
    assert reached["CustomOriginConfig"]["OriginProtocolPolicy"] == "https-only"


def test_admin_paths_go_to_the_region_of_the_users(synth: Synth) -> None:
    made = synth(lambda stack: cdn(stack, admin_domain_name="admin.origin.example.com"))
    config = made.only("AWS::CloudFront::Distribution")["DistributionConfig"]
    origins = {origin["Id"]: origin["DomainName"] for origin in config["Origins"]}
    patterns = [behavior["PathPattern"] for behavior in config["CacheBehaviors"]]
    assert patterns.index("/api/admin/*") < patterns.index("/api/*")
    reached = {b["PathPattern"]: origins[b["TargetOriginId"]] for b in config["CacheBehaviors"]}
    assert reached["/api/admin/*"] == "admin.origin.example.com"
    assert reached["/api/*"] == "origin.example.com"


def test_an_internal_load_balancer_is_a_vpc_origin(synth: Synth) -> None:
    made = synth(lambda stack: cdn(stack, api_domain_name=None, load_balancer=balancer(stack)))
    endpoint = made.only("AWS::CloudFront::VpcOrigin")["VpcOriginEndpointConfig"]
    assert flat(endpoint["Arn"]) == "<Balancer>"
    assert endpoint["OriginProtocolPolicy"] == "http-only"
    assert "VpcOriginConfig" in origin(made, behavior(made, "/api/*"))


def test_everything_on(synth: Synth) -> None:
    def build(stack: cdk.Stack) -> None:
        cdn(
            stack,
            media_origins=[ONE, TWO],
            domain_name="media.example.com",
            certificate=certificate(stack),
            cors_origins=["https://player.example.com"],
            ipv6=False,
            access_logs=s3.Bucket.from_bucket_name(stack, "Logs", "their-logs"),
            removal_policy=cdk.RemovalPolicy.DESTROY,
        )

    made = synth(build)
    assert flat(made.only("AWS::Logs::DeliveryDestination")["DestinationResourceArn"]) == (
        "arn:aws:s3:::their-logs/distribution"
    )
    assert config(made)["Aliases"] == ["media.example.com"]
    assert config(made)["IPV6Enabled"] is False
    assert config(made)["ViewerCertificate"]["MinimumProtocolVersion"] == "TLSv1.2_2021"
    (group,) = config(made)["OriginGroups"]["Items"]
    assert behavior(made, "/media/eu-west-1/*")["TargetOriginId"] == group["Id"]
    assert group["FailoverCriteria"]["StatusCodes"]["Items"] == [403, 404, 500, 502, 503, 504]
    domains = {o["Id"]: o["DomainName"] for o in config(made)["Origins"]}
    assert [domains[member["OriginId"]] for member in group["Members"]["Items"]] == [
        "media-two.s3.eu-west-1.amazonaws.com",
        "media-one.s3.us-east-1.amazonaws.com",
    ]
    secrets = made.resources("AWS::SecretsManager::Secret").values()
    assert {s["Properties"]["Name"] for s in secrets} == {
        "media-platform/test/playback-signing-key-a",
        "media-platform/test/playback-signing-key-b",
    }
    for secret in secrets:
        assert [r["Region"] for r in secret["Properties"]["ReplicaRegions"]] == ["eu-west-1"]
        assert secret["DeletionPolicy"] == "Delete"
    headers = made.only("AWS::CloudFront::ResponseHeadersPolicy")
    cors = headers["ResponseHeadersPolicyConfig"]["CorsConfig"]
    assert cors["AccessControlAllowOrigins"]["Items"] == ["https://player.example.com"]
    assert cors["AccessControlAllowCredentials"] is False
    documents = made.resources("Custom::DeliveryDocument").values()
    assert {d["Properties"]["Region"] for d in documents} == {"us-east-1", "eu-west-1"}
    for document in documents:
        assert document["Properties"]["BaseUrl"] == "https://media.example.com"


def test_requests_are_logged_without_what_signs_them(synth: Synth) -> None:
    made = synth(cdn)
    source = made.only("AWS::Logs::DeliverySource")
    assert (source["Name"], source["LogType"]) == ("media-platform-test", "ACCESS_LOGS")
    assert flat(source["ResourceArn"]) == (
        "arn:aws:cloudfront::ACCOUNT:distribution/<CdnDistribution>"
    )
    destination = made.only("AWS::Logs::DeliveryDestination")
    assert flat(destination["DestinationResourceArn"]) == "<CdnAccessLogs.Arn>/distribution"
    delivery = made.only("AWS::Logs::Delivery")
    assert {"c-ip", "cs-uri-stem", "sc-status"} <= set(delivery["RecordFields"])
    assert not {"cs-uri-query", "cs(Cookie)"} & set(delivery["RecordFields"])
    (made_last,) = made.resources("AWS::Logs::Delivery").values()
    (policy,) = made.resources("AWS::S3::BucketPolicy")
    assert policy in made_last["DependsOn"]
    (statement,) = (
        statement
        for statement in made.only("AWS::S3::BucketPolicy")["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Allow"
    )
    assert statement["Principal"] == {"Service": "delivery.logs.amazonaws.com"}
    assert flat(statement["Resource"]) == "<CdnAccessLogs.Arn>/distribution/*"
    assert flat(statement["Condition"]["ArnLike"]["aws:SourceArn"]) == (
        "arn:aws:logs:us-east-1:ACCOUNT:delivery-source:*"
    )


def test_logs_may_be_off_and_are_where_cloudfront_sets_them_up(synth: Synth) -> None:
    assert not synth(lambda stack: cdn(stack, access_logs=False)).resources("AWS::S3::Bucket")
    elsewhere = synth(cdn, region="eu-west-1")
    assert not elsewhere.resources("AWS::Logs::Delivery")


def test_logs_elsewhere_are_refused() -> None:
    stack = cdk.Stack(cdk.App(), "Test", env=cdk.Environment(region="eu-west-1"))
    message = (
        "access_logs is given, but logs of distributions are set up in us-east-1 only; deploy this "
        "stack there, or leave access_logs away (path: Test/Cdn)"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        cdn(stack, access_logs=True)


def test_a_web_acl_limits_viewers_by_their_own_address(synth: Synth) -> None:
    made = synth(lambda stack: cdn(stack, waf=True, waf_requests_per_address=10, waf_logs=True))
    acl = made.only("AWS::WAFv2::WebACL")
    assert acl["Scope"] == "CLOUDFRONT"
    assert flat(config(made)["WebACLId"]) == "<CdnWebAcl.Arn>"
    *managed, limit = sorted(acl["Rules"], key=lambda rule: rule["Priority"])
    assert [rule["Name"] for rule in managed] == [
        "AWSManagedRulesAmazonIpReputationList",
        "AWSManagedRulesCommonRuleSet",
        "AWSManagedRulesKnownBadInputsRuleSet",
    ]
    rate = limit["Statement"]["RateBasedStatement"]
    assert (rate["AggregateKeyType"], rate["Limit"]) == ("IP", 10)
    assert limit["Action"]["Block"]["CustomResponse"]["ResponseCode"] == 429
    match = rate["ScopeDownStatement"]["NotStatement"]["Statement"]["ByteMatchStatement"]
    assert (match["SearchString"], match["PositionalConstraint"]) == ("/media/", "STARTS_WITH")
    assert made.only("AWS::WAFv2::LoggingConfiguration")["ResourceArn"] == config(made)["WebACLId"]
    # Headers of requests that would be shown hold tokens.
    assert not acl["VisibilityConfig"]["SampledRequestsEnabled"]
    assert not any(rule["VisibilityConfig"]["SampledRequestsEnabled"] for rule in acl["Rules"])


def test_there_is_no_web_acl_unless_asked_for(synth: Synth) -> None:
    made = synth(cdn)
    assert not made.resources("AWS::WAFv2::WebACL")
    assert "WebACLId" not in config(made)


def test_a_web_acl_elsewhere_is_refused() -> None:
    stack = cdk.Stack(cdk.App(), "Test", env=cdk.Environment(region="eu-west-1"))
    message = (
        "waf is True, but web ACLs of distributions are made in us-east-1 only; deploy this stack "
        "there, or protect the load balancer with waf of ApiCluster (path: Test/Cdn)"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        cdn(stack, waf=True)


@pytest.mark.parametrize(
    ("argument", "kind"), [("allowed_countries", "whitelist"), ("denied_countries", "blacklist")]
)
def test_countries(synth: Synth, argument: str, kind: str) -> None:
    made = synth(lambda stack: cdn(stack, **{argument: ["DE", "FR"]}))
    assert config(made)["Restrictions"]["GeoRestriction"] == {
        "RestrictionType": kind,
        "Locations": ["DE", "FR"],
    }


def test_a_site_is_for_everybody_and_media_stay_signed(synth: Synth) -> None:
    site = MediaOrigin(region="us-east-1", bucket_name="pages")
    made = synth(lambda stack: cdn(stack, site_origin=site))
    assert config(made)["DefaultRootObject"] == "index.html"
    default = config(made)["DefaultCacheBehavior"]
    assert "TrustedKeyGroups" not in default
    assert default["AllowedMethods"] == ["GET", "HEAD"]
    pages = origin(made, default)
    assert pages["DomainName"] == "pages.s3.us-east-1.amazonaws.com"
    assert flat(pages["OriginAccessControlId"]) == "<CdnOriginAccess.Id>"
    assert len(behavior(made, "/media/us-east-1/*")["TrustedKeyGroups"]) == 1


def test_paths_that_name_no_file_get_the_page_of_the_app(synth: Synth) -> None:
    site = MediaOrigin(
        region="us-east-1",
        bucket_name="pages",
        fallback_region="eu-west-1",
        fallback_bucket_name="pages-eu",
    )
    made = synth(lambda stack: cdn(stack, site_origin=site, site_fallback_page="app.html"))
    (association,) = config(made)["DefaultCacheBehavior"]["FunctionAssociations"]
    assert association["EventType"] == "viewer-request"
    assert flat(association["FunctionARN"]) == "<CdnSiteFallback.FunctionARN>"
    function = made.only("AWS::CloudFront::Function")
    assert fallback_of_code(function["FunctionCode"]) == "app.html"
    assert function["AutoPublish"] is True
    # API and media are asked as they are, and their errors stay what they are.
    assert not any("FunctionAssociations" in other for other in config(made)["CacheBehaviors"])
    assert "CustomErrorResponses" not in config(made)
    (group,) = config(made)["OriginGroups"]["Items"]
    assert config(made)["DefaultCacheBehavior"]["TargetOriginId"] == group["Id"]


def test_the_private_halves_go_from_kms_to_the_secrets(synth: Synth) -> None:
    made = synth(cdn)
    pairs = [pair["Properties"] for pair in made.resources("Custom::SigningKey").values()]
    assert {flat(pair["KmsKeyId"]) for pair in pairs} == {"<CdnKeyMakerKey.Arn>"}
    assert [flat(pair["SecretId"]) for pair in pairs] == ["<CdnSlotASecret>", "<CdnSlotBSecret>"]
    keys = made.resources("AWS::CloudFront::PublicKey").values()
    assert [flat(key["Properties"]["PublicKeyConfig"]["EncodedKey"]) for key in keys] == [
        "<CdnSlotAPair.PublicKey>",
        "<CdnSlotBPair.PublicKey>",
    ]
    assert made.grants("CdnKeyMakerRole") == {
        "logs:CreateLogStream": {"<CdnKeyMakerLogs.Arn>"},
        "logs:PutLogEvents": {"<CdnKeyMakerLogs.Arn>"},
        "kms:GenerateDataKeyPair": {"<CdnKeyMakerKey.Arn>"},
        "secretsmanager:GetSecretValue": {"<CdnSlotASecret>", "<CdnSlotBSecret>"},
        "secretsmanager:PutSecretValue": {"<CdnSlotASecret>", "<CdnSlotBSecret>"},
    }


KEYS = {"a": "CdnSlotAPublicKey", "b": "CdnSlotBPublicKey"}


@pytest.mark.parametrize(
    ("numbers", "active", "trusted", "others"),
    [
        ({"a": "1", "b": "0"}, "a", "a", ""),
        ({"a": "1", "b": "1800000000"}, "a", "ab", "b"),
        ({"a": "1", "b": "1800000000"}, "b", "ab", "a"),
        ({"a": "0", "b": "1800000000"}, "b", "b", ""),
    ],
)
def test_parameters_of_the_stack_that_runs_say_which_keys_there_are_and_which_signs(
    synth: Synth, numbers: dict[str, str], active: str, trusted: str, others: str
) -> None:
    made = synth(lambda stack: cdn(stack, media_origins=[ONE, TWO]))
    values = {
        name: active if name.startswith("CdnSigningKeysActiveSlot") else numbers["a"]
        for name in made.content["Parameters"]
    }
    for name in values:
        if name.startswith("CdnSigningKeysB"):
            values[name] = numbers["b"]
    deployed = resolved(made.content, values)
    public_keys = {
        name[:-8]: resource["Properties"]["PublicKeyConfig"]
        for name, resource in deployed.items()
        if resource["Type"] == "AWS::CloudFront::PublicKey"
    }
    assert set(public_keys) == {KEYS[slot] for slot in trusted}
    for slot in trusted:
        # What is there since before has the name that it had; a later key has one of its own.
        ending = "" if numbers[slot] == "1" else f"-{numbers[slot]}"
        config = public_keys[KEYS[slot]]
        assert re.fullmatch(rf"\w+{ending}", config["Name"])
        assert re.fullmatch(rf"\w+{ending}", config["CallerReference"])
    (group,) = of_type(deployed, "AWS::CloudFront::KeyGroup")
    assert group["KeyGroupConfig"]["Items"] == [f"<{KEYS[slot]}>" for slot in trusted]
    pairs = of_type(deployed, "Custom::SigningKey")
    assert [pair["Number"] for pair in pairs] == [numbers[slot] for slot in trusted]
    assert len(of_type(deployed, "AWS::SecretsManager::Secret")) == 2, "they outlive their keys"
    secret = "media-platform/test/playback-signing-key-{}".format
    for document in of_type(deployed, "Custom::DeliveryDocument"):
        assert document["KeyPairId"] == f"<{KEYS[active]}>"
        assert document["SigningSecret"] == secret(active)
        assert document["OtherSecrets"] == [
            {"KeyPairId": f"<{KEYS[slot]}>", "SigningSecret": secret(slot)} for slot in others
        ]


def test_a_stage_begins_with_one_key(synth: Synth) -> None:
    parameters = synth(cdn).content["Parameters"]
    defaults = {name[:-8]: one["Default"] for name, one in parameters.items()}
    assert defaults["CdnSigningKeysA"] == 1
    assert defaults["CdnSigningKeysB"] == 0
    assert defaults["CdnSigningKeysActiveSlot"] == "a"


def resolved(content: dict[str, Any], parameters: dict[str, str]) -> dict[str, Any]:
    """Return the resources of a template as they are deployed with these parameters."""

    def is_true(condition: Any) -> bool:
        ((function, arguments),) = condition.items()
        if function == "Fn::Not":
            return not is_true(arguments[0])
        assert function == "Fn::Equals"
        first, second = map(value, arguments)
        return str(first) == str(second)

    def value(one: Any) -> Any:
        if isinstance(one, list):
            return [found for found in map(value, one) if found != "<AWS::NoValue>"]
        if not isinstance(one, dict):
            return one
        if "Ref" in one:
            name = one["Ref"]
            known = content["Resources"].get(name)
            # A reference to what is not there is refused by CloudFormation.
            assert known is None or exists(known), name
            return parameters.get(name, f"<{name[:-8] if known else name}>")
        if "Fn::If" in one:
            condition, yes, no = one["Fn::If"]
            return value(yes if is_true(content["Conditions"][condition]) else no)
        if "Fn::Join" in one:
            separator, parts = one["Fn::Join"]
            return separator.join(map(str, value(parts)))
        return {name: value(inner) for name, inner in one.items()}

    def exists(resource: dict[str, Any]) -> bool:
        condition = resource.get("Condition")
        return condition is None or is_true(content["Conditions"][condition])

    return {
        name: {**resource, "Properties": value(resource.get("Properties", {}))}
        for name, resource in content["Resources"].items()
        if exists(resource)
    }


def of_type(resources: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [one["Properties"] for one in resources.values() if one["Type"] == kind]


def test_a_key_of_the_team_encrypts_the_secret_in_every_region_and_the_logs(synth: Synth) -> None:
    def build(stack: cdk.Stack) -> None:
        key = kms.Key(stack, "Own", multi_region=True)
        cdn(stack, media_origins=[ONE, TWO], encryption_key=key)

    made = synth(build)
    (own,) = (logical for logical in made.resources("AWS::KMS::Key") if logical.startswith("Own"))
    arn = f"<{own[:-8]}.Arn>"
    secrets = of_type(made.content["Resources"], "AWS::SecretsManager::Secret")
    for secret in secrets:
        assert flat(secret["KmsKeyId"]) == arn
        (replica,) = secret["ReplicaRegions"]
        assert flat(replica["KmsKeyId"]) == f"arn:aws:kms:eu-west-1:ACCOUNT:key/<{own[:-8]}>"
    groups = made.resources("AWS::Logs::LogGroup").values()
    assert {flat(group["Properties"]["KmsKeyId"]) for group in groups} == {arn}
    statements = made.resources("AWS::KMS::Key")[own]["Properties"]["KeyPolicy"]["Statement"]
    (logs,) = (statement for statement in statements if statement.get("Sid") == "LogGroupsUse")
    assert logs["Principal"] == {"Service": "logs.us-east-1.amazonaws.com"}
    maker = made.grants("CdnKeyMakerRole")
    assert maker["kms:Decrypt"] == maker["kms:GenerateDataKey"] == {arn}


def test_documents_are_written_to_their_regions_alone(synth: Synth) -> None:
    made = synth(lambda stack: cdn(stack, media_origins=[ONE, TWO]))
    parameters = {
        f"arn:aws:ssm:{region}:ACCOUNT:parameter/media-platform/test/delivery"
        for region in ("us-east-1", "eu-west-1")
    }
    grants = made.grants("CdnDeliveryWriterRole")
    assert grants["ssm:PutParameter"] == grants["ssm:DeleteParameter"] == parameters


def test_custom_resources_are_made_after_their_permissions(synth: Synth) -> None:
    made = synth(cdn)
    for kind, role in (
        ("Custom::SigningKey", "CdnKeyMakerRoleDefaultPolicy"),
        ("Custom::DeliveryDocument", "CdnDeliveryWriterRoleDefaultPolicy"),
    ):
        for resource in made.resources(kind).values():
            assert any(name.startswith(role) for name in resource["DependsOn"])


def test_a_plane_without_tls(synth: Synth) -> None:
    made = synth(lambda stack: cdn(stack, scheme="http"))
    assert behavior(made, "/media/us-east-1/*")["ViewerProtocolPolicy"] == "allow-all"
    document = made.only("Custom::DeliveryDocument")
    assert flat(document["BaseUrl"]) == "http://<CdnDistribution.DomainName>"


def test_metrics(stack: cdk.Stack) -> None:
    made = cdn(stack)
    for metric, name in (
        (made.metric_requests(), "Requests"),
        (made.metric_errors(), "5xxErrorRate"),
    ):
        found = metric.to_metric_config().metric_stat
        assert found is not None
        assert found.metric_name == name
        # Without the region CloudWatch finds nothing, and an alarm would never be one.
        assert {d.name: d.value for d in found.dimensions or ()} == {
            "DistributionId": made.distribution.distribution_id,
            "Region": "Global",
        }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"site_fallback_page": "index.html"},
            (
                "site_fallback_page is 'index.html' but site_origin is missing; pass the bucket "
                "that has the page"
            ),
        ),
        (
            {"site_origin": ONE, "site_fallback_page": "/index.html"},
            (
                "site_fallback_page is '/index.html', allowed are keys of letters, digits, '_', "
                "'.', '-' and '/', such as index.html; rename the page"
            ),
        ),
        ({"media_origins": []}, "media_origins is empty; pass one for every home region"),
        (
            {"media_origins": [ONE, ONE]},
            (
                "media_origins names a region twice: ['us-east-1', 'us-east-1']; pass one for "
                "each region"
            ),
        ),
        (
            {
                "media_origins": [
                    MediaOrigin(region="us-east-1", bucket_name="a", fallback_region="eu-west-1")
                ]
            },
            (
                "media origin of 'us-east-1' has only one of fallback_region and "
                "fallback_bucket_name; pass both or none"
            ),
        ),
        (
            {"api_domain_name": None, "admin_domain_name": "admin.origin.example.com"},
            (
                "admin_domain_name is 'admin.origin.example.com' but api_domain_name is missing; "
                "pass it only where load balancers are reached by their domains"
            ),
        ),
        (
            {"api_domain_name": None},
            (
                "neither of load_balancer and api_domain_name is given; pass load_balancer for a "
                "VPC origin or api_domain_name for HTTPS load balancers"
            ),
        ),
        (
            {"domain_name": "media.example.com"},
            "domain_name is 'media.example.com' and certificate is missing; pass both or none",
        ),
        (
            {"allowed_countries": ["DE"], "denied_countries": ["FR"]},
            (
                "both of allowed_countries and denied_countries are given; pass one, what it does "
                "not name is the other"
            ),
        ),
        (
            {"allowed_countries": []},
            "allowed_countries is empty; name countries, or leave it away",
        ),
        (
            {"denied_countries": ["UK"]},
            (
                "denied_countries: it is 'UK', allowed are upper-case codes of ISO 3166-1 such as "
                "'DE'; look up the code"
            ),
        ),
        (
            {"waf_logs": True},
            "waf_logs is True, but waf is not; switch waf on, or leave waf_logs out",
        ),
        (
            {"waf_requests_per_address": 9},
            (
                "waf_requests_per_address is 9, allowed are 10 to 2000000000; AWS WAF counts no "
                "others"
            ),
        ),
    ],
)
def test_errors(stack: cdk.Stack, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)} \\(path: Test/Cdn\\)$"):
        cdn(stack, **arguments)


def test_one_way_to_the_api(stack: cdk.Stack) -> None:
    message = (
        "both of load_balancer and api_domain_name is given; pass load_balancer for a VPC origin "
        "or api_domain_name for HTTPS load balancers (path: Test/Cdn)"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        cdn(stack, load_balancer=balancer(stack))


def test_what_is_silently_absent_is_told() -> None:
    def own(stack: cdk.Stack, **arguments: Any) -> None:
        cdn(stack, domain_name="media.example.com", certificate=certificate(stack), **arguments)

    assert advice(own) == {"@media-platform/distribution-waf"}
    assert advice(lambda stack: own(stack, waf=True)) == set()
    assert advice(cdn) == set()
    assert advice(cdn, region="eu-west-1") == {
        "@media-platform/distribution-alarm",
        "@media-platform/distribution-logs",
    }


def test_certificates_are_in_us_east_1() -> None:
    stack = cdk.Stack(cdk.App(), "Test", env=cdk.Environment(region="eu-west-1"))
    message = (
        "the stack is in 'eu-west-1', but CloudFront takes certificates of us-east-1 only; deploy "
        "this stack there (path: Test/Cdn)"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        cdn(stack, domain_name="media.example.com", certificate=certificate(stack))
