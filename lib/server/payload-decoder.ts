import type { Deserializer } from '@nestjs/microservices';
import { DeserializationError } from '../errors.js';
import { decodeValue, type Codec } from '../protocol/codec.js';
import type { IncomingEntry } from '../protocol/entry.js';
import { JSON_CODEC } from '../protocol/json.codec.js';
import { isPromise } from '../util/promise.js';

/** Makes a handler's payload out of an entry's bytes. */
export class PayloadDecoder {
  private readonly codecs: ReadonlyMap<string, Codec>;

  /**
   * @param own the service's codec; JSON is always known
   * @param deserializer the user's, or Nest's default for packets that another side's serializer made
   * @param isGiven whether it is the user's, and so takes part in every message
   */
  constructor(
    own: Codec,
    private readonly deserializer: Deserializer,
    private readonly isGiven: boolean,
  ) {
    this.codecs = new Map([JSON_CODEC, own].map((codec) => [codec.name, codec]));
  }

  /** The codec in which an entry's reply is written. Where the entry's is not known, only errors are. */
  codecOf(entry: IncomingEntry): Codec {
    return this.codecs.get(entry.codec) ?? JSON_CODEC;
  }

  /** Throws, or rejects with, a `DeserializationError`, or whatever the deserializer fails with. */
  decode(entry: IncomingEntry): unknown {
    const codec = this.codecs.get(entry.codec);
    if (!codec) {
      throw new DeserializationError(
        `The data for '${entry.pattern}' is encoded as '${entry.codec}', which this service does not know. ` +
          `Give its option 'codec' the same codec as the client's.`,
      );
    }
    const value = decodeValue(codec, entry.data, `The data for '${entry.pattern}'`);
    if (!entry.packet && !this.isGiven) {
      return value;
    }
    const packet: unknown = entry.packet ? value : { pattern: entry.pattern, data: value, id: entry.id };
    const result: unknown = this.deserializer.deserialize(packet, { channel: entry.pattern });
    return isPromise(result) ? result.then(dataOf) : dataOf(result);
  }
}

function dataOf(packet: unknown): unknown {
  return typeof packet === 'object' && packet !== null ? (packet as { data?: unknown }).data : undefined;
}
