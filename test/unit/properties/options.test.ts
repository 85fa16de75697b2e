import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { ConfigurationError } from '../../../lib/errors.js';
import { resolveHandlerOptions } from '../../../lib/handler-options.js';
import {
  assertTimeout,
  CLIENT_RULES,
  MODULE_RULES,
  resolveClientOptions,
  resolveModuleOptions,
  resolveServerOptions,
  SERVER_RULES,
} from '../../../lib/options.js';
import { anything, isPrototypeClean, text } from './arbitraries.js';

const number = fc.oneof(
  fc.integer(),
  fc.integer({ min: 1, max: 1_000 }),
  fc.double(),
  fc.integer().map(String),
);
const backoff = fc.record(
  {
    type: fc.oneof(fc.constantFrom('exponential', 'fixed'), text),
    base: number,
    max: number,
    delay: number,
  },
  { requiredKeys: [] },
);
const group = fc.oneof(
  fc.dictionary(
    fc.oneof(fc.constantFrom('maxDeliveries', 'backoff', 'maxLength', 'stack'), text),
    fc.oneof(number, backoff, fc.boolean(), anything),
    { maxKeys: 3 },
  ),
  backoff,
);

/** Values for an option: often one that could pass. */
const value = fc.oneof(
  number,
  group,
  text,
  fc.constantFrom(
    'after-handler',
    'on-receipt',
    'manual',
    'fail',
    'drop-oldest',
    'redis://localhost',
    'shop',
  ),
  fc.constantFrom(
    undefined,
    null,
    [],
    ['maxDeliveries'],
    () => 1,
    { serialize: () => 1, deserialize: () => 1 },
    { name: 'own', encode: () => 'x', decode: () => 1 },
  ),
  anything,
);

const kinds = [
  ['a server', resolveServerOptions, SERVER_RULES],
  ['a client', resolveClientOptions, CLIENT_RULES],
  ['a module', resolveModuleOptions, MODULE_RULES],
] as const;

describe.each(kinds)('%s', (_, resolve, rules) => {
  const names = Object.keys(rules);
  const resolveAny = resolve as (options: unknown) => Record<string, unknown>;

  /** A single value for each option: else one fault would hide what the others do. */
  const one = fc.tuple(fc.constantFrom(...names), value).map(([name, given]) => ({ [name]: given }));
  const several = fc.dictionary(fc.oneof(fc.constantFrom(...names), text), value, { maxKeys: 3 });

  test('any options are resolved whole, or are a ConfigurationError', () => {
    const seen = { resolved: 0, refused: 0 };
    fc.assert(
      fc.property(fc.oneof(one, several, anything), (options) => {
        let resolved: Record<string, unknown>;
        try {
          resolved = resolveAny(options);
        } catch (error) {
          expect(error).toBeInstanceOf(ConfigurationError);
          expect((error as Error).message.length).toBeLessThan(1_000);
          seen.refused++;
          return;
        }
        seen.resolved++;
        expect(Object.keys(resolved)).toEqual(names);
        // What was given counts, and only what was not is filled in.
        for (const [name, given] of Object.entries(options as object)) {
          const isGroup = name === 'retry' || name === 'deadLetters';
          if (given !== undefined) {
            expect(isGroup && Array.isArray(given)).toBe(false);
            expect(resolved[name]).toEqual(isGroup ? expect.objectContaining(settled(given)) : given);
          }
        }
        // Resolving what was resolved changes nothing.
        expect(resolveAny(resolved)).toEqual(resolved);
      }),
      { numRuns: 300 },
    );
    expect(isPrototypeClean()).toBe(true);
    expect(Math.min(seen.resolved, seen.refused)).toBeGreaterThan(20);
  });

  test('a name that is no option is refused, also one that every object has', () => {
    const strange = text.filter((name) => !Object.hasOwn(rules, name));
    fc.assert(
      fc.property(strange, value, (name, given) => {
        const options = Object.defineProperty({}, name, { value: given, enumerable: true });
        expect(() => resolveAny(options)).toThrow(ConfigurationError);
      }),
    );
  });

  test('defaults stay what they are, whatever is done to what was resolved', () => {
    const before = resolveAny({});
    fc.assert(
      fc.property(one, (options) => {
        try {
          const resolved = resolveAny(options);
          for (const name of ['retry', 'deadLetters']) {
            Object.assign(resolved[name] ?? {}, { maxDeliveries: -1, maxLength: -1 });
          }
        } catch (error) {
          expect(error).toBeInstanceOf(ConfigurationError);
        }
        expect(resolveAny({})).toEqual(before);
      }),
      { numRuns: 50 },
    );
  });
});

test('the retries of a handler are resolved whole, or are a ConfigurationError', () => {
  const { retry: defaults } = resolveServerOptions({});
  fc.assert(
    fc.property(fc.oneof(group, value), (given) => {
      try {
        const { retry } = resolveHandlerOptions({ retry: given }, { retry: defaults }, 'p');
        expect(Object.keys(retry).toSorted()).toEqual(['backoff', 'maxDeliveries']);
        expect(Number.isInteger(retry.maxDeliveries) && retry.maxDeliveries > 0).toBe(true);
      } catch (error) {
        expect(error).toBeInstanceOf(ConfigurationError);
      }
    }),
    { numRuns: 300 },
  );
});

test('a timeout of a record is a whole number of milliseconds that a timer can wait, or a ConfigurationError', () => {
  fc.assert(
    fc.property(value, (given) => {
      const isTimeout = Number.isInteger(given) && (given as number) >= 1 && (given as number) < 2 ** 31;
      if (isTimeout) {
        assertTimeout(given);
      } else {
        expect(() => assertTimeout(given)).toThrow(ConfigurationError);
      }
    }),
  );
});

function settled(given: unknown): Record<string, unknown> {
  return Object.fromEntries(Object.entries(given as object).filter(([, member]) => member !== undefined));
}
