import type { OutgoingEntry } from './entry.js';
import { toArgument } from './payload.js';

/** Entries that share some fields, as the script that adds many takes them. */
export interface EntryBatch {
  /** Names and values that all entries have. */
  shared: string[];
  /** The names of the fields that each entry has for itself. */
  ownFields: readonly string[];
  /** The values of these, entry after entry. */
  values: (string | Buffer)[];
}

const REQUEST_FIELDS = ['pattern', 'data', 'id'];
const EVENT_FIELDS = ['pattern', 'data'];

/** Begins a batch with an entry, whose `reply`, `ttl`, `codec` and `packet` all others must share. */
export function startBatch(entry: OutgoingEntry): EntryBatch {
  const shared: string[] = [];
  if (entry.reply !== undefined) {
    shared.push('reply', entry.reply);
  }
  if (entry.ttl !== undefined) {
    shared.push('ttl', String(entry.ttl));
  }
  if (entry.codec !== undefined) {
    shared.push('codec', entry.codec);
  }
  if (entry.packet) {
    shared.push('packet', '1');
  }
  const fields = entry.id === undefined ? EVENT_FIELDS : REQUEST_FIELDS;
  return { shared, ownFields: entry.headers ? [...fields, 'headers'] : fields, values: [] };
}

/** Whether an entry may go into a batch that was begun with `first`. */
export function fitsBatch(first: OutgoingEntry, entry: OutgoingEntry): boolean {
  return (
    entry.ttl === first.ttl &&
    entry.reply === first.reply &&
    entry.codec === first.codec &&
    entry.packet === first.packet &&
    (entry.headers === undefined) === (first.headers === undefined)
  );
}

/** Adds an entry that fits. */
export function addToBatch({ values }: EntryBatch, entry: OutgoingEntry): void {
  values.push(entry.pattern, toArgument(entry.data));
  if (entry.id !== undefined) {
    values.push(entry.id);
  }
  if (entry.headers) {
    values.push(JSON.stringify(entry.headers));
  }
}
