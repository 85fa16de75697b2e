import { LayoutMismatchError } from '../errors.js';
import type { CommandConnection } from './command-connection.js';
import type { Keys } from './keys.js';
import { execute } from './transaction.js';

/** The format of keys and entries that this version writes, and the newest that it reads. */
const FORMAT = 1;

/** What this version and its settings expect of a namespace. */
export interface Layout {
  /** The format in which the namespace was begun. */
  format: number;
  /** The lowest format a reader must know. */
  minReader: number;
  /** Over how many hash tags inboxes and topics are spread. */
  shards: number;
  /** How many partitions keyed events have. */
  partitions: number;
}

/** What users can choose of it. */
export type LayoutSettings = Pick<Layout, 'shards'>;

function expectedLayout(settings: LayoutSettings): Layout {
  return { format: FORMAT, minReader: FORMAT, partitions: 16, ...settings };
}

/**
 * Writes the layout where the namespace is new, and compares it where it is not. HSETNX for each field leaves the
 * first writer's values whoever comes second; in a transaction, so that nobody reads half a layout.
 * @returns whether the namespace was new, or had lost everything
 */
export async function checkLayout(
  connection: CommandConnection,
  keys: Keys,
  settings: LayoutSettings,
): Promise<boolean> {
  const expected = expectedLayout(settings);
  const transaction = connection.client.multi();
  for (const [field, value] of Object.entries(expected)) {
    transaction.hsetnx(keys.layout, field, String(value));
  }
  transaction.hgetall(keys.layout);
  const answers = await execute(transaction);
  compare(keys, expected, answers[answers.length - 1] as Record<string, string>);
  return answers[0] === 1;
}

/**
 * The same for a layout that was there before: one command where it still is.
 * @returns whether the namespace has lost everything
 */
export async function recheckLayout(
  connection: CommandConnection,
  keys: Keys,
  settings: LayoutSettings,
): Promise<boolean> {
  const found = await connection.client.hgetall(keys.layout);
  if (Object.keys(found).length === 0) {
    await checkLayout(connection, keys, settings);
    return true;
  }
  compare(keys, expectedLayout(settings), found);
  return false;
}

function compare(keys: Keys, expected: Layout, found: Record<string, string>): void {
  assertReadable(keys, found);
  const changing = parseChange(found[CHANGING]);
  if (changing) {
    throw new LayoutMismatchError(
      `The shards of namespace '${keys.namespace}' are being changed from ${changing.from} to ${changing.to}: start ` +
        `when that is done. Where it was interrupted, RedisStreamsLayout.change({ shards: ${changing.to} }) goes on with it.`,
    );
  }
  for (const field of ['shards', 'partitions'] as const) {
    if (found[field] !== String(expected[field])) {
      throw new LayoutMismatchError(
        `The namespace '${keys.namespace}' has ${found[field]} ${field} (key '${keys.layout}'), and this process expects ` +
          `${expected[field]}: they would not find each other's messages. Give '${field}: ${found[field]}' everywhere, or use ` +
          `another namespace; RedisStreamsLayout changes a namespace whose messages have been handled.`,
      );
    }
  }
}

/** Throws a `LayoutMismatchError` for a format that this version does not know. */
function assertReadable(keys: Keys, found: Record<string, string>): void {
  const minReader = Number(found['minReader']);
  if (!(minReader <= FORMAT)) {
    throw new LayoutMismatchError(
      `The namespace '${keys.namespace}' needs readers of format ${found['minReader']}, and this version of ` +
        `nestjs-redis-streams reads up to ${FORMAT}. Upgrade it, or use another namespace.`,
    );
  }
}

/** The field that is there while a namespace is being changed. Other versions know it by `shards`, which is 0 then. */
const CHANGING = 'changing';
const NO_SHARDS = '0';

/** A change of a namespace's layout. */
export interface LayoutChange {
  from: number;
  to: number;
  /** `checking`: nothing has been moved, and it may be taken back. `moving`: it has to be brought to its end. */
  phase: 'checking' | 'moving';
}

/** A layout as it lies in Redis. */
export interface StoredLayout {
  shards: number;
  /** What it is being changed to. */
  changing: LayoutChange | undefined;
}

/** The layout of a namespace; `undefined` where there is none. Throws a `LayoutMismatchError` for a format that is not known. */
export async function readLayout(
  connection: CommandConnection,
  keys: Keys,
): Promise<StoredLayout | undefined> {
  const found = await connection.client.hgetall(keys.layout);
  if (Object.keys(found).length === 0) {
    return undefined;
  }
  assertReadable(keys, found);
  const changing = parseChange(found[CHANGING]);
  return { shards: changing?.from ?? Number(found['shards']), changing };
}

/** Writes into the layout of a shard that it is being changed: nobody starts with it, and who runs stops. */
export async function lockLayout(
  connection: CommandConnection,
  keys: Keys,
  { from, to, phase }: LayoutChange,
): Promise<void> {
  const expected = expectedLayout({ shards: from });
  const { layout } = keys;
  const transaction = connection.client.multi();
  for (const [field, value] of Object.entries(expected)) {
    transaction.hsetnx(layout, field, String(value));
  }
  transaction.hset(layout, 'shards', NO_SHARDS, CHANGING, `${from} ${to} ${phase}`);
  await execute(transaction);
}

/** Ends that, with so many shards. */
export async function unlockLayout(connection: CommandConnection, keys: Keys, shards: number): Promise<void> {
  const { layout } = keys;
  await execute(connection.client.multi().hset(layout, 'shards', shards).hdel(layout, CHANGING));
}

function parseChange(text: string | undefined): LayoutChange | undefined {
  const [, from, to, phase] = /^(\d+) (\d+) (checking|moving)$/.exec(text ?? '') ?? [];
  return phase === undefined
    ? undefined
    : { from: Number(from), to: Number(to), phase: phase as LayoutChange['phase'] };
}
