import { env } from 'node:process';
import base from './jest.config.mjs';

/**
 * What has to work on a cluster as on one Redis, on a cluster of one node: it refuses what touches several slots, and
 * connections go to it as to any cluster. Clusters of several nodes are in test/e2e/cluster.
 */
env.REDIS_STREAMS_TEST = 'cluster';

const FILES = [
  'core/{events,outcomes,requests,results}',
  'client-cancel',
  'client-cancel-connection',
  'client-full',
  'client-restartable',
  'connection-lost',
  'dead-letters',
  'dead-letters-written',
  'event-many-patterns',
  'event-retries',
  'event-retries-waiting',
  'handover',
  'manual-acknowledgement',
  'poison',
  'retention-forgetting',
  'retention-groups',
  'retention-trimming',
  'server-cancellation',
  'server-deadlines',
  'server-recovery',
  'strays',
  'takeover-killed',
];

/** @type {import('jest').Config} */
const config = { ...base, testMatch: FILES.map((file) => `<rootDir>/test/e2e/${file}.test.ts`) };

export default config;
