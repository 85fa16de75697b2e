import { requireExtra } from '../extras.js';
import { notOffered, TOPIC, type BenchClient, type BenchServer, type Setup } from './system.js';
import type { Work } from './work.js';

/* A request is a job whose end is waited for, an event a job whose end is not. */

/** As many as this package handles at once by default. */
const REQUESTS_AT_ONCE = 128;
const EVENTS_AT_ONCE = 64;
/** Finished jobs that are kept: `waitUntilFinished` must find the one it waits for. */
const KEPT_JOBS = { removeOnComplete: { count: 1_000 } };

interface Connection {
  connection: { host: string; port: number };
}
interface Closable {
  waitUntilReady(): Promise<unknown>;
  close(): Promise<void>;
}
interface Job {
  name: string;
  data: Data;
  waitUntilFinished(events: Closable): Promise<unknown>;
}
interface Data {
  a?: number;
  b?: number;
  text?: string;
  n?: number;
}
interface Queue extends Closable {
  add(name: string, data: Data, options: typeof KEPT_JOBS): Promise<Job>;
}
type Processor = (job: Job) => Promise<unknown>;

/** What is used of the package, which is not there when this is compiled. */
interface BullMq {
  Queue: new (name: string, options: Connection) => Queue;
  QueueEvents: new (name: string, options: Connection) => Closable;
  Worker: new (name: string, processor: Processor, options: Connection & { concurrency: number }) => Closable;
}

const { Queue, QueueEvents, Worker } = requireExtra<BullMq>('bullmq', 'bullmq');

export function createServer(setup: Setup, work: Work): BenchServer {
  return new BullServer(setup, work);
}

export function createClient(setup: Setup): BenchClient {
  return new BullClient(setup);
}

class BullServer implements BenchServer {
  private workers: Closable[] = [];

  constructor(
    private readonly setup: Setup,
    private readonly work: Work,
  ) {}

  async start(): Promise<void> {
    const { service, topics } = this.setup;
    const connection = connectionOf(this.setup);
    const answer: Processor = ({ name, data }) =>
      Promise.resolve(name === 'echo' ? data.text : this.work.sum(data.a!, data.b!));
    this.workers = [new Worker(service, answer, { ...connection, concurrency: REQUESTS_AT_ONCE })];
    const note: Processor = ({ data }) => Promise.resolve(this.work.note(data.n!));
    for (let i = 0; i < topics; i++) {
      this.workers.push(new Worker(`noted.${i}`, note, { ...connection, concurrency: EVENTS_AT_ONCE }));
    }
    await Promise.all(this.workers.map((worker) => worker.waitUntilReady()));
  }

  async close(): Promise<void> {
    await Promise.all(this.workers.map((worker) => worker.close()));
  }
}

class BullClient implements BenchClient {
  private readonly requests: Queue;
  private readonly events: Queue;
  private readonly ends: Closable;

  constructor(setup: Setup) {
    this.requests = new Queue(setup.service, connectionOf(setup));
    this.ends = new QueueEvents(setup.service, connectionOf(setup));
    this.events = new Queue(TOPIC, connectionOf(setup));
  }

  async connect(): Promise<void> {
    await Promise.all([this.requests, this.ends, this.events].map((part) => part.waitUntilReady()));
  }

  request(a: number, b: number): Promise<number> {
    return this.ask('sum', { a, b }) as Promise<number>;
  }

  echo(text: string): Promise<string> {
    return this.ask('echo', { text }) as Promise<string>;
  }

  async emit(n: number): Promise<void> {
    await this.events.add('noted', { n }, KEPT_JOBS);
  }

  stream(): Promise<number> {
    return notOffered('answers of several values');
  }

  async close(): Promise<void> {
    await Promise.all([this.requests, this.ends, this.events].map((part) => part.close()));
  }

  private async ask(name: string, data: Data): Promise<unknown> {
    const job = await this.requests.add(name, data, KEPT_JOBS);
    return job.waitUntilFinished(this.ends);
  }
}

function connectionOf({ port }: Setup): Connection {
  return { connection: { host: '127.0.0.1', port } };
}
