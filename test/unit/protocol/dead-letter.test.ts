import { describe, expect, test } from '@jest/globals';
import {
  describeFailure,
  encodeDeadLetterMeta,
  parseDeadLetter,
  type DeadLetterMeta,
} from '../../../lib/protocol/dead-letter.js';

const META: DeadLetterMeta = {
  stream: '{nest:0}:topic:placed',
  entryId: '1-0',
  reason: 'failed',
  errorName: 'TypeError',
  errorMessage: 'x is not a function',
  deliveries: 5,
  instance: 'host-1-a',
};

/** As Redis gives an entry back: every name and value a Buffer. */
function stored(...fields: (string | Buffer)[]): Buffer[] {
  return fields.map((field) => (typeof field === 'string' ? Buffer.from(field) : field));
}

function letter(...original: (string | Buffer)[]) {
  return parseDeadLetter('2-0', stored(...encodeDeadLetterMeta(META), ...original));
}

describe('encoding', () => {
  test('the meta fields come in their order', () => {
    expect(encodeDeadLetterMeta({ ...META, errorStack: 'at x' })).toEqual([
      ...['dead-stream', '{nest:0}:topic:placed'],
      ...['dead-id', '1-0'],
      ...['dead-reason', 'failed'],
      ...['dead-name', 'TypeError'],
      ...['dead-message', 'x is not a function'],
      ...['dead-stack', 'at x'],
      ...['dead-deliveries', '5'],
      ...['dead-instance', 'host-1-a'],
    ]);
  });

  test('a stack is left out where there is none', () => {
    expect(encodeDeadLetterMeta(META)).not.toContain('dead-stack');
  });

  test('an error that carries a document is cut', () => {
    const fields = encodeDeadLetterMeta({
      ...META,
      errorMessage: 'x'.repeat(10_000),
      errorStack: 'y'.repeat(100_000),
    });
    expect(fields[fields.indexOf('dead-message') + 1]).toBe(`${'x'.repeat(4_096)}… (10000 characters)`);
    expect(fields[fields.indexOf('dead-stack') + 1]).toBe(`${'y'.repeat(16_384)}… (100000 characters)`);
  });
});

describe('describing what was thrown', () => {
  test('an error: its name, its message, and its stack where it is wanted', () => {
    const error = new RangeError('too far');
    expect(describeFailure(error, false)).toEqual({ errorName: 'RangeError', errorMessage: 'too far' });
    expect(describeFailure(error, true).errorStack).toBe(error.stack);
  });

  const circle: Record<string, unknown> = {};
  circle['self'] = circle;
  test.each([
    ['what Nest makes of an error', { status: 'error', message: 'Forbidden' }, 'Error', 'Forbidden'],
    ['another object', { reason: 7 }, 'Error', '{"reason":7}'],
    ['a string', 'no', 'string', 'no'],
    ['null', null, 'object', 'null'],
    ['nothing', undefined, 'undefined', 'undefined'],
    ['a symbol', Symbol('s'), 'symbol', 'Symbol(s)'],
    ['a bigint', 1n, 'bigint', '1'],
    ['a circle', circle, 'Error', 'An error that cannot be described.'],
    [
      'a getter that throws',
      {
        get message(): string {
          throw new Error('no');
        },
      },
      'Error',
      'An error that cannot be described.',
    ],
  ])('%s', (_, thrown, errorName, errorMessage) => {
    expect(describeFailure(thrown, true)).toEqual({ errorName, errorMessage });
  });
});

describe('reading', () => {
  test('what was noted, and the message', () => {
    const data = Buffer.from([0xff, 0, 0x0a]);
    const fields = ['pattern', 'placed', 'data', data, 'headers', '{"a":"b"}', 'codec', 'own', 'extra', 'x'];
    expect(letter(...fields)).toEqual({
      id: '2-0',
      ...META,
      errorStack: undefined,
      isCut: false,
      pattern: 'placed',
      requestId: undefined,
      headers: { a: 'b' },
      codec: 'own',
      data,
      fields: [
        ['pattern', Buffer.from('placed')],
        ['data', data],
        ['headers', Buffer.from('{"a":"b"}')],
        ['codec', Buffer.from('own')],
        ['extra', Buffer.from('x')],
      ],
    });
  });

  test('a request has its id', () => {
    expect(letter('pattern', 'sum', 'id', 'i-1', 'reply', 'c', 'ttl', '5')).toMatchObject({
      requestId: 'i-1',
    });
  });

  test.each([
    ['no pattern', ['data', '1'], { pattern: undefined, data: Buffer.from('1') }],
    ['headers that are not JSON', ['pattern', 'p', 'headers', '{'], { pattern: 'p', headers: undefined }],
    ['headers with __proto__', ['pattern', 'p', 'headers', '{"__proto__":"x"}'], { headers: undefined }],
    ['an id that is none', ['pattern', 'p', 'id', 'a b', 'reply', '*'], { requestId: undefined }],
    ['a name without a value', ['pattern', 'p', 'data'], { pattern: 'p', data: undefined }],
    ['nothing', [], { pattern: undefined, fields: [] }],
  ])('a malformed message can be seen: %s', (_, fields, expected) => {
    expect(letter(...fields)).toMatchObject({ ...META, ...expected });
  });

  test('a field of the message that is called like ours is the message’s', () => {
    const { reason, fields } = letter('pattern', 'p', 'dead-reason', 'rejected');
    expect(reason).toBe('failed');
    expect(fields.map(([name]) => name)).toEqual(['pattern', 'dead-reason']);
  });

  test('a message that begins with such a field does not replace what we noted', () => {
    expect(letter('dead-reason', 'rejected', 'pattern', 'p')).toMatchObject({
      reason: 'failed',
      pattern: 'p',
    });
  });

  test('what another version noted besides is passed over', () => {
    const fields = stored(
      ...encodeDeadLetterMeta(META),
      'dead-colour',
      'red',
      'dead-cut',
      '1',
      'pattern',
      'p',
    );
    expect(parseDeadLetter('2-0', fields)).toMatchObject({ ...META, isCut: true, pattern: 'p' });
  });

  test('an entry that is no dead letter has no reason', () => {
    expect(parseDeadLetter('2-0', stored('pattern', 'p', 'constructor', 'x'))).toMatchObject({
      reason: 'unknown',
      stream: '',
      deliveries: 0,
      pattern: 'p',
    });
    expect(parseDeadLetter('2-0', [])).toMatchObject({ reason: 'unknown', fields: [] });
  });
});
