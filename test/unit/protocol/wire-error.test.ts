import { describe, expect, test } from '@jest/globals';
import { ConfigurationError } from '../../../lib/errors.js';
import { encodeError, toWireError } from '../../../lib/protocol/wire-error.js';

function onTheWire(error: unknown): unknown {
  return JSON.parse(encodeError(error));
}

describe('an Error', () => {
  test('becomes its name and message', () => {
    expect(onTheWire(new RangeError('too far'))).toEqual({
      status: 'error',
      name: 'RangeError',
      message: 'too far',
    });
  });

  test('keeps a code that is a string or a number, and no other', () => {
    const withCode = (code: unknown) => Object.assign(new Error('m'), { code });
    expect(onTheWire(withCode('ENOENT'))).toMatchObject({ code: 'ENOENT' });
    expect(onTheWire(withCode(0))).toMatchObject({ code: 0 });
    expect(onTheWire(withCode({ secret: 1 }))).not.toHaveProperty('code');
    expect(onTheWire(new ConfigurationError('m'))).toMatchObject({
      name: 'ConfigurationError',
      code: 'CONFIGURATION',
    });
  });

  test('never carries its stack, its cause or anything else that it holds', () => {
    const error = Object.assign(new Error('m', { cause: new Error('inner') }), { password: 'secret' });
    const text = encodeError(error);
    expect(JSON.parse(text)).toEqual({ status: 'error', name: 'Error', message: 'm' });
    expect(text).not.toContain('wire-error.test');
  });
});

describe('what is no Error', () => {
  test.each([
    ['an object', { status: 'error', message: 'Internal server error' }],
    ['a string', 'no'],
    ['a number', 42],
    ['true', true],
    ['a list', [1, 2]],
  ])('%s goes as it is', (_, error) => {
    expect(toWireError(error)).toBe(error);
    expect(onTheWire(error)).toEqual(error);
  });

  test.each([[undefined], [null], [''], [0], [false], [Number.NaN], [0n]])(
    '%p is an error all the same, though it is falsy',
    (error) => {
      expect(onTheWire(error)).toEqual({ status: 'error', message: String(error) });
    },
  );
});

describe('what JSON cannot carry', () => {
  const circular: Record<string, unknown> = {};
  circular['self'] = circular;
  test.each([
    ['a circular object', circular],
    ['a BigInt', { n: 1n }],
    ['a function', () => 1],
    ['a symbol', Symbol('s')],
    [
      'an object whose toJSON throws',
      {
        toJSON: () => {
          throw new Error('no');
        },
      },
    ],
    ['an object whose toJSON gives nothing', { toJSON: () => undefined }],
    ['an object whose toJSON gives null, which would be no error', { toJSON: () => null }],
    ['Infinity, which JSON writes as null', Infinity],
    ['a Date that is none, which JSON writes as null', new Date(Number.NaN)],
  ])('%s is replaced by an error that says so', (_, error) => {
    expect(onTheWire(error)).toMatchObject({ status: 'error', code: 'SERIALIZATION' });
  });
});
