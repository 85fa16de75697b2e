import type { BrokerKind } from '../brokers/broker.js';
import type { ExtraName } from '../extras.js';

/** What the main process has to know of a system. */
export interface SystemInfo {
  title: string;
  broker: BrokerKind;
  /** The packages that it needs besides, installed when it is asked for. */
  extra?: ExtraName;
  /** The group of `--with` that it belongs to; without one it is measured unless others are named. */
  group?: 'nats' | 'rmq' | 'peers';
  /** Why it cannot do what a measure asks for; left out where it can. */
  lacks?: Partial<Record<'events' | 'values' | 'several servers', string>>;
  /** Its server is in the client's process. */
  inOneProcess?: boolean;
}

const BROADCASTS = 'every instance handles each message';

const catalogue = {
  'redis-streams': { title: 'this package', broker: 'redis' },
  'nest-redis': {
    title: "Nest's Redis transport (pub/sub)",
    broker: 'redis',
    lacks: { 'several servers': BROADCASTS },
  },
  'nest-tcp': {
    title: "Nest's TCP transport",
    broker: 'none',
    lacks: { 'several servers': 'a client is connected to one server' },
  },
  'ping-pong': {
    title: 'floor: Redis Streams by hand, without Nest',
    broker: 'redis',
    lacks: { values: 'it answers with one value' },
  },
  'nest-no-io': {
    title: 'floor: Nest without I/O, in one process',
    broker: 'none',
    inOneProcess: true,
    lacks: { 'several servers': 'its server is in the client’s process' },
  },
  'nest-nats': {
    title: "Nest's NATS transport",
    broker: 'nats',
    extra: 'nats',
    group: 'nats',
  },
  'nest-rmq': {
    title: "Nest's RabbitMQ transport",
    broker: 'rabbitmq',
    extra: 'rmq',
    group: 'rmq',
  },
  jetstream: {
    title: '@horizon-republic/nestjs-jetstream',
    broker: 'nats',
    extra: 'jetstream',
    group: 'peers',
    lacks: { values: 'it takes the first value of an answer' },
  },
  'de-novo': {
    title: '@de-novo/nestjs-redis-streams',
    broker: 'redis',
    extra: 'de-novo',
    group: 'peers',
    lacks: {
      events: 'emit() waits for an answer, and fails when it comes',
      values: 'it takes one answer',
    },
  },
  bullmq: {
    title: 'BullMQ',
    broker: 'redis',
    extra: 'bullmq',
    group: 'peers',
    lacks: { values: 'a job has one result' },
  },
  moleculer: {
    title: 'Moleculer over Redis',
    broker: 'redis',
    extra: 'moleculer',
    group: 'peers',
    lacks: { values: 'it answers with one value, or with a byte stream' },
  },
} as const satisfies Record<string, SystemInfo>;

export type SystemName = keyof typeof catalogue;

/** The systems that can be measured, in the order of the tables. */
export const SYSTEMS: Readonly<Record<SystemName, SystemInfo>> = catalogue;
export const SYSTEM_NAMES = Object.keys(SYSTEMS) as readonly SystemName[];
