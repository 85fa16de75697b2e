import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { Redis } from 'ioredis';
import { Ledger } from '../../sample/demo/support/ledger.js';
import type { Report } from '../../sample/demo/support/service.js';
import { RedisServer } from '../support/redis-server.js';
import { deferred, eventually } from '../support/wait.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const BUILD_WITHIN_MS = 240_000;
const RUN_WITHIN_MS = 60_000;
/** After a signal: the services give themselves 3 s. */
const END_WITHIN_MS = 8_000;
const FOREIGN_KEYS = ['foreign', 'sample-01-requests', '{sample}:inbox:orders'];

const EXPECTED: Record<string, (string | RegExp)[]> = {
  '01-requests': [
    '1 + 2 + 3 = 6',
    '7 / 2 = 3.5',
    '1 / 0 was refused: Division by zero (DIVISION_BY_ZERO)',
    '42 is even, says math to acme',
    "Gave up: no reply to 'math.lastDigitOfPi' from 'math' within 200 ms",
  ],
  '02-events': [
    'Published 10 events before any service was there',
    'Started two instances of billing and two of shipping',
    'Published 30 more',
    /^billing handled 40 events of 40 orders; by instance: \d+( \+ \d+)?$/,
    /^shipping handled 40 events of 40 orders; by instance: \d+( \+ \d+)?$/,
  ],
  '03-hybrid-gateway': [
    'GET /prices/apple: 200 {"article":"apple","cents":30}',
    'PUT /prices/pear: 200 {"article":"pear","cents":45}',
    'GET /prices/pear: 200 {"article":"pear","cents":45}',
    /^GET \/prices\/kiwi: 404 .*No price for 'kiwi'/,
    'The gateway was told by an event that pear costs 45 now',
  ],
  '04-streaming': [
    ...[20, 40, 60, 80, 100].map((percent) => `Sales: ${percent} %`),
    'Done. Sales: 5 rows, 150 in total',
    'Returns: 25 %',
    'Returns: 50 %',
    "Failed. The row 'three' is not a number",
  ],
  '05-async-config': [
    'hello.txt, modified in 2001: sha256 2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824',
    'The digest came as a Buffer: true; its time as a Date: true',
  ],
  '06-retries-dead-letters': [
    'Order A, delivery 1',
    'Order A is billed: 1200',
    'Order B, delivery 1',
    'Order C, delivery 1',
    'Order B, delivery 2',
    'Order B, delivery 3',
    'Dead letter: order C, rejected at delivery 1. DeadLetter: An order without a total',
    'Dead letter: order B, failed at delivery 3. RangeError: There is no tax rate for Atlantis',
    'There is a tax rate for Atlantis now',
    'Replaying 1',
    'Order B, delivery 1',
    'Order B is billed: 2200',
    'Removed 1, left 0',
  ],
  '07-cancellation': [
    'Unsubscribing',
    ...[1, 2, 3].map((number) => `Sales, page ${number} of 20000`),
    'Sales: the caller has seen enough',
    /^Sales: the service stopped at page \d+ of 20000: RequestCancelledError$/,
    'Returns: the caller gave up: TimeoutError',
    /^Returns: the service stopped at row \d+ of 20000: RequestCancelledError$/,
    'A deadline',
    'Stock: the caller gave up: RequestTimeoutError',
    /^Stock: the service stopped at page \d+ of 20000: DeadlineExceededError$/,
    'Staff: the caller gave up: RequestTimeoutError',
    /^Staff: the service stopped at row \d+ of 20000: DeadlineExceededError$/,
  ],
  '09-broadcast': [
    'Started three instances of shop and two of audit; there is no topic yet',
    ...[1, 2, 3].map((number) => `Shop ${number} knows: checkout on, search off`),
    'The audit has written 3 lines',
    '- flag.checkout was switched on',
    '- flag.search was switched off',
    '- flag.search was switched on',
  ],
};

/** They start a cluster of their own, whatever REDIS_URL says. */
const EXPECTED_ON_A_CLUSTER: typeof EXPECTED = {
  '10-cluster': [
    /^Using \S+ for a throw-away Redis$/,
    'Starting a cluster of three masters and three replicas',
    ...[0, 1, 2].map((shard) => new RegExp(`^Shard ${shard} lies at 127\\.0\\.0\\.1:\\d+$`)),
    'Asking for totals and publishing events',
    /^Killing 127\.0\.0\.1:\d+ \(process \d+\), the master of shard 0$/,
    /^Its replica 127\.0\.0\.1:\d+ is the master after \d+\.\d s$/,
    /^Answered meanwhile: \d+$/,
    /^Requests: ([1-9]\d+) sent, \1 answered, 0 of them wrongly$/,
    /^Events: [1-9]\d+ published, all handled$/,
    /^Sent once more because nobody could know whether they had arrived: \d+$/,
  ],
};
const ALL_EXPECTED = { ...EXPECTED, ...EXPECTED_ON_A_CLUSTER };

/** A program with whatever it starts: the leader of a process group of its own, as a shell would make it. */
class Program {
  output = '';
  /** Once nobody holds its output any more, neither the program nor anything it has started. */
  readonly ended: Promise<number | NodeJS.Signals | null>;
  private readonly child: ChildProcess;
  private readonly watchers = new Set<() => void>();

  /** @param tmp where it makes temporary folders */
  constructor(command: string, args: string[], redisUrl?: string, tmp?: string) {
    const { REDIS_URL: _, ...env } = process.env;
    this.child = spawn(command, args, {
      cwd: ROOT,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...env, ...(redisUrl && { REDIS_URL: redisUrl }), ...(tmp && { TMPDIR: tmp }) },
    });
    for (const stream of [this.child.stdout!, this.child.stderr!]) {
      stream.on('data', (chunk: Buffer) => {
        this.output += chunk.toString();
        this.watchers.forEach((watcher) => watcher());
      });
    }
    const { promise, resolve } = deferred<number | NodeJS.Signals | null>();
    this.child.once('close', (code, signal) => resolve(code ?? signal));
    this.ended = promise;
    programs.push(this);
  }

  get lines(): string[] {
    return this.output.trimEnd().split('\n');
  }

  /** The process that it called by this name in its output. */
  pidOf(name: string): number {
    return Number(new RegExp(`${name} \\(process (\\d+)\\)`).exec(this.output)?.[1]);
  }

  async says(text: string): Promise<void> {
    const { promise, resolve } = deferred();
    const look = (): void => void (this.output.includes(text) && resolve());
    this.watchers.add(look);
    look();
    const code = await Promise.race([promise, this.ended.then((end) => `ended with ${end}`)]);
    if (code !== undefined) {
      throw new Error(`It ${code} and never said '${text}', but:\n${this.output}`);
    }
  }

  async endsWith(code: number | NodeJS.Signals): Promise<void> {
    const end = await this.ended;
    if (end !== code) {
      throw new Error(`It ended with ${end}, not with ${code}:\n${this.output}`);
    }
  }

  signal(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }

  /** As a terminal does it with Ctrl-C: to the program and all it has started. */
  signalGroup(signal: NodeJS.Signals): void {
    process.kill(-this.child.pid!, signal);
  }

  /** Whether any process of its group is left. */
  get hasProcesses(): boolean {
    try {
      process.kill(-this.child.pid!, 0);
      return true;
    } catch {
      return false;
    }
  }
}

const programs: Program[] = [];
let redis: RedisServer;
let commands: Redis;
let tmp: string;

beforeAll(async () => {
  await buildWhereOld();
  redis = await RedisServer.start();
  commands = new Redis(redis.url);
}, BUILD_WITHIN_MS);
beforeEach(async () => {
  tmp = mkdtempSync(join(tmpdir(), 'samples-'));
  await commands.flushall();
  await commands.config('RESETSTAT');
  await commands.mset(Object.fromEntries(FOREIGN_KEYS.map((key) => [key, 'untouched'])));
});
afterEach(() => {
  for (const program of programs.splice(0)) {
    if (program.hasProcesses) {
      program.signalGroup('SIGKILL');
    }
  }
  rmSync(tmp, { recursive: true, force: true });
});
afterAll(async () => {
  commands.disconnect();
  await redis.stop();
});

function sample(name: string, redisUrl?: string, tmp?: string): Program {
  return new Program(process.execPath, ['build/sample/run.js', name], redisUrl, tmp);
}

function demo(redisUrl?: string): Program {
  return new Program(process.execPath, ['build/sample/demo/main.js'], redisUrl);
}

function expectLines(lines: readonly string[], expected: readonly (string | RegExp)[]): void {
  expect(lines).toEqual(
    expected.map((line) => (typeof line === 'string' ? line : expect.stringMatching(line))),
  );
}

/** It has used Redis, and nothing of it is left there. */
async function expectOnlyForeignKeys(): Promise<void> {
  expect(await commands.info('commandstats')).toContain('cmdstat_xadd:');
  expect((await commands.keys('*')).sort()).toEqual([...FOREIGN_KEYS].sort());
  expect(await commands.mget(FOREIGN_KEYS)).toEqual(FOREIGN_KEYS.map(() => 'untouched'));
}

describe('a sample', () => {
  test('is known to this test, whichever it is', () => {
    const folders = readdirSync(join(ROOT, 'sample')).filter((entry) => /^\d\d-/.test(entry));
    expect(folders.sort()).toEqual(Object.keys(ALL_EXPECTED).sort());
  });

  test.each(Object.entries(EXPECTED))(
    '%s does its thing, ends by itself and leaves only what was there before',
    async (name, expected) => {
      const program = sample(name, redis.url);
      await program.endsWith(0);
      const [first, ...lines] = program.lines;
      expect(first).toContain(`Using the Redis that REDIS_URL names, in the namespace sample-${name}-`);
      expectLines(lines, expected);
      await expectOnlyForeignKeys();
    },
    RUN_WITHIN_MS,
  );

  test.each(Object.entries(EXPECTED_ON_A_CLUSTER))(
    '%s does its thing on a cluster of its own, ends by itself and leaves nothing',
    async (name, expected) => {
      const program = sample(name, redis.url, tmp);
      await program.endsWith(0);
      const [first, ...lines] = program.lines;
      expect(first).toContain('REDIS_URL is left alone');
      expectLines(lines, expected);
      expect(program.hasProcesses).toBe(false);
      expect(readdirSync(tmp)).toEqual([]);
      expect(await commands.info('commandstats')).not.toContain('cmdstat_xadd:');
    },
    RUN_WITHIN_MS,
  );

  const says =
    (text: string) =>
    (program: Program): Promise<void> =>
      program.says(text);
  const hasFolders = async (): Promise<void> =>
    void (await eventually(() => readdirSync(tmp).length === 3, 'three nodes', RUN_WITHIN_MS));
  /** Each node keeps a list of those it knows, a line for each, and one line more. */
  const knowEachOther = async (): Promise<void> => {
    const known = (): number[] =>
      readdirSync(tmp)
        .map((folder) => join(tmp, folder, 'nodes.conf'))
        .filter((file) => existsSync(file))
        .map((file) => readFileSync(file, 'utf8').trim().split('\n').length - 1);
    await eventually(() => known().some((count) => count > 1), 'nodes to meet', RUN_WITHIN_MS);
  };

  test.each<[string, (program: Program) => Promise<void>]>([
    ['while its nodes are started', hasFolders],
    ['while its nodes meet', knowEachOther],
    ['before a node is killed', says('Asking for totals')],
    ['while a replica is elected', says('Killing 127.0.0.1')],
  ])(
    'leaves neither a node of its cluster nor a folder when it is interrupted %s',
    async (_, reached) => {
      for (const signal of ['signal', 'signalGroup'] as const) {
        const program = sample('10-cluster', undefined, tmp);
        await reached(program);
        // The launcher alone, as by `kill`, and everything, as a terminal does.
        await expectItToEnd(program, () => program[signal]('SIGINT'), 130);
        expect(program.output).not.toContain('Events: ');
        expect(readdirSync(tmp)).toEqual([]);
      }
    },
    RUN_WITHIN_MS,
  );

  test(
    'starts a throw-away Redis where REDIS_URL is not set, and ends it',
    async () => {
      const program = sample('01-requests');
      await program.endsWith(0);
      expect(program.output).toContain('throw-away Redis');
      expect(program.output).toContain('1 + 2 + 3 = 6');
      expect(program.hasProcesses).toBe(false);
    },
    RUN_WITHIN_MS,
  );

  test(
    'leaves no process behind when it is interrupted',
    async () => {
      const program = sample('04-streaming');
      await program.says('Sales: 20 %');
      program.signal('SIGINT');
      await program.endsWith(130);
      expect(program.output).not.toContain('Done');
      expect(program.hasProcesses).toBe(false);
    },
    RUN_WITHIN_MS,
  );

  test('that does not exist is answered with the names of those that do', async () => {
    const program = sample('06-none');
    await program.endsWith(2);
    expect(program.output).toContain(Object.keys(ALL_EXPECTED).sort().join(', '));
  });

  test('says so where REDIS_URL leads nowhere', async () => {
    const program = sample('01-requests', 'redis://127.0.0.1:1');
    await program.endsWith(1);
    expect(program.output).toContain('The Redis that REDIS_URL names cannot be used: connect ECONNREFUSED');
  });
});

describe('the demo', () => {
  test.each([
    ['on a throw-away Redis', () => undefined],
    ['on the Redis that REDIS_URL names', () => redis.url],
  ])(
    'answers 2,000 requests and handles their events though an instance is killed halfway, %s',
    async (_, url) => {
      const program = demo(url());
      await program.endsWith(0);
      expect(program.output).toContain(url() ? 'Using the Redis that REDIS_URL names' : 'throw-away Redis');
      expect(program.output).toMatch(/2000 of 2000 requests ended, 2000 events handled\n/);
      expect(program.output).toMatch(/Requests +2000 sent, 2000 answered rightly\n/);
      const shares = [...program.output.matchAll(/(\d+) by \S+-\d+-/g)].map(([, share]) => Number(share));
      expect(shares).toHaveLength(2);
      expect(shares.reduce((a, b) => a + b, 0)).toBe(2000);
      expectTakeover(program);
      expect(program.output).toMatch(/Events +2000 published, 2000 handled, \d+ of them more than once\n/);
      expect(program.output).toMatch(
        /Latency +p50 \d+\.\d ms, p99 \d+\.\d ms, longest \d+\.\d ms \(32 at a time, .*\)\n/,
      );
      expect(program.output).toMatch(/Errors +0\n/);
      expect(program.hasProcesses).toBe(false);
      if (url()) {
        await expectOnlyForeignKeys();
      }
    },
    RUN_WITHIN_MS,
  );

  test.each([
    ['while Redis starts', 'throw-away Redis', 'SIGINT', 130],
    ['while the services start', 'Starting gateway', 'SIGTERM', 143],
    ['while requests are under way', 'requests ended', 'SIGINT', 130],
  ] as const)(
    'leaves no process behind when it is interrupted %s',
    async (_, line, signal, code) => {
      const program = demo();
      await program.says(line);
      await expectItToEnd(program, () => program.signal(signal), code);
    },
    RUN_WITHIN_MS,
  );

  test(
    'leaves neither a process nor a message behind when a terminal interrupts all of it',
    async () => {
      const onThrowAway = demo();
      await onThrowAway.says('requests ended');
      await expectItToEnd(onThrowAway, () => onThrowAway.signalGroup('SIGINT'), 130);
      expect(onThrowAway.lines.at(-1)).toBe('Interrupted by SIGINT');
      // Redis has ended at the same moment, and no service has complained about it.
      expect(onThrowAway.output).not.toContain('[Nest]');

      const onOurs = demo(redis.url);
      await onOurs.says('requests ended');
      await expectItToEnd(onOurs, () => onOurs.signalGroup('SIGINT'), 130);
      await expectOnlyForeignKeys();
    },
    RUN_WITHIN_MS,
  );

  test(
    'has services that end when it is killed',
    async () => {
      const program = demo(redis.url);
      await program.says('requests ended');
      await expectItToEnd(program, () => program.signal('SIGKILL'), 'SIGKILL');
    },
    RUN_WITHIN_MS,
  );

  test(
    'fails, and says which, where a service dies',
    async () => {
      const program = demo();
      await program.says('requests ended');
      const pid = program.pidOf('notifications');
      await expectItToEnd(program, () => process.kill(pid, 'SIGKILL'), 1);
      expect(program.output).toContain(`notifications (process ${pid}) ended by itself`);
      expect(program.hasProcesses).toBe(false);
    },
    RUN_WITHIN_MS,
  );

  test('counts itself as failed for a wrong answer, an error, or an event or message that nobody handled', () => {
    const sent = { customer: 'a', quantity: 2, price: 3 };
    const right = { ...sent, id: '1', total: 6, instance: 'i', deliveries: 1 };
    const ledger = (change: (ledger: Ledger) => void): boolean => {
      const fresh = new Ledger(1);
      change(fresh);
      return fresh.isRight;
    };
    const all = (
      answer = right,
      published = ['1'],
      handled = ['1'],
      after = (_: Ledger): void => undefined,
    ) =>
      ledger((fresh) => {
        fresh.answered(sent, answer, 1);
        published.forEach((id) => fresh.onReport({ kind: 'published', id, deliveries: 1 }));
        fresh.onReport({ kind: 'handled', ids: handled });
        after(fresh);
      });
    expect(all()).toBe(true);
    expect(all({ ...right, total: 7 })).toBe(false);
    expect(all({ ...right, customer: 'b' })).toBe(false);
    expect(all(right, [])).toBe(false);
    expect(all(right, ['1'], [])).toBe(false);
    expect(all(right, ['1'], ['2'])).toBe(false);
    const kill = (...reports: Report[]) =>
      all(right, ['1'], ['1'], (fresh) => {
        fresh.onKill('orders 2');
        reports.forEach(fresh.onReport);
      });
    const died = { kind: 'died', instance: 'i', entries: 1 } as const;
    expect(kill()).toBe(false);
    expect(kill(died)).toBe(false);
    expect(kill(died, { kind: 'published', id: '1', deliveries: 1 })).toBe(false);
    expect(kill(died, { kind: 'published', id: '1', deliveries: 2 })).toBe(true);
    expect(ledger((fresh) => fresh.failed(new Error('no answer')))).toBe(false);
    expect(ledger(() => undefined)).toBe(false);
  });
});

/** That it has killed an instance, which had something under way, and that the other one has done it. */
function expectTakeover(program: Program): void {
  const pid = program.pidOf('orders 2');
  expect(program.output).toContain(`Killing orders 2 (process ${pid}) with SIGKILL\n`);
  const killed = /Killed +(.+), with (\d+) under way; noticed after (\d+\.\d\d) s\n/.exec(program.output);
  const takeover = /Takeover +(\d+) done by the other instance, the last (\d+\.\d\d) s after the kill\n/.exec(
    program.output,
  );
  const [, victim, underWay] = killed!;
  const [, done, last] = takeover!;
  expect(victim).toBe(`orders 2 (process ${pid})`);
  expect(Number(underWay)).toBeGreaterThan(0);
  expect(Number(done)).toBeGreaterThanOrEqual(Number(underWay));
  expect(Number(last)).toBeGreaterThan(0);
}

/** `ended` waits for everybody who holds the program's output, so that a service that lives on would be noticed. */
async function expectItToEnd(
  program: Program,
  end: () => void,
  code: number | NodeJS.Signals,
): Promise<void> {
  const start = performance.now();
  end();
  await program.endsWith(code);
  expect(performance.now() - start).toBeLessThan(END_WITHIN_MS);
  if (code !== 'SIGKILL') {
    expect(program.hasProcesses).toBe(false);
  }
}

/** Builds the library and the samples, where they were not built, or before their sources were changed. */
async function buildWhereOld(): Promise<void> {
  if (changedAt('dist/cjs/package.json') <= newest('lib', 'tsconfig.build.json', 'tsconfig.build.cjs.json')) {
    await build('npm', ['run', 'build']);
  }
  const support = ['redis-binary', 'redis-cluster', 'redis-server', 'wait'];
  const sources = newest('sample', ...support.map((name) => `test/support/${name}.ts`));
  const library = changedAt('dist/cjs/package.json');
  if (changedAt('build/sample/run.js') <= Math.max(sources, library)) {
    await build(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'sample/tsconfig.json']);
  }
}

async function build(command: string, args: string[]): Promise<void> {
  await new Program(command, args).endsWith(0);
}

function newest(...paths: string[]): number {
  const times = paths.map((path) =>
    statSync(join(ROOT, path)).isDirectory()
      ? newest(...readdirSync(join(ROOT, path)).map((entry) => join(path, entry)))
      : changedAt(path),
  );
  return Math.max(0, ...times);
}

/** 0 where it does not exist. */
function changedAt(path: string): number {
  return statSync(join(ROOT, path), { throwIfNoEntry: false })?.mtimeMs ?? 0;
}
