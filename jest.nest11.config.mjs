import base from './jest.config.mjs';

/** The core of the e2e tests on Nest 11 and ioredis 5, both CommonJS. */
const old = '<rootDir>/test/nest11/node_modules';

/** @type {import('jest').Config} */
const config = {
  ...base,
  testMatch: ['<rootDir>/test/e2e/core/**/*.test.ts'],
  moduleNameMapper: {
    '^@nestjs/(common|core|microservices|platform-express)(/.*)?$': `${old}/@nestjs/$1$2`,
    '^ioredis$': `${old}/ioredis`,
    ...base.moduleNameMapper,
  },
};

export default config;
