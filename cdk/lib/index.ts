/** For those who put service discovery into a CDK app of their own. */
export { EcsServiceDiscovery, type EcsServiceDiscoveryProps } from './ecs-service-discovery.js';
export { type DiscoveryOptions, EnvironmentError } from './environment.js';
export type { VpcZone } from './zones.js';
