import { v7 } from 'uuid';
import type { Clock } from '../clock.ts';
import type { CommonConfig } from '../config-common.ts';
import { VERSION } from '../run-service.ts';

/** Identity of a process, new at each start. */
export interface InstanceIdentity {
  /** UUIDv7 of the start: of two processes at one address the greater id is the newer. */
  readonly id: string;
  /** Stable name of the replica, unchanged by a restart. */
  readonly name: string;
  readonly service: string;
  readonly version: string;
  readonly fleet: string;
  /** `host:port` of the public port. */
  readonly address: string;
  /** `host:port` of the ops port. */
  readonly opsAddress: string;
  /** Milliseconds since the Unix epoch. */
  readonly startedAt: number;
}

/** Identity of this process, once its ports are open. */
export const createInstance = (options: {
  service: string;
  common: CommonConfig;
  port: number;
  opsPort: number;
  clock: Clock;
}): InstanceIdentity => ({
  id: v7(),
  name: options.common.instanceName,
  service: options.service,
  version: VERSION,
  fleet: options.common.fleetName,
  address: `${options.common.advertiseHost}:${options.port}`,
  opsAddress: `${options.common.advertiseHost}:${options.opsPort}`,
  startedAt: options.clock.now(),
});
