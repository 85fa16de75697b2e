import { randomBytes } from 'node:crypto';
import type { Redis } from 'ioredis';
import { inspect, onClose } from './app.js';
import { CompiledScripts, type RunningScript } from './child-process.js';
import { RedisServer } from './redis-server.js';
import { eventually } from './wait.js';

/** Where the messages of the service `tasks` lie. */
export const INBOX = '{nest:0}:inbox:tasks';
export const TOPIC = '{nest:0}:topic:task.event';
export const INSTANCES = '{nest:0}:instances:tasks';
const DEAD = '{nest:0}:dead:tasks';

/** What a message says its handler is to do; see `children/instance.ts`. */
export interface Task {
  name: string;
  /** `end`, `fail` or `die`, at once or after `ms`; `hang`; ask to be delivered again `later`, in `ms`. */
  then: 'end' | 'hang' | 'die' | 'fail' | 'later';
  ms?: number;
  /** Only once its process has been sent a SIGHUP after it was started. */
  waits?: boolean;
}

/** A Redis and instances of the service `tasks` in processes of their own, which do what their messages say. */
export class TaskService {
  private constructor(
    readonly redis: RedisServer,
    private readonly scripts: CompiledScripts,
  ) {}

  /** @param redisArgs further arguments of redis-server */
  static async make(...redisArgs: string[]): Promise<TaskService> {
    return new TaskService(await RedisServer.start(...redisArgs), await CompiledScripts.make());
  }

  async remove(): Promise<void> {
    await this.redis.stop();
    this.scripts.remove();
  }

  /** An instance, listening. Killed by `closeAll()`. */
  async instance(options: object = {}): Promise<RunningScript> {
    const script = this.launch(options);
    await script.says('listening');
    return script;
  }

  /** So many instances that are started again whenever they die, until `closeAll()`. */
  async supervised(count: number, options: object): Promise<Supervisor> {
    const supervisor = new Supervisor(count, () => this.launch(options));
    onClose(() => supervisor.stop());
    await Promise.all(supervisor.all.map((script) => script.says('listening')));
    return supervisor;
  }

  private launch(options: object): RunningScript {
    const settings = { connection: this.redis.url, service: 'tasks', ...options };
    const script = this.scripts.run('instance', JSON.stringify(settings));
    onClose(() => script.end('SIGKILL'));
    return script;
  }
}

/** Starts instances again when they die. */
export class Supervisor {
  /** All there ever were. */
  readonly all: RunningScript[] = [];
  private isStopped = false;

  constructor(
    count: number,
    private readonly launch: () => RunningScript,
  ) {
    for (let i = 0; i < count; i++) {
      this.keepUp();
    }
  }

  /** What all of them have said. */
  get output(): string {
    return this.all.map(({ output }) => output).join('');
  }

  async stop(): Promise<void> {
    this.isStopped = true;
    await Promise.all(this.all.map((script) => script.end('SIGKILL')));
  }

  private keepUp(): void {
    const script = this.launch();
    this.all.push(script);
    script.onEnd(() => {
      if (!this.isStopped) {
        this.keepUp();
      }
    });
  }
}

/** A frame of a reply: its kind, and what it carries. */
export interface Answer {
  kind: string;
  payload: unknown;
}

/**
 * A caller by hand. Its reply stream keeps all that was ever written to it, so that it shows whatever was answered
 * twice, or by somebody who had lost the right to.
 */
export class Caller {
  private readonly client = randomBytes(6).toString('hex');

  private constructor(private readonly redis: Redis) {}

  static async make(redis: Redis): Promise<Caller> {
    const caller = new Caller(redis);
    await redis.xadd(caller.replies, '*', 'made', '');
    return caller;
  }

  /** Sends a request to do a task. @returns its id */
  async ask(task: Task): Promise<string> {
    const id = randomBytes(6).toString('hex');
    const data = JSON.stringify(task);
    await this.redis.xadd(INBOX, '*', 'pattern', 'task', 'data', data, 'id', id, 'reply', this.client);
    return id;
  }

  /** Every frame that was ever written for a request. */
  async answers(requestId: string): Promise<Answer[]> {
    const answers: Answer[] = [];
    for (const [, fields] of await this.redis.xrange(this.replies, '-', '+')) {
      for (let i = 0; i + 1 < fields.length; i += 2) {
        if (fields[i]!.slice(1).startsWith(requestId)) {
          answers.push({ kind: fields[i]![0]!, payload: JSON.parse(fields[i + 1]!) });
        }
      }
    }
    return answers;
  }

  /** The only answer to a request, once there is one. */
  async answer(requestId: string, withinMs?: number): Promise<Answer> {
    await eventually(async () => (await this.answers(requestId)).length > 0, 'an answer', withinMs);
    const answers = await this.answers(requestId);
    if (answers.length > 1) {
      throw new Error(`A request was answered more than once: ${JSON.stringify(answers)}`);
    }
    return answers[0]!;
  }

  private get replies(): string {
    return `nest:replies:${this.client}`;
  }
}

/** Publishes an event that says what its handler is to do. */
export async function tell(redis: Redis, task: Task): Promise<void> {
  await redis.xadd(TOPIC, '*', 'pattern', 'task.event', 'data', JSON.stringify(task));
}

/** How often a text comes in another. */
export function count(text: string, part: string): number {
  return text.split(part).length - 1;
}

/** Looks at what lies in Redis of the service `tasks`. */
export class TaskKeys {
  constructor(readonly redis: Redis) {}

  /** Of a Redis that is empty. Closed by `closeAll()`. */
  static async empty(url: string): Promise<TaskKeys> {
    const redis = inspect(url);
    // While the Redis under test is away; the tests tell whether it should be.
    redis.on('error', () => undefined);
    await redis.flushall();
    return new TaskKeys(redis);
  }

  /** Whose the pending entries of a stream are: consumers, and how many each. */
  async owners(stream: string): Promise<Record<string, number>> {
    const [, , , consumers] = (await this.redis.xpending(stream, 'tasks')) as [
      number,
      unknown,
      unknown,
      [string, string][] | null,
    ];
    return Object.fromEntries((consumers ?? []).map(([name, pending]) => [name, Number(pending)]));
  }

  /** Waits until nothing is pending, whoever's it was. */
  async nothingPending(withinMs?: number): Promise<void> {
    await eventually(
      async () => {
        const owners = { ...(await this.owners(INBOX)), ...(await this.owners(TOPIC)) };
        return Object.keys(owners).length === 0;
      },
      'nothing to be pending',
      withinMs,
    );
  }

  /** Waits until nothing is pending, nor left in the inbox. */
  async settled(withinMs?: number): Promise<void> {
    await this.nothingPending(withinMs);
    await eventually(async () => (await this.redis.xlen(INBOX)) === 0, 'the inbox to be empty', withinMs);
  }

  /** The instances that are registered. */
  async instances(): Promise<string[]> {
    return (await this.redis.hkeys(INSTANCES)).filter((name) => !name.startsWith('~'));
  }

  lease(instance: string): string {
    return `{nest:0}:lease:tasks:${instance}`;
  }

  /** The consumers of the group on a stream. */
  async consumers(stream: string): Promise<string[]> {
    const consumers = (await this.redis.xinfo('CONSUMERS', stream, 'tasks')) as string[][];
    return consumers.map((fields) => fields[fields.indexOf('name') + 1]!);
  }

  /** The dead letters, the fields of each. */
  async deadLetters(): Promise<Record<string, string>[]> {
    return (await this.redis.xrange(DEAD, '-', '+')).map(([, fields]) =>
      Object.fromEntries(fields.flatMap((field, i) => (i % 2 === 0 ? [[field, fields[i + 1]!]] : []))),
    );
  }
}
