import { isEarlier } from '../../../lib/redis/replies.js';
import type { GroupModel, ModelEntry } from './group-model.js';
import type { StreamSnapshot } from './stream-system.js';

/**
 * Holds a system against the model: *published = new + acknowledged + dead + pending*, each entry in exactly one of
 * them, with the consumer and the delivery count that it should have. Throws an Error that lists what is wrong.
 *
 * What is acknowledged leaves no trace but its absence: it is what the model says is, and is nowhere else.
 */
export function checkAccount(model: GroupModel, snapshot: StreamSnapshot): void {
  const { stream, lastDelivered, pending, dead } = snapshot;
  const places = new Map<string, string[]>();
  const put = (id: string, place: string) => places.set(id, [...(places.get(id) ?? []), place]);
  stream.filter((id) => isEarlier(lastDelivered, id)).forEach((id) => put(id, 'new'));
  pending.forEach(({ id, consumer, deliveries }) => put(id, pendingFor(consumer, deliveries)));
  dead.forEach((id) => put(id, 'dead'));

  const kept = new Set(stream);
  const faults = model.entries.flatMap((entry) => {
    const expected = placeOf(entry);
    const found = places.get(entry.id)?.join(' and ') ?? 'acknowledged';
    places.delete(entry.id);
    return [
      ...(found === expected ? [] : [`${entry.id} is ${found}, and should be ${expected}`]),
      ...(isNeeded(entry) && !kept.has(entry.id) ? [`${entry.id} is still needed, and was trimmed`] : []),
    ];
  });
  places.forEach((found, id) => faults.push(`${id} is ${found.join(' and ')}, and was never published`));
  if (faults.length > 0) {
    throw new Error(`The account does not add up:\n  ${faults.join('\n  ')}`);
  }
}

/** What must be so right after a trim: nothing is left before the first entry that is still needed. */
export function checkTrimmed(model: GroupModel, { stream }: StreamSnapshot): void {
  const [first] = stream;
  const needed = model.entries.find(isNeeded)?.id;
  if (first !== needed) {
    throw new Error(`After a trim the stream begins with ${first}, and the first entry needed is ${needed}.`);
  }
}

function placeOf({ state, deliveries }: ModelEntry): string {
  return state.kind === 'pending' ? pendingFor(state.consumer, deliveries) : state.kind;
}

function pendingFor(consumer: string, deliveries: number): string {
  return `pending for '${consumer}' (deliveries: ${deliveries})`;
}

function isNeeded({ state }: ModelEntry): boolean {
  return state.kind === 'new' || state.kind === 'pending';
}
