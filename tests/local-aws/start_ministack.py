"""Starts MiniStack.

Its CloudFormation makes every hosted zone a public one. AWS makes a zone with VPCs private, and so does this.
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


ZONES["create"] = create
main()
