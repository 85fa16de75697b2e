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
  const minReader = Number(found['minReader']);
  if (!(minReader <= FORMAT)) {
    throw new LayoutMismatchError(
      `The namespace '${keys.namespace}' needs readers of format ${found['minReader']}, and this version of ` +
        `nestjs-redis-streams reads up to ${FORMAT}. Upgrade it, or use another namespace.`,
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
