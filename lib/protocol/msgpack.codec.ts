import { ConfigurationError } from '../errors.js';
import type { Codec } from './codec.js';

interface Packer {
  pack(value: unknown): Buffer;
  unpack(bytes: Buffer): unknown;
}

/**
 * MessagePack by `msgpackr`, an optional peer dependency that is loaded only where this codec is used. Carries
 * Date, Buffer, Map-like objects and 64-bit BigInt as they are. With small payloads it is no faster than JSON.
 */
export class MsgpackCodec implements Codec {
  readonly name = 'msgpack';
  private packer: Packer | undefined;

  /** Throws a `ConfigurationError` where `msgpackr` is not installed. */
  async load(): Promise<void> {
    if (this.packer) {
      return;
    }
    try {
      const { Packr } = await import('msgpackr');
      // Records are msgpackr's own extension and need state on both sides; without them any MessagePack reader will do.
      // Sized by what they hold: objects of more than 65,535 keys cannot be written otherwise.
      this.packer = new Packr({ useRecords: false, variableMapSize: true });
    } catch (cause) {
      throw new ConfigurationError(
        "Option 'codec': MsgpackCodec needs the package 'msgpackr' (npm install msgpackr).",
        { cause },
      );
    }
  }

  encode(value: unknown): Buffer {
    if (typeof value === 'function') {
      // msgpackr would write it as undefined.
      throw new TypeError('MessagePack has no function');
    }
    return this.loaded().pack(value);
  }

  decode(bytes: Buffer): unknown {
    return this.loaded().unpack(bytes);
  }

  private loaded(): Packer {
    if (!this.packer) {
      throw new ConfigurationError('MsgpackCodec was used before load() had finished.');
    }
    return this.packer;
  }
}
