import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Broker, BrokerUsage } from './brokers/broker.js';
import { startBroker, type BrokerSettings } from './brokers/start.js';
import { Child } from './processes/child.js';
import type {
  ChildSetup,
  ProcessUsage,
  PublishResult,
  RequestOrder,
  RequestResult,
  Variant,
} from './processes/protocol.js';
import { SYSTEMS, type SystemName } from './systems/catalogue.js';

const HERE = fileURLToPath(new URL('.', import.meta.url));
const SERVICE = 'bench';
const USAGE_WITHIN_MS = 60_000;
/** What a run of requests or events may take longer than it should before it counts as stuck. */
const GRACE_MS = 30_000;
/** Fewer than this a second is stuck, too. */
const LEAST_PER_SECOND = 200;

/** What is started for a measurement. */
export interface DeploymentPlan extends BrokerSettings {
  /** Server processes; 1 unless said otherwise. */
  servers?: number;
  /** Event patterns of each server; 0 unless said otherwise. */
  topics?: number;
  /** Over how many shards this package spreads its streams; 1 unless said otherwise. */
  shards?: number;
  variant?: Variant;
  /** Is warmed up for single requests, too. */
  warmsUpSingle?: boolean;
  /** Instances of services that nobody asks, all in one process, by the names of their services. */
  bystanders?: readonly string[];
  /** Where the compiled benchmark is that finds the package it is to measure; else here. */
  folder?: string;
}

/** What was used, by whom: microseconds of CPU. */
export interface Used {
  client: number;
  server: number;
  broker: number | undefined;
  /** Of each of the broker's nodes, where it has several. */
  nodes: readonly number[];
  commands: number | undefined;
}

/** What is held in memory, in bytes. */
export interface Held {
  client: number;
  server: number;
  broker: number | undefined;
}

/** When events were published and handled, in milliseconds. */
export interface EventTimes extends PublishResult {
  handled: number;
}

interface Snapshot {
  client: ProcessUsage;
  servers: readonly ProcessUsage[];
  broker: BrokerUsage;
}

/** A client, its servers and their broker, each a process of its own. */
export class Deployment {
  private broker: Broker | undefined;
  private client: Child | undefined;
  private servers: Child[] = [];
  private bystanders: Child | undefined;

  private readonly stopping = new AbortController();
  private starting: Promise<void> | undefined;

  constructor(
    private readonly system: SystemName,
    private readonly plan: DeploymentPlan,
  ) {}

  /** Rejects where a process cannot be started; `stop()` is to be called then, too. */
  start(): Promise<void> {
    this.starting ??= this.open(this.plan);
    return this.starting;
  }

  /** Requests, and what they took of all processes. */
  request(order: RequestOrder): Promise<{ result: RequestResult; used: Used }> {
    const expected = (order.seconds ?? (order.count ?? 0) / LEAST_PER_SECOND) * 1000;
    return this.measured(() => this.client!.ask('requests', order, expected + GRACE_MS));
  }

  /** Publishes events and waits until all are handled. */
  publish(count: number, inFlight: number): Promise<{ result: EventTimes; used: Used }> {
    const withinMs = (count / LEAST_PER_SECOND) * 1000 + GRACE_MS;
    return this.measured(async () => {
      const handled = (this.servers[0] ?? this.client)!.ask('handled', { count }, withinMs);
      const [published, { at }] = await Promise.all([
        this.client!.ask('publish', { count, inFlight }, withinMs),
        handled,
      ]);
      return { ...published, handled: at };
    });
  }

  /** What all processes use while nobody asks for anything. */
  async idle(ms: number): Promise<Used> {
    const { used } = await this.measured(() => setTimeout(ms, undefined, { signal: this.stopping.signal }));
    return used;
  }

  /** What is held in memory after a garbage collection. */
  async held(): Promise<Held> {
    const { client, servers, broker } = await this.snapshot(true);
    return {
      client: client.heap,
      server: servers.reduce((sum, { heap }) => sum + heap, 0),
      broker: broker.memory,
    };
  }

  async stop(): Promise<void> {
    this.stopping.abort();
    // What is being started must be there to be ended; whoever called start() is told of its failure.
    await Promise.allSettled([this.starting ?? Promise.resolve()]);
    const children = [this.client, ...this.servers, this.bystanders].filter((child) => child !== undefined);
    await Promise.all(children.map((child) => child.stop()));
    await this.broker?.stop();
  }

  private async open(plan: DeploymentPlan): Promise<void> {
    const { servers = 1, topics = 0, shards = 1, variant = {}, bystanders = [], folder = HERE } = plan;
    const { broker, inOneProcess } = SYSTEMS[this.system];
    this.broker = await startBroker(broker, plan);
    const setup: ChildSetup = {
      system: this.system,
      port: this.broker.port,
      services: [SERVICE],
      topics,
      shards,
      isCluster: plan.isCluster ?? false,
      variant,
    };
    for (let i = 0; i < (inOneProcess ? 0 : servers); i++) {
      this.servers.push(await Child.start('server', folder, setup));
    }
    if (bystanders.length > 0) {
      this.bystanders = await Child.start('server', folder, { ...setup, services: bystanders });
    }
    this.client = await Child.start('client', folder, setup);
  }

  private async measured<T>(run: () => Promise<T>): Promise<{ result: T; used: Used }> {
    const before = await this.snapshot(false);
    const result = await run();
    const after = await this.snapshot(false);
    const ofServers = (usage: readonly ProcessUsage[]): number =>
      usage.reduce((sum, { cpu }) => sum + cpu, 0);
    return {
      result,
      used: {
        client: after.client.cpu - before.client.cpu,
        server: ofServers(after.servers) - ofServers(before.servers),
        broker: difference(before.broker.cpu, after.broker.cpu),
        nodes: (after.broker.cpuOfNodes ?? []).map((cpu, i) => cpu - (before.broker.cpuOfNodes?.[i] ?? 0)),
        commands: difference(before.broker.commands, after.broker.commands),
      },
    };
  }

  private async snapshot(collect: boolean): Promise<Snapshot> {
    const usageOf = (child: Child): Promise<ProcessUsage> => child.ask('usage', { collect }, USAGE_WITHIN_MS);
    const [client, servers, broker] = await Promise.all([
      usageOf(this.client!),
      Promise.all(this.servers.map(usageOf)),
      this.broker!.usage(),
    ]);
    return { client, servers, broker };
  }
}

/** `undefined` where it is not told. */
function difference(before: number | undefined, after: number | undefined): number | undefined {
  return before === undefined || after === undefined ? undefined : after - before;
}
