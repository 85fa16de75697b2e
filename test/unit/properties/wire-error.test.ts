import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { encodeError, toWireError } from '../../../lib/protocol/wire-error.js';
import { anything, text } from './arbitraries.js';

/** What nobody should throw, and somebody does. */
const nasty = fc.constantFrom<unknown>(
  Infinity,
  new Date(Number.NaN),
  Object.assign(new Error('m'), { message: 1n }),
  Object.create(null),
  { toJSON: () => null },
  { toJSON: () => '' },
  {
    toJSON: () => {
      throw new Error('no');
    },
  },
  {
    get code(): never {
      throw new Error('no');
    },
  },
  Object.defineProperty(new Error('m'), 'message', {
    get: () => {
      throw new Error('no');
    },
  }),
  new Proxy(
    {},
    {
      getPrototypeOf: () => {
        throw new Error('no');
      },
    },
  ),
  new Number(0),
  new String(''),
  new Boolean(false),
);
const ownError = fc
  .tuple(text, text, fc.oneof(text, fc.integer(), anything))
  .map(([name, message, code]) => Object.assign(new Error(message), { name, code }));
const thrown = fc.oneof(anything, ownError, nasty);

test('anything that is thrown becomes JSON, and an error to whoever reads it', () => {
  fc.assert(
    fc.property(thrown, (error) => {
      const read: unknown = JSON.parse(encodeError(error));
      // To Nest's clients a falsy error is none: the failure would look like success.
      expect(Boolean(read)).toBe(true);
    }),
    { numRuns: 500 },
  );
});

test('of an Error go its name, message and code, and nothing else', () => {
  fc.assert(
    fc.property(ownError, text, (error, secret) => {
      Object.assign(error, { secret, cause: new Error(secret) });
      const { code } = error;
      const isCode = typeof code === 'string' || typeof code === 'number';
      expect(toWireError(error)).toEqual({
        status: 'error',
        name: error.name,
        message: error.message,
        ...(isCode ? { code } : {}),
      });
    }),
  );
});

test('what JSON carries, and is true, goes as it is', () => {
  const value = fc.jsonValue().filter(Boolean);
  fc.assert(
    fc.property(value, (error) => {
      expect(JSON.parse(encodeError(error))).toEqual(JSON.parse(JSON.stringify(error)));
    }),
  );
});
