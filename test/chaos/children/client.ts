/*
 * Sends requests and events: `client.js <ClientSetup as JSON>`. By SIGTERM it sends no more, waits for what is under
 * way, closes and ends by itself. By SIGUSR2 it publishes an event that kills whoever handles it.
 */
import 'reflect-metadata';
import './exit-on-error.js';
import { Logger } from '@nestjs/common';
import type { Observable } from 'rxjs';
import { RedisStreamsClient } from '../../../lib/index.js';
import {
  ALWAYS,
  ASK,
  ASKED,
  COUNT,
  EVENT,
  SERVICES,
  VALUES,
  type ClientSetup,
  type Message,
} from '../load.js';
import { Random } from '../random.js';
import { Book } from '../records.js';
import { begin } from './begin.js';
import { StdoutLogger } from './stdout-logger.js';

const SEND_EVERY_MS = 10;

/** After a SIGSTOP not all that was missed is sent at once. */
const MAX_CATCH_UP_MS = 500;

Logger.overrideLogger(new StdoutLogger());
const setup = JSON.parse(process.argv[2]!) as ClientSetup;
const book = new Book(setup.book);
const random = new Random(setup.seed);
const client = new RedisStreamsClient({
  connection: setup.connection,
  service: ASKED,
  timeout: setup.timeout,
  connectTimeout: 60_000,
});
let sent = 0;
let underWay = 0;
let whenIdle: (() => void) | undefined;

const newId = (): string => `${setup.name}-${++sent}`;

function settle(): void {
  underWay--;
  if (underWay === 0) {
    whenIdle?.();
  }
}

const failure = (error: unknown): { code: string; message: string } => {
  const { code, name, message } = error as { code?: string; name?: string; message?: string };
  return { code: code ?? name ?? 'UNKNOWN', message: message ?? String(error) };
};

/** Watches that the answers are those expected, in order and each once. */
function watch(id: string, answers: Observable<unknown>, expected: unknown[]): void {
  const got: unknown[] = [];
  book.write({ what: 'asking', id });
  underWay++;
  answers.subscribe({
    next: (value) => got.push(value),
    complete: () => {
      const isRight = got.length === expected.length && got.every((value, i) => value === expected[i]);
      book.write(
        isRight
          ? { what: 'answered', id }
          : { what: 'failed', id, code: 'WRONG_ANSWER', message: `got ${JSON.stringify(got)}` },
      );
      settle();
    },
    error: (error: unknown) => {
      book.write({ what: 'failed', id, ...failure(error) });
      settle();
    },
  });
}

function ask(): void {
  const message: Message = { id: newId(), ms: random.between(0, 20) };
  watch(message.id, client.send(ASK, message), [message.id]);
}

function count(): void {
  const message: Message = { id: newId(), ms: random.between(1, 20) };
  const expected = Array.from({ length: VALUES }, (_, i) => i + 1);
  watch(message.id, client.send(COUNT, message), expected);
}

function emit(message: Message): void {
  const { id } = message;
  const doomed = message.failures === ALWAYS || message.kills !== undefined;
  book.write(doomed ? { what: 'emitting', id, doomed } : { what: 'emitting', id });
  underWay++;
  client.emit(EVENT, message).subscribe({
    complete: () => {
      book.write({ what: 'confirmed', id });
      settle();
    },
    error: (error: unknown) => {
      book.write({ what: 'unconfirmed', id, ...failure(error) });
      settle();
    },
  });
}

function emitSome(): void {
  const message: Message = { id: newId(), ms: random.between(0, 20) };
  const chance = random.next();
  if (chance < setup.doomed) {
    emit({ ...message, failures: ALWAYS });
  } else if (chance < setup.doomed + setup.failing) {
    emit({ ...message, failures: random.between(1, 2) });
  } else {
    emit(message);
  }
}

const senders: [perSecond: number, send: () => void, owed: number][] = [
  [setup.rates.asks, ask, 0],
  [setup.rates.counts, count, 0],
  [setup.rates.events, emitSome, 0],
];
let last = performance.now();

function sendWhatIsDue(): void {
  const now = performance.now();
  const elapsed = Math.min(now - last, MAX_CATCH_UP_MS);
  last = now;
  for (const sender of senders) {
    sender[2] += (elapsed / 1_000) * sender[0];
    for (; sender[2] >= 1; sender[2]--) {
      sender[1]();
    }
  }
}

async function stop(): Promise<void> {
  clearInterval(timer);
  if (underWay > 0) {
    await new Promise<void>((resolve) => (whenIdle = resolve));
  }
  await client.close();
}

await begin(() => client.connect());
const timer = setInterval(sendWhatIsDue, SEND_EVERY_MS);
process.once('SIGTERM', () => void stop());
process.on('SIGUSR2', () => emit({ id: newId(), ms: 0, kills: SERVICES[1] }));
