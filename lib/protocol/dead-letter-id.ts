/** The id of a dead letter: the shard it lies in, and its entry's id there. */
export interface DeadLetterId {
  entry: string;
  shard: number;
}

/** In a namespace of several shards an entry's id does not say which of them it lies in, and two may have the same. */
export function formatDeadLetterId({ entry, shard }: DeadLetterId, shards: number): string {
  return shards === 1 ? entry : `${entry}@${shard}`;
}

/** The parts of an id, of which nothing is known but its form; `undefined` where that is not the form of ids of so many shards. */
export function parseDeadLetterId(id: string, shards: number): DeadLetterId | undefined {
  if (shards === 1) {
    return { entry: id, shard: 0 };
  }
  const [, entry, shard] = /^([^@]+)@(0|[1-9]\d{0,3})$/.exec(id) ?? [];
  return entry === undefined ? undefined : { entry, shard: Number(shard) };
}
