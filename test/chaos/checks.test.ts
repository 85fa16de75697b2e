import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { check, type Circumstances, type Disturbance } from './checks.js';
import { Ledger, type Remains } from './ledger.js';
import { Book, type ClientRecord, type HandlerRecord } from './records.js';

/* An account that never fails proves nothing: each rule is broken here once. */

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'redis-streams-books-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const CALM: Circumstances = {
  disturbances: [],
  killed: new Set(),
  timeout: 1_000,
  lease: 1_000,
  strict: false,
};

/** An event that went well, but for what is said otherwise. */
interface Story {
  client?: ClientRecord[];
  handlers?: HandlerRecord[];
  stored?: string[];
  deadIn?: 'mail';
}

const handled = (service: string, entry = '1-0'): HandlerRecord => {
  return { what: 'handled', id: 'm', service, entry, deliveries: 1 };
};

const WELL: Required<Omit<Story, 'deadIn'>> = {
  client: [
    { what: 'emitting', id: 'm' },
    { what: 'confirmed', id: 'm' },
  ],
  handlers: [handled('orders'), handled('mail')],
  stored: ['1-0'],
};

const ANSWERED: Story = {
  client: [
    { what: 'asking', id: 'm' },
    { what: 'answered', id: 'm' },
  ],
  handlers: [handled('orders')],
  stored: [],
};

const failed = (what: 'failed' | 'unconfirmed', code: string): ClientRecord => {
  return { what, id: 'm', code, message: 'as told' };
};

/** The rules that a story breaks. */
function broken(story: Story, circumstances: Partial<Circumstances> = {}): string[] {
  const { client, handlers, stored, deadIn } = { ...WELL, ...story };
  const books = {
    client: new Book(join(folder, 'client-1.1')),
    server: new Book(join(folder, 'orders-1.1')),
  };
  client.forEach((record) => books.client.write(record));
  handlers.forEach((record) => books.server.write(record));
  const remains: Remains = {
    stored: new Map([['m', new Set(stored)]]),
    dead: new Map(deadIn ? [[deadIn, ['m']]] : []),
  };
  return check(new Ledger(folder, remains), { ...CALM, ...circumstances }).map(({ rule }) => rule);
}

function outage(changes: Partial<Disturbance> = {}): Partial<Circumstances> {
  const now = Date.now();
  const disturbance = { fault: 'kill redis', from: now - 100, to: now + 1_000, wipes: false } as const;
  return { disturbances: [{ ...disturbance, outage: 'all', ...changes }] };
}

test('what went well breaks no rule', () => {
  expect(broken({})).toEqual([]);
});

test('an answered request breaks no rule', () => {
  expect(broken(ANSWERED)).toEqual([]);
});

const CASES: [what: string, story: Story, rule: string, circumstances?: Partial<Circumstances>][] = [
  ['an event that one service missed', { handlers: [handled('orders')] }, 'a confirmed event is handled'],
  ['an event that is not in the history', { stored: [] }, 'stored exactly once'],
  ['an event that was stored twice', { stored: ['1-0', '2-0'] }, 'stored exactly once'],
  [
    'a refused event that was stored',
    { client: [WELL.client[0]!, failed('unconfirmed', 'PUBLISH_REFUSED')] },
    'stored exactly once',
    outage(),
  ],
  ['a dead letter of what never fails', { deadIn: 'mail' }, 'only what always fails'],
  ['a publish that hangs', { client: [WELL.client[0]!] }, 'every publish succeeds or fails'],
  ['a request that hangs', { ...ANSWERED, client: [ANSWERED.client![0]!] }, 'one answer or one error'],
  [
    'a timeout without an outage',
    { ...ANSWERED, client: [ANSWERED.client![0]!, failed('failed', 'REQUEST_TIMEOUT')] },
    'a request fails only where',
  ],
  [
    'a timeout during the outage of another client',
    { ...ANSWERED, client: [ANSWERED.client![0]!, failed('failed', 'REQUEST_TIMEOUT')] },
    'a request fails only where',
    outage({ outage: 'target', member: 'client-2' }),
  ],
  ['an answer from nobody', { ...ANSWERED, handlers: [] }, 'what is answered was handled'],
  [
    'a request that was stored twice',
    { ...ANSWERED, handlers: [handled('orders'), handled('orders', '2-0')] },
    'a request is stored once',
  ],
  ['what nobody has sent', { client: [], stored: [] }, 'what is handled or dead was sent'],
  [
    'what was handled twice where it must not be',
    { handlers: [...WELL.handlers, handled('mail')] },
    'nothing is handled twice',
    { strict: true },
  ],
];

// In full: jest would take a parameter without a value for its callback.
const FULL_CASES = CASES.map(([what, story, rule, given = {}]) => [what, story, rule, given] as const);

test.each(FULL_CASES)('%s is found', (_, story, rule, circumstances) => {
  expect(broken(story, circumstances)).toEqual([expect.stringContaining(rule)]);
});

const FORGIVEN: [what: string, story: Story, circumstances: Partial<Circumstances>][] = [
  [
    'a timeout during an outage',
    { ...ANSWERED, client: [ANSWERED.client![0]!, failed('failed', 'REQUEST_TIMEOUT')] },
    outage(),
  ],
  ['a call of a client that was killed', { client: [WELL.client[0]!] }, { killed: new Set(['client-1.1']) }],
  ['an event that Redis has forgotten', { handlers: [], stored: [] }, outage({ wipes: true })],
  ['an event that was handled twice', { handlers: [...WELL.handlers, handled('mail')] }, {}],
];

test.each(FORGIVEN)('%s is forgiven', (_, story, circumstances) => {
  expect(broken(story, circumstances)).toEqual([]);
});
