import { setTimeout as pause } from 'node:timers/promises';
import { ASKED, SERVICES } from './load.js';
import type { Member } from './member.js';
import type { Stage } from './stage.js';

/** What can go wrong. */
export interface FaultKind {
  /** A member of this kind is hit; otherwise Redis, or everybody. */
  on?: 'server' | 'client';
  /** How long it lasts, at least and at most, in milliseconds. */
  lasts(lease: number): [number, number];
  /**
   * Who may see errors while it lasts: all clients, the client that is hit, or nobody, because there is another
   * instance that does the work.
   */
  outage: 'all' | 'target' | 'nobody';
  /** Whether Redis forgets messages by it. */
  wipes?: true;
  /** Does it and undoes it. */
  run(hit: { stage: Stage; member: Member; target: number; lasts: number }): Promise<void>;
}

const leases =
  (min: number, max: number) =>
  (lease: number): [number, number] => [min * lease, max * lease];

/** A half-open connection is found by the answer that does not come: BLOCK and a grace, or a PING and a grace. */
const untilFound = (): [number, number] => [11_000, 12_000];

/** What must be done to a member while a fault lasts. */
async function during(lasts: number, begin: () => unknown, end: () => unknown): Promise<void> {
  await begin();
  try {
    await pause(lasts);
  } finally {
    await end();
  }
}

const stopAndContinue: FaultKind['run'] = ({ member, lasts }) =>
  during(
    lasts,
    () => member.signal('SIGSTOP'),
    () => member.signal('SIGCONT'),
  );

const killAndReplace: FaultKind['run'] = async ({ member, lasts }) => {
  await member.kill();
  await pause(lasts);
  await member.start();
};

const partition: FaultKind['run'] = ({ member: { proxy }, lasts }) =>
  during(
    lasts,
    () => proxy.part(),
    () => proxy.rejoin(),
  );

const reset: FaultKind['run'] = ({ member }) => Promise.resolve(member.proxy.reset());

/** One connection of the member: the lease may go on while nothing is read, and the other way round. */
const halfOpen: FaultKind['run'] = async ({ member, target, lasts }) => {
  member.proxy.freezeOne(target);
  await pause(lasts);
};

/** Every fault, by name. */
export const FAULTS = {
  'kill server': { on: 'server', lasts: leases(0, 1), outage: 'nobody', run: killAndReplace },
  /** A machine that is gone: Redis goes on writing to the connections of a process that is dead. */
  'lose server': {
    on: 'server',
    lasts: leases(0, 1),
    outage: 'nobody',
    run: (hit) => {
      hit.member.proxy.abandon();
      return killAndReplace(hit);
    },
  },
  'kill client': { on: 'client', lasts: leases(0, 1), outage: 'nobody', run: killAndReplace },
  'restart server': {
    on: 'server',
    lasts: leases(0, 0),
    outage: 'nobody',
    run: async ({ member }) => {
      await member.end();
      await member.start();
    },
  },
  'stop server briefly': { on: 'server', lasts: leases(0.1, 0.8), outage: 'nobody', run: stopAndContinue },
  'stop server': { on: 'server', lasts: leases(2, 4), outage: 'nobody', run: stopAndContinue },
  'stop client': { on: 'client', lasts: leases(0.2, 3), outage: 'target', run: stopAndContinue },
  'partition server': { on: 'server', lasts: leases(1.5, 4), outage: 'nobody', run: partition },
  'partition client': { on: 'client', lasts: leases(0.5, 3), outage: 'target', run: partition },
  'reset server': { on: 'server', lasts: leases(0, 0), outage: 'nobody', run: reset },
  'reset client': { on: 'client', lasts: leases(0, 0), outage: 'target', run: reset },
  'half-open server': { on: 'server', lasts: untilFound, outage: 'nobody', run: halfOpen },
  'half-open client': { on: 'client', lasts: untilFound, outage: 'target', run: halfOpen },
  latency: {
    lasts: leases(1, 3),
    outage: 'nobody',
    run: ({ stage, target, lasts }) => {
      const delay = (ms: number) => stage.members.forEach(({ proxy }) => proxy.delay(ms));
      return during(
        lasts,
        () => delay(10 + (target % 90)),
        () => delay(0),
      );
    },
  },
  'kill redis': {
    lasts: leases(0.1, 3),
    outage: 'all',
    run: ({ stage: { redis }, lasts }) =>
      during(
        lasts,
        () => redis.kill(),
        () => redis.start(),
      ),
  },
  'CLIENT KILL': { lasts: leases(0, 0), outage: 'all', run: ({ stage }) => stage.killConnections() },
  'CLIENT PAUSE': {
    lasts: leases(1, 3),
    outage: 'all',
    run: async ({ stage: { admin }, lasts }) => {
      await admin.client('PAUSE', lasts, 'ALL');
      // Is answered when the pause is over.
      await admin.ping();
    },
  },
  'out of memory': {
    lasts: leases(0.5, 3),
    outage: 'all',
    run: ({ stage: { admin }, lasts }) =>
      during(
        lasts,
        () => admin.config('SET', 'maxmemory', '1'),
        () => admin.config('SET', 'maxmemory', '0'),
      ),
  },
  /** What a failover looks like to those who still speak to the old one. */
  'read only': {
    lasts: leases(0.5, 3),
    outage: 'all',
    run: ({ stage: { admin }, lasts }) =>
      during(
        lasts,
        () => admin.replicaof('127.0.0.1', 1),
        () => admin.replicaof('NO', 'ONE'),
      ),
  },
  /** As DEBUG SLEEP does, which newer versions do not allow unasked: it answers nothing and drops nobody. */
  'stall redis': {
    lasts: leases(3, 3.5),
    outage: 'all',
    run: ({ stage: { redis }, lasts }) =>
      during(
        lasts,
        () => redis.signal('SIGSTOP'),
        () => redis.signal('SIGCONT'),
      ),
  },
  'XGROUP DESTROY': {
    lasts: leases(0, 0),
    outage: 'nobody',
    run: async ({ stage: { admin, keys, topic }, target }) => {
      const groups = [[keys.inbox(ASKED), ASKED], ...SERVICES.map((service) => [topic, service])];
      const [stream, group] = groups[target % groups.length]!;
      await admin.xgroup('DESTROY', stream!, group!);
    },
  },
  DEL: {
    lasts: leases(0, 0),
    outage: 'all',
    wipes: true,
    run: async ({ stage: { admin, keys, topic }, target }) => {
      await admin.del(target % 2 === 0 ? topic : keys.inbox(ASKED));
    },
  },
  FLUSHALL: {
    lasts: leases(0, 0),
    outage: 'all',
    wipes: true,
    run: async ({ stage: { admin } }) => {
      await admin.flushall();
    },
  },
  'restart redis empty': {
    lasts: leases(0.1, 1),
    outage: 'all',
    wipes: true,
    run: ({ stage: { redis }, lasts }) =>
      during(
        lasts,
        () => redis.kill(),
        () => {
          redis.forget();
          return redis.start();
        },
      ),
  },
  /** An event that kills whoever handles it, until it is a dead letter. */
  poison: {
    on: 'client',
    lasts: leases(0, 0),
    outage: 'nobody',
    run: async ({ stage, member }) => {
      const poisoned = stage.nextDeadLetter(SERVICES[1]);
      member.signal('SIGUSR2');
      await poisoned;
    },
  },
} satisfies Record<string, FaultKind>;

/** The name of a fault. */
export type FaultName = keyof typeof FAULTS;
