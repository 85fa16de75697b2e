import { crc16 } from './cluster/key-slot.js';

/** The shard of a text, an event's pattern or its key: the same in every process, whatever its language. */
export function shardOf(text: string, shards: number): number {
  return shards === 1 ? 0 : crc16(text) % shards;
}
