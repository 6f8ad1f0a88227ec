"""Starts MiniStack.

Its CloudFormation makes every hosted zone a public one, and deletes a zone together with its records. AWS makes a zone
with VPCs private, and deletes no zone that has records of its users. So does this.
"""

from ministack.app import main
from ministack.services import route53
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


ZONES["create"] = create
ZONES["delete"] = delete
main()
