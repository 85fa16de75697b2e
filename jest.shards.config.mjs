import base from './jest.config.mjs';
import process from 'node:process';

/** The core of the e2e tests once more, with every namespace spread over three shards of one Redis. */
process.env.TEST_SHARDS = '3';

/** @type {import('jest').Config} */
const config = {
  ...base,
  testMatch: ['<rootDir>/test/e2e/core/**/*.test.ts'],
};

export default config;
