import type { SystemName } from './catalogue.js';
import type { SystemModule } from './system.js';

/** Each by itself, so that a process loads no other system than its own. */
const LOADERS: Record<SystemName, () => Promise<SystemModule>> = {
  'redis-streams': () => import('./redis-streams.js'),
  'nest-redis': () => import('./nest-redis.js'),
  'nest-tcp': () => import('./nest-tcp.js'),
  'ping-pong': () => import('./ping-pong.js'),
  'nest-no-io': () => import('./nest-no-io.js'),
  'nest-nats': () => import('./nest-nats.js'),
  'nest-rmq': () => import('./nest-rmq.js'),
  jetstream: () => import('./jetstream.js'),
  'de-novo': () => import('./de-novo.js'),
  bullmq: () => import('./bullmq.js'),
  moleculer: () => import('./moleculer.js'),
};

/** What makes servers and clients of a system. */
export function loadSystem(name: SystemName): Promise<SystemModule> {
  return LOADERS[name]();
}
