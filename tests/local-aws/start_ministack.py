"""Starts MiniStack.

Its CloudFormation makes every hosted zone a public one, and deletes a zone together with its records. AWS makes a zone
with VPCs private, and deletes no zone that has records of its users. So does this.

A function that is invoked through an alias gets the ARN of the alias, as on AWS. MiniStack gives it its own.

With enforced permissions, MiniStack takes two calls that read a function's settings for others.

MiniStack has no saved queries of CloudWatch Logs Insights. They are accepted, and nothing is made.
"""

from ministack.app import main
from ministack.core import iam_actions
from ministack.services import lambda_svc, route53
from ministack.services.cloudformation import provisioners

ZONES = provisioners._RESOURCE_HANDLERS["AWS::Route53::HostedZone"]
create_public = ZONES["create"]


def create(logical_id, props, stack_name):
    zone_id, attributes = create_public(logical_id, props, stack_name)
    vpcs = props.get("VPCs") or []
    zone = route53._zones[zone_id]
    zone["private"] = bool(vpcs)
    zone["vpcs"] = [{"VPCId": vpc["VPCId"], "VPCRegion": vpc["VPCRegion"]} for vpc in vpcs]
    return zone_id, attributes


def delete(zone_id, props):
    status, _, body = route53._delete_hosted_zone(zone_id)
    if status >= 400 and zone_id in route53._zones:
        raise ValueError(body)


effective = lambda_svc._effective_func_record_for_qualifier


def effective_with_alias(func, qualifier):
    record, config = effective(func, qualifier)
    if config is not None and qualifier in func.get("aliases", {}):
        config = {**config, "FunctionArn": func["aliases"][qualifier]["AliasArn"]}
    return record, config


def create_query(logical_id, props, stack_name):
    return f"{stack_name}-{logical_id}", {"QueryDefinitionId": logical_id}


READS = {"concurrency": "GetFunctionConcurrency", "event-invoke-config": "GetFunctionEventInvokeConfig"}
lambda_action = iam_actions._lambda_action


def lambda_action_of_read(method, path):
    setting = path.rstrip("/").rpartition("/")[2]
    return READS.get(setting) if method == "GET" and setting in READS else lambda_action(method, path)


iam_actions._lambda_action = lambda_action_of_read
lambda_svc._effective_func_record_for_qualifier = effective_with_alias
provisioners._RESOURCE_HANDLERS["AWS::Logs::QueryDefinition"] = {
    "create": create_query,
    "update": lambda physical_id, *_: (physical_id, {"QueryDefinitionId": physical_id}),
    "delete": lambda *_: None,
}
ZONES["create"] = create
ZONES["delete"] = delete
main()
