/** The public interface for other CDK apps. */
export { type DiscoveryAlarms, type DiscoveryAlarmsProps, Severity } from './alarms.js';
export { ServiceDiscoveryStack } from './discovery-stack.js';
export { EcsServiceDiscovery } from './ecs-service-discovery.js';
export { EnvironmentError } from './environment-error.js';
export * from './options.js';
export { parseEnvironments } from './parse-environments.js';
export * from './properties.js';
export type { VpcZone } from './zones.js';
