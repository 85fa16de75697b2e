/** What a system's messages go through. */
export type BrokerKind = 'redis' | 'nats' | 'rabbitmq' | 'none';

/** What a broker has used since it was started. */
export interface BrokerUsage {
  /** Microseconds of CPU. `undefined` where this platform does not tell. */
  cpu: number | undefined;
  /** The same of each node, where there are several. */
  cpuOfNodes?: readonly number[];
  /** Commands carried out, also those inside scripts, without those that ask for this. `undefined` where there are none. */
  commands?: number;
  /** Bytes that its data takes. `undefined` where it does not tell. */
  memory?: number;
}

/** A broker that runs for one deployment. */
export interface Broker {
  readonly port: number;
  usage(): Promise<BrokerUsage>;
  stop(): Promise<void>;
}
