/** Shared by the tests of stacks. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { App } from 'aws-cdk-lib';
import { Template } from 'aws-cdk-lib/assertions';
import { type IVpc, Vpc } from 'aws-cdk-lib/aws-ec2';
import type { Construct } from 'constructs';
import { ServiceDiscoveryStack } from '../lib/discovery-stack.js';
import { parseEnvironments } from '../lib/parse-environments.js';

export const root = path.resolve(import.meta.dirname, '../..');

export const VPC = 'vpc-0a1b2c3d4e5f60718';

/** A KMS key of another account. */
export const KEY = 'arn:aws:kms:eu-west-1:444455556666:key/0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9';

/** `cdk.json`: the example environments and the feature flags of the app. */
export const { context } = JSON.parse(readFileSync(path.join(root, 'cdk.json'), 'utf8')) as {
  context: Record<string, unknown>;
};

/** An app with the project's feature flags. */
export function app(): App {
  return new App({ context });
}

/** A VPC that exists outside of the app. */
export function vpc(scope: Construct, vpcId = VPC): IVpc {
  const found = scope.node.tryFindChild(vpcId) as IVpc | undefined;
  return found ?? Vpc.fromVpcAttributes(scope, vpcId, { vpcId, availabilityZones: ['eu-west-1a'] });
}

/** The required settings of an environment. */
export const environment = {
  account: '111122223333',
  region: 'eu-west-1',
  vpcs: [{ vpcId: VPC, zoneName: 'dev.internal' }],
  trail: 'create',
};

/** The stack of the environment `dev` with additional options. */
export function stack(options: object = {}): ServiceDiscoveryStack {
  const environments = parseEnvironments({
    dev: { ...environment, ...options },
  });
  const dev = environments.dev;
  if (dev === undefined) throw new Error('no environment');
  return new ServiceDiscoveryStack(app(), 'dev', dev);
}

/** The template of `stack`. */
export function template(options: object = {}): Template {
  return Template.fromStack(stack(options));
}

export interface Statement {
  Sid?: string;
  Action: string | string[];
  Resource: unknown;
  Condition?: unknown;
}

interface Policies {
  Properties: {
    Policies?: { PolicyDocument: { Statement: Statement[] } }[];
    ManagedPolicyArns?: unknown;
    Roles?: { Ref: string }[];
    PolicyDocument?: { Statement: Statement[] };
  };
}

/** All statements of a role, inline and attached. `role` is the beginning of its logical id. */
export function statements(made: Template, role: string): Statement[] {
  const roles = Object.entries(made.findResources('AWS::IAM::Role') as Record<string, Policies>);
  const [id, found] = roles.find(([id]) => id.startsWith(role)) ?? [];
  const inline = found?.Properties.Policies?.flatMap((policy) => policy.PolicyDocument.Statement) ?? [];
  const attached = ['AWS::IAM::Policy', 'AWS::IAM::ManagedPolicy']
    .flatMap((type) => Object.values(made.findResources(type) as Record<string, Policies>))
    .filter((policy) => policy.Properties.Roles?.some((role) => role.Ref === id))
    .flatMap((policy) => policy.Properties.PolicyDocument?.Statement ?? []);
  return [...inline, ...attached];
}

/** The logical id of the only resource of a type whose id starts with `begins`. */
export function idOf(made: Template, type: string, begins: string): string {
  const ids = Object.keys(made.findResources(type)).filter((id) => id.startsWith(begins));
  const [id] = ids;
  if (id === undefined || ids.length > 1) throw new Error(`${type} ${begins}…: ${ids.join(', ') || 'none'}`);
  return id;
}
