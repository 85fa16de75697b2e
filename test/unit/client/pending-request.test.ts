import { describe, expect, test } from '@jest/globals';
import type { Deserializer } from '@nestjs/microservices';
import { PendingRequest, type ReplyPacket } from '../../../lib/client/pending-request.js';
import { DeserializationError, StreamInterruptedError } from '../../../lib/errors.js';
import type { Codec } from '../../../lib/protocol/codec.js';
import { parseFrame, runId } from '../../../lib/protocol/frames.js';
import { JSON_CODEC } from '../../../lib/protocol/json.codec.js';

const FIRST = runId(1, 'a');
const SECOND = runId(2, 'b');

/** Writes down what its caller is given, how often it ended, and whether it was answered then. */
class Recorded extends PendingRequest {
  ends = 0;
  isAnswered: boolean | undefined;

  protected override onEnd(isAnswered: boolean): void {
    this.ends++;
    this.isAnswered = isAnswered;
  }
}

interface Handling {
  deserializer?: Deserializer['deserialize'];
  codec?: Codec;
  restartable?: boolean;
}

function pending({ deserializer, codec = JSON_CODEC, restartable = false }: Handling = {}) {
  const packets: ReplyPacket[] = [];
  const request = new Recorded(
    'id',
    'sum',
    {
      codec,
      deserializer: deserializer && { deserialize: deserializer },
      packetDeserializer: { deserialize: (value: unknown) => value },
    },
    (packet) => packets.push(packet),
    restartable,
  );
  return {
    request,
    packets,
    /** Everything the caller got as a value. */
    values: () => packets.map(({ response }) => response).filter((value) => value !== undefined),
    receive: (field: string, payload: unknown = undefined) =>
      request.receive(parseFrame(field), Buffer.from(payload === undefined ? '' : JSON.stringify(payload))),
  };
}

function next(seq: number, run = FIRST): string {
  return `nid:${run}:${seq}`;
}

function complete(seq: number, run = FIRST): string {
  return `cid:${run}:${seq}`;
}

/** Lets every promise that can go on do so. */
async function settle(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}

describe('one reply', () => {
  test('a value ends the request', () => {
    const { receive, packets, request } = pending();
    receive('vid', { a: 1 });
    expect(packets).toEqual([{ response: { a: 1 }, isDisposed: true }]);
    expect(request.ends).toBe(1);
  });

  test.each([[null], [0], [''], [false]])('%j is a value', (value) => {
    const { receive, packets } = pending();
    receive('vid', value);
    expect(packets).toEqual([{ response: value, isDisposed: true }]);
  });

  test('no bytes are undefined: the request completes without a value', () => {
    const { receive, packets } = pending();
    receive('vid');
    expect(packets).toEqual([{ response: undefined, isDisposed: true }]);
  });

  test('an error ends the request, and is JSON whatever the codec', () => {
    const codec: Codec = {
      name: 'other',
      encode: () => '',
      decode: () => {
        throw new Error('not asked');
      },
    };
    const { receive, packets, request } = pending({ codec });
    receive('eid', { status: 'error', message: 'no' });
    expect(packets).toMatchObject([{ err: { status: 'error', message: 'no' }, isDisposed: true }]);
    expect(request.ends).toBe(1);
  });

  test.each([[null], [0], [''], [false], [undefined]])(
    'an error frame with %p is an error all the same',
    (value) => {
      const { receive, packets } = pending();
      receive('eid', value);
      expect(packets).toMatchObject([{ err: { status: 'error', message: String(value) }, isDisposed: true }]);
    },
  );

  test('what comes after the end is dropped', () => {
    const { receive, packets, request } = pending();
    receive('vid', 1);
    receive('vid', 2);
    receive('eid', 'late');
    receive(next(0), 3);
    receive(complete(0));
    request.fail(new Error('late'));
    request.abandon();
    expect(packets).toHaveLength(1);
    expect(request.ends).toBe(1);
  });

  test('bytes that cannot be decoded are an error for the caller that names the pattern', () => {
    const { request, packets } = pending();
    request.receive(parseFrame('vid'), Buffer.from('{'));
    expect(packets[0]!.err).toBeInstanceOf(DeserializationError);
    expect(String(packets[0]!.err)).toContain("The reply to 'sum' cannot be decoded as json");
    expect([packets.length, request.ends]).toEqual([1, 1]);
  });
});

describe('leaving and failing', () => {
  test('a caller who has left is told nothing more', () => {
    const { receive, packets, request } = pending();
    request.abandon();
    request.abandon();
    receive('vid', 1);
    request.fail(new Error('late'));
    expect(packets).toEqual([]);
    expect(request.ends).toBe(1);
  });

  test('a failure is given once', () => {
    const { packets, request } = pending();
    const error = new Error('timeout');
    request.fail(error);
    request.fail(new Error('again'));
    expect(packets).toMatchObject([{ err: error, isDisposed: true }]);
    expect(request.ends).toBe(1);
  });

  test('a caller who leaves while a value is given to him is given no more', () => {
    const { receive, packets, request } = pending();
    const push = packets.push.bind(packets);
    packets.push = (packet) => {
      request.abandon();
      return push(packet);
    };
    receive(next(0), 'a');
    receive(next(1), 'b');
    expect(packets).toHaveLength(1);
    expect(request.ends).toBe(1);
  });
});

describe('several replies', () => {
  test('values in their order, then the end', () => {
    const { receive, packets, request } = pending();
    receive(next(0), 'a');
    receive(next(1), 'b');
    expect(request.ends).toBe(0);
    receive(complete(2));
    expect(packets).toMatchObject([{ response: 'a' }, { response: 'b' }, { isDisposed: true }]);
    expect(packets.map(({ isDisposed }) => isDisposed ?? false)).toEqual([false, false, true]);
    expect(request.ends).toBe(1);
  });

  test('none at all', () => {
    const { receive, packets } = pending();
    receive(complete(0));
    expect(packets).toEqual([{ err: undefined, response: undefined, isDisposed: true }]);
  });

  test('an error after some', () => {
    const { receive, packets, request } = pending();
    receive(next(0), 'a');
    receive('eid', 'no');
    expect(packets).toMatchObject([{ response: 'a' }, { err: 'no', isDisposed: true }]);
    expect(request.ends).toBe(1);
  });

  test('what is read again after a reconnect is given once', () => {
    const { receive, packets, values, request } = pending();
    receive(next(0), 'a');
    receive(next(1), 'b');
    receive(next(0), 'a');
    receive(next(1), 'b');
    receive(next(2), 'c');
    receive(complete(3));
    receive(complete(3));
    expect(values()).toEqual(['a', 'b', 'c']);
    expect(packets.at(-1)!.err).toBeUndefined();
    expect(request.ends).toBe(1);
  });

  test.each([
    ['the first value', [next(1)]],
    ['a value in between', [next(0), next(2)]],
    ['the last value', [next(0), complete(2)]],
    ['every value', [complete(1)]],
  ])('a gap is an error, not a shorter answer: %s is missing', (_, fields) => {
    const { receive, packets, request } = pending();
    for (const field of fields) {
      receive(field, 'x');
    }
    expect(packets.at(-1)!.err).toBeInstanceOf(StreamInterruptedError);
    expect(String(packets.at(-1)!.err)).toContain("'sum' was interrupted: values are missing");
    expect([packets.length, request.ends]).toEqual([fields.length, 1]);
  });
});

describe('executions', () => {
  test('a second one after values is an error: some would be repeated or lost', () => {
    const { receive, packets, request } = pending();
    receive(next(0), 'a');
    receive(next(0, SECOND), 'a again');
    expect(packets[1]!.err).toBeInstanceOf(StreamInterruptedError);
    expect(String(packets[1]!.err)).toContain('started again by another instance');
    expect([packets.length, request.ends]).toEqual([2, 1]);
  });

  test('a second one that completes after values is an error too', () => {
    const { receive, packets } = pending();
    receive(next(0), 'a');
    receive(complete(1, SECOND));
    expect(packets[1]!.err).toBeInstanceOf(StreamInterruptedError);
  });

  test('values of one that was superseded are dropped', () => {
    const { receive, packets, values, request } = pending();
    receive(next(0, SECOND), 'a');
    receive(next(0, FIRST), 'old');
    receive(next(1, FIRST), 'old');
    receive(complete(2, FIRST));
    receive(next(1, SECOND), 'b');
    receive(complete(2, SECOND));
    expect(values()).toEqual(['a', 'b']);
    expect(packets.at(-1)!.err).toBeUndefined();
    expect(request.ends).toBe(1);
  });

  test('deliveries are compared as numbers', () => {
    const { receive, packets } = pending();
    receive(next(0, runId(10, 'x')), 'a');
    receive(next(0, runId(9, 'y')), 'old');
    receive(complete(1, runId(10, 'x')));
    expect(packets).toMatchObject([{ response: 'a' }, { err: undefined, isDisposed: true }]);
  });

  test('one that ends with a single value after values is an error too: it would be the first of them again', () => {
    const { receive, packets } = pending();
    receive(next(0, FIRST), 'a');
    receive('vid', 'a');
    expect(packets[1]!.err).toBeInstanceOf(StreamInterruptedError);
    expect(packets).toHaveLength(2);
  });

  test('an error ends the request whichever execution it comes from', () => {
    const { receive, packets } = pending();
    receive(next(0, SECOND), 'a');
    receive('eid', 'no');
    expect(packets[1]).toMatchObject({ err: 'no', isDisposed: true });
  });
});

describe('a restartable request', () => {
  test('goes on with a second execution after the values that it has', () => {
    const { receive, packets, values, request } = pending({ restartable: true });
    receive(next(0), 'a');
    receive(next(1), 'b');
    for (const [seq, value] of ['a', 'b', 'c'].entries()) {
      receive(next(seq, SECOND), value);
    }
    receive(complete(3, SECOND));
    expect(values()).toEqual(['a', 'b', 'c']);
    expect(packets.at(-1)).toEqual({ err: undefined, response: undefined, isDisposed: true });
    expect([request.valuesReceived, request.ends]).toEqual([3, 1]);
  });

  test('goes on with a third one, and one that had got less far', () => {
    const { receive, values, packets } = pending({ restartable: true });
    const third = runId(3, 'c');
    receive(next(0), 'a');
    receive(next(1), 'b');
    receive(next(0, SECOND), 'a');
    receive(next(0, third), 'a');
    receive(next(1, third), 'b');
    receive(next(2, third), 'c');
    receive(complete(3, third));
    expect(values()).toEqual(['a', 'b', 'c']);
    expect(packets.at(-1)!.err).toBeUndefined();
  });

  test('drops what a superseded execution still sends', () => {
    const { receive, values, packets } = pending({ restartable: true });
    receive(next(0), 'a');
    receive(next(0, SECOND), 'a');
    receive(next(1), 'old');
    receive(complete(2), 'old');
    receive(next(1, SECOND), 'b');
    receive(complete(2, SECOND));
    expect(values()).toEqual(['a', 'b']);
    expect(packets).toHaveLength(3);
  });

  test('may end with exactly the values that it has', () => {
    const { receive, packets } = pending({ restartable: true });
    receive(next(0), 'a');
    receive(complete(1, SECOND));
    expect(packets).toMatchObject([{ response: 'a' }, { err: undefined, isDisposed: true }]);
  });

  test('takes a single value for the one that it has', () => {
    const { receive, packets, values, request } = pending({ restartable: true });
    receive(next(0), 'a');
    receive('vid', 'a');
    expect(values()).toEqual(['a']);
    expect(packets.at(-1)).toMatchObject({ err: undefined, isDisposed: true });
    expect([packets.length, request.ends, request.isAnswered]).toEqual([2, 1, true]);
  });

  test('tells the deserializer of the end that a single value is', () => {
    const seen: unknown[] = [];
    const { receive } = pending({
      restartable: true,
      deserializer: (packet: ReplyPacket) => {
        seen.push(packet);
        return packet;
      },
    });
    receive(next(0), 'a');
    receive('vid', 'a');
    expect(seen[1]).toEqual({ id: 'id', isDisposed: true });
  });

  test.each([
    ['completes early', complete(1, SECOND), undefined],
    ['completes with nothing', complete(0, SECOND), undefined],
    ['ends with a single value', 'vid', 'a'],
    ['ends without a value', 'vid', undefined],
  ])(
    'is interrupted by a second execution that %s: what was given was not its answer',
    (_, field, payload) => {
      const { receive, packets, request } = pending({ restartable: true });
      receive(next(0), 'a');
      receive(next(1), 'b');
      receive(field, payload);
      expect(packets.at(-1)!.err).toBeInstanceOf(StreamInterruptedError);
      expect(String(packets.at(-1)!.err)).toContain('gave fewer values than before');
      expect([packets.length, request.ends]).toEqual([3, 1]);
    },
  );

  test('is interrupted by a gap, as any other', () => {
    const { receive, packets } = pending({ restartable: true });
    receive(next(0), 'a');
    receive(next(2, SECOND), 'c');
    expect(String(packets.at(-1)!.err)).toContain('values are missing');
  });
});

describe('whether it was answered when it ended', () => {
  test.each([
    ['a value', ['vid'], true],
    ['an error', ['eid'], true],
    ['its completion', [next(0), complete(1)], true],
    ['a completion that tells of missing values', [next(0), complete(2)], true],
    ['a gap', [next(1)], false],
    ['a second execution', [next(0), next(0, SECOND)], false],
  ])('by %s', (_, fields, isAnswered) => {
    const { receive, request } = pending();
    for (const field of fields) {
      receive(field, 'x');
    }
    expect([request.ends, request.isAnswered]).toEqual([1, isAnswered]);
  });

  test('by its caller or a failure, it was not', () => {
    const left = pending();
    left.receive(next(0), 'a');
    left.request.abandon();
    const failed = pending();
    failed.request.fail(new Error('timeout'));
    expect([left.request.isAnswered, failed.request.isAnswered]).toEqual([false, false]);
  });

  test('by its caller, while the last reply is still being deserialized, it was', async () => {
    const { receive, request } = pending({ deserializer: () => new Promise(() => undefined) });
    receive('vid', 'a');
    await settle();
    request.abandon();
    expect([request.ends, request.isAnswered]).toEqual([1, true]);
  });
});

describe('the deserializer of the user', () => {
  test('gets a packet as Nest makes it, and decides what the caller gets', () => {
    const seen: unknown[] = [];
    const { receive, packets } = pending({
      deserializer: (packet: ReplyPacket) => {
        seen.push(packet);
        return { ...packet, response: `<${String(packet.response)}>` };
      },
    });
    receive(next(0), 'a');
    receive(complete(1));
    expect(seen).toEqual([
      { id: 'id', response: 'a' },
      { id: 'id', isDisposed: true },
    ]);
    expect(packets[0]).toEqual({ response: '<a>' });
  });

  test('cannot keep a request open that has ended', () => {
    const { receive, packets, request } = pending({ deserializer: () => ({ response: 1 }) });
    receive('vid', 'a');
    expect(packets).toEqual([{ err: undefined, response: 1, isDisposed: true }]);
    expect(request.ends).toBe(1);
  });

  test.each([
    [
      'throws',
      () => {
        throw new Error('broken');
      },
    ],
    ['rejects', () => Promise.reject(new Error('broken'))],
    [
      'throws what is no Error',
      () => {
        throw 'broken';
      },
    ],
    ['gives nothing', () => undefined],
  ])('ends the request with an error when it %s', async (_, deserializer) => {
    const { receive, packets, request } = pending({ deserializer });
    receive('vid', 'a');
    await settle();
    expect(packets).toHaveLength(1);
    expect(packets[0]!.err).toBeInstanceOf(Error);
    expect([packets[0]!.isDisposed, request.ends]).toEqual([true, 1]);
  });

  test('replies keep their order though each takes its own time', async () => {
    const finish: (() => void)[] = [];
    const { receive, packets, values, request } = pending({
      deserializer: (packet: ReplyPacket) => new Promise((resolve) => finish.push(() => resolve(packet))),
    });
    receive(next(0), 'a');
    receive(next(1), 'b');
    receive(complete(2));
    await settle();
    expect(packets).toEqual([]);
    while (finish.length > 0) {
      finish.pop()!();
      await settle();
    }
    expect(values()).toEqual(['a', 'b']);
    expect(packets.at(-1)).toMatchObject({ isDisposed: true });
    expect([packets.length, request.ends]).toEqual([3, 1]);
  });

  test('a quick one does not overtake a slow one', async () => {
    let finishFirst!: () => void;
    const { receive, values } = pending({
      deserializer: (packet: ReplyPacket) =>
        packet.response === 'slow' ? new Promise((resolve) => (finishFirst = () => resolve(packet))) : packet,
    });
    receive(next(0), 'slow');
    receive(next(1), 'quick');
    receive(complete(2));
    await settle();
    expect(values()).toEqual([]);
    finishFirst();
    await settle();
    expect(values()).toEqual(['slow', 'quick']);
  });

  test('a request that fails meanwhile gives nothing more', async () => {
    let finish!: () => void;
    const { receive, packets, request } = pending({
      deserializer: (packet: ReplyPacket) => new Promise((resolve) => (finish = () => resolve(packet))),
    });
    receive('vid', 'a');
    request.fail(new Error('timeout'));
    finish();
    await settle();
    expect(packets).toMatchObject([{ err: new Error('timeout') }]);
    expect(request.ends).toBe(1);
  });

  test('a gap behind a slow reply is told after it', async () => {
    let finish!: () => void;
    const { receive, packets } = pending({
      deserializer: (packet: ReplyPacket) => new Promise((resolve) => (finish = () => resolve(packet))),
    });
    receive(next(0), 'a');
    receive(next(5), 'f');
    await settle();
    expect(packets).toEqual([]);
    finish();
    await settle();
    expect(packets[0]).toMatchObject({ response: 'a' });
    expect(packets[1]!.err).toBeInstanceOf(StreamInterruptedError);
  });
});

describe('a packet that a serializer made', () => {
  test("is read by the user's deserializer, as it was written", () => {
    const seen: unknown[] = [];
    const { receive } = pending({
      deserializer: (packet: ReplyPacket) => {
        seen.push(packet);
        return packet;
      },
    });
    receive('Vid', { response: 1, isDisposed: true, extra: 2 });
    expect(seen).toEqual([{ response: 1, isDisposed: true, extra: 2 }]);
  });

  test("is read by Nest's own where the user gave none", () => {
    const { receive, packets, request } = pending();
    receive(`N${next(0).slice(1)}`, { response: 'a' });
    receive('Vid', { response: 'b' });
    expect(packets).toMatchObject([{ response: 'a' }, { response: 'b', isDisposed: true }]);
    expect(request.ends).toBe(1);
  });
});
