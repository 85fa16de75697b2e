/** @type {import('jest').Config} */
const config = {
  testEnvironment: 'node',
  testMatch: ['<rootDir>/test/{unit,e2e}/**/*.test.ts'],
  modulePathIgnorePatterns: ['<rootDir>/dist', '<rootDir>/build', '<rootDir>/test/nest11/package.json'],
  globalSetup: '<rootDir>/test/support/redis-binary.ts',
  extensionsToTreatAsEsm: ['.ts'],
  moduleNameMapper: {
    '^nestjs-redis-streams$': '<rootDir>/lib/index.ts',
    '^(\\.{1,2}/.*)\\.js$': '$1',
  },
  transform: {
    '^.+\\.ts$': [
      '@swc/jest',
      {
        jsc: {
          parser: { syntax: 'typescript', decorators: true },
          transform: { legacyDecorator: true, decoratorMetadata: true },
          target: 'es2022',
        },
        module: { type: 'es6' },
      },
    ],
  },
  coverageProvider: 'v8',
  collectCoverageFrom: ['lib/**/*.ts'],
  // Most tests wait, for Redis or for time to pass; more at once would starve those whose leases are short.
  maxWorkers: 2,
  // Every file brings a copy of all modules along, and what they leave is not given back.
  workerIdleMemoryLimit: '1500MB',
  testTimeout: 20_000,
};

export default config;
