/** The public interface for other CDK apps. */
export type { DiscoveryAlarms, Severity } from './alarms.js';
export { EcsServiceDiscovery, type EcsServiceDiscoveryProps } from './ecs-service-discovery.js';
export { type DiscoveryOptions, EnvironmentError } from './environment.js';
export type { VpcZone } from './zones.js';
