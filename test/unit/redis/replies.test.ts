import { describe, expect, test } from '@jest/globals';
import {
  entryTime,
  infoField,
  isEarlier,
  nextEntryId,
  parseMadeGroup,
  parseAdded,
  parseDeadLetterOutcome,
  parseEntries,
  parseMadeRoom,
  parsePendingIds,
  parseReplayOutcome,
  parseStreams,
  parseSubscriptions,
  parseTime,
  subscriptionField,
} from '../../../lib/redis/replies.js';

function buffers(...texts: string[]): Buffer[] {
  return texts.map((text) => Buffer.from(text));
}

describe('XREAD and XREADGROUP', () => {
  test('several streams with several entries', () => {
    const [a, b] = buffers('{ns:0}:inbox:a', 'b');
    const reply = [
      [
        a,
        [
          [Buffer.from('1-0'), buffers('pattern', 'x')],
          [Buffer.from('1-1'), buffers('k', 'v', 'k', 'v')],
        ],
      ],
      [b, [[Buffer.from('2-0'), buffers('data', '')]]],
    ];
    expect(parseStreams(reply)).toEqual([
      {
        stream: '{ns:0}:inbox:a',
        entries: [
          { id: '1-0', fields: buffers('pattern', 'x') },
          { id: '1-1', fields: buffers('k', 'v', 'k', 'v') },
        ],
      },
      { stream: 'b', entries: [{ id: '2-0', fields: buffers('data', '') }] },
    ]);
  });

  test('nothing within BLOCK', () => {
    expect(parseStreams(null)).toEqual([]);
    expect(parseStreams(undefined)).toEqual([]);
  });

  test('a stream without entries, as an own history that is empty', () => {
    expect(parseStreams([[Buffer.from('s'), []]])).toEqual([{ stream: 's', entries: [] }]);
  });

  test('an entry that was deleted while it was pending: nil, or, from Redis 7 on, no fields', () => {
    const reply = [
      [
        Buffer.from('s'),
        [
          [Buffer.from('1-0'), null],
          [Buffer.from('1-1'), []],
        ],
      ],
    ];
    expect(parseStreams(reply)[0]!.entries).toEqual([
      { id: '1-0', fields: undefined },
      { id: '1-1', fields: [] },
    ]);
  });

  test('binary fields stay as they are, a name with unicode is read as one', () => {
    const bytes = Buffer.from([0, 0xff, 0x80]);
    const [batch] = parseStreams([[Buffer.from('ns:ü'), [[Buffer.from('1-0'), [bytes, bytes]]]]]);
    expect(batch!.stream).toBe('ns:ü');
    expect(batch!.entries[0]!.fields![1]).toBe(bytes);
  });
});

describe('TIME', () => {
  test('texts and numbers, to the microsecond', () => {
    expect(parseTime(['1700000000', '123456'])).toBeCloseTo(1_700_000_000_123.456, 3);
    expect(parseTime([1_700_000_000, 0])).toBe(1_700_000_000_000);
  });
});

describe('entry ids', () => {
  test('hold the time', () => {
    expect(entryTime('1700000000123-5')).toBe(1_700_000_000_123);
    expect(entryTime('0-0')).toBe(0);
    // What is no id has no time, which is not 1970.
    expect([entryTime(''), entryTime('x-1')]).toEqual([Number.NaN, Number.NaN]);
  });

  test.each([
    ['0-0', '0-1'],
    ['5-9', '5-10'],
    ['1700000000123-0', '1700000000123-1'],
    ['5-9007199254740993', '5-9007199254740994'],
    ['5-18446744073709551614', '5-18446744073709551615'],
    ['5', '5-1'],
    ['5-18446744073709551615', '6-0'],
    ['9007199254740993-18446744073709551615', '9007199254740994-0'],
  ])('the one after %s is %s', (id, next) => {
    expect(nextEntryId(id)).toBe(next);
  });
});

describe('the order of entry ids', () => {
  test.each([
    ['0-0', '0-1'],
    ['5-9', '5-10'],
    ['9-5', '10-0'],
    ['999999999999-99', '1700000000123-0'],
    ['5-9007199254740992', '5-9007199254740993'],
    ['9007199254740992-5', '9007199254740993-0'],
    ['5', '5-1'],
  ])('%s comes before %s, and not the other way round', (id, other) => {
    expect([isEarlier(id, other), isEarlier(other, id), isEarlier(id, id)]).toEqual([true, false, false]);
  });
});

describe('XPENDING with a range', () => {
  test('the ids, whoever holds them and however often', () => {
    const reply = [
      ['1-0', 'consumer', 5000, 1],
      ['1-1', '', 0, 12],
    ];
    expect(parsePendingIds(reply)).toEqual(['1-0', '1-1']);
  });

  test('nothing pending', () => {
    expect(parsePendingIds([])).toEqual([]);
    expect(parsePendingIds(null)).toEqual([]);
  });
});

describe('our scripts', () => {
  test('many entries added, with and without the right to know the length', () => {
    const range = { first: '1-0', last: '1-4' };
    expect(parseAdded([5, '1-0', '1-4'])).toEqual({ length: 5, range });
    expect(parseAdded([-1, '1-0', '1-4'])).toEqual({ length: undefined, range });
  });

  test('room made, found, and refused', () => {
    expect(parseMadeRoom([3, 1])).toEqual({ hasRoom: true, cut: 3, isNeeded: true });
    expect(parseMadeRoom([0, 0])).toEqual({ hasRoom: true, cut: 0, isNeeded: false });
    expect(parseMadeRoom([-1, 1])).toEqual({ hasRoom: false, cut: 0, isNeeded: true });
  });
});

describe('INFO', () => {
  const six =
    '# Server\r\nredis_version:6.2.6\r\nredis_mode:standalone\r\n\r\n# Memory\r\nmaxmemory_policy:noeviction\r\n';
  const valkey =
    '# Server\nredis_version:7.2.4\nserver_name:valkey\nvalkey_version:8.0.1\nconfig_file:/etc/a:b.conf\nempty:\n';

  test('a line, whatever ends it', () => {
    expect(infoField(six, 'redis_version')).toBe('6.2.6');
    expect(infoField(six, 'maxmemory_policy')).toBe('noeviction');
    expect(infoField(valkey, 'redis_version')).toBe('7.2.4');
  });

  test('a value with colons, and an empty one', () => {
    expect(infoField(valkey, 'config_file')).toBe('/etc/a:b.conf');
    expect(infoField(valkey, 'empty')).toBe('');
  });

  test('no part of a name, no missing one, no headline', () => {
    expect(infoField(valkey, 'version')).toBeUndefined();
    expect(infoField(valkey, 'redis')).toBeUndefined();
    expect(infoField(six, '# Server')).toBeUndefined();
    expect(infoField('', 'redis_version')).toBeUndefined();
  });
});

describe('the subscriptions', () => {
  test('a service and its pattern, in which there may be spaces', () => {
    const reply = { version: '7', 'a told': '1700000000000 5000', 'b x y  z': '1700000000001', 'c ': '0 1' };
    expect(parseSubscriptions(reply)).toEqual([
      {
        service: 'a',
        pattern: 'told',
        isBroadcast: false,
        field: 'a told',
        lastSeen: 1_700_000_000_000,
        forgetAfter: 5_000,
        value: '1700000000000 5000',
      },
      {
        service: 'b',
        pattern: 'x y  z',
        isBroadcast: false,
        field: 'b x y  z',
        lastSeen: 1_700_000_000_001,
        forgetAfter: undefined,
        value: '1700000000001',
      },
      {
        service: 'c',
        pattern: '',
        isBroadcast: false,
        field: 'c ',
        lastSeen: 0,
        forgetAfter: 1,
        value: '0 1',
      },
    ]);
  });

  test('the service of a broadcast is in braces, and what is written is read', () => {
    for (const isBroadcast of [true, false]) {
      const field = subscriptionField('a', 'orders.>', isBroadcast);
      expect(field).toBe(isBroadcast ? '{a} orders.>' : 'a orders.>');
      expect(parseSubscriptions({ [field]: '5 6' })).toEqual([
        { service: 'a', pattern: 'orders.>', isBroadcast, field, lastSeen: 5, forgetAfter: 6, value: '5 6' },
      ]);
    }
  });

  test('what is no subscription is passed over, and a time that is none is long ago', () => {
    expect(parseSubscriptions({ version: '1', ' x': '1' })).toEqual([]);
    expect(parseSubscriptions({ 'a b': 'soon' })).toMatchObject([{ lastSeen: 0, forgetAfter: undefined }]);
  });
});

describe('a group that was made', () => {
  test('where it starts, and whether it was there before', () => {
    expect(parseMadeGroup(['0-0', 0])).toEqual({ from: '0-0', hadFloor: false });
    expect(parseMadeGroup(['5-18446744073709551615', 1])).toEqual({
      from: '5-18446744073709551615',
      hadFloor: true,
    });
  });
});

test('XRANGE', () => {
  expect(parseEntries([])).toEqual([]);
  expect(parseEntries([[Buffer.from('1-0'), buffers('a', 'b')]])).toEqual([
    { id: '1-0', fields: buffers('a', 'b') },
  ]);
});

test('the script that moves an entry to the dead letters', () => {
  expect(parseDeadLetterOutcome(['moved', '1-0', 2])).toEqual({ outcome: 'moved', id: '1-0', dropped: 2 });
  expect(parseDeadLetterOutcome(['not-owned'])).toEqual({ outcome: 'not-owned' });
  expect(parseDeadLetterOutcome(['missing'])).toEqual({ outcome: 'missing' });
});

test('the script that replays a dead letter', () => {
  expect(parseReplayOutcome(['replayed', '1-0'])).toEqual({ outcome: 'replayed', entryId: '1-0' });
  expect(parseReplayOutcome(['missing'])).toEqual({ outcome: 'missing' });
  expect(parseReplayOutcome(['empty'])).toEqual({ outcome: 'empty' });
});
