import base from './jest.config.mjs';

/** The short form of the chaos scenarios: one after the other, since they take all of the machine. */

/** @type {import('jest').Config} */
const config = {
  ...base,
  testMatch: ['<rootDir>/test/chaos/**/*.test.ts'],
  maxWorkers: 1,
  testTimeout: 120_000,
};

export default config;
