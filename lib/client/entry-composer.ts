import type { ReadPacket } from '@nestjs/microservices';
import { ConfigurationError, PayloadTooLargeError } from '../errors.js';
import type { ResolvedClientOptions } from '../options.js';
import { encodeValue } from '../protocol/codec.js';
import { areHeaders, type MessageHeaders, type OutgoingEntry } from '../protocol/entry.js';
import { JSON_CODEC } from '../protocol/json.codec.js';
import { exceeds, payloadBytes, type Payload } from '../protocol/payload.js';
import { isPromise } from '../util/promise.js';
import type { RedisStreamsRecord } from './record.js';

/** A packet, as Nest's `createPacket` makes it; `metadata` is there from Nest 12.0.4 on. */
export type OutgoingPacket = ReadPacket<unknown> & { metadata?: MessageHeaders };

/** Makes entries out of a client's packets: everything of them that does not depend on when they are written. */
export class EntryComposer {
  /** @param normalize Nest's rule by which a pattern that is no string becomes one */
  constructor(
    private readonly options: ResolvedClientOptions,
    private readonly normalize: (pattern: unknown) => string,
  ) {}

  /**
   * Throws, or rejects with, a `ConfigurationError`, a `SerializationError` or a `PayloadTooLargeError`.
   * @param record the packet's data, if it is one
   * @param newId gives a request's id where it must be known by now; `undefined` for an event
   */
  compose(
    packet: OutgoingPacket,
    record: RedisStreamsRecord | undefined,
    newId: (() => string) | undefined,
  ): OutgoingEntry | Promise<OutgoingEntry> {
    const data: unknown = record ? record.data : packet.data;
    const pattern = this.routeOf(packet);
    const headers = mergeHeaders(packet.metadata, record?.headers);
    if (!this.options.serializer) {
      return this.encode(pattern, data, headers, undefined, false);
    }
    // A serializer tells a request from an event by its id.
    const id = newId?.();
    const whole = id === undefined ? { ...packet, data } : { ...packet, data, id };
    const serialized: unknown = this.options.serializer.serialize(whole, { pattern });
    return isPromise(serialized)
      ? serialized.then((value: unknown) => this.encode(pattern, value, headers, id, true))
      : this.encode(pattern, serialized, headers, id, true);
  }

  private encode(
    pattern: string,
    value: unknown,
    headers: MessageHeaders | undefined,
    id: string | undefined,
    packet: boolean,
  ): OutgoingEntry {
    const { codec, maxPayloadBytes } = this.options;
    const data: Payload = encodeValue(codec, value, `The data for '${pattern}'`);
    if (exceeds(data, maxPayloadBytes)) {
      throw new PayloadTooLargeError(pattern, payloadBytes(data), maxPayloadBytes);
    }
    return {
      pattern,
      data,
      id,
      reply: undefined,
      ttl: undefined,
      headers,
      codec: codec.name === JSON_CODEC.name ? undefined : codec.name,
      packet,
    };
  }

  private routeOf(packet: OutgoingPacket): string {
    const { pattern } = packet as { pattern: unknown };
    if (typeof pattern === 'string') {
      return pattern;
    }
    if (pattern instanceof RegExp) {
      throw new ConfigurationError(
        `The pattern ${String(pattern)} is a regular expression; give a string, number or object.`,
      );
    }
    return this.normalize(pattern);
  }
}

function mergeHeaders(
  metadata: MessageHeaders | undefined,
  headers: MessageHeaders | undefined,
): MessageHeaders | undefined {
  if (!metadata) {
    return headers;
  }
  if (!areHeaders(metadata)) {
    throw new ConfigurationError("A packet's metadata must be an object whose values are strings.");
  }
  return { ...metadata, ...headers };
}
